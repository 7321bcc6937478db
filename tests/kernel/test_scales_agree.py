"""page_scale 1, 4, 16 and 64 tell the same story, within 5 %, at three pressures (DESIGN 3).

64,000 real pages under a limit, a fixed reclaimer and a writeback every ten seconds; 95 % intervals
over seeds. Coarse runs are cheap and noisy, so they get more seeds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from zswap_gym.kernel.access import AccessPlan
from zswap_gym.kernel.machine import Machine
from zswap_gym.kernel.spec import CgroupSpec, HostSpec, StageOneSpec
from zswap_gym.units import PAGE_SIZE, US_PER_S
from zswap_gym.workloads.archetypes import archetype_plan

REAL = 65_536
PAIRS = 16
SEEDS = {1: 8, 4: 12, 16: 40, 64: 120}
COUNTERS = ("zswpin", "pswpin", "zswpwb")


def program(archetype: str, scale: int, seed: int) -> AccessPlan:
    """An instance of the archetype in pages of ``scale`` real ones."""
    rng = np.random.default_rng(seed)
    return archetype_plan(archetype, REAL // scale, 900 * US_PER_S, rng, compressor="zstd")


def in_single_pages(plan: AccessPlan, scale: int) -> AccessPlan:
    """The same program, each page now ``scale`` pages of their own."""
    regions, frees = plan.regions.copy(), plan.frees.copy()
    for field in ("first_page", "n_pages", "sweep_block"):
        regions[field] *= scale
    for field in ("first_page", "n_pages"):
        frees[field] *= scale
    per_page = {f: np.repeat(getattr(plan, f), scale) for f in ("rate", "region", "clen", "first_touch")}
    return replace(plan, regions=regions, frees=frees, **per_page)


def run(plan: AccessPlan, scale: int, seed: int, limit: float) -> list[int]:
    """Counters of 400 s after a warm-up of 120 s."""
    machine = Machine(
        HostSpec(4 << 30, 4 << 30, page_scale=scale),
        [CgroupSpec("a", memory_max=int(limit * REAL) * PAGE_SIZE)],
        {"a": plan},
        seed=seed,
        stage_one=StageOneSpec("fixed", US_PER_S, 1 << 20),
    )
    machine.advance(machine.now_us + 120 * US_PER_S)
    before = [machine.counter("a", name) for name in COUNTERS]
    for _ in range(40):
        machine.request(1, 60 * US_PER_S, 512, 0)
        machine.advance(machine.now_us + 10 * US_PER_S)
        machine.finished()
    return [machine.counter("a", name) - then for name, then in zip(COUNTERS, before, strict=True)]


def measured(scale: int, limit: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Means and the half-widths of their 95 % intervals."""
    runs = np.array(
        [run(program("kv_zipf", scale, seed), scale, seed, limit) for seed in range(SEEDS[scale])], np.float64
    )
    return runs.mean(axis=0), 1.96 * runs.std(axis=0, ddof=1) / np.sqrt(len(runs))


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0.85, 0.65, 0.45])
def test_loads_disk_reads_and_writebacks(limit: float) -> None:
    exact, spread = measured(1, limit)
    assert (exact > 5_000).all()
    assert (spread < 0.015 * exact).all()
    for scale in (4, 16, 64):
        mean, width = measured(scale, limit)
        ratio = dict(zip(COUNTERS, (mean / exact).tolist(), strict=True))
        assert (width < 0.025 * exact).all(), (scale, ratio, width / exact)
        assert (np.abs(mean / exact - 1.0) <= 0.05).all(), (scale, ratio)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [16, 64])
def test_the_same_program_in_coarse_and_in_single_pages(scale: int) -> None:
    """Bursts, sweeps and frees too. Paired, because instances of node_service differ much; an instance of
    4096 pages is another program than one of 65,536, so the coarse one is taken apart page by page.
    """
    pairs = np.array(
        [
            (run(plan, scale, seed, 0.85), run(in_single_pages(plan, scale), 1, seed, 0.85))
            for seed in range(PAIRS)
            for plan in [program("node_service", scale, seed)]
        ],
        np.float64,
    )
    single = pairs[:, 1].mean(axis=0)
    width = 1.96 * (pairs[:, 0] - pairs[:, 1]).std(axis=0, ddof=1) / np.sqrt(PAIRS)
    ratio = dict(zip(COUNTERS, (pairs[:, 0].mean(axis=0) / single).tolist(), strict=True))
    assert (single > 2_000).all()
    assert (np.abs(pairs[:, 0].mean(axis=0) / single - 1.0) <= 0.05).all(), (ratio, width / single)
