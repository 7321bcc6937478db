"""The best fixed setting for each cgroup, chosen when the episode is over.

An upper reference that is cheap: every setting of a grid is run, and each cgroup gets the one that saved
most of those that kept its promise on this very seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zswap_gym.agents.oracle.combine import Choice, combine
from zswap_gym.agents.oracle.episode import Episode, Plan
from zswap_gym.agents.oracle.settings import Floats, grid
from zswap_gym.agents.oracle.store import Arrays, Place
from zswap_gym.policy.promise import Account, Promise
from zswap_gym.workloads.scenario import Scenario


@dataclass(frozen=True)
class Hindsight:
    """What it chose on one seed, and what every setting came to."""

    plan: Plan
    account: Account
    """(N,): of the plan."""
    chosen: Choice
    """(N,): index of each cgroup's setting in :func:`grid`."""
    settings: Account
    """(G, N): of every setting of the grid, the same in all cgroups."""


def hindsight(scenario: Scenario, seed: int, promise: Promise) -> Hindsight:
    """On one seed, from the cache where it has been there before.

    Args:
        scenario: with the length of its episodes.
        seed: of the episode.
        promise: what each cgroup is promised.
    """
    place = Place.of("hindsight", scenario, seed, promise, np.nan_to_num(grid(), nan=-1.0).tolist())
    saved = place.load()
    if saved is None:
        saved = _search(Episode(scenario, seed, promise))
        place.save(saved)
    return Hindsight(saved["plan"], Account.of(saved["sums"]), saved["chosen"], Account.of(saved["grid"]))


def _search(episode: Episode) -> Arrays:
    each = np.repeat(grid()[:, :, None], episode.size, axis=2)
    _, settings = episode.of_settings(each)

    def run(options: Choice) -> tuple[Plan, Account]:
        own: Floats = each[:, options, np.arange(episode.size)][:, None]
        plans, accounts = episode.of_settings(own)
        return plans[:, 0], accounts.take(0)

    chosen, plan, account = combine(episode, episode.judge(settings), run)
    return {"plan": plan, "sums": account.sums, "chosen": chosen, "grid": settings.sums}
