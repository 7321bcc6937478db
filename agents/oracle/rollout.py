"""Rollouts: change a plan stage by stage, each time trying the rest of the episode on clones to its end.

Bertsekas's fortified rollout with the constraints of a promise ("Rollout, Policy Iteration, and Distributed
Reinforcement Learning", 2020): at each stage several ways to spend it are tried from a clone of the
machine, the plan goes on afterwards as before, and the account of the whole episode says what each is
worth. No value of the end has to be guessed, and whether the promise is kept is known, not estimated.

What a cgroup's requests do shows in that cgroup's account, so one clone tries something for all of them at
once, and the changes that pay are put together and tried again as a whole. Only what is better as a whole
is taken: the plan never becomes worse than it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zswap_gym.agents.oracle.combine import rank
from zswap_gym.agents.oracle.episode import Episode, Plan
from zswap_gym.agents.oracle.settings import Asked, Floats, Follower
from zswap_gym.envs.fleet import Fleet
from zswap_gym.host.types import Table
from zswap_gym.policy.promise import Account
from zswap_gym.units import PAGE_SIZE

BREACH = 10.0
"""Price of a breach of a whole clause, in memory of the cgroup: more than can be saved."""
FRESH = 3
"""Ways drawn anew at each stage; as many again are the plan's own requests made larger or smaller."""


@dataclass(frozen=True)
class Pass:
    """Once through the episode."""

    stages: int
    """In so many parts: for one of them something else is tried at a time."""
    price: float
    """Of using up all of what the promise allows, as a share of what the plan saves. High at first: what is
    allowed goes where it pays most."""


PASSES = (Pass(6, 0.3), Pass(12, 0.0), Pass(24, 0.0))


class Search:
    """A plan that gets better.

    Args:
        episode: what it is for.
        plan: to begin with.
        account: what that comes to.
    """

    def __init__(self, episode: Episode, plan: Plan, account: Account) -> None:
        self.episode = episode
        self.plan, self.account = plan, account
        self.best, self.best_account = plan, account
        """Of all that was run to its end, by :func:`rank`."""
        self._weight = episode.nothing.held_byte_us / episode.nothing.held_byte_us.sum()
        self._price = 0.0

    def go_through(self, each: Pass, rng: np.random.Generator) -> None:
        """One pass, from the plan as it is."""
        self._price = each.price * self._saved()
        steps = -(-self.episode.steps // each.stages)
        trunk = self.episode.trunk()
        for first in range(0, self.episode.steps, steps):
            end = min(first + steps, self.episode.steps)
            self._stage(trunk, first, end, rng)
            if end < self.episode.steps:
                self.episode.follow_plans(trunk, self.plan[:, None], first, end)

    def _saved(self) -> float:
        """Share of the host's memory the best plan saves; at least a percent."""
        _, saved = rank(self.episode, self.best_account)
        return max(saved / float(self.episode.nothing.held_byte_us.sum()), 0.01)

    def worth(self, account: Account) -> Floats:
        """(..., N): memory saved less the price of what was used of the promise, as shares of the host's."""
        verdict, promise = self.episode.judge(account), self.episode.promise
        used = np.maximum.reduce([
            verdict.broken_pct / verdict.allowed_pct,
            verdict.psi_added_pct / promise.psi_added_pct,
            verdict.cpu_added_pct_gib / promise.cpu_pct_per_gib,
        ]).clip(0.0)  # fmt: skip
        worth: Floats = self._weight * (
            verdict.saved_pct / 100.0 - self._price * used - BREACH * verdict.breach
        )
        return worth

    def _stage(self, trunk: Fleet, first: int, end: int, rng: np.random.Generator) -> None:
        """Try other requests from ``first`` on, then all that pays at once."""
        ways, accounts = self._try(trunk, first, end, rng)
        gain = self.worth(accounts) - self.worth(self.account)
        mixes = self._mixes(ways, gain, first)
        for way in range(ways.shape[1]):
            self._consider(self._changed(ways[:, way], first), accounts.take(way))
        if mixes:
            plans = np.stack(mixes, axis=1)
            fleet = self.episode.branch(trunk, plans.shape[1])
            together = self.episode.follow_plans(fleet, plans, first, self.episode.steps)
            for i, plan in enumerate(mixes):
                self._consider(plan, together.take(i))

    def _consider(self, plan: Plan, account: Account) -> None:
        """Take a plan for the whole host where it is better."""
        if rank(self.episode, account) > rank(self.episode, self.best_account):
            self.best, self.best_account = plan, account
        if self.worth(account).sum() > self.worth(self.account).sum():
            self.plan, self.account = plan, account

    def _try(self, trunk: Fleet, first: int, end: int, rng: np.random.Generator) -> tuple[Floats, Account]:
        """Ways to go on, (3, W, T - first, N), and what each comes to in the end, (W, N).

        A way is something else up to ``end``, and then the plan, some with smaller or larger releases: what
        is spent now has to be saved later.
        """
        settings, factors, later = _draw(rng, self.episode.size)
        fresh, scaled = settings.shape[1], factors.shape[1]
        fleet = self.episode.branch(trunk, fresh + scaled)
        follower = Follower(settings, fleet.tables[:fresh])

        def decide(step: int, tables: Table) -> Asked:
            if step < end:
                new = follower.decide(tables[:fresh], self.episode.minutes)
                own = _scaled(self.plan[:, step], factors)
                return tuple(np.concatenate(pair) for pair in zip(new, own, strict=True))  # type: ignore[return-value]
            asked = _scaled(self.plan[:, step], later)
            return asked[0], asked[1], asked[2]

        return self.episode.run(fleet, decide, first, self.episode.steps), fleet.account.take(...)

    def _mixes(self, ways: Floats, gain: Floats, first: int) -> list[Plan]:
        """Plans in which every cgroup goes its best way; only the better half does; only the best one."""
        way, top = gain.argmax(0), gain.max(0)
        better = np.flatnonzero(top > 0)
        better = better[np.argsort(-top[better], kind="stable")]
        counts = dict.fromkeys((better.size, -(-better.size // 2), min(better.size, 1)))
        return [self._mixed(ways, way, better[:count], first) for count in counts if count]

    def _mixed(
        self, ways: Floats, way: npt.NDArray[np.int64], changing: npt.NDArray[np.int64], first: int
    ) -> Plan:
        plan = self.plan.copy()
        for i in changing:
            plan[:, first:, i] = ways[:, way[i], :, i]
        return plan

    def _changed(self, way: Floats, first: int) -> Plan:
        plan = self.plan.copy()
        plan[:, first:] = way
        return plan


def _draw(rng: np.random.Generator, n: int) -> tuple[Floats, Floats, Floats]:
    """What to try next.

    Settings (3, 1 + FRESH, N) for a stage, the first to do nothing; factors (3, FRESH, N) on the plan's
    requests for a stage; factors (3, 1 + 2 * FRESH, N) on those that come later. Ages from a minute to four
    hours, offers of up to half and releases of up to a fifth of the footprint per minute, by ratios; a fifth
    of each are none. Half of what comes later stays as it is.
    """
    shape = (FRESH, n)
    age = np.exp(rng.uniform(np.log(60.0), np.log(14400.0), shape))
    offer = np.exp(rng.uniform(np.log(0.005), np.log(0.5), shape)) * (rng.random(shape) > 0.2)
    release = np.exp(rng.uniform(np.log(0.001), np.log(0.2), shape)) * (rng.random(shape) > 0.2)
    settings = np.concatenate([np.zeros((3, 1, n)), np.stack([age, offer, release])], axis=1)
    factors = np.exp2(rng.uniform(-2.0, 2.0, (3, *shape)))
    factors[1] *= rng.random(shape) > 0.2
    later = np.ones((3, 1 + 2 * FRESH, n))
    later[2] = np.where(
        rng.random(later[2].shape) < 0.5, 1.0, np.exp2(rng.uniform(-2.0, 1.0, later[2].shape))
    )
    return settings, factors, later


def _scaled(requests: Floats, factors: Floats) -> Floats:
    """Requests (3, N) of the plan times factors (3, W, N): ages, amounts and releases in whole pages."""
    asked = requests[:, None] * factors
    asked[1:] = np.floor(asked[1:] / PAGE_SIZE) * PAGE_SIZE
    asked[0] = np.where(asked[1] > 0, np.maximum(asked[0], 1.0), np.nan)
    return asked
