"""memory.zswap.max, the pool limit and its worker: what zswap takes, refuses and gives back."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from zswap_gym.kernel.access import FREE
from zswap_gym.kernel.layout import DISK, F_REFERENCED, SWAPCACHE, ZERO, ZSWAP
from zswap_gym.units import PAGE_SIZE, US_PER_S

Make = Callable[..., Any]
MIB = 1 << 20


def test_zswap_max_counts_compressed_bytes(make: Make) -> None:
    """One out, one in at the limit; a refused store goes to disk (FINDINGS 15)."""
    b = make({"g": 6000}, limits={"g": {"memory_max": 6 * MIB, "zswap_max": MIB}})
    b.run(1)
    assert b.gauge("g", "zswap") == pytest.approx(MIB, abs=4096)
    assert b.count("g", "zswpwb") > 0
    assert b.count("g", "stores_refused") > 0
    assert b.states("g")[DISK] > 0
    assert b.count("g", "pswpout") == b.count("g", "zswpwb") + b.count("g", "stores_refused")


def test_zswap_max_zero_goes_straight_to_disk(make: Make) -> None:
    b = make({"g": 2000}, limits={"g": {"zswap_max": 0}})
    b.fill("g")
    assert b.count("g", "zswpout") == 0
    assert b.count("g", "pswpout") == b.states("g")[DISK] == 2000


def test_zswap_max_full_and_writeback_off_is_eagain(make: Make) -> None:
    """FINDINGS 14: memory.reclaim burns scans, unmaps everything into the swap cache, and fails."""
    b = make({"g": 3000}, limits={"g": {"zswap_max": 1 << 19, "zswap_writeback": False}})
    b.run(1)
    assert b.write("g", "12M", "memory.reclaim").errno == errno.EAGAIN
    assert b.states("g")[SWAPCACHE] > 2000
    assert b.count("g", "pgscan") > 50_000
    assert b.count("g", "pswpout") == 0


# --- the pool limit ------------------------------------------------------------------------------


def test_the_pool_limit_has_hysteresis(make: Make, make_plan: Make) -> None:
    """Once full, stores are refused until the pool is down to 90 % of its limit, not just below it."""
    holder = make_plan(3965, clen=1000, accesses=[])  # four entries a pool page
    holder.frees = np.array([(20 * US_PER_S, 0, 200), (40 * US_PER_S, 200, 240)], FREE)
    off = {"zswap_writeback": False}  # the worker finds nothing to write
    b = make(
        {"holder": holder, "other": 2000},
        limits={"holder": off, "other": off},
        max_pool_percent=10,
        ram_bytes=9920 * PAGE_SIZE,
    )
    b.fill("holder")
    pool = []
    stored = []
    for seconds in (1, 20, 20):
        b.run(seconds)
        pool.append(b.machine.pool_bytes // PAGE_SIZE)
        hits, refused = b.count("", "pool_limit_hit"), b.count("other", "stores_refused")
        b.write("other", "256K", "memory.reclaim")
        hits, refused = b.count("", "pool_limit_hit") - hits, b.count("other", "stores_refused") - refused
        stored.append((b.states("other")[ZSWAP], hits > 0, refused > 0))
    assert pool == [992, 942, 882]
    assert stored == [(0, True, True), (0, False, True), (64, False, False)]


def test_the_worker_makes_room(make: Make) -> None:
    b = make({"g": 32_000}, exact=False, max_pool_percent=1, ram_bytes=320 * MIB)
    b.fill("g")
    b.run(10)
    assert b.machine.pool_bytes <= 819 * PAGE_SIZE
    assert b.count("", "pool_limit_hit") > 0
    assert b.count("g", "zswpwb") > 0
    assert b.count("g", "zswpwb_proactive") == 0
    assert b.count("g", "pswpout") == b.count("g", "zswpwb") + b.count("g", "stores_refused")


def pages_of(b: Any, cgroup: str) -> int:
    """memory.current in pages."""
    return b.gauge(cgroup, "memory_current") // PAGE_SIZE


def full_pool(b: Any, cgroup: str) -> None:
    """The pool holds no more, ``cgroup`` stands exactly at its memory.max, all second chances are used."""
    b.record(cgroup)["max"] = pages_of(b, cgroup)
    pool = b.machine.pool_bytes // PAGE_SIZE
    b.machine.state.host["max_pool_pages"], b.machine.state.host["accept_pages"] = pool, pool * 9 // 10
    b.machine.state.pages["flags"] &= ~np.uint16(F_REFERENCED)


def test_the_worker_ends_where_writeback_is_off(make: Make) -> None:
    """Its visits are ENOENT and charge nothing: no reclaim whose refused stores would wake it again."""
    b = make({"g": 1000}, limits={"g": {"zswap_writeback": False}})
    b.fill("g", pages=512)
    full_pool(b, "g")
    assert b.write("g", "400K", "memory.reclaim").errno == errno.EAGAIN  # would not return
    b.run(5)
    assert b.count("", "pool_limit_hit") > 0
    assert b.count("g", "events_max") == b.count("g", "pswpout") == 0


def test_the_worker_does_not_wake_itself_for_ever(make: Make, make_plan: Make) -> None:
    """Its folios cannot be charged, and the reclaim that tries to make room has its stores refused."""
    b = make(
        {"p": None, "p/stored": make_plan(2000, clen=2048), "p/stuck": 600, "other": 500},
        limits={
            "p/stored": {"oom_protected": True},
            "p/stuck": {"oom_protected": True, "zswap_writeback": False},
        },
    )
    b.fill("p/stored")
    full_pool(b, "p")
    b.write("other", "400K", "memory.reclaim")
    b.run(5)  # would not return
    assert b.count("", "pool_limit_hit") > 0
    assert b.count("", "reject_reclaim_fail") >= 16
    assert pages_of(b, "p") == b.record("p")["max"]


# --- what zswap does not take ---------------------------------------------------------------------


def test_zero_pages_take_neither_pool_nor_device(make: Make, make_plan: Make) -> None:
    b = make({"g": make_plan(1000, clen=0)})
    b.fill("g")
    assert b.states("g")[ZERO] == b.count("g", "swpout_zero") == 1000
    assert b.machine.pool_bytes == b.count("g", "zswpout") == b.count("g", "pswpout") == 0
    assert b.gauge("g", "swap_current") == 1000 * PAGE_SIZE


@pytest.mark.parametrize(("kernel", "stored"), [("6.12", 0), ("6.18", 1000)])
def test_incompressible_pages(make: Make, make_plan: Make, kernel: str, stored: int) -> None:
    b = make({"g": make_plan(1000, clen=4096)}, kernel=kernel)
    b.fill("g")
    assert b.states("g")[ZSWAP] == stored
    assert b.states("g")[DISK] == 1000 - stored
    assert b.gauge("g", "zswap") == stored * 4096
    assert b.machine.pool_bytes == stored * PAGE_SIZE
