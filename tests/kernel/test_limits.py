"""memory.max and memory.high: what happens when they are reached, and when they are written."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from zswap_gym.kernel.layout import F_REFERENCED, NEW, RESIDENT, ZSWAP
from zswap_gym.units import PAGE_SIZE

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


def test_a_writeback_that_cannot_be_charged_kills(make: Make, make_plan: Make) -> None:
    """GFP_KERNEL: try_charge_memcg() calls the OOM killer after 16 fruitless tries, for a writer too."""
    b = make({"g": make_plan(2000, clen=2048)}, restart_on_oom=False)
    b.fill("g")
    b.run(60)
    b.record("g")["max"] = 1000
    result = b.write("g", "max=4K 30")
    assert (result.errno, result.pages) == (errno.EAGAIN, 0)
    assert b.count("g", "events_oom") == b.count("g", "events_oom_kill") == 1
    assert b.count("g", "events_max") == 17
    assert b.states("g")[NEW] == 2000


def test_a_writeback_that_cannot_be_charged_leaves_the_entry(make: Make, make_plan: Make) -> None:
    """ENOMEM where nobody may be killed: counted, rotated, and memory.max holds (spec/zswap-model.md 7.2)."""
    b = make({"g": make_plan(2000, clen=2048)}, limits={"g": {"oom_protected": True}})
    b.fill("g")
    b.run(60)
    assert usage(b, "g") == 1000
    b.record("g")["max"] = 1000
    order = b.lru("g")
    result = b.write("g", "max=4K 30")
    assert (result.errno, result.pages) == (errno.EAGAIN, 0)
    assert b.count("", "reject_reclaim_fail") == 256  # 16 visits of 16 entries
    assert b.count("g", "zswpwb") == 0
    assert usage(b, "g") == 1000
    assert b.lru("g") == order[256:] + order[:256]
    tried = np.flatnonzero(b.pages("g")["flags"] & F_REFERENCED == 0)
    assert tried.tolist() == sorted(order[:256])


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
