"""page_scale 1, 4, 16 and 64 tell the same story, within 5 %, at three pressures (DESIGN 3).

64,000 real pages under a limit, a fixed reclaimer and a writeback every ten seconds; 95 % intervals
over seeds. Coarse runs are cheap and noisy, so they get more seeds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from zswap_gym.kernel.machine import Machine
from zswap_gym.kernel.spec import CgroupSpec, HostSpec, StageOneSpec
from zswap_gym.units import PAGE_SIZE, US_PER_S
from zswap_gym.workloads.archetypes import archetype_plan

REAL = 65_536
SEEDS = {1: 8, 4: 12, 16: 40, 64: 120}
COUNTERS = ("zswpin", "pswpin", "zswpwb")


def run(scale: int, seed: int, limit: float) -> list[int]:
    """Counters of 400 s after a warm-up of 120 s."""
    rng = np.random.default_rng(seed)
    plan = archetype_plan("kv_zipf", REAL // scale, 900 * US_PER_S, rng, compressor="zstd")
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
    runs = np.array([run(scale, seed, limit) for seed in range(SEEDS[scale])], np.float64)
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
