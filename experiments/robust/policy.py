"""Does a policy hold on machines it was not trained on, and with samples that are wrong? See README.md.

    python experiments/robust/policy.py [--policy FILE] [--scenario NAME ...] [--seeds 4] [--workers 2]

Beside it the two tuned rules that stand first where nothing is changed. Prints the table, writes policy.csv
and policy.svg beside this file.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from zswap_gym.agents.contestants import Asked, Contestant, Driver, contestant, rules
from zswap_gym.agents.evaluate import REFERENCE, evaluate
from zswap_gym.agents.parallel import Workers, open_workers
from zswap_gym.agents.scoring.standing import Standing
from zswap_gym.envs.fleet import Fleet
from zswap_gym.envs.writeback import WritebackEnv
from zswap_gym.host.types import COLUMN, Table
from zswap_gym.policy.features import FeatureExtractor
from zswap_gym.workloads.scenario import Scenario, load_scenario

HERE = Path(__file__).parent
FIRST_SEED = 9000
SCENARIOS = ("mixed-host", "mixed-test")
POLICY = "the policy"
RULES = 2
"""So many of the tuned rules take part, the best."""
COUNTERS = [
    COLUMN[name]
    for name in (
        "psi_some_total_us", "psi_full_total_us", "host_psi_some_total_us", "pgfault", "pgmajfault",
        "disk_reads", "pgscan", "pgsteal", "zswpin", "zswpout", "zswpwb", "zswpwb_proactive",
        "workingset_refault_anon", "workingset_activate_anon", "workingset_restore_anon",
    )
]  # fmt: skip
COLUMNS = ("scenario", "what", "who", "saved %", "low", "high", "broken min %", "kept", "of")


@dataclass
class Disturbed:
    """Whoever decides, by samples that are wrong.

    Attributes:
        noise: deviation of the log of a factor on each increase of each counter of each cgroup.
        stale: whether a sample is that of the decision before.
        every: each so-many-th decision is missed: nothing is looked at and nothing asked for; 0 = none.
    """

    inner: Driver
    noise: float = 0.0
    stale: bool = False
    every: int = 0
    _random: list[np.random.Generator] = field(init=False, repr=False)
    _extractor: FeatureExtractor = field(init=False, repr=False)
    """Features of the samples that are seen; the fleet's are of those that are right."""

    def start(self, env: WritebackEnv, fleet: Fleet, seeds: Sequence[int]) -> None:
        """An episode begins."""
        self.inner.start(env, fleet, seeds)
        self._random = [np.random.default_rng([seed, 1]) for seed in seeds]
        self._extractor = fleet.extractor.copy()
        self._rows = fleet.rows.copy()
        self._true = self._late = fleet.tables.copy()
        self._seen = fleet.tables.copy()
        self._step = self._looked = 0

    def decide(self, env: WritebackEnv, fleet: Fleet) -> Asked:
        """What is asked for by what is seen."""
        self._step += 1
        fresh = self._late if self.stale else fleet.tables
        self._late = fleet.tables.copy()
        if (self.every and self._step % self.every == 0) or (self.stale and self._step == 1):
            nothing = np.zeros(fleet.tables.shape[:2])
            return np.full_like(nothing, np.nan), nothing, nothing.copy()
        self._seen = self._disturb(fresh)
        if self._step > 1 + self.stale:  # the first sample is known from the warm-up
            self._rows = self._extractor.update(self._seen)
        rounds, self._looked = self._step - self._looked, self._step
        view = SimpleNamespace(tables=self._seen, rows=self._rows, extractor=self._extractor)
        seen_by = SimpleNamespace(
            interval_s=env.interval_s * rounds,
            observe=partial(WritebackEnv.observe, env),
            contract=env.contract,
        )
        asked = self.inner.decide(seen_by, view)  # type: ignore[arg-type]
        self._extractor.asked(*asked)
        return asked

    def _disturb(self, fresh: Table) -> Table:
        """The sample with noise on what its counters grew by since the last one seen."""
        if not self.noise:
            return fresh.copy()
        grown = fresh[..., COUNTERS] - self._true[..., COUNTERS]
        factors = np.stack([own.lognormal(0.0, self.noise, grown.shape[1:]) for own in self._random])
        self._true, seen = fresh.copy(), fresh.copy()
        seen[..., COUNTERS] = self._seen[..., COUNTERS] + grown * factors
        return seen

    def describe(self) -> list[Any]:
        """Who decides, and what is wrong."""
        return [self.noise, self.stale, self.every, *self.inner.describe()]


def fine(scenario: Scenario, lru: str) -> Scenario:
    """The scenario page by page, the same memory: the whole LRUs are of single pages."""
    data = scenario.model_dump(mode="json")
    scale = data["host"]["page_scale"]
    data["host"] |= {"page_scale": 1, "lru": lru}
    for cgroup in data["cgroups"]:
        work = cgroup["workload"] or {}
        for key in ("pages", "cache_pages"):
            if work.get(key):
                work[key] *= scale
    return Scenario.model_validate(data)


def kernel(scenario: Scenario, version: str) -> Scenario:
    """The scenario on another kernel."""
    return Scenario.model_validate(scenario.model_dump(mode="json") | {"kernel": version})


MACHINES: Mapping[str, Callable[[Scenario], Scenario]] = {
    "as it is": lambda s: s,
    "a SATA disk": lambda s: s.arm(device="sata"),
    "a disk of 400 reads a second": lambda s: s.arm(device="iops400"),
    "a turning disk": lambda s: s.arm(device="hdd"),
    "lz4": lambda s: s.arm(compressor="lz4"),
    "kernel 7.3": lambda s: kernel(s, "7.3"),
    "page by page, as it is": lambda s: fine(s, "mglru"),
    "page by page, whole MGLRU": lambda s: fine(s, "mglru-full"),
    "page by page, classic LRU": lambda s: fine(s, "classic"),
}
SAMPLES: Mapping[str, dict[str, Any]] = {
    "counters 10 % wrong": {"noise": 0.1},
    "counters 30 % wrong": {"noise": 0.3},
    "samples one decision old": {"stale": True},
    "each 4th decision missed": {"every": 4},
    "each 2nd decision missed": {"every": 2},
}
Row = tuple[str, str, Standing]
"""Scenario, what is changed, how somebody stands."""


def measure(
    scenario: Scenario, policies: Mapping[str, Contestant], what: str, seeds: Sequence[int], workers: Workers
) -> list[Row]:
    """Everybody on one machine, or by samples of one kind."""
    wrong = SAMPLES.get(what)
    taking = {
        name: replace(who, driver=Disturbed(who.driver, **wrong)) if wrong else who
        for name, who in policies.items()
    }
    machine = MACHINES.get(what, MACHINES["as it is"])(scenario)
    results = evaluate(
        taking | {REFERENCE: contestant(REFERENCE)}, [machine], seeds, untold=False, workers=workers
    )
    return [(scenario.name, what, results.standing(name)) for name in policies]


def cells(row: Row) -> list[str]:
    """As the table shows it."""
    scenario, what, s = row
    saved = s.saved_pct
    numbers = (f"{x:.2f}" for x in (saved.value, saved.low, saved.high, s.broken_pct))
    return [scenario, what, s.policy, *numbers, str(s.keeping), str(s.cgroups)]


def draw(rows: Sequence[Row]) -> Figure:
    """Memory saved, one panel per scenario; hollow where the promise is broken."""
    scenarios, whats = (list(dict.fromkeys(row[k] for row in rows)) for k in (0, 1))
    figure = Figure(figsize=(4 * len(scenarios) + 2, 0.3 * len(whats) + 1.2), layout="constrained")
    panels = figure.subplots(1, len(scenarios), sharey=True, squeeze=False)[0]
    for ax, scenario in zip(panels, scenarios, strict=True):
        mine = [row for row in rows if row[0] == scenario]
        names = list(dict.fromkeys(s.policy for _, _, s in mine))
        for _, what, s in mine:
            colour = ("#2f6db5", "#d08a2e", "#5a9e5a")[names.index(s.policy)]
            y = len(whats) - 1 - whats.index(what) + 0.2 * (1 - names.index(s.policy))
            ax.plot([s.saved_pct.low, s.saved_pct.high], [y, y], color=colour, linewidth=1.2)
            label = s.policy if what == whats[0] else None
            ax.scatter(
                s.saved_pct.value,
                y,
                s=24,
                facecolor=colour if s.kept else "white",
                edgecolor=colour,
                label=label,
            )
        ax.set_title(scenario, fontsize=10)
        ax.set_xlabel("memory saved, % (hollow: breaks the promise)", fontsize=9)
        ax.legend(fontsize=8)
    panels[0].set_yticks(range(len(whats)), whats[::-1], fontsize=8)
    return figure


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Does a policy hold elsewhere, and with wrong samples?")
    parser.add_argument("--policy", default="builtin:generalist")
    parser.add_argument("--scenario", action="append", help="by name or file; repeat it for several")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--out", type=Path, default=HERE, help="where table and figure go")
    args = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + args.seeds)
    policy = contestant(args.policy).at_any_interval()
    tuned = {
        name: spec for name, spec in rules(untuned=False).items() if "@" not in spec and spec != REFERENCE
    }
    rows: list[Row] = []
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    with open_workers(args.workers) as workers:
        for scenario in map(load_scenario, args.scenario or SCENARIOS):
            found = evaluate(tuned, [scenario], seeds, untold=False, workers=workers).standings()
            best = [s.policy for s in found if s.policy != REFERENCE][:RULES]
            taking = {POLICY: policy, **{name: contestant(tuned[name]) for name in best}}
            for what in (*MACHINES, *SAMPLES):
                mine = measure(scenario, taking, what, seeds, workers)
                rows += mine
                for row in mine:
                    print(f"| {' | '.join(cells(row))} |", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "policy.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *map(cells, rows)])
    draw(rows).savefig(args.out / "policy.svg")


if __name__ == "__main__":
    main()
