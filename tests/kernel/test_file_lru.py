"""Page cache: lists, refaults, and its share of the scan (kernel/file_lru.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from zswap_gym.kernel.access import OP_READ
from zswap_gym.kernel.layout import NEW, RESIDENT, ZSWAP
from zswap_gym.kernel.spec import DEVICES
from zswap_gym.units import PAGE_SIZE, US_PER_S

Make = Callable[..., Any]
MIB = 1 << 20


def test_reading_a_file_is_not_a_fault(make: Make, make_plan: Make) -> None:
    b = make({"g": make_plan(1000, file=True, accesses=[])}, exact=False, device=DEVICES["hdd"])
    b.run(60)
    assert b.gauge("g", "file") == b.gauge("g", "memory_current") == 1000 * PAGE_SIZE
    assert b.gauge("g", "inactive_file") == 1000 * PAGE_SIZE
    assert b.gauge("g", "anon") == b.gauge("g", "active_anon") == b.gauge("g", "inactive_anon") == 0
    assert b.count("g", "pgfault") == b.count("g", "pgmajfault") == b.count("g", "pswpin") == 0
    assert b.count("g", "stall_us") > 1000 * 5_000  # but it waits for the disk


def test_reclaim_drops_the_oldest_without_swap(make: Make, make_plan: Make) -> None:
    b = make({"g": make_plan(2000, file=True, accesses=[])}, swap_bytes=0)
    b.run(1)
    assert b.write("g", "4M", "memory.reclaim").errno == 0
    gone = b.pages("g")["state"] == NEW
    assert 1024 <= gone.sum() <= 1024 + 64
    assert gone[: gone.sum()].all()
    assert b.count("g", "pswpout") == b.count("g", "zswpout") == 0
    assert b.count("g", "pgsteal") == gone.sum()


def test_what_is_read_again_and_again_becomes_active(make: Make, make_plan: Make) -> None:
    """Accessed at two looks in a row: activated; not accessed: freed."""
    hot = [(s * US_PER_S, page, OP_READ) for s in range(2, 200) for page in range(100)]
    b = make({"g": make_plan(1000, file=True, accesses=hot)})
    b.run(2.5)
    for _ in range(40):
        b.write("g", "64K", "memory.reclaim")
        b.run(2)
    assert b.gauge("g", "active_file") > 0
    assert b.count("g", "pgactivate") > 0
    assert (b.pages("g")["state"][:100] == RESIDENT).all()
    assert (b.pages("g")["state"][100:] == NEW).sum() > 500


def test_a_refault_within_the_active_list_is_activated(make: Make, make_plan: Make) -> None:
    again = [(20 * US_PER_S, 0, OP_READ), (30 * US_PER_S, 1, OP_READ)]
    b = make({"g": None, "g/file": make_plan(500, file=True, accesses=again), "g/anon": 400})
    b.run(1)
    b.machine.state.host["swap_pages"] = 0  # so that only the cache goes
    assert b.write("g", "1M", "memory.reclaim").errno == 0
    assert (b.pages("g/file")["state"][:2] == NEW).all()
    b.run(40)
    assert b.count("g/file", "workingset_refault_file") == 2
    assert b.count("g/file", "workingset_activate_file") == 0  # away for longer than nothing is long
    b.record("g/file")["mapped"] = 400  # anonymous memory it competes with
    b.pages("g/file")["shadow"][2] = (b.record("g/file")["file_age"] - 1) << 1
    assert b.count("g/file", "workingset_refault_anon") == 0


def test_plenty_of_inactive_cache_goes_before_anonymous_memory(make: Make, make_plan: Make) -> None:
    """cache_trim_mode: at the priorities at which there is inactive cache to scan, only that is."""
    b = make({"g": None, "g/anon": 8192, "g/file": make_plan(8192, file=True, accesses=[])})
    b.run(1)
    assert b.write("g/file", "8M", "memory.reclaim").errno == 0
    assert b.states("g/anon")[ZSWAP] == 0
    b.write("g", "8M", "memory.reclaim")
    assert b.states("g/file")[NEW] > 2000


def test_the_cache_outlives_the_program(make: Make, make_plan: Make) -> None:
    """The OOM killer frees a program's memory; what it read stays until it is reclaimed."""
    clen = 2139
    plan = make_plan(6000, clen=clen)
    files = make_plan(500, file=True, accesses=[])
    b = make({"g": None, "g/a": plan, "g/f": files}, restart_on_oom=False, swap_bytes=0)
    b.run(1)
    b.write("g", "24M", "memory.max")
    assert b.states("g/a")[NEW] == 0 or b.count("g", "events_oom_kill") == 1
    b.write("g/a", "0", "memory.max")
    assert b.states("g/a")[NEW] == 6000
    assert b.count("g/f", "events_oom_kill") == 0


@pytest.mark.parametrize("scale", [1, 4, 16])
def test_volumes_do_not_depend_on_the_scale(make: Make, make_plan: Make, scale: int) -> None:
    n = 16_384 // scale
    rate = np.where(np.arange(n) % 4 == 0, 0.5, 0.005).astype(np.float32)
    limits = {"g": {"memory_max": 24 * MIB}}
    b = make({"g": make_plan(n, file=True, rate=rate)}, page_scale=scale, limits=limits)
    b.run(300)
    assert b.gauge("g", "file") <= 24 * MIB
    assert b.count("g", "pgsteal") == pytest.approx(28_700, rel=0.1)
    assert b.count("g", "workingset_refault_file") == pytest.approx(18_500, rel=0.1)
