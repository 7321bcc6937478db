"""From measured runs to a recommendation: which setting frees most while keeping the promise.

A setting is recommended only if the *next* run would keep to the disk reads promised with 95 %
probability. With few seeds that is an upper limit of prediction, or the worst seed seen where that is
worse; with many it is counted: at most 4 % of the runs may have broken it. Pressure is promised on
average: where a program sweeps its memory two runs of doing nothing already differ by more than is
allowed, and no single run could keep to it (experiments/advise). The leader and the settings that might
still beat it are run on more seeds than the rest, until nothing is undecided or the runs set aside for it
are used up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb, sqrt
from statistics import NormalDist

import numpy as np

from zswap_gym.agents.advice.grid import INTERFACES, NEVER, Interface, Point
from zswap_gym.agents.advice.measure import QUANTITIES, Floats, Measured, Setting

CONFIDENCE = 0.95
HELD, REFAULT, PSI, WRITTEN, LOADS, SHARE = range(len(QUANTITIES))
COUNTED_FROM, MAY_BREAK = 30, 0.04
"""From so many seeds on, the share of runs that broke the promise is counted instead of predicted."""
ADJUSTED_FROM = 12
"""From so many seeds on, it is estimated how far doing nothing goes up and down with a setting."""
LOOKS = (1, 4, 12, 24)
"""Seeds of a setting, in units of those all settings get: of a rival, of the leader, of one at the border."""
HARDLY = 0.025
"""A setting is given up when one that keeps the promise in 95 % of runs would break it in so many only with
this probability."""
CLOSE = 0.95
MOST_RIVALS = 3
"""So many settings of an interface are looked at again at a time, those with most to gain."""
AGAIN = 150
"""Runs beyond the first look, in units of its seeds."""
MOST_LOADS = 64_000_000
"""All runs together load no more simulated pages from zswap than this, which is what their time goes into:
40 seconds for the recording that sweeps its memory (llm_infer), whose runs take longer than others.
"""
HOPELESS = 3.0
"""A setting that reads so many times what is promised in its first run, in every cgroup, gets no second."""


@dataclass(frozen=True)
class Slo:
    """What is promised, on average over the decisions of a run, for the worst cgroup."""

    refault_pct_wss_min: float = 0.2
    """Disk reads of a run, % of the resident set a minute: in 95 % of runs."""
    psi_added_pct: float = 0.1
    """Memory pressure (some) beyond what the same run has with nothing written back: on average over runs,
    with 95 % confidence."""


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95 % confidence interval, and the bound of the next single run."""

    mean: float
    low: float
    high: float
    next_run: float
    n: int = 1

    @property
    def most(self) -> float:
        """The mean is at most this, with 95 % confidence: the one-sided bound."""
        if self.n < 2:
            return self.mean
        both = student(self.n - 1, 0.5 + CONFIDENCE / 2)
        return self.mean + (self.high - self.mean) * student(self.n - 1, CONFIDENCE) / both


@dataclass(frozen=True)
class Judged:
    """One setting with what it does."""

    setting: Setting
    seeds: int
    freed_bytes: Interval
    """Memory held less than by doing nothing, paired by seed, time average; ``next_run`` is a lower bound."""
    refault_pct_wss_min: Interval
    psi_some_pct: Interval
    psi_added_pct: Interval
    written_bytes_h: Interval
    zswap_loads_min: Interval
    compressed_share: float
    """Of what lies in zswap, time average."""
    keeps_share: float
    """Of the runs seen, those that kept to the disk reads promised."""
    meets_slo: bool
    """Whether the next run would, with 95 % probability, and pressure on average."""

    @property
    def fit(self) -> bool:
        """Whether it may be recommended: it meets the SLO, and that it frees anything is no accident."""
        return self.meets_slo and self.freed_bytes.low > 0

    @property
    def point(self) -> Point:
        """The setting, where it is the same in every cgroup."""
        assert isinstance(self.setting, Point)
        return self.setting

    @property
    def line(self) -> str:
        """What is written into the kernel's file."""
        return self.point.line(self.compressed_share)

    @property
    def command(self) -> str:
        """The same as a shell command."""
        return self.point.command(self.compressed_share)


def student(df: int, p: float) -> float:
    """The p quantile of Student's t, by Cornish-Fisher (Abramowitz and Stegun 26.7.5); df >= 3: to 1 %."""
    z = NormalDist().inv_cdf(p)
    g1 = (z**3 + z) / 4
    g2 = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    g3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + g1 / df + g2 / df**2 + g3 / df**3


def interval(values: Floats, *, lower: bool = False) -> Interval:
    """Of the values (S,) of S seeds; ``lower`` bounds the next run from below instead of from above."""
    n = len(values)
    mean = float(values.mean())
    if n < 2:
        return Interval(mean, mean, mean, mean)
    sd = float(values.std(ddof=1))
    half = student(n - 1, 0.5 + CONFIDENCE / 2) * sd / sqrt(n)
    reach = student(n - 1, CONFIDENCE) * sd * sqrt(1 + 1 / n)
    if n >= COUNTED_FROM:
        ordered = np.sort(values)
        allowed = int(MAY_BREAK * n)
        bound = float(ordered[allowed] if lower else ordered[n - 1 - allowed])
    else:
        bound = min(float(values.min()), mean - reach) if lower else max(float(values.max()), mean + reach)
    return Interval(mean, mean - half, mean + half, bound, n)


def shift(mine: Floats, never: Floats, all_never: Floats, *, lower: bool = False) -> Interval:
    """How much ``mine`` (S,) lies above ``never`` (S,) of the same seeds, ``all_never`` (T >= S,) known.

    The difference by seed, where a seed makes both go up and down together; where it does not (a program
    that sweeps its memory is chaotic) that doubles the noise, and the mean over all seeds is better. Between
    the two decides regression, as in analysis of covariance; ``next_run`` is of the difference by seed.
    """
    by_seed = interval(mine - never, lower=lower)
    n, spread = len(mine), float(never.var())
    if n < ADJUSTED_FROM or spread == 0.0:
        return by_seed
    slope = min(max(float(np.mean((mine - mine.mean()) * (never - never.mean()))) / spread, 0.0), 1.0)
    rest = mine - slope * never
    mean = float(rest.mean() - (1 - slope) * all_never.mean())
    error = sqrt(rest.var(ddof=1) / n + (1 - slope) ** 2 * all_never.var(ddof=1) / len(all_never))
    half = student(n - 1, 0.5 + CONFIDENCE / 2) * float(error)
    return Interval(mean, mean - half, mean + half, by_seed.next_run, n)


def judge(
    found: Measured, setting: Setting, seeds: Sequence[int], slo: Slo, cgroup: int | None = None
) -> Judged:
    """What a setting does to the whole machine, or to one cgroup."""
    nothing = NEVER if isinstance(setting, tuple) else setting.never
    mine, never = found.of_setting(setting, seeds, cgroup), found.of_setting(nothing, seeds, cgroup)
    every = found.of_setting(nothing, found.seeds_of(nothing), cgroup)
    refault, added = interval(mine[:, REFAULT]), shift(mine[:, PSI], never[:, PSI], every[:, PSI])
    keeps = float((mine[:, REFAULT] <= slo.refault_pct_wss_min).mean())
    if len(seeds) >= COUNTED_FROM:
        meets = 1 - keeps <= MAY_BREAK
    else:
        meets = refault.next_run <= slo.refault_pct_wss_min
    return Judged(
        setting=setting,
        seeds=len(seeds),
        freed_bytes=shift(-mine[:, HELD], -never[:, HELD], -every[:, HELD], lower=True),
        refault_pct_wss_min=refault,
        psi_some_pct=interval(mine[:, PSI]),
        psi_added_pct=added,
        written_bytes_h=interval(mine[:, WRITTEN]),
        zswap_loads_min=interval(mine[:, LOADS]),
        compressed_share=float(mine[:, SHARE].mean()),
        keeps_share=keeps,
        meets_slo=meets and added.most <= slo.psi_added_pct,
    )


def best(judged: Sequence[Judged], interface: Interface | None = None) -> Judged | None:
    """The fit setting that frees most; None where doing nothing is all that can be advised."""
    fit = [j for j in judged if j.fit and (interface is None or j.point.interface == interface)]
    return max(fit, key=lambda j: (j.freed_bytes.mean, j.point.age_s), default=None)


def pareto(judged: Sequence[Judged]) -> list[Judged]:
    """Settings no other beats in memory freed, disk reads, pressure and bytes written at once."""
    cost = np.array(
        [
            (
                -j.freed_bytes.mean,
                j.refault_pct_wss_min.mean,
                j.psi_some_pct.mean,
                j.written_bytes_h.mean,
            )
            for j in judged
        ]
    )
    beaten = [bool(((cost <= row).all(axis=1) & (cost < row).any(axis=1)).any()) for row in cost]
    return [j for j, loses in zip(judged, beaten, strict=True) if not loses]


def chance(judged: Judged) -> float:
    """Probability that what keeps to the disk reads in 95 % of runs breaks it in so many runs or more."""
    n, p = judged.seeds, 1 - CONFIDENCE
    broke = round(n * (1 - judged.keeps_share))
    return 1 - sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(broke))


def undecided(
    judged: Sequence[Judged], slo: Slo, interface: Interface, enough: int, most: int
) -> list[Point]:
    """The leader of an interface, then what might still beat it: more seeds could turn the choice.

    What is written back at the next younger age can only be more: where memory freed is lost in noise, that
    neighbour of the leader may be the better one, whatever its first runs seemed to free.

    Args:
        judged: settings as far as they are known.
        slo: what has to be kept.
        interface: which of them.
        enough: seeds of a leader that never broke the promise, and of what frees nearly as much.
        most: seeds of a leader that did, and of what frees more: a share near 5 % takes many to tell.
    """
    mine = [j for j in judged if j.point.interface == interface]
    leader = best(mine)
    floor = leader.freed_bytes.mean if leader else 0.0
    open_to_doubt = [
        j
        for j in mine
        if j.seeds < most
        and j.refault_pct_wss_min.mean <= slo.refault_pct_wss_min
        and j.psi_added_pct.low <= slo.psi_added_pct
        and chance(j) >= HARDLY
    ]
    rivals = [j for j in open_to_doubt if not j.fit and j.freed_bytes.mean > floor]
    first: list[Judged] = []
    if leader is not None:
        rivals += [
            j
            for j in mine
            if j.fit and j is not leader and j.seeds < enough and j.freed_bytes.mean >= CLOSE * floor
        ]
        first = [leader] * (leader.seeds < (enough if leader.keeps_share == 1 else most))
        younger = [
            j
            for j in mine
            if j.point.max_bytes == leader.point.max_bytes and j.point.age_s < leader.point.age_s
        ]
        first += [j for j in younger[-1:] if j in open_to_doubt and j.seeds < enough]
    rivals.sort(key=lambda j: chance(j) * j.freed_bytes.mean, reverse=True)
    return list(dict.fromkeys(j.point for j in (*first, *rivals[:MOST_RIVALS])))


def _first_look(
    found: Measured, points: Sequence[Point], slo: Slo, seeds: int, on_run: Callable[[], None]
) -> dict[Point, int]:
    """Every point on so many seeds, one that is hopeless on the first on that alone; seeds used per point."""
    nothing = list(dict.fromkeys(point.never for point in points))
    others = [point for point in points if point not in nothing]
    found.add(range(1), [*nothing, *others], on_run)
    most = HOPELESS * slo.refault_pct_wss_min
    used = {p: 1 if found.rows[0, p][:, REFAULT].min() > most else seeds for p in others}
    used |= dict.fromkeys(nothing, seeds)
    found.add(range(1, seeds), [*nothing, *(p for p in others if used[p] > 1)], on_run)
    for _ in range((seeds - 1) * sum(n == 1 for n in used.values())):
        on_run()
    return used


def search(
    found: Measured,
    points: Sequence[Point],
    slo: Slo,
    seeds: int,
    on_run: Callable[[], None] = lambda: None,
) -> dict[Point, int]:
    """Measure every point on so many seeds, then on more, look by look, what is undecided.

    Returns:
        seeds used per point.
    """
    used = _first_look(found, points, slo, seeds, on_run)
    looks = [seeds * factor for factor in LOOKS]
    found.add(range(looks[2]), [NEVER])  # what all others are compared with
    used[NEVER] = looks[2]
    cgroups: list[int | None] = [None, *(range(len(found.cgroups)) if len(found.cgroups) > 1 else ())]
    affordable = int(MOST_LOADS / max(found.loads(NEVER, range(seeds)), 1.0)) - sum(used.values())
    left = min(AGAIN * seeds * len(cgroups), affordable)
    while True:
        again: list[Point] = []
        for cgroup in cgroups:
            judged = [judge(found, point, range(used[point]), slo, cgroup) for point in points]
            # Version 1 comes first, and most for the whole machine: it is what the advice is about.
            again += undecided(judged, slo, "v1", *(looks[2:] if cgroup is None else looks[1:3]))
        if not again:
            judged = [judge(found, point, range(used[point]), slo) for point in points]
            for which in INTERFACES[1:]:
                again += undecided(judged, slo, which, looks[1], looks[1])
        grown: dict[Point, int] = {}
        for point in dict.fromkeys(again):
            more = {point: next(n for n in looks if n > used[point])}
            if used[point.never] < more[point]:
                more[point.never] = more[point]
            cost = sum(n - used[p] for p, n in more.items())
            if cost <= left:
                left -= cost
                used |= more
                grown |= more
        if not grown:
            return used
        for count in sorted(set(grown.values())):
            found.add(range(count), [point for point, n in grown.items() if n >= count])
