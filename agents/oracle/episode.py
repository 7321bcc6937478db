"""One episode that is run again and again: from its beginning, or from a moment on, in several ways at once.

What is asked for is a **plan**, float64 (3, T, N): age_s, max_bytes and release_bytes of T decisions for N
cgroups. A cloned machine goes on with the same random stream, so a plan comes to the same wherever it runs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from zswap_gym.agents.oracle.settings import Asked, Floats, Follower
from zswap_gym.envs.fleet import Fleet
from zswap_gym.envs.reference import TOGETHER, references
from zswap_gym.envs.warmstart import episode_start, scenario_digest
from zswap_gym.host.types import Table
from zswap_gym.policy.actions import from_requests
from zswap_gym.policy.laws import Law
from zswap_gym.policy.promise import Account, Promise, Verdict, judge
from zswap_gym.workloads.scenario import Scenario

Plan = npt.NDArray[np.float64]
Decide = Callable[[int, Table], Asked]
"""Requests (E, N) of the decision of that number, from samples (E, N, K)."""


class Episode:
    """The episode ``seed`` of a scenario, as an evaluation on that seed meets it.

    Args:
        scenario: with the length of its episodes.
        seed: of the episode.
        promise: what each cgroup is promised.
    """

    def __init__(self, scenario: Scenario, seed: int, promise: Promise) -> None:
        self.scenario, self.seed, self.promise = scenario, seed, promise
        self.steps, self.interval_s = scenario.episode.steps, scenario.episode.decision_interval
        self._start = episode_start(scenario, scenario_digest(scenario), seed, 0)
        (reference,) = references(scenario, [seed], snapshots=0, promise=promise)
        self.nothing = reference.account
        """(N,): with nothing done."""
        self._fleets: dict[int, Fleet] = {}

    @property
    def minutes(self) -> float:
        """Between decisions."""
        return self.interval_s / 60.0

    @property
    def size(self) -> int:
        """N."""
        return int(self.nothing.minutes.size)

    def judge(self, account: Account) -> Verdict:
        """How an account (..., N) of it stands to the promise."""
        return judge(account, self.nothing, self.promise)

    def begin(self, size: int) -> Fleet:
        """``size`` hosts at its beginning."""
        fleet = self._fleet(size)
        for e in range(size):
            fleet.adopt(e, *self._start)
        return fleet

    def branch(self, trunk: Fleet, size: int) -> Fleet:
        """``size`` hosts where ``trunk``, a fleet of one, stands. Those of an earlier call are gone."""
        fleet = self._fleet(size)
        for e in range(size):
            fleet.follow(e, trunk)
        return fleet

    def trunk(self) -> Fleet:
        """A host of its own at the beginning."""
        fleet = Fleet(1, promise=self.promise)
        fleet.adopt(0, *self._start)
        return fleet

    def _fleet(self, size: int) -> Fleet:
        if size not in self._fleets:
            self._fleets[size] = Fleet(size, promise=self.promise)
        return self._fleets[size]

    def run(self, fleet: Fleet, decide: Decide, first: int, end: int) -> Floats:
        """Decisions ``first`` to ``end``; returns what was asked for, (3, E, end - first, N)."""
        taken = np.empty((3, fleet.size, end - first, self.size))
        for step in range(first, end):
            asked = decide(step, fleet.tables)
            fleet.step(*asked, self.interval_s)
            taken[:, :, step - first] = asked
        return taken

    def follow_plans(self, fleet: Fleet, plans: Floats, first: int, end: int) -> Account:
        """Decisions ``first`` to ``end`` by plans (3, E, T, N); the accounts (E, N) so far."""
        self.run(fleet, lambda step, _: (plans[0, :, step], plans[1, :, step], plans[2, :, step]), first, end)
        return fleet.account.take(...)

    def plan_of(self, plan: Plan) -> Account:
        """(N,): what a plan comes to."""
        return self.follow_plans(self.begin(1), plan[:, None], 0, self.steps).take(0)

    def of_settings(self, settings: Floats) -> tuple[Floats, Account]:
        """What settings (3, S, N) ask for, plans (3, S, T, N), and come to, (S, N)."""
        plans, accounts = [], []
        for at in range(0, settings.shape[1], TOGETHER):
            part = settings[:, at : at + TOGETHER]
            fleet = self.begin(part.shape[1])
            follower = Follower(part, fleet.tables)
            plans.append(self.run(fleet, self._by(follower), 0, self.steps))
            accounts.append(fleet.account.take(...))
        return np.concatenate(plans, axis=1), Account.concatenate(accounts)

    def _by(self, follower: Follower) -> Decide:
        return lambda _, tables: follower.decide(tables, self.minutes)

    def of_law(self, law: Law) -> tuple[Plan, Account]:
        """What a law asks for and comes to."""
        fleet = self.begin(1)
        law.reset(self.size)

        def decide(_: int, tables: Table) -> Asked:
            age, size, release = from_requests(law.decide(tables[0], self.interval_s))
            return age[None], size[None], release[None]

        return self.run(fleet, decide, 0, self.steps)[:, 0], fleet.account.take(0)
