"""The seed author's closed loop: tune age and budget by the pages that come back."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from zswap_gym.errors import UserError
from zswap_gym.host.types import NOTHING, Request, Table
from zswap_gym.policy.age import AgeEstimate
from zswap_gym.policy.laws.parameters import read_parameters, setting
from zswap_gym.policy.laws.watch import LEAST_BYTES, Watch, carried, follow, whole_pages
from zswap_gym.units import PAGE_SIZE

Array = npt.NDArray[np.float64]


@dataclass
class AimdRefault:
    """Probe gently while pages stay away, back off at once when they return.

    Source: Hao Jia on what to write into the seed's file (spec/series.md 7): start from a
    conservative age and close the loop on the age distribution of zswap entries and on the refault
    rate after writeback, tuning both age and max. He gives no formula; this is the textbook one.

    r = disk refaults per minute / memory.current, averaged over ``window_s`` and remembered up to
    twice the target, so that a burst is not held against it for long. Disk refaults are
    host/refaults.py's: unlike workingset_refault_anon they do not count own writebacks. Per cgroup:

        r <= target:  age x= shrink^(dt / 10 s), budget += grow_bytes x dt / 10 s; write back
        r > target:   age x= backoff, budget /= backoff, once per window; nothing is written

    Nothing is asked for either unless the estimated age distribution (policy/age.py) may have 512
    KiB past the age: a call whose age nobody meets spoils the next ones. What was in zswap when the
    law first looked counts as old until flows say otherwise, so that it can begin at once. The
    target defaults to Google's 0.2 % of the working set a minute (Lagar-Cavilla et al., ASPLOS'19).
    """

    name: ClassVar[str] = "aimd"
    target: float = setting(0.002, 5e-5, 0.01)
    age_s: float = setting(300.0, positive=True)
    """To start with."""
    age_min_s: float = setting(10.0, 10.0, 300.0, positive=True)
    age_max_s: float = setting(7200.0, 300.0, 14400.0, positive=True)
    shrink: float = setting(0.95, 0.8, 0.999, positive=True)
    """Factor on the age per calm 10 s."""
    backoff: float = setting(2.0, 1.1, 8.0, positive=True)
    start_bytes: int = setting(1 << 20, 256 << 10, 8 << 20)
    """Budget per decision to start with."""
    grow_bytes: int = setting(256 << 10, 16 << 10, 2 << 20)
    """Added to the budget per calm 10 s."""
    max_bytes: int = setting(16 << 20, 512 << 10, 64 << 20)
    window_s: float = setting(60.0, 30.0, 900.0, positive=True)
    _watch: Watch = field(init=False, repr=False)
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
        self._watch = Watch()
        self.reset(0)

    def reset(self, n: int) -> None:
        """Back to the conservative age."""
        self._watch.reset(n)
        self._ages = AgeEstimate((n,))
        self._state = np.zeros((4, n))

    def decide(self, table: Table, dt_s: float) -> list[Request]:
        """Update each cgroup's age and budget by its own refaults, then ask for them."""
        look = self._watch.look(table)
        self._state = carried(self._state, look.known, np.array([self.age_s, self.start_bytes, 0.0, 0.0]))
        follow(self._ages, look)
        refaults = look.reads * PAGE_SIZE / np.maximum(look.current, PAGE_SIZE) * (60.0 / dt_s)
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
        budget[:] = np.clip(grown, min(LEAST_BYTES, self.max_bytes), self.max_bytes)

        old = self._ages.bytes_older_than(age)
        act = look.here & ~bad & (old >= LEAST_BYTES)
        size = whole_pages(np.where(act, np.minimum(budget, old), 0.0))
        return [Request(a, x) if x else NOTHING for a, x in zip(age.tolist(), size, strict=True)]
