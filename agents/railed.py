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
from zswap_gym.envs.fleet import Ended
from zswap_gym.host.types import COLUMNS, Outcome, Request, Sample, Table
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

    def asked(self, inode: int, request: Request) -> None:
        """What is told here was decided elsewhere."""

    def describe(self) -> dict[str, Any]:
        return {"kind": "law", "name": self.name}


class Rails:
    """The rails over one episode of one host.

    Args:
        limits: their settings.
        cgroups: the sampled cgroups, in order.
        interval_s: between two decisions.
    """

    def __init__(self, limits: Limits, cgroups: Sequence[str], interval_s: float) -> None:
        self._proposal = _Proposal()
        self._judge = Judge(
            self._proposal, self._proposal, replace(limits, allow=EVERYONE, own_cgroup=None), interval_s
        )
        self._inodes = {name: i for i, name in enumerate(cgroups, start=1)}

    def allow(self, table: Table, requests: Sequence[Request]) -> list[Request]:
        """What may be done of the requests, one per row of the sample table (N, K)."""
        self._proposal.requests = requests
        rows = zip(self._inodes.items(), table.tolist(), strict=True)
        samples = [Sample(*cgroup, **dict(zip(COLUMNS, row, strict=True))) for cgroup, row in rows]
        decisions, _ = self._judge.decide(samples)
        for decision in decisions:
            if not decision.allowed.is_nothing:
                self._judge.charge(decision.sample.inode, decision.allowed)
        return [decision.allowed for decision in decisions]

    def settle(self, outcomes: Sequence[Ended]) -> None:
        """Correct the budgets by what the last step's requests did write."""
        for name, errno, pages, _, release_errno, released in outcomes:
            outcome = Outcome(
                errno,
                pages,
                pages * PAGE_SIZE,
                release_errno=release_errno,
                released_bytes=released * PAGE_SIZE,
            )
            self._judge.settle(self._inodes[name], outcome)
