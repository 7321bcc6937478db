"""memory.max, memory.high, memory.zswap.max, the pool limit: what happens when they are reached."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from zswap_gym.kernel.access import FREE
from zswap_gym.kernel.layout import DISK, F_REFERENCED, NEW, RESIDENT, SWAPCACHE, ZERO, ZSWAP
from zswap_gym.units import PAGE_SIZE, US_PER_S

Make = Callable[..., Any]
MIB = 1 << 20


def usage(b: Any, cgroup: str) -> int:
    """memory.current in pages."""
    return b.gauge(cgroup, "memory_current") // PAGE_SIZE


# --- out of memory -------------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [True, False])
def test_without_the_shrinker_memory_max_kills_with_swap_free(
    make: Make, make_plan: Make, exact: bool
) -> None:
    """Zswap fills the limit and nobody writes it back: scenario 07, FINDINGS 11."""
    b = make(
        {"g": make_plan(32768, clen=2139)},
        exact=exact,
        limits={"g": {"memory_max": 64 * MIB}},
        restart_on_oom=False,
    )
    b.run(0.2)
    assert b.count("g", "events_oom_kill") == 0
    stored = b.count("g", "zswpout")
    assert usage(b, "g") <= 64 * MIB // PAGE_SIZE
    b.run(2)
    assert b.count("g", "events_oom") == b.count("g", "events_oom_kill") == 1
    assert b.count("g", "zswpout") == pytest.approx(31045, rel=0.02)  # what the kernel had stored
    assert stored < 31045
    assert b.count("g", "pswpout") == 0  # 4 GiB of swap, untouched
    assert b.states("g") == [32768, 0, 0, 0, 0, 0]
    assert b.machine.state.host["slots_used"][0] == b.machine.pool_bytes == usage(b, "g") == 0


def test_with_the_shrinker_it_survives(make: Make, make_plan: Make) -> None:
    """Scenario 06."""
    b = make(
        {"g": make_plan(32768, clen=2139)},
        exact=False,
        limits={"g": {"memory_max": 64 * MIB}},
        shrinker_enabled=True,
    )
    b.run(2)
    assert b.count("g", "events_oom") == 0
    assert b.states("g")[NEW] == 0
    assert b.count("g", "zswpwb") == b.count("g", "pswpout") > 500
    assert b.count("g", "zswpwb_proactive") == 0


def test_a_killed_program_comes_back_if_it_is_restarted(make: Make, make_plan: Make) -> None:
    b = make(
        {"g": make_plan(4000, clen=3800, rate=5.0)},
        limits={"g": {"memory_max": 2 * MIB}},
        restart_on_oom=True,
    )
    b.run(60)
    assert b.count("g", "events_oom_kill") > 2
    assert usage(b, "g") <= 512
    assert b.count("g", "pgfault") > 4000


def test_writing_memory_max_kills_what_reclaim_cannot_free(make: Make) -> None:
    """memory_max_write(): 16 fruitless tries, then the OOM killer, until usage is below the limit."""
    b = make({"p": None, "p/small": 100, "p/big": 900}, swap_bytes=0, restart_on_oom=False)
    b.run(1)
    assert b.write("p", str(300 * PAGE_SIZE), "memory.max").errno == 0
    assert (b.states("p/big")[NEW], b.states("p/small")[RESIDENT]) == (900, 100)
    assert b.count("p", "events_oom_kill") == b.count("p/big", "events_oom_kill") == 1
    assert b.write("p", "0", "memory.max").errno == 0
    assert usage(b, "p") == 0


def test_writing_memory_high_never_kills(make: Make) -> None:
    b = make({"g": 900}, swap_bytes=0)
    b.run(1)
    assert b.write("g", "4K", "memory.high").errno == 0
    assert b.states("g")[RESIDENT] == 900
    assert b.count("g", "events_oom") == 0


def test_a_lowered_memory_max_reclaims_at_once(make: Make) -> None:
    b = make({"g": 2000})
    b.run(1)
    assert b.write("g", "4M", "memory.max").errno == 0
    assert usage(b, "g") <= 1024
    assert b.states("g")[ZSWAP] > 900
    assert b.count("g", "events_oom") == 0


@pytest.mark.parametrize("base", [400, 2000])
def test_a_sibling_that_cannot_shrink_is_not_killed_forever(make: Make, make_plan: Make, base: int) -> None:
    """The victim is the leaf with most pages to give back, not the one with most memory.current."""
    tree = {"p": None, "p/fixed": 50, "p/busy": make_plan(3000, rate=0.1, step_us=1000)}
    limits = {"p": {"memory_max": 1600 * PAGE_SIZE}, "p/fixed": {"base_bytes": base * PAGE_SIZE}}
    b = make(tree, limits=limits, swap_bytes=0)
    b.run(30)  # would not return
    assert b.count("p/busy", "events_oom_kill") >= 1
    assert b.count("p/fixed", "events_oom_kill") <= b.count("p/busy", "events_oom_kill")
    assert usage(b, "p") <= max(1600, base)


# --- writeback at the limit ----------------------------------------------------------------------


def test_a_writeback_that_cannot_be_charged_leaves_the_entry(make: Make, make_plan: Make) -> None:
    """ENOMEM: counted, rotated, and memory.max holds (spec/zswap-model.md 7.2)."""
    b = make({"g": make_plan(2000, clen=2048)})
    b.fill("g")
    b.run(60)
    assert usage(b, "g") == 1000
    b.record("g")["max"] = 1000
    order = b.lru("g")
    result = b.write("g", "max=64K 30")
    assert (result.errno, result.pages) == (errno.EAGAIN, 0)
    assert b.count("", "reject_reclaim_fail") > 0
    assert b.count("g", "zswpwb") == 0
    assert usage(b, "g") == 1000
    assert sorted(b.lru("g")) == sorted(order)


def test_a_writeback_at_the_limit_pushes_others_out(make: Make) -> None:
    """FINDINGS 3: the decompressed page is charged, and reclaim makes room for it."""
    b = make({"g": 4000})
    b.fill("g", pages=2000)
    stored = b.states("g")[ZSWAP]
    b.run(60)
    b.write("g", str(usage(b, "g") * PAGE_SIZE), "memory.max")
    limit = usage(b, "g")
    result = b.write("g", "30")
    assert (result.errno, result.pages) == (0, stored)
    assert b.count("g", "zswpout") > stored
    assert usage(b, "g") <= limit
    assert b.count("g", "events_max") > 0


def full_pool(b: Any, cgroup: str) -> None:
    """The pool holds no more, ``cgroup`` stands exactly at its memory.max, all second chances are used."""
    b.record(cgroup)["max"] = usage(b, cgroup)
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
        limits={"p/stuck": {"zswap_writeback": False}},
    )
    b.fill("p/stored")
    full_pool(b, "p")
    b.write("other", "400K", "memory.reclaim")
    b.run(5)  # would not return
    assert b.count("", "pool_limit_hit") > 0
    assert b.count("", "reject_reclaim_fail") >= 16
    assert usage(b, "p") == b.record("p")["max"]


def test_memory_peak_is_the_highest_also_between_looks(make: Make) -> None:
    b = make({"p": None, "p/g": 2000})
    b.fill("p/g")
    assert b.write("p/g", "1", "memory.zswap.writeback").errno == 0
    before = b.machine.snapshot()
    for cgroup in ("p/g", "p", ""):
        assert b.gauge(cgroup, "memory_current") < 500 * PAGE_SIZE
        assert b.gauge(cgroup, "peak") == 2000 * PAGE_SIZE
    assert b.differences(before) == []  # looking changes nothing


# --- memory.high ---------------------------------------------------------------------------------


def test_memory_high_throttles_and_never_kills(make: Make, make_plan: Make) -> None:
    """Nothing to reclaim: the program is put to sleep, up to 2 s per 64 pages (spec/memcg-model.md 3)."""
    done = {}
    for high in (None, 4 * MIB):
        b = make(
            {"g": make_plan(4000, step_us=1000)},
            exact=False,
            swap_bytes=0,
            limits={"g": {"memory_high": high, "threads": 1}},
        )
        b.run(5)
        done[high] = usage(b, "g")
        if high:
            assert b.count("g", "events_high") > 0
            assert b.count("g", "events_oom") == b.count("g", "events_max") == 0
            assert b.count("g", "stall_us") > 3_000_000
            assert b.record("g")["some_us"] > 3_000_000
    assert done[None] == 4000
    assert 1024 < done[4 * MIB] < 1500


def test_memory_high_reclaims_while_it_can(make: Make, make_plan: Make) -> None:
    b = make({"g": make_plan(4000, step_us=1000)}, exact=False, limits={"g": {"memory_high": 8 * MIB}})
    b.run(10)
    assert b.states("g")[NEW] == 0
    assert usage(b, "g") <= 2048 + 64
    assert b.count("g", "zswpout") > 1500
    assert b.count("g", "events_high") > 0


# --- zswap's own limits --------------------------------------------------------------------------


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
    b = make({"g": 32_000}, exact=False, max_pool_percent=10, ram_bytes=32 * MIB)
    b.fill("g")
    b.run(10)
    assert b.machine.pool_bytes <= 819 * PAGE_SIZE
    assert b.count("", "pool_limit_hit") > 0
    assert b.count("g", "zswpwb") > 0
    assert b.count("g", "zswpwb_proactive") == 0
    assert b.count("g", "pswpout") == b.count("g", "zswpwb") + b.count("g", "stores_refused")


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
