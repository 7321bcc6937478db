"""ARMS: short and long averages, and a migration only where its benefit is above its cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from zswap_gym.host.types import Request, Table
from zswap_gym.policy.age import AgeEstimate
from zswap_gym.policy.laws.parameters import read_parameters, setting
from zswap_gym.policy.laws.watch import LEAST_BYTES, Watch, carried, follow
from zswap_gym.units import PAGE_SIZE

Array = npt.NDArray[np.float64]

_LEAST_RETURN = 1e-3
"""Return ratio that is believed at best."""


@dataclass
class ArmsBatches:
    """Write back as many pages as may come back within what is left of the promised disk reads.

    Source: ARMS (Yadalam et al., arXiv 2508.04417): hot and cold told by a short and a long moving average
    together, a migration only where benefit exceeds cost, batches as large as bandwidth allows, no
    thresholds to tune. There pages have access counts and tiers have bandwidth; here a cgroup has flows, and
    what is scarce is disk reads. Per cgroup, averages per minute over ``short_s`` and ``long_s``:

        return ratio q = max over both averages of (disk reads / pages written)
        write only if  q x price < 1                 (benefit: a page freed; cost: q reads at ``price``)
        batch per minute = (reads_pct_min of the resident set - max of both disk reads) / q

    at most ``max_share`` of the footprint per minute, nothing younger than ``age_s``, nothing below
    512 KiB. What was written is released, and ``release_share`` beside it.
    """

    name: ClassVar[str] = "arms"
    short_s: float = setting(60.0, 30.0, 300.0, positive=True)
    long_s: float = setting(900.0, 300.0, 3600.0, positive=True)
    reads_pct_min: float = setting(0.2, 0.005, 0.5, positive=True)
    """Disk reads per minute, percent of the resident set."""
    price: float = setting(2.0, 1.0, 100.0)
    """Pages freed that one disk read is worth."""
    age_s: float = setting(300.0, 30.0, 7200.0, positive=True)
    max_share: float = setting(0.08, 0.005, 0.3, most=1)
    """Of the footprint, per minute: the largest batch."""
    release_share: float = setting(0.01, 5e-4, 0.05, most=1)
    """Of the footprint, per minute, released beside what was written."""
    _watch: Watch = field(init=False, repr=False)
    _ages: AgeEstimate = field(init=False, repr=False)
    _state: Array = field(init=False, repr=False)
    """(5, N): reads and pages written per minute, short and long averages of each; bytes saved up."""

    def __post_init__(self) -> None:
        read_parameters(self)
        self._watch = Watch()
        self.reset(0)

    def reset(self, n: int) -> None:
        """Forget the averages."""
        self._watch.reset(n)
        self._ages = AgeEstimate((n,))
        self._state = np.zeros((5, n))

    def decide(self, table: Table, dt_s: float) -> list[Request]:
        """Bring the averages up to date, then ask for what pays."""
        look = self._watch.look(table)
        self._state = carried(self._state, look.known, np.zeros(5))
        follow(self._ages, look)
        per_minute = 1.0 / np.maximum(look.minutes, 1e-9)
        for i, time_s in enumerate((self.short_s, self.long_s)):
            for row, pages in ((i, look.reads), (2 + i, look.written)):
                self._state[row] = look.average(self._state[row], pages * per_minute, time_s)
        reads, written, saved = self._state[:2], self._state[2:4], self._state[4]
        ratio = np.clip((reads / np.maximum(written, 1.0)).max(0), _LEAST_RETURN, 1.0)
        left = self.reads_pct_min / 100.0 * look.resident / PAGE_SIZE - reads.max(0)
        pays = look.here & (ratio * self.price < 1.0) & (left > 0)
        batch = np.minimum(left / ratio * PAGE_SIZE, self.max_share * look.footprint) * (dt_s / 60.0)
        old = self._ages.bytes_older_than(self.age_s)
        saved[:] = np.where(pays, np.minimum(saved + batch, old), 0.0)
        due = saved >= LEAST_BYTES
        write = np.where(due, saved, 0.0)
        saved[due] = 0.0
        release = look.release(self.release_share, dt_s)
        return self._watch.ask(look, np.full(len(table), self.age_s), write, release)
