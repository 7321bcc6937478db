"""Sizes only, by pressure and disk reads: the seed thread's counter-proposal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from zswap_gym.host.types import Request, Table
from zswap_gym.policy.laws.parameters import read_parameters, setting
from zswap_gym.policy.laws.watch import LEAST_BYTES, Watch, carried
from zswap_gym.policy.promise import reads_pct

Array = npt.NDArray[np.float64]

ANY_AGE_S = 1.0
"""What version 1 of the series, which wants an age, is asked for where a law has none."""
_LEAST_SHARE = 1e-4
_HOLD_S = 60.0
"""Seconds between two steps back: what a step did is seen by then."""


@dataclass
class SenpaiSizes:
    """Take a bit more while nothing hurts, back off when disk swap-ins or pressure are high; no age.

    Source: Nhat Pham's counter-proposal on the seed thread (13 May 2026, spec/series.md 10): a
    senpai-like controller of sizes on PSI and refaults, "take the age aspect out". He gives no formula.
    Per cgroup, with the size a share of the footprint per minute:

        hurt = max(PSI some / psi_pct, disk reads per minute / (reads_pct_min of the resident set)),
               both averaged over ``window_s``
        hurt <= 1: size x= grow^minutes       hurt > 1: size /= backoff, at most once a minute

    The size is written back, the oldest entries first whatever their age, and released; nothing is
    written in a step back. Writebacks are saved up to 512 KiB or all that zswap holds.
    """

    name: ClassVar[str] = "senpai"
    psi_pct: float = setting(0.1, 0.01, 1.0, positive=True)
    """Pressure (some) that hurts, percent of the time."""
    reads_pct_min: float = setting(0.2, 0.01, 0.5, positive=True)
    """Disk reads per minute that hurt, percent of the resident set."""
    start_share: float = setting(0.002, 2e-4, 0.02, most=1)
    """Size to begin with, of the footprint per minute."""
    max_share: float = setting(0.05, 0.005, 0.3, most=1)
    """Largest size, of the footprint per minute."""
    grow: float = setting(1.1, 1.005, 1.5, positive=True)
    """Factor on the size per calm minute."""
    backoff: float = setting(2.0, 1.1, 16.0, positive=True)
    window_s: float = setting(60.0, 30.0, 900.0, positive=True)
    _watch: Watch = field(init=False, repr=False)
    _state: Array = field(init=False, repr=False)
    """(5, N): size, reads (%/min), PSI (%), bytes saved up, seconds until the next step back may follow."""

    def __post_init__(self) -> None:
        read_parameters(self)
        self._watch = Watch()
        self.reset(0)

    def reset(self, n: int) -> None:
        """Back to the first size."""
        self._watch.reset(n)
        self._state = np.zeros((5, n))

    def decide(self, table: Table, dt_s: float) -> list[Request]:
        """Grow or shrink each cgroup's size, then ask for it."""
        look = self._watch.look(table)
        self._state = carried(self._state, look.known, np.array([self.start_share, 0.0, 0.0, 0.0, 0.0]))
        share, reads, psi, owed, hold = self._state
        per_minute = reads_pct(look.reads, look.resident) / np.maximum(look.minutes, 1e-9)
        reads[:] = look.average(reads, per_minute, self.window_s)
        psi[:] = look.average(psi, look.psi_pct, self.window_s)
        hurts = (reads > self.reads_pct_min) | (psi > self.psi_pct)
        hold[:] = np.maximum(hold - look.seconds, 0.0)
        back = hurts & (hold <= 0)
        hold[back] = _HOLD_S
        factor = np.where(back, 1.0 / self.backoff, np.where(hurts, 1.0, self.grow**look.minutes))
        share[:] = np.clip(share * factor, min(_LEAST_SHARE, self.max_share), self.max_share)
        size = np.where(hurts, 0.0, share * look.footprint * (dt_s / 60.0))
        owed[:] = np.minimum(owed + size, look.zswapped)
        due = (owed >= np.minimum(LEAST_BYTES, look.zswapped)) & ~hurts
        requests = self._watch.ask(look, np.full(len(table), ANY_AGE_S), np.where(due, owed, 0.0), size)
        owed[due] = 0.0
        return requests
