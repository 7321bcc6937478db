"""What do the two halves of what a policy asks for do, writeback and release? See README.md.

    python experiments/release-ablation/measure.py [--policy FILE] [--scenario NAME ...] [--seeds 4]

Prints the table, writes results.csv and halves.svg beside this file.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from zswap_gym.agents.contestants import SHORT_ARMS, Asked, Contestant, Driver, contestant
from zswap_gym.agents.evaluate import evaluate
from zswap_gym.agents.parallel import open_workers
from zswap_gym.agents.scoring.standing import Standing
from zswap_gym.envs.fleet import Fleet
from zswap_gym.envs.writeback import WritebackEnv
from zswap_gym.workloads.scenario import load_scenario

HERE = Path(__file__).parent
FIRST_SEED = 9000
SCENARIOS = (
    "mixed-host", "mixed-test", "hourly-jobs-test", "office-hours-test",
    "sandbox-resumes-test", "batch-rounds-test",
)  # fmt: skip
HALVES = ("both", "no release after a writeback", "writeback only", "release only")
COLOURS = ("#2f6db5", "#8fb4dd", "#5a9e5a", "#d08a2e")
COLUMNS = (
    "scenario", "who", "what", "saved %", "low", "high", "kept", "of", "broken min %", "CPU added",
    "disk reads/min", "written MiB/min",
)  # fmt: skip


@dataclass
class Half:
    """Whoever decides, of whose requests one half is left out. It sees what was really asked for."""

    inner: Driver
    writeback: bool

    def start(self, env: WritebackEnv, fleet: Fleet, seeds: Sequence[int]) -> None:
        """An episode begins."""
        self.inner.start(env, fleet, seeds)

    def decide(self, env: WritebackEnv, fleet: Fleet) -> Asked:
        """One half of its requests."""
        age, size, release = self.inner.decide(env, fleet)
        if self.writeback:
            return age, size, np.zeros_like(release)
        return np.full_like(age, np.nan), np.zeros_like(size), release

    def describe(self) -> list[Any]:
        """Who decides, and which half."""
        return [self.writeback, *self.inner.describe()]


def halves(whole: Contestant) -> dict[str, Contestant]:
    """The contestant as it is, on the arm on which a kernel's writeback brings no release, and each half."""
    arms = {**whole.arm, **SHORT_ARMS["writeback_alone"]}
    found = (
        whole,
        replace(whole, arm=arms),
        replace(whole, driver=Half(whole.driver, writeback=True)),
        replace(whole, driver=Half(whole.driver, writeback=False)),
    )
    return dict(zip(HALVES, found, strict=True))


def cells(s: Standing) -> list[str]:
    """As the table shows it."""
    who, _, what = s.policy.partition(": ")
    saved = (f"{x:.2f}" for x in (s.saved_pct.value, s.saved_pct.low, s.saved_pct.high))
    return [
        s.scenario, who, what, *saved, str(s.keeping), str(s.cgroups), f"{s.broken_pct:.2f}",
        f"{s.cpu_added_pct_gib:.3f}", f"{s.disk_reads_min:.0f}", f"{s.written_mib_min:.1f}",
    ]  # fmt: skip


def draw(found: Sequence[Standing]) -> Figure:
    """Memory saved by whole and halves, a panel for each who."""
    whos = list(dict.fromkeys(s.policy.partition(": ")[0] for s in found))
    names = list(dict.fromkeys(s.scenario for s in found))
    figure = Figure(figsize=(4 * len(whos) + 2, 0.55 * len(names) + 1.4), layout="constrained")
    for ax, who in zip(figure.subplots(1, len(whos), sharey=True, squeeze=False)[0], whos, strict=True):
        for k, (what, colour) in enumerate(zip(HALVES, COLOURS, strict=True)):
            for s in (s for s in found if s.policy == f"{who}: {what}"):
                y = len(names) - 1 - names.index(s.scenario) + 0.2 * (1.5 - k)
                ax.plot([s.saved_pct.low, s.saved_pct.high], [y, y], color=colour, linewidth=1.4)
                face = colour if s.kept else "white"
                label = what if s.scenario == names[0] else None
                ax.scatter(s.saved_pct.value, y, s=26, facecolor=face, edgecolor=colour, label=label)
        ax.set_yticks(range(len(names)), names[::-1], fontsize=8)
        ax.set_title(who, fontsize=10)
        ax.set_xlabel("memory saved, % (hollow: breaks the promise)", fontsize=9)
    figure.axes[0].legend(fontsize=8)
    return figure


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="What do writeback and release do, each?")
    parser.add_argument("--policy", default="builtin:generalist")
    parser.add_argument("--rule", default="tuned:promise", help="a rule beside it, halved likewise")
    parser.add_argument("--scenario", action="append", help="by name or file; repeat it for several")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--out", type=Path, default=HERE, help="where table and figure go")
    args = parser.parse_args()
    taking = {
        f"{who}: {what}": half
        for who, spec in (("the policy", args.policy), (args.rule, args.rule))
        for what, half in halves(contestant(spec).at_any_interval()).items()
    }
    seeds = range(FIRST_SEED, FIRST_SEED + args.seeds)
    scenarios = [load_scenario(name) for name in args.scenario or SCENARIOS]
    with open_workers(args.workers) as workers:
        results = evaluate(taking, scenarios, seeds, untold=False, workers=workers)
    found = [results.standing(name, scenario.name) for scenario in scenarios for name in taking]
    found += [results.standing(name) for name in taking] if len(scenarios) > 1 else []
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for s in found:
        print(f"| {' | '.join(cells(s))} |")
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "results.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *map(cells, found)])
    draw(found).savefig(args.out / "halves.svg")


if __name__ == "__main__":
    main()
