"""Scores: policies on a suite under its promise, as rows that two people can compare."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zswap_gym.agents.contestants import Contestant, contestant
from zswap_gym.agents.evaluate import Tick, evaluate
from zswap_gym.agents.parallel import Workers
from zswap_gym.agents.results import OVERALL, Results
from zswap_gym.agents.scoring.standing import Standing
from zswap_gym.agents.scoring.suite import Suite
from zswap_gym.kernel.jit import model_digest

DIGITS = 4
"""Decimals of the figures in a row: what is beyond is the machine's, not the policy's."""
ALL = "all"
"""Scenario of the row over all of them."""


@dataclass(frozen=True)
class Scores:
    """What a suite made of some policies."""

    suite: Suite
    model: str
    """Digest of the kernel model."""
    contestants: Mapping[str, Contestant]
    """By name."""
    results: Results

    def rows(self) -> list[dict[str, Any]]:
        """A row per policy and scenario, and one of scenario ``all`` per policy; best first in each."""
        names = (*self.results.scenarios, OVERALL)
        return [_row(standing) for name in names for standing in self._standings(name)]

    def line(self, policy: str) -> str:
        """One line of JSON: the row over all, with the digests of policy, suite and model."""
        row = _row(self.results.standing(policy, OVERALL))
        digests = {
            "digest": self.contestants[policy].digest(),
            "suite": self.suite.label,
            "model": self.model,
        }
        return json.dumps({"policy": row.pop("policy")} | digests | row)

    def notes(self, policy: str) -> list[str]:
        """Where the policy is asked at another interval than it was trained for."""
        trained = self.contestants[policy].interval_s
        intervals = {s.name: s.episode.decision_interval for s in self.suite.scenarios}
        return [
            f"{policy} was trained to decide every {trained:g} s; {name} asks every {interval:g} s."
            for name, interval in intervals.items()
            if trained is not None and interval != trained
        ]

    def document(self) -> dict[str, Any]:
        """Suite, model and all rows."""
        return {"suite": self.suite.label, "model": self.model, "rows": self.rows()}

    def _standings(self, scenario: str) -> list[Standing]:
        found = self.results.standings(scenario)
        return [s for s in found if s.policy in self.contestants]  # the reference is there to compare with


def score(
    policies: Mapping[str, str | Path],
    suite: Suite,
    *,
    workers: Workers | None = None,
    on_episodes: Tick | None = None,
) -> Scores:
    """Run policies through a suite. UserError as of :func:`evaluate`.

    Args:
        policies: by name, what :func:`zswap_gym.agents.contestants.contestant` understands. A trained one
            is asked at whatever interval a scenario has.
        suite: what they meet.
        workers: who runs it; None = this process.
        on_episodes: called as episodes end.
    """
    contestants = {name: contestant(spec).at_any_interval() for name, spec in policies.items()}
    results = evaluate(
        contestants, suite.scenarios, suite.seeds, promise=suite.promise, untold=False, workers=workers,
        on_episodes=on_episodes,
    )  # fmt: skip
    return Scores(suite, model_digest(), contestants, results)


def _row(s: Standing) -> dict[str, Any]:
    return {
        "policy": s.policy,
        "scenario": ALL if s.scenario == OVERALL else s.scenario,
        "saved_pct": _rounded(s.saved_pct.value),
        "saved_low": _rounded(s.saved_pct.low),
        "saved_high": _rounded(s.saved_pct.high),
        "broken_pct": _rounded(s.broken_pct),
        "psi_added_pct": _rounded(s.psi_added_pct),
        "cpu_added_pct_gib": _rounded(s.cpu_added_pct_gib),
        "disk_reads_min": _rounded(s.disk_reads_min),
        "kept": s.kept,
        "seeds": s.seeds,
    }


def _rounded(value: float) -> float:
    return round(value, DIGITS) + 0.0  # no -0.0
