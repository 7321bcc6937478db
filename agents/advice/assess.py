"""How a setting stands to the promise: what `judge` says of its minutes, and how sure that is.

Whether the promise is kept says :func:`zswap_gym.policy.promise.judge`, here as everywhere: on the accounts
of all seeds added up, cgroup by cgroup. A recording has a few minutes, and a few of those a few times over
say little; so a setting is recommended only if the promise is kept and each of its clauses with 95 %
confidence too. What varies are the seeds: minutes of one run hang together, runs do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, lgamma, log, log1p

import numpy as np
import numpy.typing as npt

from zswap_gym.agents.advice.grid import NEVER, Point
from zswap_gym.agents.advice.intervals import Interval, interval, shift
from zswap_gym.agents.advice.measure import Measured, Setting
from zswap_gym.policy.promise import GIB, judge, judge_hosts
from zswap_gym.units import PAGE_SIZE

HARDLY = 0.025
"""A setting is given up when one that breaks just what it may would break so many minutes only with this
probability."""
MINUTES_TO_TELL = 20
"""Minutes of a cgroup it takes to tell 95 % from all: of so many one may be broken."""
HOUR_US, MINUTE_US = 3.6e9, 6e7
SLACK = 1e-9
"""As judge's: sums of many floats."""


@dataclass(frozen=True)
class Clauses:
    """How far one cgroup lies beyond each clause of the promise, by seed; 0 and less keeps it."""

    kept: bool
    """What `judge` says of all seeds together."""
    broken_pct: Interval
    psi_pct: Interval
    cpu_pct_gib: Interval
    runs_keep: npt.NDArray[np.bool_]
    """(S,): whether the minutes of a run alone keep it."""
    chance: float
    """Probability that what breaks just as many minutes as it may breaks so many or more."""

    @property
    def sure(self) -> bool:
        """Whether the promise is kept, and each clause with 95 % confidence."""
        most = max(self.broken_pct.most, self.psi_pct.most, self.cpu_pct_gib.most)
        return self.kept and most <= SLACK

    @property
    def possible(self) -> bool:
        """Whether more seeds may still show that it is."""
        by_chance = self.chance >= HARDLY or self.broken_pct.low <= SLACK
        return by_chance and max(self.psi_pct.low, self.cpu_pct_gib.low) <= SLACK


@dataclass(frozen=True)
class Judged:
    """One setting with what it does: the verdict on all seeds together, and intervals over the seeds.

    As of judge_hosts, memory is the host's, broken minutes are a mean over the cgroups, pressure and CPU of
    the worst cgroup.
    """

    setting: Setting
    seeds: int
    minutes: int
    """Whole minutes of a cgroup, all seeds together."""
    saved_pct: float
    broken_pct: float
    allowed_pct: float
    psi_added_pct: float
    cpu_added_pct_gib: float
    kept: bool
    """Whether the promise is kept to every cgroup: these six are what `judge_hosts` says."""
    sure: bool
    """Whether it is with 95 % confidence."""
    possible: bool
    """Whether more seeds may still show that it is."""
    chance: float
    """Probability that what just keeps the promise breaks so many minutes or more, worst cgroup."""
    keeps_share: float
    """Of the runs seen, those whose own minutes keep it."""
    freed_bytes: Interval
    """Memory held less than by doing nothing, paired by seed, time average; ``next_run`` is a lower bound."""
    broken: Interval
    """Broken minutes, percent, by seed."""
    psi_added: Interval
    cpu_added: Interval
    """Of the worst cgroup, where many runs tell it with what doing nothing is known to bring (`shift`)."""
    disk_reads_min: float
    """Pages a minute read back from the swap device, whole host."""
    written_bytes_h: float
    zswap_loads_min: float
    compressed_share: float
    """Of what lies in zswap, time average."""

    @property
    def fit(self) -> bool:
        """Whether it may be recommended: it surely keeps the promise, and frees memory by no accident."""
        return self.sure and self.freed_bytes.low > 0

    @property
    def few_minutes(self) -> bool:
        """Whether its minutes are too few to tell 95 % from all."""
        return self.minutes < MINUTES_TO_TELL

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


def assess(found: Measured, setting: Setting, seeds: Sequence[int], cgroup: int | None = None) -> Judged:
    """What a setting does to the whole machine, or to one cgroup."""
    nothing = without(setting)
    mine, never = found.account(setting, seeds, cgroup), found.account(nothing, seeds, cgroup)
    every = found.account(nothing, found.seeds_of(nothing), cgroup)
    total = mine.sum()
    verdict = judge_hosts(total, never.sum(), found.promise)
    rows = range(len(found.cgroups)) if cgroup is None else (cgroup,)
    clauses = [clauses_of(found, setting, seeds, row) for row in rows]
    psi, cpu = (max((getattr(c, name) for c in clauses), key=lambda i: i.mean)
                for name in ("psi_pct", "cpu_pct_gib"))  # fmt: skip
    held = [a.held_byte_us.sum(axis=1) / a.elapsed_us[:, 0] for a in (mine, never, every)]
    spent_us = float(total.elapsed_us[0])
    loads, zswap, zswapped = found.beside(setting, seeds, cgroup).sum(axis=0)
    return Judged(
        setting=setting,
        seeds=len(seeds),
        minutes=int(total.minutes.min()),
        saved_pct=float(verdict.saved_pct),
        broken_pct=float(verdict.broken_pct),
        allowed_pct=float(verdict.allowed_pct),
        psi_added_pct=float(verdict.psi_added_pct),
        cpu_added_pct_gib=float(verdict.cpu_added_pct_gib),
        kept=bool(verdict.kept),
        sure=all(c.sure for c in clauses),
        possible=all(c.possible for c in clauses),
        chance=min(c.chance for c in clauses),
        keeps_share=float(np.all([c.runs_keep for c in clauses], axis=0).mean()),
        freed_bytes=shift(*(-by_seed for by_seed in held), lower=True),
        broken=interval(judge_hosts(mine, never, found.promise).broken_pct),
        psi_added=psi.beyond(-found.promise.psi_added_pct),
        cpu_added=cpu.beyond(-found.promise.cpu_pct_per_gib),
        disk_reads_min=float(total.reads.sum()) / spent_us * MINUTE_US,
        written_bytes_h=float(total.written.sum()) * PAGE_SIZE / spent_us * HOUR_US,
        zswap_loads_min=float(loads) / spent_us * MINUTE_US,
        compressed_share=float(zswap / max(zswapped, 1.0)),
    )


def clauses_of(found: Measured, setting: Setting, seeds: Sequence[int], cgroup: int) -> Clauses:
    """How far a setting lies beyond each clause in one cgroup."""
    nothing, promise = without(setting), found.promise
    mine, never, every = (
        found.account(which, over, cgroup).take((slice(None), 0))
        for which, over in ((setting, seeds), (nothing, seeds), (nothing, found.seeds_of(nothing)))
    )
    total = mine.sum()
    verdict = judge(total, never.sum(), promise)
    by_seed, allowed = judge(mine, never, promise).broken_pct, float(verdict.allowed_pct)
    # Where doing nothing breaks too many, what is allowed goes up and down with it.
    base = 100.0 * never.broken / np.maximum(never.minutes, 1.0) if allowed > promise.may_break_pct else 0.0
    allowed_by_seed = allowed - np.mean(base) + base
    gib = max(float(total.footprint_byte_us / max(float(total.elapsed_us), 1.0)), PAGE_SIZE) / GIB
    psi = shift(*(100.0 * a.stalled_us / a.elapsed_us for a in (mine, never, every)))
    cpu = shift(*(100.0 * a.cpu_us / a.elapsed_us / gib for a in (mine, never, every)))
    return Clauses(
        kept=bool(verdict.kept),
        broken_pct=interval(by_seed - allowed_by_seed),
        psi_pct=psi.beyond(promise.psi_added_pct),
        cpu_pct_gib=cpu.beyond(promise.cpu_pct_per_gib),
        runs_keep=by_seed <= allowed_by_seed + SLACK,
        chance=_chance(round(float(total.broken)), round(float(total.minutes)), allowed / 100.0),
    )


def without(setting: Setting) -> Point:
    """Doing nothing on the same kernel."""
    return NEVER if isinstance(setting, tuple) else setting.never


def _chance(broken: int, minutes: int, p: float) -> float:
    """Probability of so many broken minutes or more, each broken with probability p."""
    if not 0.0 < p < 1.0:
        return float(p >= 1.0 or broken == 0)
    less = (
        exp(
            lgamma(minutes + 1)
            - lgamma(k + 1)
            - lgamma(minutes - k + 1)
            + k * log(p)
            + (minutes - k) * log1p(-p)
        )
        for k in range(broken)
    )
    return max(1.0 - sum(less), 0.0)
