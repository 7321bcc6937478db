"""Put a cgroup's access plan together from parts, one region each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from zswap_gym.kernel.access import (
    FREE,
    REGION,
    SWEEP_NONE,
    SWEEP_SEQUENTIAL,
    SWEEP_SHUFFLED,
    AccessPlan,
    segments,
)
from zswap_gym.units import US_PER_S
from zswap_gym.workloads.phases import CONSTANT, Phases

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_REGIONS = 1 << 16
FIRST_SECOND_US = US_PER_S
"""What exists at time 0 is allocated over the first second, in address order."""


@dataclass(frozen=True)
class Sweep:
    """A region is gone through once per period, in its first ``active_us``; see kernel.access.REGION."""

    start_us: int
    period_us: int
    active_us: int
    seed: int
    shuffled_block: int = 0
    """Pages per shuffled block; 0 = sequential."""
    share: float = 1.0
    write_share: float = 0.0
    fresh: bool = False


@dataclass
class Part:
    """Pages of one region. Times are microseconds of work time; ``frees`` count from the part's page 0.

    Attributes:
        rate: (n,) Hz per page.
        page_class: uint8 (n,), traces.CLASS_*: decides how well a page compresses.
        first_touch: int64 (n,); None = all exist at the start.
        frees: (time, first page, pages) each.
        trace: None, or (offset (n+1,), time, op): the explicit accesses; rates are ignored then.
    """

    rate: npt.NDArray[np.float64]
    page_class: npt.NDArray[np.uint8]
    write_share: float = 0.0
    phases: Phases = CONSTANT
    sweep: Sweep | None = None
    first_touch: npt.NDArray[np.int64] | None = None
    frees: list[tuple[int, int, int]] = field(default_factory=list)
    file: bool = False
    """Page cache, not anonymous memory."""
    resume: bool = False
    """What a sandbox touches when it is resumed."""
    trace: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint8]] | None = None

    @property
    def n_pages(self) -> int:
        """Pages of the part."""
        return len(self.rate)


def at_start(n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """First touches of n pages that exist at time 0: spread over the first second, by address."""
    return ((np.arange(n) + rng.random(n)) * (FIRST_SECOND_US / max(n, 1))).astype(np.int64)


def assemble(
    parts: Sequence[Part], clen: npt.NDArray[np.uint16], span_us: int, rng: np.random.Generator
) -> AccessPlan:
    """The plan whose regions are the parts, in order. ``clen`` covers all pages."""
    parts = [part for part in parts if part.n_pages]
    sizes = np.array([part.n_pages for part in parts], np.int64)
    first = np.concatenate([[0], np.cumsum(sizes)])
    n = int(first[-1])
    if len(clen) != n or len(parts) > MAX_REGIONS:
        raise ValueError(f"{len(clen)} sizes for {n} pages in {len(parts)} regions")
    regions = np.zeros(len(parts), REGION)
    tables = [segments(part.phases.time_us, part.phases.mult) for part in parts]
    start = 0
    for i, (part, page, table) in enumerate(zip(parts, first, tables, strict=False)):
        region = regions[i : i + 1]
        region["first_page"], region["n_pages"] = page, part.n_pages
        region["seg_start"] = region["seg_hint"] = start
        region["seg_count"] = len(table[0])
        start += len(table[0])
        region["write_share"] = part.write_share
        region["traced"], region["file"] = part.trace is not None, part.file
        region["resume"] = part.resume
        _set_sweep(region, part.sweep)
    initial = at_start(n, rng)
    touch = [
        initial[a:b] if part.first_touch is None else part.first_touch
        for part, a, b in zip(parts, first[:-1], first[1:], strict=True)
    ]
    offset, time, op = _traces(parts)
    return AccessPlan(
        rate=np.concatenate([part.rate for part in parts]).astype(np.float32),
        region=np.repeat(np.arange(len(parts)), sizes).astype(np.uint16),
        clen=np.asarray(clen, np.uint16),
        regions=regions,
        seg_time=np.concatenate([table[0] for table in tables]),
        seg_mult=np.concatenate([table[1] for table in tables]),
        seg_integral=np.concatenate([table[2] for table in tables]),
        first_touch=np.concatenate(touch).astype(np.int64),
        span_us=int(span_us),
        frees=_sorted_frees(parts, first),
        trace_offset=offset,
        trace_time=time,
        trace_op=op,
    )


def _set_sweep(region: npt.NDArray[np.void], sweep: Sweep | None) -> None:
    # A block and a period are divided by even where no sweep runs.
    region["sweep_kind"], region["sweep_block"], region["sweep_period"] = SWEEP_NONE, 1, 1
    if sweep is None:
        return
    region["sweep_kind"] = SWEEP_SHUFFLED if sweep.shuffled_block else SWEEP_SEQUENTIAL
    region["sweep_block"] = np.minimum(sweep.shuffled_block or 64, region["n_pages"])
    region["sweep_fresh"] = sweep.fresh
    region["sweep_share"] = sweep.share
    region["sweep_write_share"] = sweep.write_share
    region["sweep_start"] = sweep.start_us
    region["sweep_period"] = max(sweep.period_us, 1)
    region["sweep_active"] = min(sweep.active_us, sweep.period_us)
    region["seed"] = sweep.seed


def _sorted_frees(parts: Sequence[Part], first: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
    rows = [
        (time, int(page) + at, count)
        for part, page in zip(parts, first, strict=False)
        for time, at, count in part.frees
    ]
    return np.sort(np.array(rows, FREE), order=["time", "first_page"]) if rows else np.zeros(0, FREE)


def _traces(
    parts: Sequence[Part],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """(trace_offset, trace_time, trace_op) over all parts; empty where no part is traced."""
    if all(part.trace is None for part in parts):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint8)
    offsets, times, ops, total = [np.zeros(1, np.int64)], [], [], 0
    for part in parts:
        if part.trace is None:
            offsets.append(np.full(part.n_pages, total))
            continue
        offset, time, op = part.trace
        offsets.append(total + offset[1:])
        times.append(time)
        ops.append(op)
        total += len(time)
    return (
        np.concatenate(offsets, dtype=np.int64),
        np.concatenate(times, dtype=np.int64),
        np.concatenate(ops, dtype=np.uint8),
    )


def working_set(plan: AccessPlan) -> int:
    """Simulated pages that are ever allocated within the plan's span: its footprint."""
    ever = plan.first_touch <= plan.span_us
    swept = plan.regions["sweep_kind"] != SWEEP_NONE
    ever |= (swept & (plan.regions["sweep_start"] <= plan.span_us))[plan.region]
    if len(plan.trace_offset):
        ever |= np.diff(plan.trace_offset) > 0
    return int(ever.sum())
