"""From two looks at a machine to what the interval between them cost.

Counters are read from the model, not from the samples: some terms (stores turned down, stalled
thread-seconds) are in no file a kernel offers. A policy never sees them, only its reward does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from zswap_gym.envs.reward import GIB, Cost, RewardTerms, ServiceLevel
from zswap_gym.host.types import COLUMN, Table
from zswap_gym.kernel.layout import STAT
from zswap_gym.kernel.machine import Machine
from zswap_gym.units import PAGE_SIZE, US_PER_S
from zswap_gym.workloads.events import RealisedEvent

_PSWPIN, _ZSWPIN, _PSWPOUT, _REFUSED, _OOM, _STALL = (
    STAT.index(name)
    for name in ("pswpin", "zswpin", "pswpout", "stores_refused", "events_oom_kill", "stall_us")
)
_PSI, _ANON = COLUMN["psi_some_total_us"], COLUMN["anon"]


class Meter:
    """Reads a machine once per decision and charges the interval since the last reading.

    Args:
        machine: the host.
        rows: indices in the machine of the cgroups in the sample table.
        events: of the scenario as drawn; those of kind ``critical`` weigh stalls.
        critical_factor: how much a stalled second counts inside such a window.
        level: the service level that violations are counted against.
    """

    def __init__(
        self,
        machine: Machine,
        rows: Sequence[int],
        events: Sequence[RealisedEvent],
        critical_factor: float,
        level: ServiceLevel,
    ) -> None:
        self.machine = machine
        self.rows = np.asarray(rows, np.intp)
        self.level = level
        critical = [e for e in events if e.kind == "critical"]
        self._critical_cgroup = np.array([machine.index[e.cgroup] for e in critical], np.intp)
        self._critical_start = np.array([e.start_s for e in critical])
        self._critical_end = np.array([e.end_s for e in critical])
        self._extra = critical_factor - 1.0
        self._boot_us = machine.host.boot_us
        self.disk_reads = np.zeros(len(self.rows))
        """Pages read from disk in the last interval, per row."""
        self.psi_pct = np.zeros(len(self.rows))
        """Pressure in the last interval, per row, percent."""

    def start(self, table: Table) -> None:
        """Take the reading that the first interval is charged from."""
        self._now_us = self.machine.now_us
        self._stat = self.machine.state.stat.copy()
        self._held = self._held_bytes()
        self._psi = table[:, _PSI].copy()

    def read(self, table: Table) -> tuple[RewardTerms, Cost]:
        """Charge the time since the last reading; ``table`` (N, K) is the sample table of now."""
        machine = self.machine
        now_us = machine.now_us
        seconds = (now_us - self._now_us) / US_PER_S
        delta = machine.state.stat - self._stat
        held = self._held_bytes()
        total = delta.sum(axis=0).tolist()
        terms = RewardTerms(
            dram_held=0.5 * (held + self._held) / GIB * seconds / 3600.0,
            stall_s=self._stalled(delta[:, _STALL], total[_STALL], now_us),
            disk_refaults=float(total[_PSWPIN]),
            zswap_loads=float(total[_ZSWPIN]),
            bytes_written=float(total[_PSWPOUT]) * PAGE_SIZE,
            rejects=float(total[_REFUSED]),
            oom_kills=float(total[_OOM]),
        )
        cost = self._cost(table, delta, seconds)
        self._now_us, self._held = now_us, held
        self._stat += delta
        self._psi = table[:, _PSI].copy()
        return terms, cost

    def _held_bytes(self) -> int:
        """memory.current summed over the top-level cgroups: the root's usage, whole pages."""
        cgs = self.machine.state.cgs
        return int(cgs["resident"][0] + cgs["base"][0]) * PAGE_SIZE + int(cgs["zbytes"][0])

    def _stalled(self, stall_us: npt.NDArray[np.int64], total_us: int, now_us: int) -> float:
        """Stalled thread-seconds; each critical window weighs the share of the interval it covers."""
        seconds = total_us / US_PER_S
        if len(self._critical_cgroup):
            start = (self._now_us - self._boot_us) / US_PER_S
            end = (now_us - self._boot_us) / US_PER_S
            overlap = np.minimum(self._critical_end, end) - np.maximum(self._critical_start, start)
            share = np.clip(overlap / max(end - start, 1e-9), 0.0, 1.0)
            covered = np.zeros(len(stall_us))
            np.maximum.at(covered, self._critical_cgroup, share)
            seconds += self._extra * float((covered * stall_us).sum()) / US_PER_S
        return seconds

    def _cost(self, table: Table, delta: npt.NDArray[np.int64], seconds: float) -> Cost:
        # A parent's row shows its own counts only; rows are leaves unless somebody chose otherwise.
        self.disk_reads = delta[self.rows, _PSWPIN].astype(np.float64)
        resident_pages = np.maximum(table[:, _ANON] / PAGE_SIZE, 1.0)
        rate = self.disk_reads / resident_pages * (100.0 * 60.0 / seconds)
        self.psi_pct = (table[:, _PSI] - self._psi) * (100.0 / (seconds * US_PER_S))
        over = (rate > self.level.refault_pct_wss_min) | (self.psi_pct > self.level.psi_some_pct)
        return Cost(float(rate.max()), float(self.psi_pct.max()), int(over.sum()))
