"""DAMOS: an age and a quota that a feedback loop fits to a goal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from zswap_gym.host.types import Request, Table
from zswap_gym.policy.laws.parameters import read_parameters, setting
from zswap_gym.policy.laws.watch import Watch, carried
from zswap_gym.policy.promise import reads_pct

Array = npt.NDArray[np.float64]

_LEAST_BYTES = 10_000.0
"""min_input of damon_feed_loop_next_input()."""


@dataclass
class DamosQuota:
    """What is ``min_age_s`` old is written back, up to a quota of bytes that chases a goal.

    Source: the aim-oriented quota of DAMOS (Linux 6.9), damon_feed_loop_next_input() in mm/damon/core.c.
    Every ``reset_s``, per cgroup:

        score = max(disk reads / their goal, PSI some / its goal)      (a user goal and some_mem_psi_us)
        score < 1:      quota += quota x (1 - score)
        1 < score < 2:  quota -= quota x (score - 1)
        score >= 2:     quota = 10 000 bytes

    never below 10 000 bytes, nor above ``max_share`` of the footprint per minute (the static quota). Like
    DAMOS it *chases* its goals: with all quiet the quota doubles. What was written is released, and
    ``release_share`` beside it. min_age is DAMON_RECLAIM's.
    """

    name: ClassVar[str] = "damos"
    min_age_s: float = setting(120.0, 60.0, 7200.0, positive=True)
    goal_reads_pct_min: float = setting(0.2, 0.005, 0.5, positive=True)
    """Disk reads per minute, percent of the resident set."""
    goal_psi_pct: float = setting(0.1, 0.01, 1.0, positive=True)
    """Pressure (some), percent of the time."""
    reset_s: float = setting(60.0, 30.0, 600.0, positive=True)
    """The quota's reset_interval."""
    max_share: float = setting(0.08, 0.005, 0.3, most=1)
    """Of the footprint, per minute: the largest quota."""
    release_share: float = setting(0.01, 5e-4, 0.05, most=1)
    """Of the footprint, per minute, released beside what was written."""
    _watch: Watch = field(init=False, repr=False)
    _state: Array = field(init=False, repr=False)
    """(4, N): quota (bytes a minute); reads (pages), stall (us) and seconds since it was set."""

    def __post_init__(self) -> None:
        read_parameters(self)
        self._watch = Watch()
        self.reset(0)

    def reset(self, n: int) -> None:
        """Back to the least quota."""
        self._watch.reset(n)
        self._state = np.zeros((4, n))

    def decide(self, table: Table, dt_s: float) -> list[Request]:
        """Fit the quota where its interval is over, then offer it."""
        look = self._watch.look(table)
        self._state = carried(self._state, look.known, np.array([_LEAST_BYTES, 0.0, 0.0, 0.0]))
        quota, reads, stalled_us, seconds = self._state
        reads += look.reads
        stalled_us += look.stalled_us
        seconds += look.seconds
        due = seconds >= self.reset_s - 1e-6
        time = np.maximum(seconds, 1e-9)
        score = np.maximum(
            reads_pct(reads, look.resident) * 60.0 / time / self.goal_reads_pct_min,
            stalled_us / time * 1e-4 / self.goal_psi_pct,
        )
        most = np.maximum(self.max_share * look.footprint, _LEAST_BYTES)
        fitted = np.where(score >= 2.0, _LEAST_BYTES, np.clip(quota * (2.0 - score), _LEAST_BYTES, most))
        quota[:] = np.where(due, fitted, quota)
        self._state[1:, due] = 0.0
        minutes = dt_s / 60.0
        age = np.full(len(table), self.min_age_s)
        release = look.footprint * self.release_share * minutes + look.followed
        return self._watch.ask(look, age, np.where(look.here, quota * minutes, 0.0), release)
