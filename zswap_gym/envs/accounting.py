"""From two looks at machines to what the interval between them cost, and to the accounts of their cgroups.

Counters are read from the model, not from the samples: some terms (stores turned down, stalled
thread-seconds) are in no file a kernel offers. A policy never sees them, only its reward does.
Everything has a leading axis of hosts, so that one host and many are charged by the same lines.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from zswap_gym.envs.compiled import LOOKED, STALL, account, charge, first_look, first_reading
from zswap_gym.envs.reward import COUNTS, TERMS
from zswap_gym.kernel.layout import STAT
from zswap_gym.kernel.machine import Machine
from zswap_gym.policy.promise import SUMS, Account, Promise
from zswap_gym.units import US_PER_S
from zswap_gym.workloads.events import RealisedEvent

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Meter:
    """Reads E machines once per decision and charges the interval since the last reading.

    Args:
        size: E.
        cgroups: C, of a machine, the root and parents included.
        critical_factor: how much a stalled second counts inside a critical window.
    """

    def __init__(self, size: int, cgroups: int, critical_factor: float) -> None:
        self._extra = critical_factor - 1.0
        self._windows: list[_Windows | None] = [None] * size
        self._now_us = np.zeros(size, np.int64)
        self._own = np.zeros((size, cgroups), np.int64)
        self._stat = np.zeros((size, cgroups, len(STAT)), np.int64)
        self.counts = np.zeros((size, cgroups, len(COUNTS)))
        """Of every cgroup of the machines in the last interval: what the host's terms are added up from."""
        self.terms = np.zeros((size, len(TERMS)))
        """(E, len(TERMS)): what the last interval came to."""

    def start(self, e: int, machine: Machine, events: Sequence[RealisedEvent]) -> None:
        """Take the reading that the first interval of host e is charged from.

        Args:
            e: which host.
            machine: its machine.
            events: of its scenario as drawn; those of kind ``critical`` weigh stalls.
        """
        first_reading(machine.block, self._now_us[e : e + 1], self._own[e], self._stat[e])
        self._windows[e] = _Windows.of(machine, events)

    def follow(self, e: int, other: Meter) -> None:
        """Go on for host e from the last reading of ``other``, a meter of one host."""
        self._now_us[e], self._own[e], self._stat[e] = other._now_us[0], other._own[0], other._stat[0]
        self._windows[e] = other._windows[0]

    def begin_step(self) -> None:
        """What is read from here on is of the next step."""
        self.counts = np.empty_like(self.counts)
        self.terms = np.empty_like(self.terms)

    def read(self, blocks: npt.NDArray[np.uint64], first: int, end: int) -> None:
        """Charge machines ``first`` to before ``end`` of ``blocks`` (E, words) since their last reading."""
        critical = [e for e in range(first, end) if self._windows[e] is not None]
        before = [(int(self._now_us[e]), self._stat[e, :, STALL].copy()) for e in critical]
        charge(blocks, self._now_us, self._own, self._stat, self.counts, self.terms, first, end)
        for e, (from_us, stalled_us) in zip(critical, before, strict=True):
            windows = self._windows[e]
            assert windows is not None
            extra = windows.stalled(self._stat[e, :, STALL] - stalled_us, from_us, int(self._now_us[e]))
            self.terms[e, 1] += self._extra * extra


class Accounts:
    """The accounts of E hosts with N sampled cgroups: of the last step, and since each began.

    Args:
        size: E.
        rows: indices in a machine of the sampled cgroups, the same for all.
        promise: what broken minutes are counted by.
    """

    def __init__(self, size: int, rows: Sequence[int], promise: Promise) -> None:
        self.rows = np.asarray(rows, np.int64)
        self._limit_pct = promise.disk_reads_pct_min
        self._cpu_us = np.zeros((size, 2))
        self._began_us = np.zeros(size, np.int64)
        self._looked_us = np.zeros(size, np.int64)
        self._seen = np.zeros((size, len(rows), LOOKED))
        self._minute = np.zeros((size, len(rows)))
        self._until_us = np.zeros(size, np.int64)
        self.stop_us = np.zeros(size, np.int64)
        """(E,): where to look next, at the end of the present minute or of the step."""
        self.step_sums = np.zeros((size, len(rows), len(SUMS)))
        """(E, N, len(SUMS)): the account of the last step as one array."""
        self.sums = np.zeros((size, len(rows), len(SUMS)))
        """The same since each host's start."""

    @property
    def step(self) -> Account:
        """The last step's, (E, N)."""
        return Account.of(self.step_sums)

    @property
    def total(self) -> Account:
        """Since each host's start, (E, N)."""
        return Account.of(self.sums)

    def start(self, e: int, machine: Machine) -> None:
        """Begin the account of host e, and its first minute."""
        self._cpu_us[e] = machine.host.compressor.compress_us, machine.host.compressor.decompress_us
        self._began_us[e] = self._looked_us[e] = machine.now_us
        first_look(machine.block, self.rows, self._seen[e])
        self._minute[e] = 0.0
        self.step_sums, self.sums = self.step_sums.copy(), self.sums.copy()  # earlier ones are handed out
        self.step_sums[e] = self.sums[e] = 0.0

    def follow(self, e: int, other: Accounts) -> None:
        """Go on with the account of ``other``, of one host, as that of host e."""
        self._cpu_us[e], self._began_us[e], self._looked_us[e] = (
            other._cpu_us[0], other._began_us[0], other._looked_us[0],
        )  # fmt: skip
        self._seen[e], self._minute[e] = other._seen[0], other._minute[0]
        self.step_sums, self.sums = self.step_sums.copy(), self.sums.copy()  # earlier ones are handed out
        self.step_sums[e], self.sums[e] = other.step_sums[0], other.sums[0]

    def begin_step(self, until_us: Integers) -> None:
        """What is looked at from here on is the next step, which goes to ``until_us`` (E,)."""
        self.step_sums = np.zeros_like(self.step_sums)
        self._until_us = until_us

    def look(self, blocks: npt.NDArray[np.uint64], first: int, end: int) -> bool:
        """Add what happened to machines ``first`` to before ``end`` since the last look.

        The next look is due at ``stop_us``; returns whether one is, before the step is over for all of them.
        """
        left = account(
            blocks, self.rows, self._cpu_us, self._limit_pct, self._began_us, self._looked_us, self._seen,
            self._minute, self.step_sums, self._until_us, self.stop_us, first, end,
        )  # fmt: skip
        return bool(left)

    def end_step(self) -> None:
        """Add the step to the total."""
        self.sums = self.sums + self.step_sums


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
