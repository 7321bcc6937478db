"""From two looks at machines to what the interval between them cost.

Counters are read from the model, not from the samples: some terms (stores turned down, stalled
thread-seconds) are in no file a kernel offers. A policy never sees them, only its reward does.
Everything has a leading axis of hosts, so that one host and many are charged by the same lines.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from zswap_gym.envs.compiled import STALL, charge
from zswap_gym.envs.reward import COSTS, TERMS, ServiceLevel
from zswap_gym.host.types import COLUMN, Table
from zswap_gym.kernel.layout import STAT
from zswap_gym.kernel.machine import Machine
from zswap_gym.kernel.requests import read_meters
from zswap_gym.units import US_PER_S
from zswap_gym.workloads.events import RealisedEvent

Array = npt.NDArray[np.float64]

_PSI = COLUMN["psi_some_total_us"]
_COLUMNS = np.array([_PSI, COLUMN["anon"]])


class Meter:
    """Reads E machines once per decision and charges the interval since the last reading.

    Args:
        size: E.
        rows: indices in a machine of the cgroups in the sample tables, the same for all.
        critical_factor: how much a stalled second counts inside a critical window.
        level: the service level that violations are counted against.
    """

    def __init__(self, size: int, rows: Sequence[int], critical_factor: float, level: ServiceLevel) -> None:
        self.rows = np.asarray(rows, np.intp)
        self._level = np.array([level.refault_pct_wss_min, level.psi_some_pct])
        self._extra = critical_factor - 1.0
        self._windows: list[_Windows | None] = [None] * size
        self._now_us = np.zeros(size, np.int64)
        self._held = np.zeros(size, np.int64)
        self._stat = np.zeros((size, 0, len(STAT)), np.int64)
        self._psi = np.zeros((size, len(self.rows)))
        self.disk_reads = np.zeros((size, len(self.rows)))
        """Pages read from disk in the last interval, per host and row."""
        self.psi_pct = np.zeros((size, len(self.rows)))
        """Pressure in the last interval, per host and row, percent."""

    def start(self, e: int, machine: Machine, events: Sequence[RealisedEvent], table: Table) -> None:
        """Take the reading that the first interval of host e is charged from.

        Args:
            e: which host.
            machine: its machine.
            events: of its scenario as drawn; those of kind ``critical`` weigh stalls.
            table: (N, K), its sample table of now.
        """
        if self._stat.shape[1] != len(machine.names):
            self._stat = np.zeros((len(self._stat), len(machine.names), len(STAT)), np.int64)
        one = slice(e, e + 1)
        read_meters(machine.block, self._now_us[one], self._held[one], self._stat[e])
        self._windows[e] = _Windows.of(machine, events)
        self._psi[e] = table[:, _PSI]

    def read(self, blocks: npt.NDArray[np.uint64], tables: Table) -> tuple[Array, Array]:
        """Charge the time since the last reading.

        ``blocks`` (E, words) are those of the machines, ``tables`` (E, N, K) their sample tables of now.
        Returns terms (E, len(TERMS)) and costs (E, len(COSTS)).
        """
        size = len(self._now_us)
        terms, costs = np.empty((size, len(TERMS))), np.empty((size, len(COSTS)))
        critical = [e for e, windows in enumerate(self._windows) if windows is not None]
        before = [(int(self._now_us[e]), self._stat[e, :, STALL].copy()) for e in critical]
        charge(
            blocks, self.rows, self._level, tables, _COLUMNS, self._now_us, self._held, self._stat, self._psi,
            self.disk_reads, self.psi_pct, terms, costs,
        )  # fmt: skip
        for e, (from_us, stalled_us) in zip(critical, before, strict=True):
            windows = self._windows[e]
            assert windows is not None
            extra = windows.stalled(self._stat[e, :, STALL] - stalled_us, from_us, int(self._now_us[e]))
            terms[e, 1] += self._extra * extra
        return terms, costs


class _Windows:
    """The critical windows of one host."""

    def __init__(self, machine: Machine, critical: Sequence[RealisedEvent]) -> None:
        self._cgroup = np.array([machine.index[e.cgroup] for e in critical], np.intp)
        self._start = np.array([e.start_s for e in critical])
        self._end = np.array([e.end_s for e in critical])
        self._boot_us = machine.host.boot_us

    @classmethod
    def of(cls, machine: Machine, events: Sequence[RealisedEvent]) -> _Windows | None:
        critical = [event for event in events if event.kind == "critical"]
        return cls(machine, critical) if critical else None

    def stalled(self, stall_us: npt.NDArray[np.int64], from_us: int, to_us: int) -> float:
        """Stalled thread-seconds inside windows; each weighs the share of the interval it covers."""
        start = (from_us - self._boot_us) / US_PER_S
        end = (to_us - self._boot_us) / US_PER_S
        overlap = np.minimum(self._end, end) - np.maximum(self._start, start)
        share = np.clip(overlap / max(end - start, 1e-9), 0.0, 1.0)
        covered = np.zeros(len(stall_us))
        np.maximum.at(covered, self._cgroup, share)
        return float((covered * stall_us).sum()) / US_PER_S
