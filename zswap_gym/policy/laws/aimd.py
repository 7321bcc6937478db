"""The seed author's closed loop: tune age and budget by the pages that come back."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from zswap_gym.errors import UserError
from zswap_gym.host.types import COLUMN, NOTHING, Request, Table
from zswap_gym.policy.age import AgeEstimate
from zswap_gym.policy.deltas import Deltas, fitted, present
from zswap_gym.policy.laws.fixed import whole_pages
from zswap_gym.policy.laws.parameters import positive, read_parameters
from zswap_gym.units import PAGE_SIZE

Array = npt.NDArray[np.float64]

_COLUMNS = [COLUMN[name] for name in ("time_s", "pgmajfault", "zswpin", "zswpout", "zswpwb")]
_LEAST_BYTES = 512 * 1024  # smaller calls spoil the LRU order (FINDINGS 7)


@dataclass
class AimdRefault:
    """Probe gently while pages stay away, back off at once when they return.

    Source: Hao Jia on what to write into the seed's file (spec/series.md 7): start from a
    conservative age and close the loop on the age distribution of zswap entries and on the refault
    rate after writeback, tuning both age and max. He gives no formula; this is the textbook one.

    r = disk refaults per minute / memory.current, averaged over ``window_s`` and remembered up to
    twice the target, so that a burst is not held against it for long. Disk refaults are pgmajfault -
    zswpin: unlike workingset_refault_anon they do not count own writebacks. Per cgroup:

        r <= target:  age x= shrink^(dt / 10 s), budget += grow_bytes x dt / 10 s; write back
        r > target:   age x= backoff, budget /= backoff, once per window; nothing is written

    Nothing is asked for either unless the estimated age distribution (policy/age.py) may have 512
    KiB past the age: a call whose age nobody meets spoils the next ones. What was in zswap when the
    law first looked counts as old until flows say otherwise, so that it can begin at once. The
    target defaults to Google's 0.2 % of the working set a minute (Lagar-Cavilla et al., ASPLOS'19).
    """

    name: ClassVar[str] = "aimd"
    target: float = 0.002
    age_s: float = positive(300.0)
    """To start with."""
    age_min_s: float = positive(10.0)
    age_max_s: float = positive(7200.0)
    shrink: float = positive(0.95)
    """Factor on the age per calm 10 s."""
    backoff: float = positive(2.0)
    start_bytes: int = 1 << 20
    """Budget per decision to start with."""
    grow_bytes: int = 256 << 10
    """Added to the budget per calm 10 s."""
    max_bytes: int = 16 << 20
    window_s: float = positive(60.0)
    _past: Deltas = field(init=False, repr=False)
    _ages: AgeEstimate = field(init=False, repr=False)
    _state: Array = field(init=False, repr=False)
    """(4, N): age, budget, refault rate, seconds until the next step back may follow."""

    def __post_init__(self) -> None:
        read_parameters(self)
        if not self.age_min_s <= self.age_s <= self.age_max_s:
            raise UserError(
                f"law {self.name}: age_s = {self.age_s:g}; must be from age_min_s ({self.age_min_s:g}) "
                f"to age_max_s ({self.age_max_s:g})"
            )
        if self.shrink > 1 or self.backoff < 1:
            raise UserError(
                f"law {self.name}: shrink = {self.shrink:g}, backoff = {self.backoff:g}; "
                "shrink must be at most 1 and backoff at least 1"
            )
        self.reset(0)

    def reset(self, n: int) -> None:
        """Back to the conservative age."""
        self._past = Deltas(len(_COLUMNS), n)
        self._ages = AgeEstimate((n,))
        self._state = np.zeros((4, n))

    def decide(self, table: Table, dt_s: float) -> list[Request]:
        """Update each cgroup's age and budget by its own refaults, then ask for them."""
        here = present(table)
        refaults = self._watch(table, here, dt_s)
        age, budget, rate, hold = self._state
        keep = exp(-dt_s / self.window_s)
        average = keep * rate + (1.0 - keep) * refaults
        bad = average > self.target
        rate[:] = np.minimum(average, 2.0 * self.target)
        hold[:] = np.maximum(hold - dt_s, 0.0)
        step_back = bad & (hold <= 0)
        hold[step_back] = self.window_s
        steps = dt_s / 10.0
        factor = np.where(step_back, self.backoff, np.where(bad, 1.0, self.shrink**steps))
        age[:] = np.clip(age * factor, self.age_min_s, self.age_max_s)
        grown = np.where(bad, budget, budget + self.grow_bytes * steps)
        grown = np.where(step_back, budget / self.backoff, grown)
        budget[:] = np.clip(grown, min(_LEAST_BYTES, self.max_bytes), self.max_bytes)

        old = self._ages.bytes_older_than(age)
        act = here & ~bad & (old >= _LEAST_BYTES)
        size = whole_pages(np.where(act, np.minimum(budget, old), 0.0))
        return [Request(a, x) if x else NOTHING for a, x in zip(age.tolist(), size, strict=True)]

    def _watch(self, table: Table, here: npt.NDArray[np.bool_], dt_s: float) -> Array:
        """Disk refaults per minute as a share of memory.current, (N,); follows the ages too."""
        n = len(table)
        self._past.resize(n)
        (elapsed, majfault, loaded, stored, written), known = self._past.update(table[:, _COLUMNS].T, here)
        start = np.array([[self.age_s], [self.start_bytes], [0.0], [0.0]])
        self._state = np.where(known, fitted(self._state, n), start)
        zswapped = np.where(here, table[:, COLUMN["zswapped"]], 0.0)
        self._ages.resize(n)
        self._ages.mass *= known[:, None]
        self._ages.mass[~known, -1] = zswapped[~known] / PAGE_SIZE
        # rows without a past have nothing to age: let them share the others' interval
        elapsed = np.where(known, elapsed, elapsed.max(initial=0.0))
        self._ages.update(elapsed, stored, loaded, written, zswapped / PAGE_SIZE)
        current = np.where(here, table[:, COLUMN["memory_current"]], 0.0)
        reads = np.maximum(majfault - loaded, 0.0) * PAGE_SIZE
        share: Array = reads / np.maximum(current, PAGE_SIZE) * (60.0 / dt_s)
        return share
