"""Programs described in a few lines: regions of memory and phases that touch them, in the spirit of masim.

A region has a size, a popularity law and what it compresses like; a phase has a length, how hard it works
on which regions, and what it goes through from end to end. Phases follow one another and start over. A
program's phases get their lengths anew in every draw, and it starts somewhere in its round, so no two draws
share a rhythm.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from zswap_gym.units import PAGE_SIZE, US_PER_S
from zswap_gym.workloads.archetypes import CLASS_INTERVAL_S
from zswap_gym.workloads.compress import archetype_sizes, draw_sizes
from zswap_gym.workloads.phases import Phases, steps
from zswap_gym.workloads.plan import Part, Sweep, at_start
from zswap_gym.workloads.traces import CLASS_HOT, CLASS_MIDDLE, CLASS_NEVER, HOT_SHARE

if TYPE_CHECKING:
    from zswap_gym.workloads.schema import Phase, Region, Workload

POPULARITY = re.compile(
    r"idle|uniform:(?P<uniform>[\d.]+)|zipf:(?P<s>[\d.]+):(?P<mean>[\d.]+)"
    r"|lognormal:(?P<mu>-?[\d.]+):(?P<sigma>[\d.]+)"
)
"""``idle``; ``uniform:HZ``; ``zipf:EXPONENT:MEAN_HZ``; ``lognormal:MU:SIGMA`` of ln(Hz). Rates per page."""
BORN_US = US_PER_S // 2


def rates(popularity: str, n: int, run_pages: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """(n,) Hz of a region's pages; neighbours in runs of about ``run_pages`` share one."""
    found = POPULARITY.fullmatch(popularity)
    assert found is not None, popularity
    count = max(1, round(n / max(run_pages, 1.0)))
    if found["uniform"]:
        rate = np.full(count, float(found["uniform"]))
    elif found["s"]:
        weight = 1.0 / np.arange(1, count + 1) ** float(found["s"])
        rate = rng.permutation(weight / weight.mean() * float(found["mean"]))
    elif found["mu"]:
        rate = np.exp(rng.normal(float(found["mu"]), float(found["sigma"]), count))
    else:
        rate = np.zeros(count)
    return rate[np.minimum(np.arange(n) * count // max(n, 1), count - 1)]


def program_parts(
    work: Workload,
    page_scale: int,
    span_us: int,
    rng: np.random.Generator,
    *,
    compressor: str,
    load: float = 1.0,
    time_scale: float = 1.0,
    size_factor: float = 1.0,
    zero_never: float | None = None,
) -> tuple[list[Part], npt.NDArray[np.uint16]]:
    """Its regions as parts, and their pages' compressed bytes; options as for `archetype_parts`."""
    length = np.array([phase.duration for phase in work.phases]) * time_scale * US_PER_S
    length *= rng.uniform(1 - work.jitter, 1 + work.jitter, len(length))
    round_us = int(length.sum())
    begins = np.concatenate([[0], np.cumsum(length)[:-1]]).astype(np.int64) - int(rng.uniform(0, round_us))
    parts, sizes = [], []
    for region in work.regions:
        n = max(8, round(region.size * size_factor / (PAGE_SIZE * page_scale)))
        rate = rates(region.popularity, n, region.run_pages, rng) * load
        page_class = np.full(n, CLASS_MIDDLE, np.uint8)
        page_class[-np.expm1(-rate * CLASS_INTERVAL_S) > HOT_SHARE] = CLASS_HOT
        page_class[rate == 0] = CLASS_NEVER
        factor = [phase.rates.get(region.name, 0.0 if region.transient else 1.0) for phase in work.phases]
        part = Part(
            rate, page_class, region.write_share, _rounds(begins, factor, round_us, span_us),
            sweep=_sweep(region, work.phases, begins, length, round_us, rng),
        )  # fmt: skip
        if region.transient:
            _come_and_go(part, factor, begins, length, round_us, span_us, rng)
        parts.append(part)
        sizes.append(
            draw_sizes(archetype_sizes(region.contents), page_class, rng, compressor, zero_never=zero_never)
        )
    return parts, np.concatenate(sizes)


def _rounds(begins: npt.NDArray[np.int64], factor: list[float], round_us: int, span_us: int) -> Phases:
    """The region's multiplier, phase by phase and round by round."""
    turns = np.arange(span_us // round_us + 2) * round_us
    time = (turns[:, None] + begins).ravel()
    inside = time < span_us
    return steps(time[inside], np.tile(factor, len(turns))[inside])


def _sweep(
    region: Region,
    phases: list[Phase],
    begins: npt.NDArray[np.int64],
    length: npt.NDArray[np.float64],
    round_us: int,
    rng: np.random.Generator,
) -> Sweep | None:
    """The phase that goes through the region from end to end, if one does."""
    for phase, begin, lasts in zip(phases, begins, length, strict=True):
        if region.name in phase.sweep:
            return Sweep(
                int(begin), round_us, int(lasts), int(rng.integers(1 << 62)), write_share=region.write_share
            )
    return None


def _come_and_go(
    part: Part,
    factor: list[float],
    begins: npt.NDArray[np.int64],
    length: npt.NDArray[np.float64],
    round_us: int,
    span_us: int,
    rng: np.random.Generator,
) -> None:
    """Allocate a transient region when a phase first works on it, free it when one does not."""
    n, count = part.n_pages, len(factor)
    births: list[int] = []
    for turn in range(int(span_us // round_us) + 2):
        for i in range(count):
            start = int(begins[i] + turn * round_us)
            if factor[i] > 0 and factor[i - 1] <= 0:
                births.append(start)
            if factor[i] <= 0 < factor[i - 1] and 0 < start <= span_us:
                part.frees.append((start, 0, n))
    alive_at_start = any(
        f > 0 and b <= 0 < b + lasts for f, b, lasts in zip(factor, begins, length, strict=True)
    )
    first = 0 if alive_at_start else next((b for b in births if b > 0), span_us + 1)
    part.first_touch = at_start(n, rng) // 2 + first
    # What a program has just allocated it writes at once.
    boost = steps(
        [0, *(t for b in births for t in (b, b + BORN_US))], [1.0, *(m for _ in births for m in (300.0, 1.0))]
    )
    part.phases *= boost
