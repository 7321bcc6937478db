"""The best of several for each cgroup, together on one host.

What a cgroup's requests come to was measured beside others' requests; together they share a disk, a pool
and a random stream. So what is chosen is run, and a cgroup that does not keep its promise there goes on to
its next best.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from zswap_gym.agents.oracle.episode import Episode, Plan
from zswap_gym.policy.promise import Account, Verdict

Choice = npt.NDArray[np.int64]

ROUNDS = 8
"""So often what is chosen is run and mended."""


def order(verdict: Verdict) -> Choice:
    """(S, N): for each cgroup the S options, best first; those that break its promise last."""
    saved = np.where(verdict.kept, verdict.saved_pct, -np.inf)
    return np.argsort(-saved, axis=0, kind="stable")


def combine(
    episode: Episode, verdict: Verdict, run: Callable[[Choice], tuple[Plan, Account]]
) -> tuple[Choice, Plan, Account]:
    """For each cgroup the best of S options with which the whole host keeps the promise.

    Args:
        episode: what is run.
        verdict: (S, N): on each option, measured with all cgroups on it; option 0 does nothing.
        run: what the options (N,) come to together.

    Returns the options, the plan and its account: of all tried the one that :func:`rank` puts first. The
    option that is best for all is among them, so that none is better than what is returned.
    """
    ranked, keeping = order(verdict), verdict.kept.sum(0)
    place, cgroup = np.zeros(episode.size, np.int64), np.arange(episode.size)
    same = np.full(episode.size, _best_for_all(episode, verdict))
    found = [(same, *run(same))]
    for _ in range(ROUNDS):
        options = np.where(place < keeping, ranked[np.minimum(place, len(ranked) - 1), cgroup], 0)
        plan, account = run(options)
        found.append((options, plan, account))
        broken = ~episode.judge(account).kept
        if (options[broken] == 0).all():
            break
        place += broken
    return max(found, key=lambda each: rank(episode, each[2]))


def _best_for_all(episode: Episode, verdict: Verdict) -> int:
    """The option that is best where all cgroups have the same."""
    saved = verdict.saved_pct @ episode.nothing.held_byte_us
    return int(np.lexsort((-saved, -verdict.kept.sum(1)))[0])


def rank(episode: Episode, account: Account) -> tuple[int, float]:
    """The larger the better: cgroups that keep the promise, then memory saved (bytes x us)."""
    kept = int(episode.judge(account).kept.sum())
    return kept, float((episode.nothing.held_byte_us - account.held_byte_us).sum())
