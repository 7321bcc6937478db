"""The lazy core against a program that touches every page at every access."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zswap_gym.kernel.layout import STAT
from zswap_gym.kernel.machine import Machine
from zswap_gym.kernel.reference import Reference
from zswap_gym.kernel.spec import CgroupSpec, HostSpec
from zswap_gym.units import PAGE_SIZE, US_PER_S
from zswap_gym.workloads.archetypes import archetype_plan

COUNTED = ("zswpout", "zswpin", "pgscan", "pgmajfault")
WARM_UP_S = 120
_LENGTH = 900  # compressed bytes of a page of the archetype, about


@dataclass(frozen=True)
class Comparison:
    """One limit."""

    speed: float
    """Median over pairs of reference time / lazy time."""
    counters: dict[str, float]
    """Lazy / reference, of sums over the pairs."""
    accesses_per_fault: float


def against_reference(
    limit: float, *, pairs: int = 5, pages: int = 16_384, window_s: int = 600
) -> Comparison:
    """Both programs on the same work: a key-value store at its recorded rates, memory.max at ``limit``.

    The mix has sweeps, which the reference does not know; this is the archetype without them.
    memory.zswap.max is half of what zswap would hold: without it a cgroup this tight is filled by zswap,
    and the lazy program's faults differ ten-fold between seeds (the reference's by a third; not explained).
    """
    zswap_max = int(pages * (1.0 - limit) * _LENGTH / 2)
    counts = np.zeros((2, len(STAT)))
    sides: tuple[Machine | Reference, Machine | Reference]
    ratios, accesses = [], 0.0
    for seed in range(pairs):
        span = (WARM_UP_S + window_s) * US_PER_S
        plan = archetype_plan("kv_zipf", pages, span, np.random.default_rng(seed), compressor="zstd")
        host = HostSpec(
            ram_bytes=1 << 40, max_pool_percent=50, swap_bytes=16 * pages * PAGE_SIZE, shrinker_enabled=True
        )
        spec = [CgroupSpec("a", memory_max=int(pages * limit) * PAGE_SIZE, zswap_max=zswap_max)]
        sides = (
            Machine(host, spec, {"a": plan}, seed=seed, exact=True),
            Reference(host, spec, {"a": plan}, seed=seed + 1000),
        )
        times = []
        for side, machine in enumerate[Machine | Reference](sides):
            made, seconds = _timed(machine, window_s)
            counts[side] += made
            times.append(seconds)
        ratios.append(times[1] / times[0])
        accesses += float(plan.rate.sum()) * window_s
    compared = {name: float(counts[0, STAT.index(name)] / counts[1, STAT.index(name)]) for name in COUNTED}
    faults = counts[1, STAT.index("pgfault")]
    return Comparison(statistics.median(ratios), compared, accesses / max(faults, 1.0))


def _timed(machine: Machine | Reference, window_s: int) -> tuple[npt.NDArray[np.int64], float]:
    machine.advance(machine.now_us + WARM_UP_S * US_PER_S)
    before, began = machine.counters()[0], time.perf_counter()
    machine.advance(machine.now_us + window_s * US_PER_S)
    seconds = time.perf_counter() - began
    return machine.counters()[0] - before, seconds
