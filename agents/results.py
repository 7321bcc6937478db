"""What an evaluation found: a trial per contestant and scenario, and what follows from them; JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zswap_gym.agents.scoring.bill import Bill, bill, difference_pct
from zswap_gym.agents.scoring.standing import Standing, by_cgroup, by_seed, saved_pct, standing
from zswap_gym.agents.scoring.trial import Trial
from zswap_gym.agents.statistics import Estimate, paired_difference, share_better
from zswap_gym.atomic import write_atomically
from zswap_gym.envs.event_log import EventCost
from zswap_gym.envs.reward import TERMS
from zswap_gym.policy.promise import SUMS, Account, Promise

Floats = npt.NDArray[np.float64]

OVERALL = "all scenarios"
"""The scenario name of summaries over all of them."""


@dataclass(frozen=True)
class Results:
    """All trials of an evaluation."""

    trials: tuple[Trial, ...]
    policies: tuple[str, ...]
    scenarios: tuple[str, ...]
    seeds: tuple[int, ...]
    reference: str
    """The policy all others are compared with: it leaves everything alone."""
    learned: tuple[str, ...] = ()
    """Which of the policies were trained; the rest are rules ..."""
    foreseeing: tuple[str, ...] = ()
    """... but for these, which know the future."""
    promise: Promise = field(default_factory=Promise)
    objective: str = "promise"
    untold: tuple[Trial, ...] = ()
    """On scenarios whose events are announced: the same with nobody to announce them."""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def trial(self, policy: str, scenario: str) -> Trial:
        """What a policy did on a scenario."""
        return next(t for t in self.trials if (t.policy, t.scenario) == (policy, scenario))

    def of(self, policy: str, scenario: str = OVERALL) -> list[Trial]:
        """Its trial on a scenario, or on all of them."""
        return [self.trial(policy, s) for s in (self.scenarios if scenario == OVERALL else (scenario,))]

    # --- under the promise ------------------------------------------------------------------------

    def standing(self, policy: str, scenario: str = OVERALL) -> Standing:
        """How one policy stands on a scenario, or on all of them together."""
        nothing = self.of(self.reference, scenario)
        return standing(self.of(policy, scenario), nothing, self.promise, scenario)

    def standings(self, scenario: str = OVERALL) -> list[Standing]:
        """Of every policy: first those that keep the promise, by memory saved."""
        return sorted((self.standing(p, scenario) for p in self.policies), key=lambda s: s.rank)

    def saved_pct(self, policy: str, scenario: str = OVERALL) -> Floats:
        """Memory saved (scenarios, seeds), percent."""
        return saved_pct(self.of(policy, scenario), self.of(self.reference, scenario), self.promise)

    # --- whichever the objective ------------------------------------------------------------------

    def bills(self, scenario: str = OVERALL) -> list[Bill]:
        """Of every policy, best gain first."""
        nothing = self.of(self.reference, scenario)
        found = [bill(self.of(policy, scenario), nothing, scenario) for policy in self.policies]
        return sorted(found, key=lambda b: -b.gain_pct.value)

    def ranking(self, scenario: str = OVERALL) -> list[str]:
        """The policies by the objective, best first."""
        if self.objective == "bill":
            return [b.policy for b in self.bills(scenario)]
        return [s.policy for s in self.standings(scenario)]

    def best_rule(self, scenario: str = OVERALL) -> str | None:
        """The rule that stands first there; chosen on these very seeds, which favours the rules."""
        others = {*self.learned, *self.foreseeing}
        return next((policy for policy in self.ranking(scenario) if policy not in others), None)

    def difference(self, ours: str, theirs: str, scenario: str = OVERALL) -> Estimate:
        """Paired difference of two policies: memory saved, points; or reward, % of the reference's loss."""
        if self.objective == "bill":
            return difference_pct(*(self._rewards(who, scenario) for who in (ours, theirs, self.reference)))
        return paired_difference(self.saved_pct(ours, scenario), self.saved_pct(theirs, scenario))

    def improvement(self, ours: str, theirs: str, scenario: str = OVERALL) -> float:
        """P(improvement): share of the paired runs in which ours saved more memory, or earned more."""
        values = self._rewards if self.objective == "bill" else self.saved_pct
        return share_better(values(ours, scenario), values(theirs, scenario))

    def _rewards(self, policy: str, scenario: str) -> Floats:
        return np.stack([trial.reward for trial in self.of(policy, scenario)])

    # --- files -----------------------------------------------------------------------------------

    def to_json(self) -> str:
        """Everything: provenance, standings and bills, verdicts per cgroup, trials."""
        names = (*self.scenarios, *([OVERALL] if len(self.scenarios) > 1 else []))
        data = {
            "objective": self.objective,
            "promise": self.promise.as_dict(),
            "reference": self.reference,
            "policies": self.policies,
            "learned": self.learned,
            "foreseeing": self.foreseeing,
            "scenarios": self.scenarios,
            "seeds": self.seeds,
            "provenance": self.provenance,
            "standings": [asdict(s) | {"kept": s.kept} for name in names for s in self.standings(name)],
            "bills": [asdict(b) for name in names for b in self.bills(name)],
            "cgroups": [row for trial in self.trials for row in self._cgroup_rows(trial)],
            "trials": [_trial_data(trial) for trial in self.trials],
            "untold": [_trial_data(trial) for trial in self.untold],
        }
        return json.dumps(data, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Results:
        """The inverse of :meth:`to_json`; what follows from the trials is made anew."""
        data = json.loads(text)
        trials, untold = (tuple(_trial_of(row) for row in data[key]) for key in ("trials", "untold"))
        return cls(
            trials=trials,
            policies=tuple(data["policies"]),
            scenarios=tuple(data["scenarios"]),
            seeds=tuple(data["seeds"]),
            reference=data["reference"],
            learned=tuple(data["learned"]),
            foreseeing=tuple(data.get("foreseeing", ())),
            promise=Promise.of(data["promise"]),
            objective=data["objective"],
            untold=untold,
            provenance=data["provenance"],
        )

    def _cgroup_rows(self, trial: Trial) -> list[dict[str, Any]]:
        found = by_cgroup(trial, self.trial(self.reference, trial.scenario), self.promise)
        columns = {name: getattr(found, name).tolist() for name in found.__slots__}
        return [
            {"policy": trial.policy, "scenario": trial.scenario, "cgroup": cgroup}
            | {name: values[i] for name, values in columns.items()}
            for i, cgroup in enumerate(trial.cgroups)
        ]

    def to_csv(self) -> str:
        """One line per episode: how it stood to the promise, reward, terms."""
        out = io.StringIO()
        verdicts = ("saved_pct", "broken_pct", "psi_added_pct", "cpu_added_pct_gib")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(
            ["policy", "scenario", "seed", "steps", "hours", *verdicts, "reward", "decide_us", *TERMS]
        )
        for t in self.trials:
            found = by_seed(t, self.trial(self.reference, t.scenario), self.promise)
            for i, seed in enumerate(t.seeds):
                judged = (float(getattr(found, name)[i]) for name in verdicts)
                writer.writerow(
                    [
                        t.policy, t.scenario, seed, t.steps, t.hours, *judged, float(t.reward[i]),
                        float(t.decide_us[i]), *t.terms[i].tolist(),
                    ]
                )  # fmt: skip
        return out.getvalue()

    def save(self, folder: str | Path) -> list[Path]:
        """Write results.json and episodes.csv, each at once or not at all."""
        folder = Path(folder)
        return [
            write_atomically(folder / "results.json", self.to_json()),
            write_atomically(folder / "episodes.csv", self.to_csv()),
        ]


def _trial_data(trial: Trial) -> dict[str, Any]:
    """A trial as JSON has it, arrays as lists."""
    plain = {
        name: getattr(trial, name) for name in ("policy", "scenario", "seeds", "cgroups", "steps", "hours")
    }
    arrays = {name: getattr(trial, name).tolist() for name in ("terms", "reward", "decide_us")}
    account = {name: getattr(trial.account, name).tolist() for name in SUMS}
    events = [[asdict(event) for event in own] for own in trial.events]
    return plain | arrays | {"account": account, "events": events}


def _trial_of(data: Mapping[str, Any]) -> Trial:
    """The inverse of :func:`_trial_data`."""
    return Trial(
        policy=data["policy"],
        scenario=data["scenario"],
        seeds=tuple(data["seeds"]),
        cgroups=tuple(data["cgroups"]),
        steps=data["steps"],
        hours=data["hours"],
        account=Account(**{name: np.array(data["account"][name]) for name in SUMS}),
        terms=np.array(data["terms"]),
        reward=np.array(data["reward"]),
        events=tuple(tuple(EventCost(**event) for event in own) for own in data["events"]),
        decide_us=np.array(data["decide_us"]),
    )


def check_pairs(
    trials: Sequence[Trial], policies: Sequence[str], scenarios: Sequence[str], seeds: Sequence[int]
) -> None:
    """ValueError unless every policy met every scenario on all the seeds, once."""
    want = {(p, s) for p in policies for s in scenarios}
    have = [(t.policy, t.scenario) for t in trials]
    if len(have) != len(set(have)) or set(have) != want or any(t.seeds != tuple(seeds) for t in trials):
        raise ValueError(f"trials do not pair up: {len(have)} of {len(want)} wanted")
