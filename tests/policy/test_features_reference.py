"""The vectorised features against the same formulas written out plainly, one cgroup at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest

from zswap_gym.host.types import COLUMN, COLUMNS, Sample, Table
from zswap_gym.policy.age import AGES_S, BINS, EDGES_S
from zswap_gym.policy.features import FEATURES, HOST_FEATURES, Feature, FeatureExtractor
from zswap_gym.policy.promise import MinuteMeter, Promise

Make = Callable[..., Table]
Values = dict[str, float]

COUNTERS = ("time_s", "psi_some_total_us", "zswpout", "zswpin", "disk_reads", "zswpwb", "pgsteal")
EDGES = EDGES_S.tolist()
PAGE = 4096.0


def log_scaled(x: float, floor: float, top: float) -> float:
    return math.log1p(x / floor) / math.log1p(top / floor)


def bounded(values: Values, features: tuple[Feature, ...]) -> list[float]:
    assert set(values) == {f.name for f in features}
    return [min(max(values[f.name], f.low), f.high) for f in features]


class PlainAges:
    """AgeEstimate of one cgroup, in loops."""

    def __init__(self) -> None:
        self.mass = [0.0] * BINS

    def pass_time(self, dt: float) -> None:
        moved = [0.0] * BINS
        for i, pages in enumerate(self.mass[:-1]):
            low, high = EDGES[i] + dt, EDGES[i + 1] + dt
            for j in range(BINS):
                upper = EDGES[j + 1] if j + 1 < BINS else math.inf
                moved[j] += pages * max(min(upper, high) - max(EDGES[j], low), 0.0) / (high - low)
        moved[-1] += self.mass[-1]
        self.mass = moved

    def store(self, pages: float, dt: float) -> None:
        if dt <= 0:
            self.mass[0] += pages
            return
        for j in range(BINS):
            upper = EDGES[j + 1] if j + 1 < BINS else math.inf
            self.mass[j] += pages * max(min(upper, dt) - EDGES[j], 0.0) / dt

    def load(self, pages: float, dt: float) -> None:
        middles = [*((a + b) / 2 for a, b in pairwise(EDGES)), EDGES[-1]]
        chances = [(min(m / dt, 1.0) if dt > 0 else 1.0) / (m + 30.0) for m in middles]
        weight = max(sum(m * c for m, c in zip(self.mass, chances, strict=True)), 1e-9)
        self.mass = [m * max(1.0 - pages / weight * c, 0.0) for m, c in zip(self.mass, chances, strict=True)]

    def write(self, pages: float) -> None:
        for j in reversed(range(BINS)):
            taken = min(pages, self.mass[j])
            self.mass[j] -= taken
            pages -= taken

    def tie(self, population: float) -> None:
        total = sum(self.mass)
        factor = min(population / max(total, 1e-9), 1.0)
        self.mass = [m * factor for m in self.mass]
        self.mass[0] += max(population - total, 0.0)

    def share_older(self, age: float) -> float:
        older = sum(m for m, edge in zip(self.mass, EDGES, strict=True) if edge >= age)
        return older / max(sum(self.mass), 1e-9)


class PlainMemory:
    """policy/memory.py of one cgroup: the minutes by the meter that everybody counts by."""

    def __init__(self, promise: Promise) -> None:
        self.promise = promise
        self.meter = MinuteMeter(1, promise)
        self.asked = (0.0, 0.0, 0.0)
        self.last_reads, self.broken, self.caution, self.cpu = 0.0, 0.0, 0.5, 0.0

    def pass_time(self, seconds: float, reads: float, resident: float) -> None:
        left = seconds
        while left > 0:  # a minute's end at a time, to see each
            part = min(left, 60.0 - float(self.meter.into_s[0]))
            share = reads * part / left
            total = float(self.meter.reads[0]) + share
            (ended,), (broken,) = self.meter.add(part, np.array([share]), np.array([resident]))
            left, reads = left - part, reads - share
            if ended:
                self.last_reads = total
                self.broken += (broken - self.broken) * (1.0 - math.exp(-60.0 / 3600.0))
                self.caution += 0.01 * 0.97 / 0.03 if broken else -0.01
                self.caution = min(max(self.caution, 0.0), 10.0)

    def features(self, grown: Values, resident: float, footprint: float) -> Values:
        elapsed, written = grown["time_s"], grown["zswpwb"]
        self.pass_time(elapsed, grown["disk_reads"], resident)
        spent_us = 10.0 * grown["zswpout"] + 5.0 * (grown["zswpin"] + written)
        spent_pct = spent_us / max(elapsed, 0.01) / 1e6 * 100.0 / (footprint / 2**30)
        self.cpu += (spent_pct - self.cpu) * (1.0 - math.exp(-elapsed / 600.0))
        (age, write, release), self.asked = self.asked, (0.0, 0.0, 0.0)
        most = max(float(self.meter.reads[0]), self.last_reads)
        reads_pct = 100.0 * most * PAGE / max(resident, PAGE)
        return {
            "asked_age": log_scaled(age, 1.0, 86400.0),
            "asked_write": log_scaled(write / footprint, 1e-5, 1.0),
            "asked_release": log_scaled(release / footprint, 1e-5, 1.0),
            "outcome": written * PAGE / write if write else 0.0,
            "minute_reads": log_scaled(reads_pct / self.promise.disk_reads_pct_min, 0.01, 100.0),
            "broken_hour": log_scaled(self.broken, 1e-3, 1.0),
            "caution": min(self.caution, 1.0),
            "cpu_spent": log_scaled(self.cpu / self.promise.cpu_pct_per_gib, 0.01, 10.0),
        }


class PlainCgroup:
    """FeatureExtractor.update of one cgroup."""

    def __init__(self, promise: Promise) -> None:
        self.promise = promise
        self.forget()

    def forget(self) -> None:
        self.last: Values | None = None
        self.slow = [0.0, 0.0, 0.0]
        self.ages = PlainAges()
        self.memory = PlainMemory(self.promise)

    def update(self, row: list[float]) -> list[float]:
        if any(math.isnan(x) for x in row):
            self.forget()
            return [0.0] * len(FEATURES)
        x = dict(zip(COLUMNS, row, strict=True))
        if self.last is not None and any(x[name] < self.last[name] for name in COUNTERS):
            self.forget()
        if self.last is None:  # what was asked of nobody is not remembered
            self.memory = PlainMemory(self.promise)
        grown = {name: x[name] - self.last[name] if self.last else 0.0 for name in COUNTERS}
        before, self.last = self.last or x, x

        elapsed = grown["time_s"]
        dt = max(elapsed, 0.01)
        on_disk = max(x["swap_current"] - x["zswapped"] - x["swapcached"], 0.0)
        footprint = max(x["anon"] + x["zswapped"] + on_disk, PAGE)

        def per_minute(pages: float) -> float:
            return pages * PAGE / footprint / dt * 60.0

        disk_refaults = grown["disk_reads"]
        rates = [per_minute(grown["zswpin"]), per_minute(disk_refaults), per_minute(grown["zswpwb"])]
        weight = 1.0 - math.exp(-elapsed / 600.0)
        self.slow = [s + (r - s) * weight for s, r in zip(self.slow, rates, strict=True)]
        loads_slow, refaults_slow, writes_slow = self.slow

        self.ages.pass_time(elapsed)
        self.ages.store(grown["zswpout"], elapsed)
        self.ages.load(grown["zswpin"], elapsed)
        self.ages.write(grown["zswpwb"])
        self.ages.tie(x["zswapped"] / PAGE)

        total = max(x["host_mem_total"], 1.0)
        values = {
            "present": 1.0,
            "host_share": x["memory_current"] / total,
            "limit_fill": x["memory_current"] / min(x["memory_max"], x["memory_high"], total),
            "zswapped_share": x["zswapped"] / footprint,
            "disk_share": on_disk / footprint,
            "swapcached_share": x["swapcached"] / footprint,
            "compression": x["zswap"] / max(x["zswapped"], 1.0),
            "active_share": x["active_anon"] / max(x["active_anon"] + x["inactive_anon"], 1.0),
            "zswap_fill": x["zswap_current"] / max(x["zswap_max"], 1.0),
            "return_ratio": refaults_slow / max(writes_slow, 1e-9),
            "writeback_on": x["zswap_writeback"],
            "growth": (x["memory_current"] - before["memory_current"]) / footprint,
            **{f"older_{age:.0f}s": self.ages.share_older(age) for age in AGES_S},
            "store_rate": log_scaled(per_minute(grown["zswpout"]), 1e-4, 10.0),
            "load_rate": log_scaled(rates[0], 1e-4, 10.0),
            "disk_refault_rate": log_scaled(rates[1], 1e-4, 10.0),
            "writeback_rate": log_scaled(rates[2], 1e-4, 10.0),
            "reclaim_rate": log_scaled(per_minute(grown["pgsteal"]), 1e-4, 10.0),
            "load_rate_slow": log_scaled(loads_slow, 1e-4, 10.0),
            "disk_refault_slow": log_scaled(refaults_slow, 1e-4, 10.0),
            "writeback_slow": log_scaled(writes_slow, 1e-4, 10.0),
            "psi_some": log_scaled(grown["psi_some_total_us"] / 1e6 / dt, 1e-4, 1.0),
            "psi_some_avg60": log_scaled(x["psi_some_avg60"], 0.01, 100.0),
            "until_event": log_scaled(x["hint_seconds_to_event"], 1.0, 86400.0),
            "event_left": log_scaled(x["hint_seconds_left"], 1.0, 86400.0),
            "event_size": log_scaled(x["hint_expected_bytes"] / footprint, 0.01, 10.0),
            "no_hint": float(x["hint_known"] <= 0),
            **self.memory.features(grown, x["anon"], footprint),
        }
        return bounded(values, FEATURES)


class PlainHost:
    """FeatureExtractor.host of one table."""

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self.last: Values | None = None

    def update(self, rows: list[list[float]]) -> list[float]:
        there = [row for row in rows if not any(math.isnan(x) for x in row)]
        if not there:
            self.last = None
            return [0.0] * len(HOST_FEATURES)
        x = dict(zip(COLUMNS, there[0], strict=True))
        names = ("time_s", "host_psi_some_total_us")
        if self.last is not None and any(x[name] < self.last[name] for name in names):
            self.last = None
        elapsed, stalled = (x[name] - self.last[name] if self.last else 0.0 for name in names)
        self.last = x
        dt = elapsed if elapsed > 0 else self.interval_s
        turn = 2.0 * math.pi * x["time_of_day_s"] / 86400.0
        pool_limit = x["host_mem_total"] * x["host_max_pool_percent"] / 100.0
        values = {
            "free_memory": x["host_mem_free"] / max(x["host_mem_total"], 1.0),
            "free_swap": x["host_swap_free"] / max(x["host_swap_total"], 1.0),
            "pool_fill": x["host_pool_bytes"] / max(pool_limit, 1.0),
            "host_psi": log_scaled(stalled / 1e6 / dt, 1e-4, 1.0),
            "interval": math.log1p(dt) / math.log1p(3600.0),
            "day_sin": math.sin(turn),
            "day_cos": math.cos(turn),
        }
        return bounded(values, HOST_FEATURES)


SIZED = [COLUMN[f.name] for f in fields(Sample) if f.metadata.get("unit") in ("B", "pages", "faults")]


def walk(start: Table, rng: np.random.Generator, steps: int, dt_s: float = 10.0) -> Iterator[Table]:
    """Tables (..., N, K) of cgroups of different sizes that live on."""
    shape = start.shape[:-1]
    now = start.copy()
    now[..., SIZED] *= rng.integers(1, 9, (*shape, 1))
    for _ in range(steps):
        now[..., COLUMN["time_s"]] += dt_s
        for name in ("zswpin", "zswpout", "zswpwb", "pgsteal", "psi_some_total_us"):
            now[..., COLUMN[name]] += rng.integers(0, 3000, shape)
        now[..., COLUMN["host_psi_some_total_us"]] += rng.integers(0, 30000)
        now[..., COLUMN["disk_reads"]] += rng.integers(0, 5000, shape)
        for name in ("memory_current", "anon", "zswapped", "zswap", "active_anon"):
            now[..., COLUMN[name]] *= rng.choice([0.875, 1.0, 1.125], shape)
        yield now.copy()


def disturb(table: Table, rng: np.random.Generator) -> None:
    """Absent cgroups, limits of max, counters that start again, hints, and a cgroup without zswap."""
    if rng.random() < 0.3:
        table[rng.integers(len(table))] = np.nan
    for name in ("memory_max", "memory_high", "zswap_max"):
        table[rng.random(len(table)) < 0.3, COLUMN[name]] = np.inf
    if rng.random() < 0.3:
        table[rng.integers(len(table)), COLUMN[rng.choice(COUNTERS[1:])]] *= 0.5
    hinted = rng.random(len(table)) < 0.5
    table[hinted, COLUMN["hint_known"]] = 1.0
    table[hinted, COLUMN["hint_seconds_to_event"]] = rng.uniform(0, 1e5)
    table[hinted, COLUMN["hint_expected_bytes"]] = rng.uniform(0, 1e9)
    if rng.random() < 0.2:
        table[0, [COLUMN[name] for name in ("zswapped", "zswap", "zswap_current")]] = 0.0
    table[:, COLUMN["swapcached"]] = rng.uniform(0, 1e8, len(table))
    table[:, COLUMN["psi_some_avg60"]] = rng.uniform(0, 120, len(table))
    table[:, COLUMN["time_of_day_s"]] = rng.uniform(0, 86400)


@pytest.mark.parametrize("dt_s", [1.0, 10.0, 600.0])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_plain_formulas(make_table: Make, seed: int, dt_s: float) -> None:
    rng = np.random.default_rng(seed)
    n = 5
    promise = Promise(disk_reads_pct_min=3.0, cpu_pct_per_gib=2.0)
    extractor = FeatureExtractor(dt_s, (n,), promise)
    plain, plain_host = [PlainCgroup(promise) for _ in range(n)], PlainHost(dt_s)
    for table in walk(make_table(n), rng, 30, dt_s):
        disturb(table, rng)
        expected = [cgroup.update(row) for cgroup, row in zip(plain, table.tolist(), strict=True)]
        np.testing.assert_allclose(extractor.update(table), expected, rtol=0, atol=1e-6)
        np.testing.assert_allclose(
            extractor.host(table), plain_host.update(table.tolist()), rtol=0, atol=1e-6
        )
        asked = np.where(rng.random((3, n)) < 0.7, rng.uniform(0, [[7200], [1e7], [1e7]], (3, n)), 0.0)
        extractor.asked(*asked)
        for cgroup, (age, write, release) in zip(plain, asked.T.tolist(), strict=True):
            cgroup.memory.asked = (age if write else 0.0, write, release)


def test_a_batch_is_its_parts_bit_for_bit(make_table: Make) -> None:
    batch = FeatureExtractor(10.0, (5, 4))
    start = np.stack([make_table(4)] * 5)
    singles = [FeatureExtractor(10.0, (4,)) for _ in range(5)]
    for step, table in enumerate(walk(start, np.random.default_rng(5), 6)):
        table[step % 5, step % 4] = np.nan
        table[1, :, COLUMN["time_s"]] += step * 7.0  # not all on one clock
        parts = [single.observe(table[e]) for e, single in enumerate(singles)]
        np.testing.assert_array_equal(batch.observe(table), np.stack(parts))
        asked = np.random.default_rng(step).uniform(0, 1e7, (3, 5, 4))
        batch.asked(*asked)
        for e, single in enumerate(singles):
            single.asked(*asked[:, e])
