"""Stalled time inside events: arrivals, critical windows, resumes.

Memory can be made free at a moment of one's choosing, before somebody needs it: whether that was done
well shows in these windows and in no average over the day. Only the cgroup an event belongs to counts.
Pressure is read at decisions, so an interval that a window covers in part counts in that proportion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from zswap_gym.envs.fleet import Fleet
from zswap_gym.units import US_PER_S
from zswap_gym.workloads.events import RealisedEvent

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Inside:
    """What happened inside the events of one kind, float64 (S,) by seed."""

    events: Floats
    """How many there were."""
    seconds: Floats
    """Their length together."""
    stalled_s: Floats
    """Of that, stalled on memory (PSI some)."""

    @classmethod
    def join(cls, parts: Sequence[Inside]) -> Inside:
        """Seeds after one another."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))


class Windows:
    """Adds up what E hosts are stalled inside their events.

    Args:
        events: of each host, as drawn.
        fleet: just begun.
        interval_s: between two decisions.
        steps: decisions an episode.
    """

    def __init__(
        self, events: Sequence[Sequence[RealisedEvent]], fleet: Fleet, interval_s: float, steps: int
    ) -> None:
        kinds = sorted({event.kind for own in events for event in own})
        row = {name: i for i, name in enumerate(fleet.cgroups)}
        hosts, n = fleet.tables.shape[:2]
        self._share: dict[str, Floats] = {kind: np.zeros((steps, hosts, n)) for kind in kinds}
        """By kind the share of each interval that some window of the cgroup covers."""
        self._events = {kind: np.zeros(hosts) for kind in kinds}
        self._stalled_us = {kind: np.zeros(hosts) for kind in kinds}
        self._interval_s = interval_s
        for e, own in enumerate(events):
            host = fleet.hosts[e].machine
            began = (host.now_us - host.host.boot_us) / US_PER_S
            starts = began + interval_s * np.arange(steps)
            for event in own:
                covered = np.minimum(event.end_s, starts + interval_s) - np.maximum(event.start_s, starts)
                share = self._share[event.kind][:, e, row[event.cgroup]]
                np.maximum(share, np.clip(covered / interval_s, 0.0, 1.0), out=share)
                self._events[event.kind][e] += 1

    def add(self, step: int, stalled_us: Floats) -> None:
        """Take in how long each cgroup (E, N) was stalled in this step, microseconds."""
        for kind, share in self._share.items():
            # Not sum(): along an axis it may add in another order where there are more hosts.
            self._stalled_us[kind] += np.add.accumulate(share[step] * stalled_us, axis=-1)[:, -1]

    def inside(self) -> Mapping[str, Inside]:
        """By kind of event."""
        return {
            kind: Inside(
                self._events[kind],
                share.sum(axis=(0, 2)) * self._interval_s,
                self._stalled_us[kind] / US_PER_S,
            )
            for kind, share in self._share.items()
        }
