"""The lazy core against the access-by-access reference: same stores, loads, disk reads, scans, writebacks.

Every seed is one pair: a random plan, a warm-up, then both sides count over the same window. What is
tested is the ratio lazy / reference over all seeds; its 95 % interval must lie inside [0.98, 1.02], and
a ratio that is surely not 1 is refused even there.
``-s`` shows the table of ratios.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from zswap_gym.kernel.access import REGION, AccessPlan, segments
from zswap_gym.kernel.layout import STAT
from zswap_gym.kernel.machine import Machine
from zswap_gym.kernel.reference import Reference
from zswap_gym.kernel.spec import CgroupSpec, HostSpec, StageOneSpec
from zswap_gym.units import PAGE_SIZE, US_PER_S

COUNTERS = ("zswpout", "zswpin", "pswpin", "pgscan", "zswpwb")
SEEDS, STUDENT_T = 16, 2.131  # 97.5 % quantile for 15 degrees of freedom
WARM_UP_S = 120
TOLERANCE = 0.02
FAR = 3.0  # half-widths of the interval, over six standard errors: then it is a defect, however small

# --- workloads ------------------------------------------------------------------------------------


def constant(_: int) -> list[tuple[npt.ArrayLike, npt.ArrayLike]]:
    """One region, m(t) = 1."""
    return [([0], [1.0])]


def phases(seconds: int) -> list[tuple[npt.ArrayLike, npt.ArrayLike]]:
    """Two regions that swap intensity every minute, and a third that bursts for 5 s every 3 minutes."""
    minute = np.arange(0, seconds, 60)
    swap = [(minute, np.where(np.arange(len(minute)) % 2 == half, 2.0, 0.1)) for half in (0, 1)]
    start = np.arange(25, seconds, 180)
    burst = (
        np.concatenate([[0], np.stack([start, start + 5], axis=1).ravel()]),
        [0.5] + [20.0, 0.5] * len(start),
    )
    return [*swap, burst]


def draw_plan(n: int, shape: Any, seconds: int, rng: np.random.Generator, slowest: float = 0.1) -> AccessPlan:
    """N pages, log-uniform from ``slowest`` to 1 Hz, three in ten accesses writes, compressed about 900 B."""
    steps = [segments(np.asarray(t, np.int64) * US_PER_S, m) for t, m in shape(seconds)]
    regions = np.zeros(len(steps), REGION)
    bounds = np.linspace(0, n, len(steps) + 1).astype(int)
    regions["first_page"], regions["n_pages"] = bounds[:-1], np.diff(bounds)
    regions["seg_count"] = [len(t) for t, _, _ in steps]
    regions["seg_start"] = np.cumsum(regions["seg_count"]) - regions["seg_count"]
    regions["write_share"] = 0.3
    time_us, mult, integral = (np.concatenate(arrays) for arrays in zip(*steps, strict=True))
    return AccessPlan(
        rate=np.exp(rng.uniform(np.log(slowest), 0.0, n)).astype(np.float32),
        region=np.repeat(np.arange(len(steps)), np.diff(bounds)).astype(np.uint16),
        clen=rng.normal(900.0, 250.0, n).clip(100, 3000).astype(np.uint16),
        regions=regions,
        seg_time=time_us,
        seg_mult=mult,
        seg_integral=integral,
        first_touch=np.arange(n, dtype=np.int64) * 100,
        span_us=seconds * US_PER_S,
    )


@dataclass(frozen=True)
class Case:
    """One comparison. Fractions are of the working set; ``shapes`` has one entry a cgroup."""

    name: str
    shapes: tuple[Any, ...]
    window_s: int
    memory_max: float | None = None
    zswap_max: float | None = None  # of what zswap would hold without a limit
    pool_max: float | None = None  # likewise, of all cgroups together
    stage_one: StageOneSpec = field(default_factory=StageOneSpec)
    pages: int = 4096
    slowest: float = 0.1

    def arguments(self, seed: int) -> tuple[HostSpec, list[CgroupSpec], dict[str, AccessPlan]]:
        """What both sides are made of."""
        n, rng = self.pages, np.random.default_rng(seed)
        names = "ab"[: len(self.shapes)]
        out = 0.0 if self.memory_max is None else n * (1.0 - self.memory_max) * 900.0  # bytes in zswap
        pool = 1 << 40 if self.pool_max is None else int(out * len(names) * self.pool_max)
        host = HostSpec(
            ram_bytes=100 * pool,  # far from the watermarks: the reference has no kswapd
            max_pool_percent=1,
            swap_bytes=16 * n * PAGE_SIZE,
            shrinker_enabled=True,
        )
        limits = {
            "memory_max": None if self.memory_max is None else int(n * self.memory_max) * PAGE_SIZE,
            "zswap_max": None if self.zswap_max is None else int(out * self.zswap_max),
        }
        seconds = WARM_UP_S + self.window_s
        plans = {
            name: draw_plan(n, shape, seconds, rng, self.slowest)
            for name, shape in zip(names, self.shapes, strict=True)
        }
        return host, [CgroupSpec(name, **limits) for name in names], plans


# --- comparison -----------------------------------------------------------------------------------


def run(machine: Machine | Reference, window_s: int) -> tuple[npt.NDArray[np.int64], float]:
    """What the machine counts in the window behind the warm-up, and the seconds that took us."""
    machine.advance(machine.now_us + WARM_UP_S * US_PER_S)
    before, start = machine.counters()[0], time.perf_counter()
    machine.advance(machine.now_us + window_s * US_PER_S)
    return machine.counters()[0] - before, time.perf_counter() - start


@dataclass(frozen=True)
class Ratio:
    """Lazy / reference of one counter, and the half-width of its 95 % interval."""

    counter: str
    per_run: float
    value: float
    half: float

    @property
    def agrees(self) -> bool:
        """Whether the interval lies inside the tolerance, and 1 not far outside the interval."""
        off = abs(self.value - 1.0)
        return off + self.half <= TOLERANCE and off <= FAR * self.half

    def __str__(self) -> str:
        return f"{self.value:.4f} +- {self.half:.4f}"


def ratio(counter: str, lazy: npt.NDArray[np.float64], reference: npt.NDArray[np.float64]) -> Ratio:
    """The ratio of means over pairs; its error by the delta method (pairs share their plan)."""
    value = lazy.mean() / reference.mean()
    error = (lazy - value * reference).std(ddof=1) / np.sqrt(len(lazy)) / reference.mean()
    return Ratio(counter, float(reference.mean()), float(value), float(STUDENT_T * error))


def compare(case: Case, lazy_case: Case | None = None) -> list[Ratio]:
    """Run all pairs of a case and print its lines of the table. ``lazy_case``: what lazy runs instead."""
    counts: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
    seconds = np.zeros(2)
    for seed in range(SEEDS):
        lazy = Machine(*(lazy_case or case).arguments(seed), seed=seed, stage_one=case.stage_one, exact=True)
        reference = Reference(*case.arguments(seed), seed=seed + 1000, stage_one=case.stage_one)
        pair = [run(side, case.window_s) for side in (lazy, reference)]
        counts.append((pair[0][0], pair[1][0]))
        seconds += [pair[0][1], pair[1][1]]
    lazy_counts, reference_counts = np.array(counts, np.float64).transpose(1, 2, 0)
    ratios = [
        ratio(name, lazy_counts[i], reference_counts[i]) for i, name in enumerate(STAT) if name in COUNTERS
    ]
    cells = " | ".join(
        f"{r} ({r.per_run:.0f})" for r in sorted(ratios, key=lambda r: COUNTERS.index(r.counter))
    )
    print(f"| {case.name} | {cells} | {seconds[1] / seconds[0]:.1f} |")
    return ratios


LIMITED = {"zswap_max": 0.3}
CASES = [
    Case("constant, 0.8", (constant,), 1800, memory_max=0.8, **LIMITED),
    Case("constant, 0.6", (constant,), 1200, memory_max=0.6, **LIMITED),
    Case("constant, 0.4", (constant,), 600, memory_max=0.4, **LIMITED),
    Case("phases, 0.8", (phases,), 2700, memory_max=0.8, **LIMITED),
    Case("phases, 0.6", (phases,), 1800, memory_max=0.6, **LIMITED),
    Case("phases, 0.4", (phases,), 1080, memory_max=0.4, **LIMITED),
    # over 4096 pages on the generations, reclaim starts at its mildest priority
    Case("constant, 0.8, 8192 pages", (constant,), 900, memory_max=0.8, pages=8192, **LIMITED),
    # without zswap.max: writebacks are the dynamic shrinker's ...
    Case(
        "phases, memory.reclaim",
        (phases,),
        1500,
        stage_one=StageOneSpec("fixed", 2 * US_PER_S, 3 << 20),
        slowest=0.01,
    ),
    # ... and the shrink worker's, for two cgroups that share the pool
    Case("two cgroups, 0.6, pool limit", (constant, phases), 900, memory_max=0.6, pool_max=0.6),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_lazy_core_counts_what_the_reference_counts(case: Case) -> None:
    ratios = compare(case)
    assert min(r.per_run for r in ratios) > 1000
    assert [f"{r.counter} {r}" for r in ratios if not r.agrees] == []


@pytest.mark.slow
def test_the_comparison_notices_two_percent_more_memory() -> None:
    case, other = (
        Case("power", (constant,), 300, memory_max=limit, zswap_max=0.3 / (1.0 - limit))
        for limit in (0.4, 0.408)
    )
    assert not all(r.agrees for r in compare(case, other))


def test_the_reference_refuses_what_it_does_not_simulate() -> None:
    host, cgroups, plans = CASES[0].arguments(0)
    swept = plans["a"].regions.copy()
    swept["sweep_kind"] = 1
    plans["a"].regions[:] = swept
    with pytest.raises(ValueError, match="sweeps"):
        Reference(host, cgroups, plans, seed=1)
