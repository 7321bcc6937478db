"""What is writeback worth, against release alone at equal CPU? See README.md.

    python experiments/worth/measure.py [--scenario NAME ...] [--seeds 16] [--workers 2]

What has been measured is kept, a file per scenario under runs/worth; killed and started again it goes on.
Prints the table, writes results.csv and worth.svg beside this file.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from zswap_gym.agents.contestants import contestant
from zswap_gym.agents.evaluate import evaluate
from zswap_gym.agents.oracle.hindsight import hindsight
from zswap_gym.agents.oracle.search import sources_digest
from zswap_gym.agents.oracle.settings import grid
from zswap_gym.agents.parallel import Workers, open_workers
from zswap_gym.agents.results import Results
from zswap_gym.agents.statistics import Estimate, bootstrap, paired_difference
from zswap_gym.atomic import write_atomically
from zswap_gym.envs.warmstart import scenario_digest
from zswap_gym.kernel.jit import model_digest
from zswap_gym.law_file import named_files
from zswap_gym.policy.promise import Account, Promise, judge
from zswap_gym.workloads.scenario import Scenario, load_scenario, scenario_names

HERE = Path(__file__).parent
KEPT = Path("runs/worth")
FIRST_SEED = 9000
PAIRS = {
    "trackers": ("promise", "promise(writeback=0)"),
    "trackers, tuned": ("tuned:promise", "tuned:promise-release"),
}
"""The same rule with writeback and without; each moves its release until CPU is at its budget."""
HINDSIGHT = "hindsight"
"""The best fixed setting for each cgroup, of all and of those that only release."""
COLUMNS = (
    "scenario", "what", "with writeback", "kept", "release alone", "kept", "difference", "CPU with",
    "CPU alone", "broken min % with", "alone", "disk reads/min",
)  # fmt: skip


@dataclass(frozen=True)
class Side:
    """One half of a pair on one scenario."""

    saved: Estimate
    """Percent."""
    keeping: str
    """Cgroups that keep the promise, of all."""
    cpu_pct_gib: float
    """Compression and decompression beyond nothing done, of the whole host."""
    broken_pct: float
    disk_reads_min: float


@dataclass(frozen=True)
class Pair:
    """With writeback and with release alone, on the same seeds."""

    scenario: str
    what: str
    both: Side
    alone: Side
    difference: Estimate
    """Points, paired."""

    def cells(self) -> list[str]:
        """As the table shows it."""
        with_, alone = self.both, self.alone
        return [
            self.scenario, self.what, _span(with_.saved), with_.keeping, _span(alone.saved), alone.keeping,
            _span(self.difference), f"{with_.cpu_pct_gib:.3f}", f"{alone.cpu_pct_gib:.3f}",
            f"{with_.broken_pct:.1f}", f"{alone.broken_pct:.1f}", f"{with_.disk_reads_min:.0f}",
        ]  # fmt: skip


def _span(e: Estimate) -> str:
    return f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]"


def measure(scenario: Scenario, seeds: Sequence[int], workers: Workers) -> Iterator[Pair]:
    """All pairs on one scenario."""
    promise = Promise()
    known = named_files()
    pairs = {
        what: pair
        for what, pair in PAIRS.items()
        if all(name.removeprefix("tuned:") in known for name in pair if name.startswith("tuned:"))
    }
    results = _evaluated(
        scenario, seeds, promise, [name for pair in pairs.values() for name in pair], workers
    )
    nothing = results.trial(results.reference, scenario.name).account
    for what, pair in pairs.items():
        accounts = [results.trial(name, scenario.name).account for name in pair]
        yield _pair(scenario.name, what, accounts[0], accounts[1], nothing, promise)
    found = workers.run(hindsight, [(scenario, seed, promise) for seed in seeds])
    settings = Account.of(np.stack([each.settings.sums for each in found], axis=1))  # (G, S, N)
    release_only = np.flatnonzero(np.isnan(grid()[0]))
    accounts = [_best(settings.take(which), nothing, promise) for which in (slice(None), release_only)]
    yield _pair(scenario.name, HINDSIGHT, accounts[0], accounts[1], nothing, promise)


def _evaluated(
    scenario: Scenario, seeds: Sequence[int], promise: Promise, names: Sequence[str], workers: Workers
) -> Results:
    facts = [
        scenario_digest(scenario), list(seeds), model_digest(), sources_digest(),
        [contestant(name).digest() for name in names],
    ]  # fmt: skip
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
    path = KEPT / f"{scenario.name}-{key}.json"
    if path.is_file():
        return Results.from_json(path.read_text())
    results = evaluate(list(names), [scenario], seeds, promise=promise, untold=False, workers=workers)
    write_atomically(path, results.to_json())
    return results


def _best(settings: Account, nothing: Account, promise: Promise) -> Account:
    """For each seed and cgroup (S, N) the setting (G, S, N) that saves most and keeps the promise."""
    verdict = judge(settings, nothing, promise)
    best = np.where(verdict.kept, verdict.saved_pct, -np.inf).argmax(0)
    return Account.of(np.take_along_axis(settings.sums, best[None, :, :, None], axis=0)[0])


def _pair(
    scenario: str, what: str, both: Account, alone: Account, nothing: Account, promise: Promise
) -> Pair:
    saved = [judge(account.sum(1), nothing.sum(1), promise).saved_pct for account in (both, alone)]
    sides = [_side(account, nothing, promise) for account in (both, alone)]
    return Pair(scenario, what, sides[0], sides[1], paired_difference(saved[0], saved[1]))


def _side(account: Account, nothing: Account, promise: Promise) -> Side:
    host = judge(account.sum(1).sum(), nothing.sum(1).sum(), promise)
    kept = judge(account.sum(), nothing.sum(), promise).kept
    minutes = account.elapsed_us[:, 0].sum() / 60e6
    return Side(
        bootstrap(judge(account.sum(1), nothing.sum(1), promise).saved_pct),
        f"{kept.sum()} of {kept.size}",
        float(host.cpu_added_pct_gib),
        float(host.broken_pct),
        float(account.reads.sum() / minutes),
    )


def draw(pairs: Sequence[Pair]) -> Figure:
    """Memory saved with and without writeback, a panel for each kind of pair."""
    kinds = list(dict.fromkeys(pair.what for pair in pairs))
    names = list(dict.fromkeys(pair.scenario for pair in pairs))[::-1]
    figure = Figure(figsize=(4.2 * len(kinds) + 1.5, 0.3 * len(names) + 1.3), layout="constrained")
    for ax, kind in zip(figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0], kinds, strict=True):
        for pair in (pair for pair in pairs if pair.what == kind):
            y = names.index(pair.scenario)
            for side, colour, lift in ((pair.both, "#2f6db5", 0.14), (pair.alone, "#d08a2e", -0.14)):
                whole = side.keeping.split(" of ")
                face = colour if whole[0] == whole[1] else "none"
                ax.plot([side.saved.low, side.saved.high], [y + lift] * 2, color=colour, linewidth=1.5)
                ax.scatter(side.saved.value, y + lift, s=30, facecolor=face, edgecolor=colour)
        ax.set_yticks(range(len(names)), names, fontsize=8)
        ax.set_title(kind, fontsize=10)
        ax.set_xlabel("memory saved, % (hollow: breaks the promise)", fontsize=9)
    for label, colour in (("with writeback", "#2f6db5"), ("release alone", "#d08a2e")):
        ax.scatter([], [], color=colour, label=label)
    ax.legend(fontsize=8)
    return figure


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="What is writeback worth at equal CPU?")
    parser.add_argument("--scenario", action="append", help="by name or file; repeat it for several")
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--out", type=Path, default=HERE, help="where table and figure go")
    args = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + args.seeds)
    pairs: list[Pair] = []
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    with open_workers(args.workers) as workers:
        for name in args.scenario or scenario_names():
            for pair in measure(load_scenario(name), seeds, workers):
                pairs.append(pair)
                print(f"| {' | '.join(pair.cells())} |", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([COLUMNS, *(pair.cells() for pair in pairs)])
    draw(pairs).savefig(args.out / "worth.svg")


if __name__ == "__main__":
    main()
