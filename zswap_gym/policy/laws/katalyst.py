"""Katalyst: sizes by how accurate reclaim was."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from zswap_gym.host.types import COLUMN, Request, Table
from zswap_gym.policy.laws.parameters import read_parameters, setting
from zswap_gym.policy.laws.watch import Watch, carried
from zswap_gym.units import PAGE_SIZE

Array = npt.NDArray[np.float64]

_PERIOD_S = 30.0
_LEAST_SHARE = 1e-4


@dataclass
class KatalystRefault:
    """A size that grows while what was taken stays away, and shrinks by the share that came back.

    Source: Katalyst's memory offloading (kubewharf/katalyst-core #549), the Integrated policy of its Refault
    and PSI policies. Every 30 s, per cgroup:

        accuracy = 1 - refaulted / taken         efficiency = taken / looked at
        accuracy < its target or efficiency < its target:  size x= accuracy
        else:                                              size x= grow
        size <= max_probe of memory.current; nothing at PSI some avg60 above psi_pct

    Katalyst reads workingset_refault, pgsteal and pgscan of reclaim as a whole. Own writebacks move
    those (host/refaults.py), so here they are those of the tier that is written to: disk refaults over
    zswpwb, and zswpwb over what was asked for. What is ``age_s`` old is written; what was written is
    released, and ``release_share`` beside it.
    """

    name: ClassVar[str] = "katalyst"
    accuracy: float = setting(0.99, 0.5, 0.999, log=False, most=1)
    efficiency: float = setting(0.6, 0.05, 0.95, log=False, most=1)
    grow: float = setting(1.05, 1.005, 1.5, positive=True)
    """Factor on the size per 30 s."""
    start_probe: float = setting(0.001, 1e-4, 0.01, most=1)
    """Size to begin with, of memory.current per 30 s."""
    max_probe: float = setting(0.01, 0.001, 0.1, most=1)
    """Largest size, of memory.current per 30 s."""
    psi_pct: float = setting(0.1, 0.01, 1.0, positive=True)
    age_s: float = setting(300.0, 30.0, 7200.0, positive=True)
    release_share: float = setting(0.01, 5e-4, 0.05, most=1)
    """Of the footprint, per minute, released beside what was written."""
    _watch: Watch = field(init=False, repr=False)
    _state: Array = field(init=False, repr=False)
    """(5, N): size; reads, pages written, bytes asked for and seconds since it was set."""

    def __post_init__(self) -> None:
        read_parameters(self)
        self._watch = Watch()
        self.reset(0)

    def reset(self, n: int) -> None:
        """Back to the first size."""
        self._watch.reset(n)
        self._state = np.zeros((5, n))

    def decide(self, table: Table, dt_s: float) -> list[Request]:
        """Set the size where its 30 s are over, then ask for it."""
        look = self._watch.look(table)
        self._state = carried(self._state, look.known, np.array([self.start_probe, 0.0, 0.0, 0.0, 0.0]))
        size, reads, written, asked, seconds = self._state
        reads += look.reads
        written += look.written
        seconds += look.seconds
        due = seconds >= _PERIOD_S - 1e-6
        accurate = np.clip(1.0 - reads / np.maximum(written, 1.0), 0.0, 1.0)
        efficient = np.where(asked > 0, written * PAGE_SIZE / np.maximum(asked, 1.0), 1.0)
        wrong = (accurate < self.accuracy) | (efficient < self.efficiency)
        # as often as a period went by, when decisions are further apart
        periods = np.maximum(seconds / _PERIOD_S, 1.0)
        factor = np.where(wrong, accurate, self.grow) ** periods
        size[:] = np.where(
            due, np.clip(size * factor, min(_LEAST_SHARE, self.max_probe), self.max_probe), size
        )
        self._state[1:, due] = 0.0
        calm = look.here & (np.where(look.here, table[:, COLUMN["psi_some_avg60"]], 0.0) <= self.psi_pct)
        write = np.where(calm, size * look.current * (dt_s / _PERIOD_S), 0.0)
        release = look.release(self.release_share, dt_s)
        requests = self._watch.ask(look, np.full(len(table), self.age_s), write, np.where(calm, release, 0.0))
        asked += [request.max_bytes for request in requests]
        return requests
