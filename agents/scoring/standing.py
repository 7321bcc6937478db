"""How a contestant stands to the promise: memory saved, what it cost, whether every cgroup keeps it.

Those that keep it stand first, by memory saved; one that breaks it never stands above one that keeps
it. Minutes are pooled over the seeds, per cgroup: a cgroup keeps the promise or does not, and a
contestant keeps it where all cgroups do, on all scenarios. Memory saved is compared seed by seed with
nothing done, as an interquartile mean with its 95 % interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zswap_gym.agents.scoring.trial import Trial
from zswap_gym.agents.statistics import Estimate, bootstrap
from zswap_gym.policy.promise import Promise, Verdict, judge, judge_hosts
from zswap_gym.units import PAGE_SIZE

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Worst:
    """The seed on which most minutes were broken."""

    scenario: str
    seed: int
    broken_pct: float
    saved_pct: float


@dataclass(frozen=True)
class Standing:
    """One contestant on one scenario, or on several; figures over several are means of theirs."""

    policy: str
    scenario: str
    seeds: int
    saved_pct: Estimate
    """Memory that doing nothing holds and this one does not, percent, by seed."""
    broken_pct: float
    """Minutes of cgroups over the promise's disk reads, percent."""
    psi_added_pct: float
    """Pressure beyond doing nothing, percent of the time, worst cgroup."""
    cpu_added_pct_gib: float
    """Compression and decompression beyond doing nothing, percent of a core per GiB of footprint, worst
    cgroup."""
    disk_reads_min: float
    """Pages a minute read back from the swap device, whole host."""
    written_mib_min: float
    """MiB a minute written to it, whole host."""
    keeping: int
    """Cgroups that keep the promise ..."""
    cgroups: int
    """... of so many."""
    worst: Worst

    @property
    def kept(self) -> bool:
        """Whether all cgroups keep the promise."""
        return self.keeping == self.cgroups

    @property
    def rank(self) -> tuple[bool, float]:
        """Sorts the best to the front."""
        return not self.kept, -self.saved_pct.value


def by_cgroup(trial: Trial, nothing: Trial, promise: Promise) -> Verdict:
    """The verdict (N,) on each cgroup, minutes pooled over the seeds."""
    _check_pair(trial, nothing)
    return judge(trial.account.sum(), nothing.account.sum(), promise)


def by_seed(trial: Trial, nothing: Trial, promise: Promise) -> Verdict:
    """The verdict (S,) on the whole host, seed by seed."""
    _check_pair(trial, nothing)
    return judge_hosts(trial.account, nothing.account, promise)


def saved_pct(trials: Sequence[Trial], nothing: Sequence[Trial], promise: Promise) -> Floats:
    """Memory saved (scenarios, S), percent."""
    return np.stack([by_seed(t, n, promise).saved_pct for t, n in zip(trials, nothing, strict=True)])


def standing(
    trials: Sequence[Trial], nothing: Sequence[Trial], promise: Promise, scenario: str | None = None
) -> Standing:
    """How the contestant of these trials stands.

    Args:
        trials: of one contestant, one for each scenario, all on equally many seeds.
        nothing: on the same scenarios and seeds, nothing done.
        promise: what is promised, the one whose broken minutes were counted.
        scenario: name for all of them together; None = that of the first.
    """
    pairs = list(zip(trials, nothing, strict=True))
    hosts = [judge_hosts(t.account.sum(), n.account.sum(), promise) for t, n in pairs]
    kept = [by_cgroup(t, n, promise).kept for t, n in pairs]
    minutes = [60.0 * t.hours * len(t.seeds) for t in trials]

    def mean(values: Sequence[npt.NDArray[np.float64] | float]) -> float:
        return float(np.mean([float(value) for value in values]))

    reads = [t.account.reads.sum() / m for t, m in zip(trials, minutes, strict=True)]
    written = [t.account.written.sum() * PAGE_SIZE / m for t, m in zip(trials, minutes, strict=True)]
    return Standing(
        policy=trials[0].policy,
        scenario=scenario or trials[0].scenario,
        seeds=len(trials[0].seeds),
        saved_pct=bootstrap(saved_pct(trials, nothing, promise)),
        broken_pct=mean([host.broken_pct for host in hosts]),
        psi_added_pct=mean([host.psi_added_pct for host in hosts]),
        cpu_added_pct_gib=mean([host.cpu_added_pct_gib for host in hosts]),
        disk_reads_min=mean(reads),
        written_mib_min=mean(written) / (1 << 20),
        keeping=sum(int(row.sum()) for row in kept),
        cgroups=sum(len(row) for row in kept),
        worst=max((_worst(t, n, promise) for t, n in pairs), key=lambda w: (w.broken_pct, -w.saved_pct)),
    )


def _worst(trial: Trial, nothing: Trial, promise: Promise) -> Worst:
    found = by_seed(trial, nothing, promise)
    at = int(np.lexsort((found.saved_pct, -found.broken_pct))[0])
    return Worst(trial.scenario, trial.seeds[at], float(found.broken_pct[at]), float(found.saved_pct[at]))


def _check_pair(trial: Trial, nothing: Trial) -> None:
    if (trial.scenario, trial.seeds) != (nothing.scenario, nothing.seeds):
        raise ValueError(
            f"{trial.policy} on {trial.scenario} has other seeds than nothing done on {nothing.scenario}"
        )
