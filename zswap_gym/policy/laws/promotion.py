"""Google's far memory: the youngest age whose promotions keep to the limit, by percentile of the past."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from zswap_gym.host.types import Request, Table
from zswap_gym.policy.age import EDGES_S, AgeEstimate
from zswap_gym.policy.deltas import Mask, fitted
from zswap_gym.policy.laws.parameters import read_parameters, setting
from zswap_gym.policy.laws.watch import LEAST_BYTES, Look, Watch, carried, follow
from zswap_gym.policy.promise import MINUTE_S
from zswap_gym.units import PAGE_SIZE

Array = npt.NDArray[np.float64]

AGES_S: Array = EDGES_S[(EDGES_S >= 30.0) & (EDGES_S <= 14400.0)]
"""The ages chosen from."""
_FROM = np.searchsorted(EDGES_S, AGES_S)
_CHANCE = 1.0 / (np.append((EDGES_S[1:] + EDGES_S[:-1]) / 2.0, EDGES_S[-1]) + 30.0)
"""(BINS,): how much likelier an entry of a bin is loaded than another's, as policy/age.py assumes."""


@dataclass
class PromotionRate:
    """The youngest age at which as few pages come back as promised, as in Google's far memory.

    Source: Lagar-Cavilla et al., ASPLOS'19. Each minute, per job: the smallest age T at which the
    promotions of that minute would have kept to P percent of the working set; use the ``percentile``
    (their K) of the best ages of all minutes so far, and if the last minute alone demands a larger one, use
    that; begin ``start_s`` (their S) seconds after the job was first seen. K and S were all they tuned.

    Their kernel counts promotions by age, a stock one does not. Here those from T up are estimated: of
    the loads from zswap, what entries older than T have a part in (ages by policy/age.py; the chance
    of a load falls as 1 / age), which would have been disk reads; and the disk reads there were, in
    proportion to (age in use) / T where T is above the age in use. The working set is memory.stat anon. All
    that is older than T is offered, what was written is released, and ``release_share`` beside it.
    """

    name: ClassVar[str] = "promotion"
    percentile: float = setting(98.0, 50.0, 100.0, log=False, most=100)
    """Of the best ages so far: K."""
    start_s: float = setting(300.0, 0.0, 1800.0, log=False)
    """How long a cgroup is only watched: S."""
    reads_pct_min: float = setting(0.2, 0.01, 1.0, positive=True)
    """Promotions per minute, percent of the resident set: P."""
    release_share: float = setting(0.01, 5e-4, 0.05, most=1)
    """Of the footprint, per minute, released beside what was written."""
    _watch: Watch = field(init=False, repr=False)
    _ages: AgeEstimate = field(init=False, repr=False)
    _state: Array = field(init=False, repr=False)
    """(3, N): the age in use (index of AGES_S), seconds seen, seconds into the minute."""
    _promoted: Array = field(init=False, repr=False)
    """(L, N): pages of this minute that each of AGES_S would have made disk reads."""
    _best: Array = field(init=False, repr=False)
    """(L, N): minutes of the past in which each was the best."""

    def __post_init__(self) -> None:
        read_parameters(self)
        self._watch = Watch()
        self.reset(0)

    def reset(self, n: int) -> None:
        """Forget every minute."""
        self._watch.reset(n)
        self._ages = AgeEstimate((n,))
        self._state = np.zeros((3, n))
        self._promoted = np.zeros((len(AGES_S), n))
        self._best = np.zeros((len(AGES_S), n))

    def decide(self, table: Table, dt_s: float) -> list[Request]:
        """Judge the minute if it ended, then offer what is older than the age in use."""
        look = self._watch.look(table)
        self._state = carried(self._state, look.known, np.array([len(AGES_S) - 1.0, 0.0, 0.0]))
        none = np.zeros(len(AGES_S))
        self._promoted = carried(self._promoted, look.known, none)
        self._best = carried(self._best, look.known, none)
        used, seen, into = self._state
        self._promoted += self._promotions(look, AGES_S[used.astype(np.int64)])
        follow(self._ages, look)
        seen += look.seconds
        into += look.seconds
        self._judge(look, into >= MINUTE_S - 1e-6)
        age = AGES_S[used.astype(np.int64)]
        acts = look.here & (seen >= self.start_s)
        old = self._ages.bytes_older_than(age) >= LEAST_BYTES
        release = look.release(self.release_share, dt_s)
        return self._watch.ask(
            look, age, np.where(acts & old, look.zswapped, 0.0), np.where(acts, release, 0.0)
        )

    def _promotions(self, look: Look, used_s: Array) -> Array:
        """Pages (L, N) that would have been disk reads at each of AGES_S, by the ages before this look."""
        mass = fitted(self._ages.mass.T, look.known.size)  # (BINS, N)
        weight = mass * _CHANCE[:, None]
        older = weight[::-1].cumsum(0)[::-1]
        share = older[_FROM] / np.maximum(older[0], 1e-9)
        pages: Array = look.loads * share + look.reads * np.minimum(used_s / AGES_S[:, None], 1.0)
        return pages

    def _judge(self, look: Look, ended: Mask) -> None:
        used, _, into = self._state
        limit = self.reads_pct_min / 100.0 * look.resident / PAGE_SIZE * into / MINUTE_S
        last = np.minimum((self._promoted > limit).sum(0), len(AGES_S) - 1)
        self._best[last[ended], np.flatnonzero(ended)] += into[ended] / MINUTE_S
        reached = self._best.cumsum(0) >= self.percentile / 100.0 * self._best.sum(0) - 1e-9
        used[ended] = np.maximum(reached.argmax(0), last)[ended]
        self._promoted[:, ended] = 0.0
        into[ended] = 0.0
