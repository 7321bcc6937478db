"""The promise kept by two trackers: age by broken minutes, release by CPU."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from zswap_gym.errors import UserError
from zswap_gym.host.types import COLUMN, Request, Table
from zswap_gym.policy.deltas import fitted
from zswap_gym.policy.laws.parameters import read_parameters, setting
from zswap_gym.policy.laws.watch import LEAST_BYTES, Look, Watch, carried
from zswap_gym.policy.promise import CPU_US, GIB, MinuteMeter, Promise, cpu_us

Array = npt.NDArray[np.float64]

_SLOWEST, _FASTEST = 4e-4, 0.4
"""Bounds of the release, share of the footprint per minute."""
_MEMORY_S = 135.0
"""Time constant of the average of the excess of CPU."""
_COMPRESS_US, _DECOMPRESS_US = CPU_US["zstd"]


@dataclass
class PromiseTrackers:
    """Track the promise itself (policy/promise.py), per cgroup; the opponent to beat.

    **Age, by minutes.** An aggressiveness u from 0 to 1 moves the age log-linearly from age_max to
    age_min: age = age_max x (age_min / age_max)^u. It tracks the quantile ``broken_share`` of the disk
    reads of a minute, as online quantile regression does: in a kept minute u += up, in a broken one
    u -= up x (1 - broken_share) / broken_share, so that it stands still when that share of the minutes is
    broken. What is that old is offered, up to ``offer_share`` of the footprint per minute, in portions of at
    least 512 KiB.

    **Release, by CPU.** What was written since the last decision is released, and a share r of the
    footprint per minute beside it. r is moved by an integral on the CPU of compression and decompression,
    averaged over two minutes, against its budget:

        r x= exp(-gain x minutes x clip((cpu - budget) / budget, -1, 2)),
        budget = cpu_pct_per_gib x GiB of footprint + what it would be with nothing done

    A broken minute halves r as well: with a full pool it is the kernel that writes what a release pushes
    into zswap. What CPU it would be with nothing done nobody can know who acts; it is taken to be what it was
    in the first ``watch_s`` seconds, in which nothing is released or written, and 0 with ``watch_s=0``: then
    the budget is one of all compression, which is never too much.

    With ``debt`` above 0, u may fall below 0 by so much, and nothing is done to the cgroup until it is back:
    every broken minute is paid for, also one that comes when u is 0 already. With ``pool_full`` at most 1
    nothing is released while zswap's pool holds that share of its limit: what a release pushes into a full
    pool the kernel writes. Learned policies keep to both (policy/memory.py, policy/rows.py).

    ``writeback=0`` is the tracker of the release alone: as much as CPU allows. Source: the trial in
    issue F (two trackers, one setting everywhere: 13.5 % saved on mixed-host with 4.6 % of minutes broken).
    """

    name: ClassVar[str] = "promise"
    disk_reads_pct_min: float = setting(0.2, 0.1, 0.4, positive=True)
    """Disk reads in a minute, percent of the resident set: more breaks the minute."""
    broken_share: float = setting(0.03, 0.005, 0.06, positive=True, most=0.5)
    """Share of the minutes that it steers to have broken."""
    up: float = setting(0.01, 0.002, 0.05, positive=True, most=1)
    """Aggressiveness gained in a kept minute."""
    start: float = setting(0.5, 0.0, 1.0, log=False, most=1)
    """Aggressiveness to begin with."""
    age_min_s: float = setting(600.0, 60.0, 1800.0, positive=True)
    age_max_s: float = setting(7200.0, 1800.0, 14400.0, positive=True)
    offer_share: float = setting(0.08, 0.002, 0.3, most=1)
    """Of the footprint, per minute: most that is written."""
    release_share: float = setting(0.01, 1e-3, 0.1, most=1)
    """Of the footprint, per minute: what is released beside what was written, to begin with."""
    cpu_pct_per_gib: float = setting(0.25, 0.1, 0.5, positive=True)
    """Compression and decompression beyond doing nothing, percent of a core per GiB of footprint."""
    gain: float = setting(0.3, 0.05, 1.0)
    """Of the release on the excess of CPU, per minute."""
    watch_s: float = setting(300.0)
    """How long it only watches a cgroup."""
    compress_us: float = setting(_COMPRESS_US)
    """Microseconds to compress a page. zstd's: a budget met at the dearest compressor is met at all."""
    decompress_us: float = setting(_DECOMPRESS_US)
    writeback: float = setting(1.0, most=1)
    """0: release only."""
    debt: float = setting(0.0)
    """How far below 0 aggressiveness may fall."""
    pool_full: float = setting(2.0)
    """Share of zswap's limit from which nothing is released; the default never is."""
    _watch: Watch = field(init=False, repr=False)
    _meter: MinuteMeter = field(init=False, repr=False)
    _state: Array = field(init=False, repr=False)
    """(6, N): aggressiveness, release share, excess of CPU, CPU with nothing done (us/s), seconds watched,
    bytes of offers saved up."""

    def __post_init__(self) -> None:
        read_parameters(self)
        if self.age_min_s > self.age_max_s:
            raise UserError(
                f"law {self.name}: age_min_s = {self.age_min_s:g}; must be at most age_max_s "
                f"({self.age_max_s:g})"
            )
        if self.writeback not in (0, 1):
            raise UserError(f"law {self.name}: writeback = {self.writeback:g}; must be 0 or 1")
        self._watch = Watch()
        self.reset(0)

    def reset(self, n: int) -> None:
        """Back to the start: watching."""
        self._watch.reset(n)
        self._meter = MinuteMeter(n, Promise(disk_reads_pct_min=self.disk_reads_pct_min))
        self._state = np.zeros((6, n))

    def decide(self, table: Table, dt_s: float) -> list[Request]:
        """Move both trackers by what was seen, then offer what is old enough and release."""
        look = self._watch.look(table)
        self._state = carried(self._state, look.known, np.array([self.start, self.release_share, *[0.0] * 4]))
        self._track_age(look)
        self._track_cpu(look)
        bold, share = self._state[:2]
        acts = look.here & (self._state[4] >= self.watch_s)
        acts &= (bold > 0.0) | (self.debt == 0.0)
        age = self.age_max_s * (self.age_min_s / self.age_max_s) ** np.maximum(bold, 0.0)
        owed = self._state[5]
        offer = look.footprint * self.offer_share * (dt_s / 60.0) * self.writeback
        owed[:] = np.where(acts, np.minimum(owed + offer, look.zswapped), 0.0)
        due = owed >= np.minimum(LEAST_BYTES, look.zswapped)
        release = np.where(_pool_fill(table) < self.pool_full, look.release(share, dt_s), 0.0)
        requests = self._watch.ask(look, age, np.where(due, owed, 0.0), np.where(acts, release, 0.0))
        owed[due] = 0.0
        return requests

    def _track_age(self, look: Look) -> None:
        meter, bold = self._meter, self._state[0]
        meter.into_s, meter.reads = (fitted(x, look.known.size) for x in (meter.into_s, meter.reads))
        meter.reset(~look.known)
        ended, broken = meter.add(look.seconds, look.reads, look.resident)
        down = self.up * (1.0 - self.broken_share) / self.broken_share
        bold[:] = np.clip(bold + self.up * (ended - broken) - down * broken, -self.debt, 1.0)
        self._state[1] *= 0.5**broken

    def _track_cpu(self, look: Look) -> None:
        _, share, excess, base, watched, _ = self._state
        spent = cpu_us(look.stores, look.loads, look.written, self.compress_us, self.decompress_us)
        rate = spent / np.maximum(look.seconds, 1e-9)
        watching = watched < self.watch_s
        seen = np.maximum(watched + look.seconds, 1e-9)
        base[:] = np.where(watching, base + (rate - base) * look.seconds / seen, base)
        budget = np.maximum(self.cpu_pct_per_gib * 1e4 * look.footprint / GIB + base, 1.0)
        excess[:] = np.where(watching, 0.0, look.average(excess, (rate - budget) / budget, _MEMORY_S))
        step = self.gain * look.minutes * np.clip(excess, -1.0, 2.0)
        share[:] = np.where(watching, share, np.clip(share * np.exp(-step), _SLOWEST, _FASTEST))
        watched += look.seconds


def _pool_fill(table: Table) -> Array:
    """Share (N,) of its limit that zswap's pool holds; 0 where nobody says."""
    most = table[:, COLUMN["host_mem_total"]] * table[:, COLUMN["host_max_pool_percent"]] * 0.01
    fill: Array = np.nan_to_num(table[:, COLUMN["host_pool_bytes"]] / np.maximum(most, 1.0))
    return fill
