"""Replay every recording and trial; write results.csv, samples.json.gz, trials.csv and a figure per scenario.

python experiments/fidelity/compare.py FOLDER [--seeds N] [--no-figures]

FOLDER holds recordings, repeats.csv and policytrials/, as tests/data/groundtruth does.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import statistics
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from zswap_gym.workloads.fidelity import (
    JUDGED,
    Row,
    TrialRow,
    Verdict,
    judge,
    kendall_tau,
    rows,
    spread,
    trial_row,
)
from zswap_gym.workloads.groundtruth import Recording, recordings
from zswap_gym.workloads.groundtruth_replay import Replay, replay

HERE = Path(__file__).parent
MIB = 1 << 20
_BYTES = {"memory.current", "memory.zswap.current", "swapcached"}
_PANELS = (("memory.current", "zswap", "swapcached"), ("zswpin", "zswpout", "zswpwb", "pgmajfault"))


def in_pages(row: Row, value: float) -> float:
    """Bytes of gauges as pages; counters as they are."""
    return value / 4096 if row.counter in _BYTES else value


def figure(recording: Recording, told: Replay, path: Path) -> None:
    """Both time series of each cgroup on one plot: gauges above, cumulative flows below."""
    cgroups = recording.cgroups()
    size = (5.2 * len(cgroups), 5.4)
    shape, axes = plt.subplots(2, len(cgroups), figsize=size, sharex=True, squeeze=False)
    model = {(r.row, r.cgroup): r.values for r in told.readings}
    for i, cgroup in enumerate(cgroups):
        at = [j for j, row in enumerate(recording.samples) if row["cg"] == cgroup and (j, cgroup) in model]
        seconds = [float(recording.samples[j]["t"]) for j in at]
        for axis, counters in zip(axes[:, i], _PANELS, strict=True):
            for k, name in enumerate(counters):
                scale = MIB if axis is axes[0, i] else 1
                kernel = [int(recording.samples[j].get(name) or 0) / scale for j in at]
                mine = [model[j, cgroup][name] / scale for j in at]
                axis.plot(seconds, kernel, color=f"C{k}", lw=3.0, alpha=0.35)
                axis.plot(seconds, mine, color=f"C{k}", lw=1.0, label=name)
            axis.legend(fontsize=7, loc="upper left")
            axis.tick_params(labelsize=7)
        axes[0, i].set_title(f"{recording.name}  {cgroup}", fontsize=8)
        axes[0, i].set_ylabel("MiB", fontsize=8)
        axes[1, i].set_ylabel("pages since the start", fontsize=8)
        axes[1, i].set_xlabel("seconds   (thick: kernel, thin: model)", fontsize=8)
    shape.tight_layout()
    shape.savefig(path, dpi=70)
    plt.close(shape)


def write_csv(path: Path, header: Sequence[str], lines: Sequence[Sequence[Any]]) -> None:
    """One table."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(lines)


def over_seeds(recording: Recording, seeds: int) -> dict[tuple[str, str], tuple[float, float]]:
    """(cgroup, counter) -> smallest and largest final value of the model over seeds 0 to ``seeds`` - 1."""
    found: dict[tuple[str, str], list[float]] = {}
    for seed in range(seeds):
        for row in rows(recording, [replay(recording, seed=seed)]):
            if row.label == "final" and row.counter in JUDGED:
                found.setdefault((row.cgroup, row.counter), []).append(in_pages(row, row.model))
    return {key: (min(values), max(values)) for key, values in found.items()}


def scenarios(folder: Path, seeds: int, figures: bool) -> tuple[list[Row], list[Verdict]]:
    """Replay all recordings of ``folder``; write results.csv and the figures."""
    every: list[Row] = []
    judged: list[Verdict] = []
    table = []
    for path in recordings([folder]):
        recording = Recording.load(path)
        told = replay(recording)
        mine = rows(recording, [told])
        every.extend(mine)
        kernel = spread(path)
        ranges = over_seeds(recording, seeds)
        for verdict in judge(mine, kernel):
            row = verdict.row
            pair = kernel.get((row.scenario, row.cgroup, row.counter), (row.kernel, row.kernel))
            numbers = [in_pages(row, v) for v in (*pair, row.model)]
            low, high = ranges[row.cgroup, row.counter]
            error = "" if not row.kernel else f"{100 * row.error:+.1f}"
            table.append(
                (
                    *(row.scenario, row.cgroup, row.counter),
                    *(round(value) for value in (*numbers, low, high)),
                    *(error, verdict.rule, "yes" if verdict.passed else "NO"),
                )
            )
            judged.append(verdict)
        if figures:
            figure(recording, told, HERE / "figures" / f"{recording.name}.png")
        print(recording.name, flush=True)
    header = "scenario,cgroup,counter,kernel a,kernel b,model,model min,model max,error %,rule,within"
    write_csv(HERE / "results.csv", header.split(","), table)
    with gzip.GzipFile(HERE / "samples.json.gz", "wb", mtime=0) as file:
        file.write(json.dumps([astuple(row) for row in every], separators=(",", ":")).encode())
    return every, judged


def ranking(trials: Sequence[TrialRow], side: str, what: str) -> str:
    """Policies from least to most."""
    ordered = sorted(trials, key=lambda t: float(getattr(t, f"{what}_{side}")))
    return " < ".join(t.trial.split("_")[1] for t in ordered)


def policy_trials(folder: Path) -> list[str]:
    """Replay the trials; write trials.csv; return lines about their rankings."""
    told = []
    for path in recordings([folder]):
        recording = Recording.load(path)
        told.append(trial_row(recording, [replay(recording)]))
        print(recording.name, flush=True)
    table = [
        (
            *(t.trial, round(t.mem_mib_kernel, 2), round(t.mem_mib_model, 2)),
            *(t.disk_reads_kernel, t.disk_reads_model),
        )
        for t in told
    ]
    header = "trial,mem_mib_kernel,mem_mib_model,disk_reads_kernel,disk_reads_model"
    write_csv(HERE / "trials.csv", header.split(","), table)
    lines = []
    for workload in sorted({t.trial.split("_")[0] for t in told}):
        mine = [t for t in told if t.trial.startswith(workload + "_")]
        for what, noise, least in (("mem_mib", 0.03, 0.0), ("disk_reads", 0.05, 80.0)):
            use = [t for t in mine if what == "mem_mib" or not t.trial.endswith("_p1")]
            kernel = [float(getattr(t, f"{what}_kernel")) for t in use]
            model = [float(getattr(t, f"{what}_model")) for t in use]
            tau = kendall_tau(kernel, model, noise, least)
            lines.append(
                f"{workload} {what}: tau {tau:.2f}; kernel {ranking(mine, 'kernel', what)}; "
                f"model {ranking(mine, 'model', what)}"
            )
    return lines


def main() -> None:
    """Write everything; print a summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--no-figures", action="store_true")
    told = parser.parse_args()
    every, judged = scenarios(told.folder, told.seeds, not told.no_figures)
    missed = [v for v in judged if not v.passed]
    print(f"{len(every)} counters compared, {sum(row.error == 0 for row in every)} equal")
    print(f"median error {100 * statistics.median(abs(row.error) for row in every):.2f} %")
    ends = [abs(row.error) for row in every if row.label == "final"]
    print(f"at the end {100 * statistics.median(ends):.2f} %, within 2 %: {sum(e <= 0.02 for e in ends)}")
    print(f"{len(judged)} final values judged, {len(judged) - len(missed)} within the kernel's own spread")
    for verdict in missed:
        print("outside:", verdict.row, verdict.rule)
    for line in policy_trials(told.folder / "policytrials"):
        print(line)


if __name__ == "__main__":
    main()
