"""Does every training end in something better than the best tuned rule? See README.md.

    python experiments/headline/measure.py runs/generalist [--seeds 6] [--workers 2]

RUN is what `zswap-gym train generalist` wrote: ten trainings. Each of them chooses a champion of its own
here, as a run of one training would, and meets the test split beside every tuned rule. Writes results.csv and
headline.svg beside this file and prints the tables of README.md.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from zswap_gym.agents.config import Experiment, load_experiment
from zswap_gym.agents.contestants import contestant, rules
from zswap_gym.agents.learning.champion import TEST, Candidate, Jury, finalists
from zswap_gym.agents.learning.train import read_champion, read_progress
from zswap_gym.agents.parallel import Workers, open_workers
from zswap_gym.agents.scoring.standing import Standing
from zswap_gym.agents.statistics import Estimate, bootstrap
from zswap_gym.agents.tuning.objective import Bench, Outcome
from zswap_gym.policy.promise import Promise
from zswap_gym.policy.runtime import Policy
from zswap_gym.workloads.scenario import Scenario, load_scenario

HERE = Path(__file__).parent
HEADROOM = HERE.parent / "headroom" / "results.csv"
OTHER_SEEDS = 1000
"""Beyond the draws of the run's own last judgement: the shipped policy's figures are of those."""


@dataclass(frozen=True)
class Family:
    """A test scenario: the best tuned rule that keeps the promise there, and the oracle."""

    name: str
    rule: Standing | None
    """None where no rule keeps it."""
    oracle_pct: float
    """Memory saved by the look-ahead search, experiments/headroom; nan where it was not measured."""


def champions(run: Path, experiment: Experiment, jury: Jury) -> dict[str, Candidate]:
    """The champion of each training by itself, chosen on validation."""
    judged = {at[:2]: outcome for at, outcome in read_progress(run)}
    options = experiment.selection
    found = {}
    for k in range(1, experiment.trainings + 1):
        own = [_candidate(run, k, at[1], outcome) for at, outcome in judged.items() if at[0] == k]
        ranked = jury.final(finalists(own, 1, options.cautions))
        found[f"training {k}"] = replace(ranked[0], name=f"training {k}")
        print(f"training {k}: {ranked[0].name}, {ranked[0].final}", flush=True)
    return found


def _candidate(run: Path, k: int, rounds: int, judged: Outcome) -> Candidate:
    file = run / f"training-{k}" / f"round-{rounds:04d}.npz"
    return Candidate(f"training {k} round {rounds}", Policy.load(file), judged=judged)


def families(scenarios: Sequence[Scenario], told: Mapping[str, list[Standing]]) -> list[Family]:
    """Per scenario the rule that saves most and keeps it, known when all is over: the hardest opponent."""
    with HEADROOM.open(newline="") as file:
        rows = [(row["scenario"], row["oracle"].strip("()")) for row in csv.DictReader(file)]
    oracle = {name: float(saved) for name, saved in rows if saved}
    found = []
    for place, scenario in enumerate(scenarios):
        keep = [each[place] for each in told.values() if each[place].kept]
        best = max(keep, key=lambda s: s.saved_pct.value, default=None)
        found.append(Family(scenario.name, best, oracle.get(scenario.name, float("nan"))))
    return found


def gains(mine: Sequence[Standing], against: Sequence[Family]) -> npt.NDArray[np.float64]:
    """Memory saved above the rule of each family, percent of what the rule saves."""
    pairs = [(s, f.rule) for s, f in zip(mine, against, strict=True) if f.rule is not None]
    return np.array([100 * (s.saved_pct.value / max(r.saved_pct.value, 0.1) - 1) for s, r in pairs])


def measure(run: Path, seeds: int, workers: Workers) -> None:
    """All of it."""
    experiment = load_experiment(run / "experiment.yaml")
    promise = Promise.of(experiment.promise)
    judged_on = (*experiment.scenarios.train, *experiment.scenarios.validation)
    options = experiment.selection
    jury = Jury(
        [load_scenario(name) for name in judged_on], promise, options.seeds, options.final_seeds, workers
    )
    chosen = champions(run, experiment, jury)
    scenarios = [load_scenario(name) for name in experiment.scenarios.evaluate]
    bench = Bench(scenarios, promise, workers)
    draws = range(TEST + OTHER_SEEDS, TEST + OTHER_SEEDS + seeds)
    playing = {name: candidate.contestant for name, candidate in chosen.items()}
    laws = {name: contestant(law) for name, law in rules(untuned=False).items() if "@" not in law}
    trials, nothing = bench.run({**playing, **laws}, draws), bench.nothing(draws)
    told = {name: bench.standings(found, nothing) for name, found in trials.items()}
    against = families(scenarios, {name: told[name][:-1] for name in laws})
    fixed = read_champion(run)["best_rule"]["policy"]
    _tell(against, {name: told[name] for name in chosen}, told[fixed], fixed)
    _write(told)
    draw(against, {name: told[name] for name in chosen}).savefig(HERE / "headline.svg")


def _tell(
    against: Sequence[Family], mine: Mapping[str, list[Standing]], fixed: list[Standing], name: str
) -> None:
    """The tables of README.md."""
    head = (
        "family", name, "keep it", "best rule that keeps it", "saved %", "champions: saved %, worst to best",
        "keep it", "oracle",
    )  # fmt: skip
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for place, family in enumerate(against):
        each = [standings[place] for standings in mine.values()]
        saved = sorted(s.saved_pct.value for s in each)
        own, rule = fixed[place], family.rule
        cells = [
            family.name, f"{own.saved_pct.value:.2f}", f"{own.keeping} of {own.cgroups}",
            *(("none", "") if rule is None else (rule.policy, f"{rule.saved_pct.value:.2f}")),
            f"{saved[0]:.2f}, **{np.median(saved):.2f}**, {saved[-1]:.2f}",
            f"{sum(s.kept for s in each)} of {len(each)}", f"{family.oracle_pct:.2f}",
        ]  # fmt: skip
        print(f"| {' | '.join(cells)} |")
    head = (
        "training", "families kept", "cgroups kept", "saved %", "above the rules, IQM %",
        "of the way to the oracle %",
    )  # fmt: skip
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for training, standings in mine.items():
        *each, whole = standings
        above: Estimate = bootstrap(gains(each, against)[None, :])
        cells = [
            training, f"{sum(s.kept for s in each)} of {len(each)}", f"{whole.keeping} of {whole.cgroups}",
            f"{whole.saved_pct.value:.2f}", f"{above.value:.0f} [{above.low:.0f}, {above.high:.0f}]",
            f"{100 * _closed(each, against):.0f}",
        ]  # fmt: skip
        print(f"| {' | '.join(cells)} |")


def _closed(mine: Sequence[Standing], against: Sequence[Family]) -> float:
    """Share of the distance from the rules to the oracle, of the sums over the families that have both."""
    both = [
        (s.saved_pct.value, f.rule.saved_pct.value, f.oracle_pct)
        for s, f in zip(mine, against, strict=True)
        if f.rule is not None and f.oracle_pct > f.rule.saved_pct.value
    ]
    own, rule, oracle = (np.array(part) for part in zip(*both, strict=True))
    return float((own - rule).sum() / (oracle - rule).sum())


def _write(told: Mapping[str, list[Standing]]) -> None:
    with (HERE / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["policy", "scenario", "saved_pct", "low", "high", "broken_pct", "psi_added_pct",
             "cpu_added_pct_gib", "disk_reads_min", "keeping", "cgroups"]
        )  # fmt: skip
        for name, standings in told.items():
            for s in standings:
                numbers = (
                    s.saved_pct.value, s.saved_pct.low, s.saved_pct.high, s.broken_pct, s.psi_added_pct,
                    s.cpu_added_pct_gib, s.disk_reads_min,
                )  # fmt: skip
                writer.writerow([name, s.scenario, *(f"{x:.4f}" for x in numbers), s.keeping, s.cgroups])


def draw(against: Sequence[Family], mine: Mapping[str, list[Standing]]) -> Figure:
    """Memory saved by family: the best rule, ten champions, the oracle; hollow where the promise breaks."""
    figure = Figure(figsize=(8, 0.42 * len(against) + 1.2), layout="constrained")
    ax = figure.subplots()
    for y, family in enumerate(against[::-1]):
        place = len(against) - 1 - y
        if family.rule is not None:
            ax.scatter(family.rule.saved_pct.value, y, marker="|", s=160, color="#d08a2e", linewidth=2.5)
        ax.scatter(family.oracle_pct, y, marker="|", s=160, color="#777777", linewidth=2.5)
        for standings in mine.values():
            s = standings[place]
            ax.scatter(
                s.saved_pct.value, y, s=26, edgecolor="#2f6db5", alpha=0.8,
                facecolor="#2f6db5" if s.kept else "none",
            )  # fmt: skip
    ax.set_yticks(range(len(against)), [f.name for f in against[::-1]], fontsize=8)
    ax.set_xlabel("memory saved, % (hollow: breaks the promise)")
    for label, colour, marker in (
        ("best tuned rule that keeps it", "#d08a2e", "|"), ("champion of a training", "#2f6db5", "o"),
        ("oracle", "#777777", "|"),
    ):  # fmt: skip
        ax.scatter([], [], color=colour, marker=marker, label=label)
    ax.legend(fontsize=8)
    return figure


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description="Does every training beat the best tuned rule?")
    parser.add_argument("run", type=Path, help="what `zswap-gym train generalist` wrote")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--workers", type=int, default=None)
    args = parser.parse_args()
    with open_workers(args.workers) as workers:
        measure(args.run, args.seeds, workers)


if __name__ == "__main__":
    main()
