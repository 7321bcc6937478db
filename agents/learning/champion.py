"""The champion: who is best among all that trainings came to **and the tuned rules**, on what none saw.

Training ends in something better than the best rule, or hands out that rule. Each candidate is judged on a
few new draws as it comes; the best few, each also somewhat more cautious than it learned to be, and the best
rules meet other draws; who is best on both is the champion. Figures are told of a third set, which chose
nothing.

By Deb's rule throughout (tuning/objective.py): whoever keeps the promise to every cgroup is above whoever
does not.

RUN/champion.json    who it is, how it stands, the best rule and every candidate
RUN/champion.npz     the champion, where it is a policy
RUN/champion.yaml    the champion, where it is a rule
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from zswap_gym.agents.contestants import Contestant, contestant
from zswap_gym.agents.parallel import Workers
from zswap_gym.agents.scoring.standing import Standing
from zswap_gym.agents.scoring.trial import Trial
from zswap_gym.agents.tuning.objective import Bench, Outcome, join
from zswap_gym.atomic import write_atomically
from zswap_gym.errors import UserError
from zswap_gym.policy.features import FEATURES, INDEX
from zswap_gym.policy.promise import Promise
from zswap_gym.policy.runtime import Policy
from zswap_gym.workloads.scenario import Scenario

FILE = "champion.json"
HELD_OUT = 20_000
"""Draws from here on are met by no training, and the first of them choose a champion."""
TEST = 30_000
"""Draws from here on choose nothing."""


@dataclass(frozen=True)
class Candidate:
    """One who may become champion."""

    name: str
    policy: Policy | None
    """None for a rule."""
    rule: str = ""
    """A rule as contestants are written."""
    judged: Outcome | None = None
    """On the draws that each is judged on as it comes."""
    final: Outcome | None = None
    """On those and the draws of the final."""

    @property
    def contestant(self) -> Contestant:
        """As trials take it."""
        return contestant(self.policy if self.policy is not None else self.rule).at_any_interval()

    @property
    def value(self) -> float:
        """By which it ranks."""
        found = self.final or self.judged
        return found.value if found is not None else -np.inf


class Jury:
    """Judges candidates on scenarios, beside the same hosts with nothing done."""

    def __init__(
        self, scenarios: Sequence[Scenario], promise: Promise, seeds: int, final_seeds: int, workers: Workers
    ) -> None:
        self._bench = Bench(scenarios, promise, workers)
        self._first = range(HELD_OUT, HELD_OUT + seeds)
        self._rest = range(HELD_OUT + seeds, HELD_OUT + seeds + final_seeds)
        self._trials: dict[str, list[Trial]] = {}

    def judge(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates with their first judgement."""
        trials = self._bench.run({c.name: c.contestant for c in candidates}, self._first)
        nothing = self._bench.nothing(self._first)
        self._trials |= trials
        return [replace(c, judged=self._bench.outcome(trials[c.name], nothing)) for c in candidates]

    def final(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates with their second, the best first."""
        unknown = [c for c in candidates if c.name not in self._trials]
        if unknown:
            self.judge(unknown)
        trials = self._bench.run({c.name: c.contestant for c in candidates}, self._rest)
        nothing = join([self._bench.nothing(self._first), self._bench.nothing(self._rest)])
        found = [
            replace(c, final=self._bench.outcome(join([self._trials[c.name], trials[c.name]]), nothing))
            for c in candidates
        ]
        return sorted(found, key=lambda c: -c.value)


def cautious(policy: Policy, by: float) -> Policy:
    """The policy as if each cgroup's caution were higher by so much: it saves less and breaks less.

    Caution enters by its normaliser (its own, the mean's and the maximum's), so no weight changes.
    """
    at = [INDEX["caution"] + part * len(FEATURES) for part in range(3)]
    mean = policy.scale.mean.copy()
    mean[at] -= by
    return replace(policy, scale=replace(policy.scale, mean=mean))


def finalists(candidates: Sequence[Candidate], many: int, cautions: Sequence[float]) -> list[Candidate]:
    """The best policies, each with every caution, and the best rules."""
    ranked = sorted(candidates, key=lambda c: -c.value)
    policies = [c for c in ranked if c.policy is not None][:many]
    rules = [c for c in ranked if c.policy is None][:many]
    variants = [
        replace(c, name=f"{c.name} caution +{by:g}", policy=cautious(c.policy, by), judged=None) if by else c
        for c in policies
        if c.policy is not None
        for by in cautions
    ]
    return [*variants, *rules]


def describe(standing: Standing, kind: str) -> dict[str, Any]:
    """How a champion stands, JSON-able, by the names of score's rows."""
    return {
        "policy": standing.policy,
        "kind": kind,
        "saved_pct": standing.saved_pct.value,
        "saved_low": standing.saved_pct.low,
        "saved_high": standing.saved_pct.high,
        "broken_pct": standing.broken_pct,
        "psi_added_pct": standing.psi_added_pct,
        "cpu_added_pct_gib": standing.cpu_added_pct_gib,
        "keeping": standing.keeping,
        "cgroups": standing.cgroups,
        "kept": standing.kept,
        "seeds": standing.seeds,
    }


HANDED_OUT = {".npz": "policy.npz", ".yaml": "rule.yaml"}
"""What a champion's file is called where it is handed out, by what it is."""


def hand_out(champion: Path, folder: Path) -> Path:
    """The champion's file in another folder, there whole or not at all; its path."""
    return write_atomically(folder / HANDED_OUT[champion.suffix], champion.read_bytes())


def champion_file(run: Path) -> Path:
    """The champion of a run: a policy or a rule's file; nothing is unpickled.

    Raises:
        UserError: the folder holds no run, or one that has not chosen yet.
    """
    if not (run / "experiment.yaml").is_file():
        raise UserError(
            f"{run}: is not a training run (no experiment.yaml); give the folder 'zswap-gym train' wrote"
        )
    for name in ("champion.npz", "champion.yaml"):
        if (run / FILE).is_file() and (run / name).is_file():
            return run / name
    raise UserError(f"{run}: has no champion yet; go on with 'zswap-gym train --resume'")
