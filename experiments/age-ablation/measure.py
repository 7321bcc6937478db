"""What does a learned policy lose on kernels that take no age, at equal disk reads? See README.md.

    python experiments/age-ablation/measure.py [--policy FILE] [--scenario NAME ...] [--seeds 4] [--workers 2]

A policy at several cautions and a grid of fixed ages, on a kernel that takes an age (version 1 of the
series) and on those that take a size only (2 to 5), where the host turns the age into the size of what is
estimated to be as old. Prints the table, writes points.csv, results.csv and age.svg beside this file.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from zswap_gym.agents.contestants import Contestant, PolicyDriver, contestant
from zswap_gym.agents.evaluate import evaluate
from zswap_gym.agents.learning.champion import cautious
from zswap_gym.agents.parallel import Workers, open_workers
from zswap_gym.agents.results import Results
from zswap_gym.errors import UserError
from zswap_gym.policy.promise import Promise
from zswap_gym.units import PAGE_SIZE
from zswap_gym.workloads.scenario import Scenario, load_scenario

Floats = npt.NDArray[np.float64]

HERE = Path(__file__).parent
FIRST_SEED = 9000
SCENARIOS = ("mixed-host", "mixed-test")
WITH_AGE = "v1"
SIZES_ONLY = ("v2", "v3", "v4", "v5")
CAUTIONS = (-0.4, -0.2, 0.0, 0.2, 0.4)
AGES_S = (1.0, 600.0, 2400.0, 7200.0)
"""An age of a second is none: whatever lies in zswap is old enough."""
AMOUNTS = ("256K", "1M", "4M")
RELEASE = 0.25
"""In units of the amount."""
GRID_DIALECTS = (WITH_AGE, "v2", "v5")
"""For the grid one version that counts uncompressed bytes and one that counts compressed ones will do."""
LEVELS, REPETITIONS = 9, 2000
COLOURS = {
    "v1": "#2f6db5",
    "v2": "#d08a2e",
    "v3": "#c9b037",
    "v4": "#5a9e5a",
    "v5": "#a0522d",
    "no age": "grey",
}
COLUMNS = (
    "scenario", "who", "without the age", "disk reads from, % a minute", "to",
    "saved with the age %", "without %", "difference, points", "low", "high",
)  # fmt: skip


@dataclass(frozen=True)
class Point:
    """A setting on a scenario with a dialect; arrays are (S,)."""

    family: str
    dialect: str
    setting: str
    saved_pct: Floats
    reads_pct: Floats
    """Disk reads a minute, percent of the footprint."""
    affordable: bool
    """Whether pressure and CPU are within the promise: all that is compared is."""


@dataclass(frozen=True)
class Frontier:
    """Most memory saved with so many disk reads, by settings (P, S)."""

    saved: Floats
    reads: Floats

    @classmethod
    def of(cls, points: Sequence[Point]) -> Frontier:
        """Of those that are affordable."""
        fit = [p for p in points if p.affordable] or list(points)
        return cls(np.stack([p.saved_pct for p in fit]), np.stack([p.reads_pct for p in fit]))

    def line(self, seeds: Any = slice(None)) -> tuple[Floats, Floats]:
        """Reads in rising order, and the most that is saved with at most so many."""
        reads, saved = self.reads[:, seeds].mean(1), self.saved[:, seeds].mean(1)
        order = np.argsort(reads, kind="stable")
        return reads[order], np.maximum.accumulate(saved[order])

    def at(self, levels: Floats, seeds: Any = slice(None)) -> Floats:
        """Memory saved at levels of disk reads, between two settings in proportion."""
        return np.interp(levels, *self.line(seeds))


def contestants(policy: Contestant) -> Iterator[tuple[str, str, str, Contestant]]:
    """(family, dialect, setting, contestant)."""
    if not isinstance(policy.driver, PolicyDriver):
        raise UserError("age-ablation moves the caution of a learned policy; give --policy one, not a rule")
    for dialect, by in itertools.product((WITH_AGE, *SIZES_ONLY), CAUTIONS):
        other = contestant(cautious(policy.driver.policy, by)).at_any_interval()
        yield "policy", dialect, f"caution {by:+g}", Contestant(other.driver, {"dialect": dialect})
    for dialect, age, size in itertools.product(GRID_DIALECTS, AGES_S, AMOUNTS):
        law = f"fixed_age(age_s={age:g},max_bytes={size},release_share={RELEASE:g})"
        yield "fixed ages", dialect, law, Contestant(contestant(law).driver, {"dialect": dialect})


def measure(policy: Contestant, scenario: Scenario, seeds: Sequence[int], workers: Workers) -> list[Point]:
    """Every setting with every dialect on one scenario."""
    taking = {
        f"{dialect} {setting}": (family, dialect, setting, who)
        for family, dialect, setting, who in contestants(policy)
    }
    results = evaluate(
        {name: who for name, (*_, who) in taking.items()}, [scenario], seeds, untold=False, workers=workers
    )
    return [_point(results, name, *what[:3]) for name, what in taking.items()]


def _point(results: Results, name: str, family: str, dialect: str, setting: str) -> Point:
    stood, promise = results.standing(name), results.promise
    (trial,) = results.of(name)
    host = trial.account.sum(1)
    reads = 100.0 * host.reads * PAGE_SIZE * 60e6 / host.footprint_byte_us
    affordable = (
        stood.cpu_added_pct_gib <= promise.cpu_pct_per_gib and stood.psi_added_pct <= promise.psi_added_pct
    )
    return Point(family, dialect, setting, results.saved_pct(name)[0], reads, affordable)


def frontiers(points: Sequence[Point]) -> dict[tuple[str, str], Frontier]:
    """By family and dialect; of the grid also that of sizes without any age ("no age")."""
    keys = dict.fromkeys((p.family, p.dialect) for p in points)
    found = {key: Frontier.of([p for p in points if (p.family, p.dialect) == key]) for key in keys}
    plain = [p for p in points if p.dialect == WITH_AGE and f"age_s={AGES_S[0]:g}," in p.setting]
    return found | {("fixed ages", "no age"): Frontier.of(plain)}


def compare(scenario: str, points: Sequence[Point]) -> list[list[str]]:
    """Rows of the table: version 1 against each other dialect, over the disk reads that both can have."""
    found, rows = frontiers(points), []
    for (family, dialect), other in found.items():
        if dialect == WITH_AGE:
            continue
        mine = found[family, WITH_AGE]
        low = max(mine.line()[0][0], other.line()[0][0])
        high = min(mine.line()[0][-1], other.line()[0][-1], Promise().disk_reads_pct_min)
        if low >= high:
            rows.append(
                [scenario, family, dialect, f"{low:.3f}", f"{high:.3f}", *["no common disk reads", *[""] * 4]]
            )
            continue
        levels = np.linspace(low, high, LEVELS)
        ours, theirs = (line.at(levels).mean() for line in (mine, other))
        differences = _resampled(mine, other, levels)
        numbers = (ours, theirs, ours - theirs, *np.percentile(differences, [2.5, 97.5]))
        rows.append([scenario, family, dialect, f"{low:.3f}", f"{high:.3f}", *(f"{x:.2f}" for x in numbers)])
    return rows


def _resampled(mine: Frontier, other: Frontier, levels: Floats) -> Floats:
    """The mean difference over the levels for seeds drawn anew, (REPETITIONS,)."""
    rng, many = np.random.default_rng(0), mine.saved.shape[1]
    picks = rng.integers(0, many, (REPETITIONS, many))
    return np.array([(mine.at(levels, pick) - other.at(levels, pick)).mean() for pick in picks])


def draw(found: Mapping[str, Sequence[Point]]) -> Figure:
    """Memory saved over disk reads, a row per scenario, a column for the policy and the grid."""
    figure = Figure(figsize=(9, 3 * len(found)), layout="constrained")
    axes = figure.subplots(len(found), 2, squeeze=False)
    for row, (scenario, points) in zip(axes, found.items(), strict=True):
        for (family, dialect), frontier in frontiers(points).items():
            ax = row[0 if family == "policy" else 1]
            reads, saved = frontier.line()
            ax.plot(
                reads, saved, color=COLOURS[dialect], marker=".", markersize=5, linewidth=1.2, label=dialect
            )
            ax.set_title(f"{scenario}: {family}", fontsize=10)
        for ax in row:
            ax.axvline(Promise().disk_reads_pct_min, color="grey", linestyle=":")
            ax.set_xlim(0.0, 1.5 * Promise().disk_reads_pct_min)
            ax.set_ylabel("memory saved, %", fontsize=9)
            ax.legend(fontsize=7)
    for ax in axes[-1]:
        ax.set_xlabel("disk reads, % of the footprint a minute", fontsize=9)
    return figure


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="What does the age buy?")
    parser.add_argument("--policy", default="builtin:generalist")
    parser.add_argument("--scenario", action="append", help="by name or file; repeat it for several")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--out", type=Path, default=HERE, help="where tables and figure go")
    args = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + args.seeds)
    policy = contestant(args.policy)
    found: dict[str, list[Point]] = {}
    rows: list[list[str]] = []
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    with open_workers(args.workers) as workers:
        for scenario in map(load_scenario, args.scenario or SCENARIOS):
            found[scenario.name] = measure(policy, scenario, seeds, workers)
            mine = compare(scenario.name, found[scenario.name])
            rows += mine
            for row in mine:
                print(f"| {' | '.join(row)} |", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "results.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    with (args.out / "points.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["scenario", "who", "dialect", "setting", "saved_pct", "reads_pct", "affordable"])
        writer.writerows(
            [
                name,
                p.family,
                p.dialect,
                p.setting,
                f"{p.saved_pct.mean():.3f}",
                f"{p.reads_pct.mean():.4f}",
                p.affordable,
            ]
            for name, points in found.items()
            for p in points
        )
    draw(found).savefig(args.out / "age.svg")


if __name__ == "__main__":
    main()
