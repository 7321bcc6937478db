"""One simulated page for many real ones: constants stay in real pages, remainders are carried over."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np
import pytest

from zswap_gym.kernel.machine import Machine
from zswap_gym.kernel.spec import CgroupSpec, HostSpec, StageOneSpec
from zswap_gym.units import PAGE_SIZE, US_PER_S
from zswap_gym.workloads.archetypes import archetype_plan

Make = Callable[..., Any]
SCALES = (1, 4, 16, 64)
REAL = 48 * 1024
"""Real pages of a test machine."""

BUDGETS = [1, 5, 37, 3, 129, 60, 7, 333, 2, 11, 255, 90, 1, 17, 64, 31]
"""Pages; hardly one is a multiple of a batch or of a scale."""


def written_by_kernel(budget: int) -> int:
    """Spec/series.md 1.8.1: walks of min(128, 16 x what is left of the visit) until the budget is met."""
    written = 0
    while written < budget:
        goal = min(budget - written, 128)
        written += min(128, 16 * goal)
    return written


def loaded(make: Make, scale: int, cgroups: dict[str, int | None]) -> Any:
    """Everything in zswap, a minute old; sizes in real pages."""
    b = make({name: n // scale if n else None for name, n in cgroups.items()}, page_scale=scale)
    b.fill(*[name for name, n in cgroups.items() if n])
    b.run(60)
    return b


@pytest.mark.parametrize("scale", SCALES)
def test_writeback_volumes_with_odd_budgets(make: Make, scale: int) -> None:
    """The debt of a coarse page is paid back by the next calls: never off by more than one page."""
    b = loaded(make, scale, {"g": REAL})
    budgets = BUDGETS * 12
    for budget, kernel in zip(budgets, accumulate(map(written_by_kernel, budgets)), strict=True):
        assert b.write("g", f"max={4 * budget}K 30").errno == 0
        done = b.count("g", "zswpwb_proactive")
        assert done % scale == 0
        assert 0 <= done - kernel < scale


@pytest.mark.parametrize("scale", SCALES)
def test_writeback_volumes_of_a_parent(make: Make, scale: int) -> None:
    children = [f"p/{i}" for i in range(4)]
    b = loaded(make, scale, {"p": None, **dict.fromkeys(children, REAL // 4)})
    calls = 100
    for _ in range(calls):
        assert b.write("p", "max=700K 30").errno == 0  # 175 pages: a batch, then one for the rest
    done = [b.count(name, "zswpwb_proactive") for name in children]
    assert abs(sum(done) - calls * 256) <= 2 * 64
    assert max(done) - min(done) <= 2 * 128


@pytest.mark.parametrize("scale", SCALES)
def test_writeback_volumes_half_of_them_young(make: Make, scale: int) -> None:
    """Young entries in between are rotated; what is counted is what was written."""
    b = make({"g": REAL // scale}, page_scale=scale)
    b.fill("g", pages=REAL // 2)
    b.run(60)
    b.fill("g", pages=REAL // 2 - 64)
    b.run(10)
    while b.write("g", "max=333K 50").errno == 0:
        pass
    assert abs(b.count("g", "zswpwb_proactive") - REAL // 2) <= 128


def reclaimed(make: Make, scale: int) -> list[int]:
    b = make({"g": REAL // scale}, page_scale=scale)
    b.run(1)
    steps = []
    for budget in [50, 700, 1234, 64, 3000, 333, 5, 2048, 900, 4097] * 2:
        assert b.write("g", str(budget * PAGE_SIZE), "memory.reclaim").errno == 0
        steps.append(b.count("g", "pgsteal"))
    assert steps[-1] == b.count("g", "zswpout")
    return steps


@pytest.mark.parametrize("scale", SCALES[1:])
def test_memory_reclaim_volumes(make: Make, scale: int) -> None:
    exact = reclaimed(make, 1)
    assert exact[-1] >= 24_000
    for coarse, fine in zip(reclaimed(make, scale), exact, strict=True):
        assert abs(coarse - fine) <= max(0.02 * fine, 64)


@pytest.mark.parametrize("scale", SCALES)
def test_every_count_is_in_real_pages(make: Make, scale: int) -> None:
    b = loaded(make, scale, {"g": REAL})
    size = REAL * PAGE_SIZE
    assert b.gauge("g", "zswapped") == b.gauge("g", "swap_current") == size
    assert b.gauge("g", "zswap") == REAL * 1000
    assert b.machine.pool_bytes == REAL // 4 * PAGE_SIZE
    assert b.count("g", "zswpout") == b.count("g", "pgsteal") == b.count("g", "pgfault") == REAL
    assert b.machine.zswap_ages(1, [0.0, 59.0, 61.0]).tolist() == [0, REAL, 0]


@pytest.mark.parametrize("scale", [0, 3, 65, 128])
def test_other_scales_are_refused(make: Make, scale: int) -> None:
    with pytest.raises(ValueError, match="page_scale"):
        make({"g": 64}, page_scale=scale)


@pytest.mark.parametrize("scale", [4, 16])
def test_stalls_do_not_shrink_with_coarser_pages(scale: int) -> None:
    """One coarse fault stands for many real ones, and each of them waits."""
    stalled = []
    for k in (1, scale):
        rng = np.random.default_rng(1)
        plan = archetype_plan("kv_zipf", 4096 // k, 300 * US_PER_S, rng, compressor="zstd")
        machine = Machine(
            HostSpec(64 << 20, 64 << 20, page_scale=k),
            [CgroupSpec("a")],
            {"a": plan},
            seed=1,
            stage_one=StageOneSpec("fixed", US_PER_S, 1 << 20),
        )
        machine.advance(machine.now_us + 60 * US_PER_S)
        before = machine.counter("a", "stall_us"), machine.counter("a", "pgmajfault")
        machine.advance(machine.now_us + 120 * US_PER_S)
        faults = machine.counter("a", "pgmajfault") - before[1]
        stalled.append((machine.counter("a", "stall_us") - before[0]) / faults)
    assert stalled[1] == pytest.approx(stalled[0], rel=0.1)
