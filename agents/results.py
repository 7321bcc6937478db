"""What an evaluation found: one row per episode, the summaries made of them, JSON and CSV."""

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

from zswap_gym.agents.statistics import Estimate, bootstrap, paired_difference, share_better
from zswap_gym.atomic import write_atomically
from zswap_gym.envs.reward import TERMS

OVERALL = "all scenarios"
"""The scenario name of summaries over all of them."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One policy through one scenario on one seed."""

    policy: str
    scenario: str
    seed: int
    steps: int
    hours: float
    """Simulated time, warm-up left out."""
    reward: float
    """Sum of weight times term, GiB*h."""
    terms: Mapping[str, float]
    """Sums over the episode, in the units of RewardTerms."""
    refault_pct_wss_min: float
    """Mean over the decisions of the worst cgroup's disk reads, % of its resident set per minute."""
    psi_some_pct: float
    """Mean over the decisions of the worst cgroup's pressure, %."""
    violation_share: float
    """Share of decisions with which a minute ended that broke the promise for some cgroup."""
    decide_us: float
    """Wall time per decision of the policy alone, median."""

    @property
    def dram_gib(self) -> float:
        """Mean memory held, GiB."""
        return self.terms["dram_held"] / self.hours if self.hours else 0.0

    def per_minute(self, term: str) -> float:
        """A counted term per simulated minute."""
        return self.terms[term] / (60.0 * self.hours) if self.hours else 0.0


@dataclass(frozen=True, slots=True)
class Summary:
    """One policy on one scenario (or all), over all seeds; differences are paired with the reference."""

    policy: str
    scenario: str
    reward: Estimate
    gain: Estimate
    """Reward minus the reference's on the same seed, GiB*h."""
    gain_pct: Estimate
    """The same in percent of the reference's loss."""
    better_share: float
    """Share of seeds on which the policy earned more than the reference."""
    dram_saved_pct: Estimate
    """Memory the reference held and this policy did not, percent."""
    disk_reads_min: Estimate
    zswap_loads_min: Estimate
    written_mib_min: Estimate
    violation_share: Estimate
    psi_some_pct: Estimate
    oom_kills: float
    """Kills over all seeds."""


@dataclass(frozen=True)
class Results:
    """All episodes of an evaluation."""

    episodes: tuple[Episode, ...]
    policies: tuple[str, ...]
    scenarios: tuple[str, ...]
    seeds: tuple[int, ...]
    reference: str
    """The policy all others are compared with: it leaves everything alone."""
    learned: tuple[str, ...] = ()
    """Which of the policies were trained; the rest are rules."""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def values(self, policy: str, scenario: str, name: str) -> npt.NDArray[np.float64]:
        """float64 (len(seeds),): a field, property or term of the episodes, in the order of the seeds."""
        rows = {e.seed: e for e in self.episodes if e.policy == policy and e.scenario == scenario}
        return np.array([_value(rows[seed], name) for seed in self.seeds])

    def summary(self, policy: str, scenario: str) -> Summary:
        """Summary of one policy on one scenario, or on all of them together (:data:`OVERALL`)."""
        scenarios = self.scenarios if scenario == OVERALL else (scenario,)

        def of(name: str, who: str = policy) -> npt.NDArray[np.float64]:
            return np.stack([self.values(who, s, name) for s in scenarios])

        base_reward, base_dram = of("reward", self.reference), of("dram_gib", self.reference)
        reward = of("reward")
        loss = np.maximum(np.abs(base_reward), 1e-12)
        return Summary(
            policy,
            scenario,
            reward=bootstrap(reward),
            gain=paired_difference(reward, base_reward),
            gain_pct=bootstrap(100.0 * (reward - base_reward) / loss),
            better_share=share_better(reward, base_reward),
            dram_saved_pct=bootstrap(100.0 * (base_dram - of("dram_gib")) / np.maximum(base_dram, 1e-12)),
            disk_reads_min=bootstrap(of("disk_refaults/min")),
            zswap_loads_min=bootstrap(of("zswap_loads/min")),
            written_mib_min=bootstrap(of("bytes_written/min") / (1 << 20)),
            violation_share=bootstrap(of("violation_share")),
            psi_some_pct=bootstrap(of("psi_some_pct")),
            oom_kills=float(of("oom_kills").sum()),
        )

    def summaries(self, scenario: str = OVERALL) -> list[Summary]:
        """Summaries of every policy, best gain first."""
        found = [self.summary(policy, scenario) for policy in self.policies]
        return sorted(found, key=lambda s: -s.gain_pct.value)

    def difference(self, ours: str, theirs: str, scenario: str = OVERALL) -> Estimate:
        """Paired difference in reward of two policies, percent of the reference's loss."""
        scenarios = self.scenarios if scenario == OVERALL else (scenario,)
        loss = np.stack([np.abs(self.values(self.reference, s, "reward")) for s in scenarios])
        a = np.stack([self.values(ours, s, "reward") for s in scenarios])
        b = np.stack([self.values(theirs, s, "reward") for s in scenarios])
        return bootstrap(100.0 * (a - b) / np.maximum(loss, 1e-12))

    def best_rule(self, scenario: str = OVERALL) -> str | None:
        """The rule that earned most there; chosen on these very seeds, which favours the rules."""
        rules = [s for s in self.summaries(scenario) if s.policy not in self.learned]
        return rules[0].policy if rules else None

    # --- files -----------------------------------------------------------------------------------

    def to_json(self) -> str:
        """Everything: provenance, episodes, summaries."""
        data = {
            "reference": self.reference,
            "policies": self.policies,
            "learned": self.learned,
            "scenarios": self.scenarios,
            "seeds": self.seeds,
            "provenance": self.provenance,
            "summaries": [asdict(s) for name in (*self.scenarios, OVERALL) for s in self.summaries(name)],
            "episodes": [asdict(e) for e in self.episodes],
        }
        return json.dumps(data, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Results:
        """The inverse of :meth:`to_json`; summaries are made anew."""
        data = json.loads(text)
        return cls(
            episodes=tuple(Episode(**row) for row in data["episodes"]),
            policies=tuple(data["policies"]),
            scenarios=tuple(data["scenarios"]),
            seeds=tuple(data["seeds"]),
            reference=data["reference"],
            learned=tuple(data["learned"]),
            provenance=data["provenance"],
        )

    def to_csv(self) -> str:
        """One line per episode, terms as columns."""
        out = io.StringIO()
        plain = [name for name in Episode.__slots__ if name != "terms"]
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([*plain, *TERMS])
        for e in self.episodes:
            writer.writerow([*(getattr(e, name) for name in plain), *(e.terms[term] for term in TERMS)])
        return out.getvalue()

    def save(self, folder: str | Path) -> list[Path]:
        """Write results.json and episodes.csv, each at once or not at all."""
        folder = Path(folder)
        return [
            write_atomically(folder / "results.json", self.to_json()),
            write_atomically(folder / "episodes.csv", self.to_csv()),
        ]


def _value(episode: Episode, name: str) -> float:
    if name.endswith("/min"):
        return episode.per_minute(name.removesuffix("/min"))
    if name in TERMS:
        return episode.terms[name]
    return float(getattr(episode, name))


def check_pairs(
    episodes: Sequence[Episode], policies: Sequence[str], scenarios: Sequence[str], seeds: Sequence[int]
) -> None:
    """ValueError unless every policy met every scenario on every seed, once."""
    want = {(p, s, k) for p in policies for s in scenarios for k in seeds}
    have = [(e.policy, e.scenario, e.seed) for e in episodes]
    if len(have) != len(set(have)) or set(have) != want:
        raise ValueError(f"episodes do not pair up: {len(have)} of {len(want)} wanted")
