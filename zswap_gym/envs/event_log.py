"""What single events cost: stalls inside windows and arrivals, and how long whoever resumed a sandbox waited.

Read at every look of the accounts, from counters that the model keeps anyway. A window's stalls are its
cgroup's; of an interval that it covers in part, as large a part. A resume's wait is exact: the model adds
up what faults on the memory of a resume stall, and that is touched at resumes only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zswap_gym.kernel.layout import STAT
from zswap_gym.kernel.machine import Machine
from zswap_gym.units import US_PER_S
from zswap_gym.workloads.events import RealisedEvent

STALL = STAT.index("stall_us")


@dataclass(frozen=True, slots=True)
class EventCost:
    """One event so far. Seconds since the machine started: the warm-up counts."""

    cgroup: str
    kind: str
    start_s: float
    end_s: float
    announced: bool
    stalled_s: float
    """Thread-seconds its cgroup stalled between start and end."""
    latency_s: float | None
    """resume: from the event until its memory is back, base + stalls / threads (the cgroup's work clock loses
    that much, kernel/psi.py); None for other kinds."""


class EventLog:
    """The events of E machines: those that have begun, and what they have cost so far.

    Args:
        size: E.
    """

    def __init__(self, size: int) -> None:
        self._watched: list[_Watched | None] = [None] * size
        self._last: list[tuple[EventCost, ...]] = [()] * size

    def start(self, e: int, machine: Machine, events: Sequence[RealisedEvent]) -> None:
        """An episode of machine e begins now; what the one before came to is kept as :meth:`last`."""
        self._last[e] = self.costs(e)
        self._watched[e] = _Watched(machine, events) if events else None

    def read(self, first: int, end: int) -> None:
        """Take in what happened to machines ``first`` to before ``end`` since the last reading."""
        for watched in self._watched[first:end]:
            if watched is not None:
                watched.read()

    def costs(self, e: int) -> tuple[EventCost, ...]:
        """Events of machine e that began in this episode, by start."""
        watched = self._watched[e]
        return watched.costs() if watched is not None else ()

    def last(self, e: int) -> tuple[EventCost, ...]:
        """Those of the episode before, for environments that go on by themselves."""
        return self._last[e]


class _Watched:
    """The events of one machine."""

    def __init__(self, machine: Machine, events: Sequence[RealisedEvent]) -> None:
        self._machine = machine
        self._boot_us = machine.host.boot_us
        self._from_s = self._now_s = self._clock()
        self._events = [event for event in events if event.end_s > self._now_s]
        self._cgroup = np.array([machine.index[event.cgroup] for event in self._events], np.intp)
        self._start = np.array([event.start_s for event in self._events])
        self._end = np.array([event.end_s for event in self._events])
        self._stalled_us = np.zeros(len(self._events))
        self._waited_us = np.zeros(len(self._events))
        self._seen_us = machine.state.stat[:, STALL].copy()
        regions = machine.state.regions
        self._regions = np.flatnonzero(regions["resume"])
        first = machine.state.cgs["first_page"][:, None], machine.state.cgs["n_pages"][:, None]
        page = regions["first_page"][self._regions]
        inside = (first[0] <= page) & (page < first[0] + first[1])
        self._owner = np.argmax(inside, axis=0) if len(page) else np.zeros(0, np.intp)
        self._resumes = [
            np.array([i for i, e in enumerate(self._events) if e.kind == "resume" and at == c], np.intp)
            for c, at in ((c, c) for c in self._owner)
        ]
        self._seen_waits = self._waits()

    def _clock(self) -> float:
        return (self._machine.now_us - self._boot_us) / US_PER_S

    def _waits(self) -> npt.NDArray[np.int64]:
        return np.asarray(self._machine.state.regions["waited"][self._regions], np.int64).copy()

    def read(self) -> None:
        """Take in what happened since the last reading."""
        begin, self._now_s = self._now_s, self._clock()
        stalled = self._machine.state.stat[:, STALL] - self._seen_us
        self._seen_us = self._machine.state.stat[:, STALL].copy()
        overlap = np.minimum(self._end, self._now_s) - np.maximum(self._start, begin)
        share = np.clip(overlap / max(self._now_s - begin, 1e-9), 0.0, 1.0)
        self._stalled_us += share * stalled[self._cgroup]
        waits = self._waits()
        for i in np.flatnonzero(waits > self._seen_waits):
            begun = self._resumes[i][self._start[self._resumes[i]] <= self._now_s]
            if len(begun):
                self._waited_us[begun[-1]] += waits[i] - self._seen_waits[i]
        self._seen_waits = waits

    def costs(self) -> tuple[EventCost, ...]:
        """Events that have begun."""
        threads = self._machine.state.cgs["threads"]
        return tuple(
            EventCost(
                event.cgroup, event.kind, event.start_s, event.end_s, event.announced,
                float(self._stalled_us[i]) / US_PER_S,
                event.base_s + float(self._waited_us[i] / threads[self._cgroup[i]]) / US_PER_S
                if event.kind == "resume"
                else None,
            )
            for i, event in enumerate(self._events)
            if event.start_s < self._now_s
        )  # fmt: skip
