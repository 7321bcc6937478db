"""Arrivals, critical windows and resumes: from a schedule to accesses and a list of what will happen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from zswap_gym.kernel.access import NEVER, OP_READ, OP_WRITE
from zswap_gym.units import PAGE_SIZE, US_PER_S
from zswap_gym.workloads.plan import Part
from zswap_gym.workloads.traces import CLASS_NEVER

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from zswap_gym.workloads.schema import Event


@dataclass(frozen=True)
class RealisedEvent:
    """One event with its times drawn. Seconds since the machine started: the warm-up counts.

    ``bytes`` is how much memory it touches that nobody touches otherwise; ``announced`` says whether
    the operator's hints tell of it.
    """

    cgroup: str
    kind: str
    start_s: float
    end_s: float
    bytes: int
    announced: bool
    multiplier: float = 1.0
    fresh: bool = False
    base_s: float = 0.0
    """resume: time until the answer when everything is in memory; its bytes are touched within it."""


def realise_events(
    cgroup: str,
    schedule: Sequence[Event],
    rng: np.random.Generator,
    *,
    warmup_s: float,
    length_s: float,
    size_factor: float = 1.0,
) -> list[RealisedEvent]:
    """Draw the times of a cgroup's events; sorted by start. What starts after the episode is dropped."""
    found = []
    for event in schedule:
        at = event.at
        while at <= length_s:
            start = max(0.0, at + rng.uniform(-event.jitter, event.jitter))
            if start < length_s:
                found.append(
                    RealisedEvent(
                        cgroup,
                        event.kind,
                        warmup_s + start,
                        warmup_s + min(start + event.duration, length_s),
                        int(event.bytes * size_factor),
                        event.announced,
                        event.multiplier,
                        event.fresh,
                        event.base if event.kind == "resume" else 0.0,
                    )
                )
            if event.idle is not None:
                shortest, longest = event.idle
                at += event.duration + 2 * event.jitter + shortest * (longest / shortest) ** rng.random()
            elif event.every is not None:
                at += event.every
            else:
                break
    return sorted(found, key=lambda event: event.start_s)


def event_pages(events: Sequence[RealisedEvent], page_scale: int) -> tuple[int, int]:
    """(sleeping, fresh) simulated pages the events need: the most any one of each group touches."""
    need = [0, 0]
    for group in _groups(events):
        need[group[0].fresh] += max(_pages(event, page_scale) for event in group)
    return need[False], need[True]


def event_parts(
    events: Sequence[RealisedEvent], page_scale: int, write_share: float, rng: np.random.Generator
) -> list[Part]:
    """The memory the events touch: gone through once per event, in order, over its duration.

    A traced region each for memory that sleeps in between, for memory that comes and goes and for what
    resumes touch: a region's own sweep is periodic, and events are not.
    """
    parts = []
    for mine in _groups(events):
        fresh, n = mine[0].fresh, max(_pages(event, page_scale) for event in mine)
        times = np.full((len(mine), n), NEVER)
        for row, event in zip(times, mine, strict=True):
            count = _pages(event, page_scale)
            row[:count] = _spread(event, count)
        times.sort(axis=0)  # events may overlap
        touched = (times < NEVER).T
        op = np.where(fresh | (rng.random(touched.shape) < write_share), OP_WRITE, OP_READ)
        parts.append(
            Part(
                rate=np.zeros(n),
                page_class=np.full(n, CLASS_NEVER, np.uint8),
                first_touch=np.full(n, NEVER) if fresh else None,
                frees=[(int(event.end_s * US_PER_S) + 1, 0, n) for event in mine] if fresh else [],
                resume=mine[0].kind == "resume",
                trace=(
                    np.concatenate([[0], np.cumsum(touched.sum(axis=1))]),
                    times.T[touched],
                    op[touched].astype(np.uint8),
                ),
            )
        )
    return parts


def _groups(events: Sequence[RealisedEvent]) -> list[list[RealisedEvent]]:
    """Those that touch memory, by which: what sleeps, what comes and goes, what resumes touch."""
    touching = [event for event in events if event.bytes > 0]
    resumes = [event for event in touching if event.kind == "resume"]
    others = [event for event in touching if event.kind != "resume"]
    groups = [[event for event in others if event.fresh == fresh] for fresh in (False, True)]
    return [group for group in (*groups, resumes) if group]


def _pages(event: RealisedEvent, page_scale: int) -> int:
    return -(-event.bytes // (PAGE_SIZE * page_scale))


def _spread(event: RealisedEvent, count: int) -> npt.NDArray[np.int64]:
    last_s = event.start_s + event.base_s if event.kind == "resume" else event.end_s
    start, end = event.start_s * US_PER_S, last_s * US_PER_S
    return (start + (np.arange(count) + 0.5) / count * (end - start)).astype(np.int64)


def boosted(parts: Sequence[Part], events: Sequence[RealisedEvent]) -> list[Part]:
    """The parts with their rates multiplied while an event lasts."""
    windows = [event for event in events if event.multiplier != 1]
    out = []
    for part in parts:
        phases = part.phases
        for event in windows:
            start, end = round(event.start_s * US_PER_S), round(event.end_s * US_PER_S)
            phases = phases.boosted(start, end, event.multiplier)
        out.append(replace(part, phases=phases) if windows and part.trace is None else part)
    return out
