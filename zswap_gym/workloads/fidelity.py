"""How far the model is from the kernel: rows to compare, run-to-run spread, policy trials.

A row holds one counter at one labelled sample (after each phase, before and after each write, at
the end). Where replays with several seeds are given, the model's value is their median.
"""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zswap_gym.workloads.groundtruth import Recording
from zswap_gym.workloads.groundtruth_plan import runs
from zswap_gym.workloads.groundtruth_replay import Reading, Replay

MIB = 1 << 20
WINDOW_S = (40.0, 100.0)
"""Seconds of the load over which a trial's memory is averaged (policytrials/README.md)."""


@dataclass(frozen=True)
class Row:
    """One counter at one sample: what the kernel and the model say. Bytes or counts, as the kernel's file."""

    scenario: str
    cgroup: str
    label: str
    counter: str
    kernel: int
    model: int

    @property
    def error(self) -> float:
        """Relative difference; 0 where both are 0, inf where only the kernel is."""
        if self.kernel == self.model:
            return 0.0
        return (self.model - self.kernel) / self.kernel if self.kernel else math.inf


@dataclass(frozen=True)
class TrialRow:
    """One policy trial: mean memory over the window, disk reads of the whole load."""

    trial: str
    mem_mib_kernel: float
    mem_mib_model: float
    disk_reads_kernel: int
    disk_reads_model: int


def _compared(label: str) -> bool:
    return label in ("final", "pre", "post") or label.startswith("end:")


def rows(recording: Recording, replays: Sequence[Replay]) -> list[Row]:
    """Every counter the model has, at ``final`` and at each ``pre``, ``post`` and ``end:`` sample."""
    result = []
    for at in _readings(recording, replays):
        row, readings = at
        if not _compared(row["label"]):
            continue
        for counter in readings[0].values:
            text = row.get(counter) or ""
            if not text:
                continue  # this kernel has no such counter
            model = statistics.median(reading.values[counter] for reading in readings)
            result.append(
                Row(recording.name, row["cg"], row["label"], counter, int(text), math.floor(model + 0.5))
            )
    return result


def _readings(recording: Recording, replays: Sequence[Replay]) -> list[tuple[dict[str, str], list[Reading]]]:
    """Each sample of the recording with the models' readings of it."""
    by_replay = [
        {(reading.row, reading.cgroup): reading for reading in replay.readings} for replay in replays
    ]
    result = []
    for i, row in enumerate(recording.samples):
        key = (i, row["cg"])
        if all(key in readings for readings in by_replay):
            result.append((row, [readings[key] for readings in by_replay]))
    return result


def trial_row(recording: Recording, replays: Sequence[Replay]) -> TrialRow:
    """A policy trial's figures, as policytrials/README.md defines them."""
    load = [run for run in runs(recording) if "rate=" in run.command]
    start = min((run.start for run in load), default=0.0)
    end = max((run.end for run in load), default=float(recording.samples[-1]["t"]))
    memory: dict[str, list[tuple[float, float]]] = {}
    reads: dict[str, tuple[float, float]] = {}
    before: dict[str, tuple[float, float]] = {}
    ended: set[str] = set()
    for row, readings in _readings(recording, replays):
        if "/" in row["cg"]:
            continue
        t = float(row["t"])
        if row["label"] == "" and WINDOW_S[0] <= t - start <= WINDOW_S[1]:
            model = statistics.median(reading.values["memory.current"] for reading in readings)
            memory.setdefault(row["cg"], []).append((float(row["memory.current"]), model))
        kernel = float(int(row["pgmajfault"]) - int(row["zswpin"]))
        model = statistics.median(r.values["pgmajfault"] - r.values["zswpin"] for r in readings)
        if t <= start:
            before[row["cg"]] = (kernel, model)
        elif t <= end or row["cg"] not in ended:
            reads[row["cg"]] = (kernel, model)
            if t > end:  # the first sample after the load
                ended.add(row["cg"])
    mem = [0.0, 0.0]
    disk = [0.0, 0.0]
    for side in (0, 1):
        mem[side] = sum(statistics.fmean(pair[side] for pair in pairs) for pairs in memory.values())
        disk[side] = sum(last[side] - before.get(cgroup, (0.0, 0.0))[side] for cgroup, last in reads.items())
    return TrialRow(recording.name, mem[0] / MIB, mem[1] / MIB, round(disk[0]), round(disk[1]))


Spread = dict[tuple[str, str, str], tuple[float, float]]
"""(scenario, cgroup, counter) -> final values of the kernel's two runs."""


def spread(folder: Path) -> Spread:
    """``repeats.csv`` beside a scenario folder; empty where there is none."""
    path = folder.resolve().parent / "repeats.csv"
    if not path.is_file():
        return {}
    with path.open() as handle:
        table = csv.DictReader(handle)
        return {
            (row["scenario"], row["cg"], row["counter"]): (float(row["run_a"]), float(row["run_b"]))
            for row in table
        }


def kendall_tau(kernel: Sequence[float], model: Sequence[float], noise: float, least: float = 0.0) -> float:
    """Rank agreement over the pairs the kernel itself tells apart.

    A pair counts where the kernel's values differ by more than ``noise`` (relative to the larger)
    and by at least ``least``; it agrees where the model orders it the same way. Returns
    (agreeing - disagreeing) / pairs, nan without pairs.
    """
    agree = pairs = 0
    for i in range(len(kernel)):
        for j in range(i):
            gap = kernel[i] - kernel[j]
            if abs(gap) <= noise * max(abs(kernel[i]), abs(kernel[j])) or abs(gap) < least:
                continue
            pairs += 1
            other = (model[i] - model[j]) * math.copysign(1.0, gap)
            agree += (other > 0) - (other < 0)
    return agree / pairs if pairs else math.nan


JUDGED = (
    "zswpin",
    "zswpout",
    "zswpwb",
    "pgmajfault",
    "memory.zswap.current",
    "memory.current",
    "swapcached",
)
"""Counters whose final values are held against the kernel's own spread."""
_SLACK_PAGES = 64


@dataclass(frozen=True)
class Verdict:
    """A final value held against the kernel's two runs: allowed range, and which rule made it."""

    row: Row
    rule: str
    low: float
    high: float

    @property
    def passed(self) -> bool:
        """Whether the model's value lies in the range."""
        return self.low <= self.row.model <= self.high


def judge(rows_: Sequence[Row], spread_: Spread) -> list[Verdict]:
    """Hold the judged counters at ``final`` against what two runs of the kernel allow.

    Runs that agree within 1 %: 2 % or 64 pages. Up to 11 %: 15 %. More: the range of the two runs,
    widened by half. Without a second run the first rule.
    """
    verdicts = []
    for row in rows_:
        if row.label != "final" or row.counter not in JUDGED:
            continue
        slack = _SLACK_PAGES * (4096 if row.counter in _BYTES else 1)
        first, second = spread_.get((row.scenario, row.cgroup, row.counter), (row.kernel, row.kernel))
        gap = abs(first - second)
        share = gap / max(abs(first), abs(second), 1.0)
        if share <= 0.01 or gap <= slack / 64:
            rule, reach = "2 % or 64 pages", max(0.02 * row.kernel, slack)
            low, high = row.kernel - reach, row.kernel + reach
        elif share <= 0.11:
            rule, reach = "15 %", max(0.15 * row.kernel, slack)
            low, high = row.kernel - reach, row.kernel + reach
        else:
            rule = "range widened by half"
            low, high = min(first, second) - gap / 2, max(first, second) + gap / 2
        verdicts.append(Verdict(row, rule, low, high))
    return verdicts


_BYTES = frozenset({"memory.zswap.current", "memory.current", "swapcached"})
