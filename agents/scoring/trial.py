"""One contestant on one scenario, many seeds side by side: what came of it, seed by seed and per cgroup.

The one place where evaluation, tuning, scores and the oracle measure. Every seed draws its own instance
of the scenario (sizes, device, events) and its own warm start; nothing of a training's pool is met again.
Hosts share nothing, so what a seed gives is the same alone, beside others, or in another process.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from zswap_gym.agents.contestants import Asked, Contestant
from zswap_gym.agents.railed import Rails
from zswap_gym.controller.rails import Limits
from zswap_gym.envs.event_log import EventCost
from zswap_gym.envs.fleet import Fleet
from zswap_gym.envs.reference import references
from zswap_gym.envs.reward import TERMS, RewardWeights
from zswap_gym.envs.vector import WritebackVectorEnv
from zswap_gym.envs.warmstart import episode_starts
from zswap_gym.policy.actions import from_requests, to_requests
from zswap_gym.policy.promise import Account, Promise
from zswap_gym.workloads.scenario import Scenario

Floats = npt.NDArray[np.float64]

TOGETHER = 8
"""So many seeds run side by side: enough to share what a decision costs in Python, few enough to leave
work for every core and to fit the memory."""


@dataclass(frozen=True)
class Conditions:
    """What is the same for all contestants."""

    promise: Promise = field(default_factory=Promise)
    """Minutes are counted as broken by this one."""
    weights: RewardWeights = field(default_factory=RewardWeights)
    """Prices of the reward."""
    release: bool | None = None
    """Whether a writeback is followed by a release; None = as the scenario says."""
    episode_s: float | None = None
    """Length of the episodes, s; None = the scenario's."""
    rails: Limits = field(default_factory=Limits)
    """The controller's, kept by those marked ``+rails``."""


@dataclass(frozen=True)
class Trial:
    """What one contestant did on one scenario: S seeds, N cgroups."""

    policy: str
    scenario: str
    seeds: tuple[int, ...]
    cgroups: tuple[str, ...]
    steps: int
    """Decisions an episode."""
    hours: float
    """Simulated time an episode, warm-up left out."""
    account: Account
    """Float64 (S, N)."""
    terms: Floats
    """(S, len(TERMS)): sums over the episode, of the whole host."""
    reward: Floats
    """(S,): sum of weight times term, GiB*h."""
    events: tuple[tuple[EventCost, ...], ...]
    """By seed the arrivals, critical windows and resumes, and what they cost."""
    decide_us: Floats
    """(S,): wall time per decision and host of the contestant alone, median."""

    @classmethod
    def join(cls, parts: Sequence[Trial]) -> Trial:
        """Trials of the same contestant and scenario on other seeds, as one."""
        first = parts[0]
        return cls(
            first.policy, first.scenario, tuple(seed for part in parts for seed in part.seeds),
            first.cgroups, first.steps, first.hours,
            Account.concatenate([part.account for part in parts]),
            np.concatenate([part.terms for part in parts]),
            np.concatenate([part.reward for part in parts]),
            tuple(own for part in parts for own in part.events),
            np.concatenate([part.decide_us for part in parts]),
        )  # fmt: skip


def run_trial(
    name: str,
    policy: Contestant,
    scenario: Scenario,
    seeds: Sequence[int],
    conditions: Conditions | None = None,
) -> Trial:
    """One contestant on one scenario, all ``seeds`` side by side.

    Raises:
        UserError: a policy of another contract than the scenario's, an arm or option that does not fit it.
    """
    conditions = conditions or Conditions()
    env = WritebackVectorEnv(
        len(seeds), policy.scenario(scenario), release=conditions.release,
        objective="bill", reward=conditions.weights, promise=conditions.promise,
        episode_s=conditions.episode_s, snapshots=0,
    )  # fmt: skip
    one, fleet = env.one, env.fleet
    for e, start in enumerate(episode_starts(one.scenario, one.digest, seeds, 0, fleet.threads)):
        fleet.adopt(e, *start)
    policy.driver.start(one, fleet, seeds)
    rails = _Rails(conditions.rails, fleet, one.interval_s) if policy.railed else None
    terms, reward = np.zeros((len(seeds), len(TERMS))), np.zeros(len(seeds))
    taken = []
    for _ in range(one.steps_per_episode):
        before = time.perf_counter()
        asked = policy.driver.decide(one, fleet)
        taken.append(time.perf_counter() - before)
        fleet.step(*(rails.allow(fleet, asked) if rails else asked), one.interval_s)
        if rails:
            rails.settle(fleet)
        terms += fleet.terms
        reward += conditions.weights.reward(fleet.terms)
    return Trial(
        policy=name,
        scenario=scenario.name,
        seeds=tuple(seeds),
        cgroups=fleet.cgroups,
        steps=one.steps_per_episode,
        hours=one.steps_per_episode * one.interval_s / 3600.0,
        account=fleet.account.take(...),
        terms=terms,
        reward=reward,
        events=tuple(fleet.events.costs(e) for e in range(len(seeds))),
        decide_us=np.full(len(seeds), float(np.median(taken)) * 1e6 / len(seeds)),
    )


def run_trials(
    contestants: Mapping[str, Contestant],
    scenario: Scenario,
    seeds: Sequence[int],
    conditions: Conditions | None = None,
) -> list[Trial]:
    """Every contestant in turn on the same seeds, which are warmed up once: a piece of work for a worker."""
    return [run_trial(name, policy, scenario, seeds, conditions) for name, policy in contestants.items()]


def nothing_done(scenario: Scenario, seeds: Sequence[int], promise: Promise | None = None) -> Account:
    """Accounts (S, N) of the same hosts on the same seeds with nothing done, kept by this process."""
    return Account.stack([found.account for found in references(scenario, seeds, promise=promise)])


def chunks(seeds: Sequence[int], workers: int) -> list[tuple[int, ...]]:
    """Seeds in order, in portions of at most :data:`TOGETHER` and at least one for each worker."""
    size = max(1, min(TOGETHER, -(-len(seeds) // workers)))
    return [tuple(seeds[i : i + size]) for i in range(0, len(seeds), size)]


class _Rails:
    """The controller's rails over every host of a fleet."""

    def __init__(self, limits: Limits, fleet: Fleet, interval_s: float) -> None:
        self._each = [Rails(limits, fleet.cgroups, interval_s) for _ in fleet.hosts]

    def allow(self, fleet: Fleet, asked: Asked) -> Asked:
        """What they let through."""
        let = [
            from_requests(rails.allow(table, to_requests(*own)))
            for rails, table, own in zip(self._each, fleet.tables, _by_host(asked), strict=True)
        ]
        age, size, release = (np.stack(part) for part in zip(*let, strict=True))
        return age, size, release

    def settle(self, fleet: Fleet) -> None:
        """Tell them what was written."""
        for e, rails in enumerate(self._each):
            rails.settle(fleet.outcomes(e))


def _by_host(asked: Asked) -> Iterable[tuple[Floats, Floats, Floats]]:
    return zip(*asked, strict=True)
