"""What is there to gain, and who gets it? See README.md.

    python experiments/headroom/measure.py [--scenario NAME ...] [--seeds 8] [--workers 2]

What has been measured is kept, a file per scenario under runs/headroom and the oracle's plans in the cache;
killed and started again it goes on. Prints the table, writes results.csv and headroom.svg beside this file.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from zswap_gym.agents.contestants import Contestant, contestant, rules
from zswap_gym.agents.evaluate import evaluate
from zswap_gym.agents.oracle.driver import FixedSetting
from zswap_gym.agents.oracle.hindsight import Hindsight, hindsight
from zswap_gym.agents.oracle.settings import grid
from zswap_gym.agents.parallel import Workers, open_workers
from zswap_gym.agents.results import Results
from zswap_gym.agents.scoring.standing import Standing
from zswap_gym.agents.statistics import Estimate
from zswap_gym.atomic import write_atomically
from zswap_gym.envs.warmstart import scenario_digest
from zswap_gym.kernel.jit import model_digest
from zswap_gym.policy.promise import Account, Promise, judge
from zswap_gym.workloads.scenario import Scenario, load_scenario, scenario_names

HERE = Path(__file__).parent
KEPT = Path("runs/headroom")
FIRST_SEED = 9000
SETTING = "best setting"
SHRINKER = "never@shrinker"
PAYS, LITTLE = 15.0, 5.0
"""Percent the oracle is above the best rule: from here on foresight pays; below there is nothing to learn."""
COLUMNS = (
    "scenario", "nothing breaks %", "shrinker", SETTING, "best rule", "its name", "hindsight", "oracle",
    "low", "high", "above the rule %", "what it is",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One scenario: memory saved, percent, of those that keep the promise."""

    scenario: str
    nothing_breaks_pct: float
    shrinker: Standing
    setting: Standing
    rule: Standing
    hindsight: Standing
    oracle: Standing
    gain: Estimate
    """Oracle less best rule, points, paired."""

    @property
    def above_pct(self) -> float:
        """The oracle above the best rule, percent of what the rule saves; infinite where that is nothing."""
        theirs = max(self.rule.saved_pct.value, 0.0)
        return 100.0 * self.gain.value / theirs if theirs > 0 else float("inf")

    @property
    def kind(self) -> str:
        """What the scenario is good for."""
        if self.gain.low <= 0 or self.above_pct < LITTLE or self.oracle.saved_pct.value < 1.0:
            return "trap: nothing to learn"
        return "foresight pays" if self.above_pct >= PAYS else "little to learn"

    def cells(self) -> list[str]:
        """As the table shows it; what breaks the promise is in brackets."""
        own = self.oracle.saved_pct
        return [
            self.scenario, f"{self.nothing_breaks_pct:.1f}", _saved(self.shrinker), _saved(self.setting),
            _saved(self.rule), self.rule.policy, _saved(self.hindsight), _saved(self.oracle),
            f"{own.low:.2f}", f"{own.high:.2f}",
            f"{self.above_pct:.0f} ({_span(self.gain)})", self.kind,
        ]  # fmt: skip


def measure(scenario: Scenario, seeds: Sequence[int], promise: Promise, workers: Workers) -> Results:
    """Everybody on one scenario; from the file where it has been measured before."""
    found = workers.run(hindsight, [(scenario, seed, promise) for seed in seeds])
    named: dict[str, Contestant] = {name: contestant(spec) for name, spec in rules(untuned=False).items()}
    named[SETTING] = Contestant(FixedSetting(_best_setting(found, promise)))
    named |= {name: contestant(name) for name in ("hindsight", "oracle")}
    facts = [
        scenario_digest(scenario), list(seeds), promise.as_dict(), model_digest(),
        {name: each.digest() for name, each in named.items()},
    ]  # fmt: skip
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    path = KEPT / f"{scenario.name}-{key}.json"
    if path.is_file():
        return Results.from_json(path.read_text())
    results = evaluate(named, [scenario], seeds, promise=promise, untold=False, workers=workers)
    write_atomically(path, results.to_json())
    return results


def _best_setting(found: Sequence[Hindsight], promise: Promise) -> int:
    """The setting that saves most of those with which all cgroups keep the promise over all seeds."""
    settings = Account.stack([each.settings for each in found]).sum()
    nothing = settings.take(0)  # the first setting of the grid
    verdict = judge(settings, nothing, promise)
    saved = (nothing.held_byte_us - settings.held_byte_us).sum(1)
    return int(np.where(verdict.kept.all(1), saved, -np.inf).argmax())


def row(results: Results) -> Row:
    """What came of one scenario."""
    (name,) = results.scenarios
    rule = results.best_rule(name)
    assert rule is not None
    nothing = results.trial(results.reference, name).account
    return Row(
        name,
        float(100.0 * nothing.broken.sum() / nothing.minutes.sum()),
        *(results.standing(who, name) for who in (SHRINKER, SETTING, rule, "hindsight", "oracle")),
        gain=results.difference("oracle", rule, name),
    )  # fmt: skip


def draw(rows: Sequence[Row]) -> Figure:
    """Memory saved by each, a line per scenario."""
    figure = Figure(figsize=(8.0, 0.32 * len(rows) + 1.2), layout="constrained")
    ax = figure.add_subplot()
    marks = {
        "shrinker": ("s", "#bbbbbb"), "setting": ("|", "#444444"), "rule": ("o", "#7a8089"),
        "hindsight": ("d", "#d08a2e"), "oracle": ("*", "#2f6db5"),
    }  # fmt: skip
    for i, each in enumerate(reversed(rows)):
        own = each.oracle.saved_pct
        ax.plot(
            [max(each.rule.saved_pct.value, 0.0), own.value], [i, i], color="#d5dbe3", linewidth=4, zorder=0
        )
        ax.plot([own.low, own.high], [i, i], color="#2f6db5", linewidth=1)
        for name, (mark, colour) in marks.items():
            standing: Standing = getattr(each, name)
            ax.plot(
                standing.saved_pct.value, i, mark, color=colour, markersize=7, zorder=2,
                fillstyle="full" if standing.kept else "none", label=name if i == 0 else None,
            )  # fmt: skip
    ax.set_yticks(range(len(rows)), [f"{each.scenario}" for each in reversed(rows)], fontsize=8)
    ax.set_xlabel("memory saved, % (hollow: breaks the promise)")
    ax.legend(fontsize=8, loc="lower right")
    return figure


def _span(e: Estimate) -> str:
    return f"{e.value:+.2f} [{e.low:+.2f}, {e.high:+.2f}]"


def _saved(standing: Standing) -> str:
    text = f"{standing.saved_pct.value:.2f}"
    return text if standing.kept else f"({text})"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="What is there to gain, and who gets it?")
    parser.add_argument("--scenario", action="append", help="by name or file; repeat it for several")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--out", type=Path, default=HERE, help="where table and figure go")
    args = parser.parse_args()
    rows = []
    seeds = range(FIRST_SEED, FIRST_SEED + args.seeds)
    with open_workers(args.workers) as workers:
        for name in args.scenario or scenario_names():
            begun = time.perf_counter()
            rows.append(row(measure(load_scenario(name), seeds, Promise(), workers)))
            print(" | ".join(rows[-1].cells()), f"| {time.perf_counter() - begun:.0f} s", flush=True)
    print(f"\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for each in rows:
        print(f"| {' | '.join(each.cells())} |")
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([COLUMNS, *(each.cells() for each in rows)])
    draw(rows).savefig(args.out / "headroom.svg")
    print(f"grid of {grid().shape[1]} settings; {len(seeds)} seeds from {seeds[0]}", file=sys.stderr)


if __name__ == "__main__":
    main()
