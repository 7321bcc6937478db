"""What does one policy make of promises from 0.05 to 2 % of disk reads a minute? See README.md.

    python experiments/promise-sweep/measure.py [--policy FILE] [--scenario NAME ...] [--seeds 4]

Beside it the tuned rules, whose limits of disk reads are moved with the promise. Prints the table, writes
results.csv and promise.svg beside this file.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from zswap_gym.agents.contestants import Contestant, contestant
from zswap_gym.agents.evaluate import evaluate
from zswap_gym.agents.parallel import Workers, open_workers
from zswap_gym.agents.results import Results
from zswap_gym.agents.scoring.standing import Standing
from zswap_gym.law_file import named_files, read_spec
from zswap_gym.policy.laws import make_law
from zswap_gym.policy.promise import Promise

HERE = Path(__file__).parent
FIRST_SEED = 9000
SCENARIOS = ("mixed-host", "mixed-test", "sandbox-resumes-test")
LIMITS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Disk reads in a minute, percent of the resident set."""
TUNED_AT = Promise().disk_reads_pct_min
LIMIT_KEYS = ("disk_reads_pct_min", "reads_pct_min", "goal_reads_pct_min", "target")
"""What rules call their limit of disk reads; ``target`` is aimd's."""
RULES = ("promise", "promise-release", "aimd", "promotion", "arms", "senpai")
"""The tuned rules that save most, and those of them that keep the promise most often (experiments/scores)."""
POLICY = "the policy"
TRACKER = "promise"
COLUMNS = (
    "promise, % a minute", "who", "saved %", "low", "high", "broken min %",
    "scenarios kept", "cgroups kept", "of", "disk reads/min",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """Somebody under a promise, all scenarios together."""

    limit: float
    who: str
    standing: Standing
    scenarios_kept: int

    def cells(self) -> list[str]:
        """As the table shows it."""
        s = self.standing
        saved = (f"{x:.2f}" for x in (s.saved_pct.value, s.saved_pct.low, s.saved_pct.high))
        return [
            f"{self.limit:g}", self.who, *saved, f"{s.broken_pct:.2f}", str(self.scenarios_kept),
            str(s.keeping), str(s.cgroups), f"{s.disk_reads_min:.0f}",
        ]  # fmt: skip


def moved(path: Path, limit: float) -> Contestant:
    """A tuned rule whose limit of disk reads, where it has one, is to the promise as it was when tuned."""
    spec = read_spec(path)
    return contestant(
        make_law(
            {key: value * limit / TUNED_AT if key in LIMIT_KEYS else value for key, value in spec.items()}
        )
    )


def rows_of(results: Results, limit: float) -> list[Row]:
    """The policy, the tracker as tuned and moved, and the best of the other rules."""
    scenarios_kept = {
        name: sum(results.standing(name, scenario).kept for scenario in results.scenarios)
        for name in results.policies
    }
    found = {s.policy: s for s in results.standings()}
    moved_rules = [name for name in found if name.endswith(" moved")]
    best = next(name for name in found if name in moved_rules)  # standings: the best first
    shown = {POLICY: POLICY, f"{TRACKER} moved": f"{TRACKER} moved", f"{TRACKER}, as it was tuned": TRACKER}
    shown[f"best rule: {best}"] = best
    return [Row(limit, label, found[name], scenarios_kept[name]) for label, name in shown.items()]


def measure(
    policy: Contestant, limit: float, scenarios: Sequence[str], seeds: Sequence[int], workers: Workers
) -> list[Row]:
    """Everybody under one promise."""
    taking = {POLICY: policy, TRACKER: contestant(f"tuned:{TRACKER}")}
    taking |= {f"{name} moved": moved(named_files()[name], limit) for name in RULES}
    promise = Promise(disk_reads_pct_min=limit)
    results = evaluate(taking, scenarios, seeds, promise=promise, untold=False, workers=workers)
    return rows_of(results, limit)


def draw(rows: Sequence[Row]) -> Figure:
    """Memory saved and broken minutes over the promise."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    colours: Mapping[str, str] = {
        POLICY: "#2f6db5",
        f"{TRACKER} moved": "#d08a2e",
        f"{TRACKER}, as it was tuned": "grey",
        "best rule": "#5a9e5a",
    }
    for who, colour in colours.items():
        mine = [row for row in rows if row.who.partition(":")[0] == who]
        limits = [row.limit for row in mine]
        left.plot(limits, [row.standing.saved_pct.value for row in mine], color=colour, label=who)
        for row in mine:
            s = row.standing
            share = s.keeping / s.cgroups
            left.scatter(row.limit, s.saved_pct.value, s=10 + 40 * share, color=colour, zorder=3)
        right.plot(limits, [row.standing.broken_pct for row in mine], color=colour, marker="o", markersize=4)
    right.axhline(Promise().may_break_pct, color="grey", linestyle=":")
    for ax, label in (
        (left, "memory saved, % (small dot: fewer cgroups keep it)"),
        (right, "broken minutes, %"),
    ):
        ax.set_xscale("log")
        ax.set_xticks(LIMITS, [f"{limit:g}" for limit in LIMITS])
        ax.set_xlabel("promised disk reads, % of the resident set a minute", fontsize=9)
        ax.set_ylabel(label, fontsize=9)
    left.legend(fontsize=8)
    return figure


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="What does one policy make of other promises?")
    parser.add_argument("--policy", default="builtin:generalist")
    parser.add_argument("--scenario", action="append", help="by name or file; repeat it for several")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--out", type=Path, default=HERE, help="where table and figure go")
    args = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + args.seeds)
    policy = contestant(args.policy).at_any_interval()
    rows: list[Row] = []
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    with open_workers(args.workers) as workers:
        for limit in LIMITS:
            mine = measure(policy, limit, args.scenario or SCENARIOS, seeds, workers)
            rows += mine
            for row in mine:
                print(f"| {' | '.join(row.cells())} |", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "results.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *(row.cells() for row in rows)])
    draw(rows).savefig(args.out / "promise.svg")


if __name__ == "__main__":
    main()
