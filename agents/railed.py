"""A contestant as it would run on a host: what the controller's rails let through of its requests.

``policy.npz+rails`` proposes what the policy proposes; the Judge of the daemon raises ages, caps bytes, stops
under pressure and trips the breaker where pages come back (zswap_gym/controller/rails.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from zswap_gym.controller.judge import Judge
from zswap_gym.controller.rails import Limits
from zswap_gym.envs.writeback import WritebackEnv
from zswap_gym.host.types import COLUMNS, Outcome, Request, Sample
from zswap_gym.units import PAGE_SIZE

EVERYONE = ("*",)
"""The allow-list does not count here: every cgroup of a scenario is meant."""


@dataclass
class _Proposal:
    """A decider that says what it was told to say."""

    name: str = "contestant"
    requests: Sequence[Request] = field(default_factory=list)

    def decide(self, samples: Sequence[Sample], dt_s: float) -> list[Request]:  # noqa: ARG002
        return list(self.requests)

    def describe(self) -> dict[str, Any]:
        return {"kind": "law", "name": self.name}


class Rails:
    """The rails over one episode.

    Args:
        limits: their settings.
        env: just reset.
    """

    def __init__(self, limits: Limits, env: WritebackEnv) -> None:
        self._proposal = _Proposal()
        self._judge = Judge(
            self._proposal, self._proposal, replace(limits, allow=EVERYONE, own_cgroup=None), env.interval_s
        )
        self._inodes = {name: i for i, name in enumerate(env.cgroups, start=1)}

    def allow(self, env: WritebackEnv, requests: Sequence[Request]) -> list[Request]:
        """What may be done of the requests, one per cgroup of the environment, in order."""
        self._proposal.requests = requests
        rows = zip(self._inodes.items(), env.table.tolist(), strict=True)
        samples = [Sample(*who, **dict(zip(COLUMNS, row, strict=True))) for who, row in rows]
        decisions, _ = self._judge.decide(samples)
        for decision in decisions:
            if not decision.allowed.is_nothing:
                self._judge.charge(decision.sample.inode, decision.allowed)
        return [decision.allowed for decision in decisions]

    def settle(self, info: dict[str, Any]) -> None:
        """Correct the budgets by what a step's requests did write."""
        columns = (column.tolist() for column in info["outcomes"].values())
        for inode, (ended, errno, pages, _, release_errno, released) in zip(
            self._inodes.values(), zip(*columns, strict=True), strict=True
        ):
            if ended:
                outcome = Outcome(
                    errno,
                    pages,
                    pages * PAGE_SIZE,
                    release_errno=release_errno,
                    released_bytes=released * PAGE_SIZE,
                )
                self._judge.settle(inode, outcome)
