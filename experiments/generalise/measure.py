"""Does a policy that was trained on hosts of 2 to 8 cgroups drive hosts of 1 and of 40? See README.md.

    python experiments/generalise/measure.py [--policy FILE] [--scenario NAME ...] [--seeds 4] [--workers 2]

Hosts of 1, 4, 8 and 40 cgroups are put together from the cgroups of a scenario, repeated under other names.
Prints the table, writes results.csv and generalise.svg beside this file.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm
from pathlib import Path

from matplotlib.figure import Figure

from zswap_gym.agents.contestants import contestant
from zswap_gym.agents.evaluate import REFERENCE, evaluate
from zswap_gym.agents.parallel import Workers, open_workers
from zswap_gym.agents.scoring.standing import Standing, standing
from zswap_gym.agents.statistics import Estimate, paired_difference
from zswap_gym.workloads.scenario import Scenario, load_scenario

HERE = Path(__file__).parent
FIRST_SEED = 9000
SCENARIOS = ("mixed-host", "mixed-test")
SIZES = (1, 4, 8, 40)
TRAINED = 4
"""The size others are compared with: training met hosts of 2 to 8."""
RULES = ("promise", "promise-release", "aimd", "promotion", "arms", "senpai")
"""The tuned rules that save most, and those of them that keep the promise most often (experiments/scores)."""
POLICY = "the policy"
COLUMNS = (
    "cgroups of", "on a host", "runs", "nothing breaks %", "policy saves %", "kept", "broken min %",
    "best rule", "saves %", "kept", "broken min %",
    "margin, points", "margin, % of the rule", "of the margin at 4",
)  # fmt: skip
LINE = ("who", "saved_pct", "low", "high", "broken_pct", "keeping", "cgroups")


@dataclass(frozen=True)
class Row:
    """Everybody on all hosts of one size."""

    scenario: str
    size: int
    runs: int
    nothing: Standing
    policy: Standing
    rules: tuple[Standing, ...]
    """The best first."""
    margin: Estimate
    """Points, paired."""

    @property
    def rule(self) -> Standing:
        """The best rule that keeps the promise, or where none does the best."""
        return self.rules[0]

    @property
    def margin_pct(self) -> float:
        """The margin in percent of what the rule saves."""
        return 100.0 * self.margin.value / max(self.rule.saved_pct.value, 1e-9)

    def cells(self, trained: Row) -> list[str]:
        """As the table shows it; ``trained`` is the row of the size that training met."""
        ours, theirs = self.policy, self.rule
        return [
            self.scenario, str(self.size), str(self.runs), f"{self.nothing.broken_pct:.2f}",
            _span(ours.saved_pct), f"{ours.keeping} of {ours.cgroups}", f"{ours.broken_pct:.2f}",
            theirs.policy, _span(theirs.saved_pct), f"{theirs.keeping} of {theirs.cgroups}",
            f"{theirs.broken_pct:.2f}",
            _span(self.margin), f"{self.margin_pct:+.0f}",
            f"{100.0 * self.margin.value / trained.margin.value:.0f} %" if trained.margin.value > 0 else "",
        ]  # fmt: skip


def _span(e: Estimate) -> str:
    return f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]"


def _line(s: Standing) -> list[str]:
    """A line of results.csv, from ``who`` on."""
    numbers = (s.saved_pct.value, s.saved_pct.low, s.saved_pct.high, s.broken_pct)
    return [s.policy, *(f"{x:.3f}" for x in numbers), str(s.keeping), str(s.cgroups)]


def hosts_of(scenario: Scenario, size: int) -> list[Scenario]:
    """Hosts of ``size`` cgroups each that together hold each cgroup of the scenario equally often.

    RAM, swap and so the pool's limit are left to the sizes of the cgroups on the host (Host.ram null), which
    is the same per byte of memory whatever the number.
    """
    cycle = [cgroup for cgroup in scenario.cgroups if cgroup.workload is not None]
    hosts = lcm(len(cycle), size) // size
    return [
        scenario.model_copy(
            update={
                "name": f"{scenario.name}-{size}-{host}",
                "cgroups": [
                    cycle[k % len(cycle)].model_copy(
                        update={"name": f"{cycle[k % len(cycle)].name}-{k}", "parent": None}
                    )
                    for k in range(host * size, (host + 1) * size)
                ],
            }
        )
        for host in range(hosts)
    ]


def measure(policy: str, scenario: Scenario, size: int, seeds: Sequence[int], workers: Workers) -> Row:
    """The policy and the tuned rules on the hosts of one size, as many cgroups in all as with any other."""
    hosts = hosts_of(scenario, size)
    seeds = range(seeds[0], seeds[0] + len(seeds) * max(SIZES) // (size * len(hosts)))
    contestants = {POLICY: policy, REFERENCE: REFERENCE, **{rule: f"tuned:{rule}" for rule in RULES}}
    results = evaluate(contestants, hosts, seeds, untold=False, workers=workers)
    nothing = results.of(REFERENCE)
    none, ours, *theirs = (
        standing(results.of(name), nothing, results.promise) for name in (REFERENCE, POLICY, *RULES)
    )
    theirs = sorted(theirs, key=lambda s: s.rank)
    margin = paired_difference(results.saved_pct(POLICY), results.saved_pct(theirs[0].policy))
    return Row(scenario.name, size, len(hosts) * len(seeds), none, ours, tuple(theirs), margin)


def draw(rows: Sequence[Row]) -> Figure:
    """Memory saved by the policy and by the best rule over the number of cgroups."""
    names = list(dict.fromkeys(row.scenario for row in rows))
    figure = Figure(figsize=(3.6 * len(names) + 1, 3.2), layout="constrained")
    for ax, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        mine = [row for row in rows if row.scenario == name]
        for label, colour in (("policy", "#2f6db5"), ("best rule that keeps the promise", "#d08a2e")):
            found = [row.policy if label == "policy" else row.rule for row in mine]
            places = range(len(mine))
            ax.plot(places, [s.saved_pct.value for s in found], color=colour, label=label)
            for at, s in zip(places, found, strict=True):
                ax.plot([at, at], [s.saved_pct.low, s.saved_pct.high], color=colour, linewidth=1)
                ax.scatter(
                    at,
                    s.saved_pct.value,
                    s=36,
                    facecolor=colour if s.kept else "white",
                    edgecolor=colour,
                    zorder=3,
                )
        ax.set_xticks(range(len(mine)), [str(row.size) for row in mine])
        ax.set_ylim(bottom=0.0)
        ax.set_title(f"cgroups of {name}", fontsize=10)
        ax.set_xlabel("cgroups on the host (hollow: breaks the promise)", fontsize=9)
    figure.axes[0].set_ylabel("memory saved, %", fontsize=9)
    figure.axes[0].legend(fontsize=8)
    return figure


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Does a policy drive hosts of other sizes?")
    parser.add_argument("--policy", default="builtin:generalist")
    parser.add_argument("--scenario", action="append", help="whose cgroups; repeat it for several")
    parser.add_argument("--size", action="append", type=int, help="cgroups on a host; repeat it for several")
    parser.add_argument("--seeds", type=int, default=4, help="of the host of 40; of smaller ones more")
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--out", type=Path, default=HERE, help="where table and figure go")
    args = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + args.seeds)
    contestant(args.policy)  # what is wrong with it is told before anything runs
    rows: list[Row] = []
    table: list[list[str]] = []
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    with open_workers(args.workers) as workers:
        for name in args.scenario or SCENARIOS:
            mine = [
                measure(args.policy, load_scenario(name), size, seeds, workers) for size in args.size or SIZES
            ]
            trained = next((row for row in mine if row.size == TRAINED), mine[0])
            rows += mine
            for row in mine:
                table.append(row.cells(trained))
                print(f"| {' | '.join(table[-1])} |", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["scenario", "size", *LINE])
        writer.writerows(
            [row.scenario, row.size, *_line(s)] for row in rows for s in (row.nothing, row.policy, *row.rules)
        )
    draw(rows).savefig(args.out / "generalise.svg")


if __name__ == "__main__":
    main()
