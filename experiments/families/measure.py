"""What do doing nothing, the kernel's shrinker, simple rules and foresight save here? See README.md.

    python experiments/families/measure.py SCENARIO ... [--seeds 4] [--csv results.csv]

A contestant's savings count where every cgroup keeps the promise, summed over the seeds; with ``each``, the
savings of the cgroups that keep it count whatever the others do, the best setting per cgroup in hindsight.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from foresight import Foresight

from zswap_gym.envs.event_log import EventCost
from zswap_gym.envs.writeback import WritebackEnv
from zswap_gym.host.types import COLUMN, NOTHING, Request, Table
from zswap_gym.policy.promise import Account, Promise, footprint, judge
from zswap_gym.policy.resumes import resumes
from zswap_gym.units import PAGE_SIZE
from zswap_gym.workloads.scenario import Scenario, load_scenario

Array = np.ndarray[Any, Any]
FIRST_SEED = 2000
AGES = (120.0, 600.0, 2400.0)
AMOUNTS = (0.02, 0.2)
RELEASES = (0.0, 0.002, 0.01)
"""Shares of the footprint, per decision."""


class Rule(Protocol):
    """What is measured."""

    def decide(self, table: Table) -> list[Request]:
        """One request per cgroup."""

    def tell(self, minutes: Array, broken: Array) -> None:
        """What became of the last interval, per cgroup."""


class Fixed:
    """The same age and amount always; the release is what was written and a share of the footprint.

    An amount of 0 writes nothing back, with a release of 0 as well it does nothing.
    """

    def __init__(self, age_s: float = 0.0, amount: float = 0.0, release: float = 0.0) -> None:
        self._age, self._amount, self._release = age_s, amount, release
        self._written: Array | None = None

    def decide(self, table: Table) -> list[Request]:
        """One request per cgroup."""
        written = table[:, COLUMN["zswpwb"]] * PAGE_SIZE
        fresh = written - (written if self._written is None else self._written)
        self._written = written.copy()
        if not self._amount:
            fresh[:] = 0.0
        return [
            self._request(share, new)
            for share, new in zip(footprint(table).tolist(), fresh.tolist(), strict=True)
        ]

    def _request(self, whole: float, fresh: float) -> Request:
        size, release = int(self._amount * whole), int(fresh + self._release * whole)
        return Request(self._age if size else None, size, release) if size or release else NOTHING

    def tell(self, minutes: Array, broken: Array) -> None:
        """Nothing to learn."""


class Tracker(Fixed):
    """The age follows the promise: per cgroup u up by 0.01 in a kept minute, down by 0.32 in a broken one."""

    def __init__(self, n: int, release: float, fastest_s: float) -> None:
        super().__init__(amount=0.04, release=release)
        self._u, self._ends = np.zeros(n), (7200.0, fastest_s)

    def decide(self, table: Table) -> list[Request]:
        """One request per cgroup."""
        slow, fast = self._ends
        ages = slow * (fast / slow) ** self._u
        return [
            Request(float(age), request.max_bytes, request.release_bytes)
            for age, request in zip(ages, super().decide(table), strict=True)
        ]

    def tell(self, minutes: Array, broken: Array) -> None:
        """Minutes that were kept and broken."""
        self._u = np.clip(self._u + 0.01 * (minutes - broken) - 0.32 * broken, 0.0, 1.0)


@dataclass(frozen=True)
class Row:
    """One contestant on one scenario, all seeds together."""

    scenario: str
    group: str
    rule: str
    saved_pct: float
    kept: int
    cgroups: int
    broken_pct: float
    psi_added_pct: float
    cpu_added_pct_gib: float
    resume_p50_ms: float
    resume_p99_ms: float
    stalled_in_events_s: float
    """Per window or arrival, thread-seconds."""
    each_pct: tuple[float, ...]
    """Savings of each cgroup that keeps the promise, percent of the host's memory; else 0."""

    @property
    def whole(self) -> float:
        """Memory saved if every cgroup keeps the promise; else nothing."""
        return self.saved_pct if self.kept == self.cgroups else 0.0


Make = Callable[[WritebackEnv, int], Rule]


def contestants(scenario: Scenario, promise: Promise) -> Iterator[tuple[str, str, Scenario, Make]]:
    """(group, name, scenario, how a rule is made for an environment and a seed)."""
    yield "nothing", "nothing", scenario, lambda _env, _seed: Fixed()
    yield "shrinker", "shrinker", scenario.arm(shrinker_enabled=True), lambda _env, _seed: Fixed()
    for share in RELEASES[1:]:
        yield "fixed", f"release {share:g}", scenario, lambda _env, _seed, r=share: Fixed(release=r)
    for age, size, share in itertools.product(AGES, AMOUNTS, RELEASES):
        label = f"age {age:g} amount {size:g} release {share:g}"
        yield "fixed", label, scenario, lambda _env, _seed, a=age, m=size, r=share: Fixed(a, m, r)
    for share, fast in itertools.product(RELEASES, (120.0, 600.0)):
        label = f"tracker release {share:g} fastest {fast:g}"
        yield "tracker", label, scenario, lambda env, _seed, r=share, f=fast: Tracker(len(env.cgroups), r, f)
    for eager, spend in itertools.product((0.02, 0.2), (0.25, 0.6)):
        label = f"foresight eager {eager:g} spend {spend:g}"
        yield "foresight", label, scenario, _clairvoyant(scenario, promise, eager, spend)


def _clairvoyant(scenario: Scenario, promise: Promise, eager: float, spend: float) -> Make:
    def make(env: WritebackEnv, seed: int) -> Rule:
        # As envs.warmstart.warm_up() draws it.
        parts = scenario.realise(np.random.default_rng([zlib.crc32(scenario.name.encode()), seed, 0]))
        return Foresight(env.host, parts, scenario.episode.length, promise, eager, spend)

    return make


def run(scenario: Scenario, seed: int, make: Make, promise: Promise) -> tuple[Account, tuple[EventCost, ...]]:
    """The account (N,) of one episode and what its events cost."""
    env = WritebackEnv(scenario, snapshots=0, promise=promise, objective="bill")
    env.reset(seed=seed)
    rule, before = make(env, seed), env.account
    for _ in range(env.steps_per_episode):
        env.step_requests(rule.decide(env.table))
        rule.tell(env.account.minutes - before.minutes, env.account.broken - before.broken)
        before = env.account
    return env.account, env.events


def measure(name: str, seeds: range, promise: Promise) -> list[Row]:
    """One row per contestant."""
    scenario, rows, nothing = load_scenario(name), [], None
    for group, label, arm, make in contestants(scenario, promise):
        found = [run(arm, seed, make, promise) for seed in seeds]
        total = Account.zeros(found[0][0].minutes.shape)
        for account, _ in found:
            total = total + account
        nothing = total if nothing is None else nothing
        rows.append(
            _row(name, group, label, total, nothing, promise, [c for _, costs in found for c in costs])
        )
    return rows


def _row(
    name: str,
    group: str,
    label: str,
    total: Account,
    nothing: Account,
    promise: Promise,
    costs: list[EventCost],
) -> Row:  # fmt: skip
    verdict = judge(total, nothing, promise)
    each = 100.0 * (nothing.held_byte_us - total.held_byte_us) / nothing.held_byte_us.sum()
    waits = resumes([cost.latency_s for cost in costs if cost.latency_s is not None], 1, 1.0)
    stalled = [cost.stalled_s for cost in costs if cost.latency_s is None]
    return Row(
        name, group, label, float(each.sum()), int(verdict.kept.sum()), len(each),
        float(verdict.broken_pct.max()), float(verdict.psi_added_pct.max()),
        float(verdict.cpu_added_pct_gib.max()),
        waits.p50_ms, waits.p99_ms,
        float(np.mean(stalled)) if stalled else 0.0, tuple(np.where(verdict.kept, each, 0.0).tolist()),
    )  # fmt: skip


def best(rows: list[Row], *groups: str) -> tuple[Row, float]:
    """Of some groups the best with one setting for all, and the savings with the best setting per cgroup."""
    mine = [row for row in rows if row.group in groups]
    each = np.max([row.each_pct for row in mine], axis=0).clip(0).sum()
    return max(mine, key=lambda row: row.whole), float(each)


def report(name: str, rows: list[Row], seconds: float) -> str:
    """One line of the README's table."""
    shrinker, _ = best(rows, "shrinker")
    rule, each = best(rows, "nothing", "shrinker", "fixed", "tracker")
    sight, sight_each = best(rows, "foresight")
    return (
        f"| {name} | {shrinker.whole:.1f} | {rule.whole:.1f} ({rule.rule}) | {each:.1f} "
        f"| {sight.whole:.1f} / {sight_each:.1f} | {rows[0].broken_pct:.1f} | {seconds:.0f} s |"
    )


def main() -> None:
    """Print the table, and write all rows where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + args.seeds)
    everything: list[Row] = []
    print(
        "| scenario | shrinker | best rule, one setting | per cgroup | foresight | nothing breaks % | took |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in args.names:
        begun = time.perf_counter()
        rows = measure(name, seeds, Promise())
        everything += rows
        print(report(name, rows, time.perf_counter() - begun), flush=True)
        if args.csv:
            with args.csv.open("w", newline="") as file:
                writer = csv.writer(file)
                names = [field.name for field in fields(Row)]
                writer.writerow(names)
                writer.writerows(
                    [
                        f"{value:.4g}" if isinstance(value, float) else value
                        for value in row_values(row, names)
                    ]
                    for row in everything
                )


def row_values(row: Row, names: list[str]) -> list[Any]:
    """A row's fields; the tuple as text."""
    values = [getattr(row, name) for name in names]
    return [" ".join(f"{x:.3g}" for x in value) if isinstance(value, tuple) else value for value in values]


if __name__ == "__main__":
    main()
