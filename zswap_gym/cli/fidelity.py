"""``zswap-gym fidelity``: replay recordings of a real kernel in the model and show how far they differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from zswap_gym.workloads.fidelity import Row, Spread, TrialRow

_SHOWN = (
    "zswpin",
    "zswpout",
    "zswpwb",
    "pgmajfault",
    "memory.zswap.current",
    "memory.current",
    "swapcached",
    "pgscan",
    "pgsteal",
    "workingset_refault_anon",
    "ev_max",
    "ev_oom",
)
"""Counters of the printed table; ``--json`` has all."""


def fidelity(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Folders of recordings, or folders that hold some."),
    ],
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write every row as JSON to this file.")
    ] = None,
    trials: Annotated[
        bool, typer.Option("--trials", help="Policy trials: mean memory and disk reads of each.")
    ] = False,
    seeds: Annotated[
        int, typer.Option(min=1, max=100, help="Replays with different seeds; the median is compared.")
    ] = 1,
    writes: Annotated[
        bool, typer.Option("--writes", help="Print the samples around each write too, not only phase ends.")
    ] = False,
) -> None:
    """Replay what a real kernel did, and compare every counter.

    A recording is a folder with scenario.txt (what was run), events.jsonl (when what happened) and
    samples.csv (the kernel's counters). The model gets the same pages in the same order at the same
    times and must arrive at the same counters. Errors are per cent of the kernel's value; where the
    same scenario was recorded twice (repeats.csv beside the folder) the difference between those
    two runs stands beside them: no model can be asked to do better than that.

    Examples:

        zswap-gym fidelity tests/data/groundtruth/*
        zswap-gym fidelity recordings/04_zswap_max --json rows.json
        zswap-gym fidelity recordings/policytrials --trials
    """
    from zswap_gym.cli._output import console, ensure_writable, write_json
    from zswap_gym.workloads.fidelity import rows, spread, trial_row
    from zswap_gym.workloads.groundtruth import Recording, recordings
    from zswap_gym.workloads.groundtruth_replay import replay

    if json_file is not None:
        ensure_writable(json_file)
    loaded = [Recording.load(path) for path in recordings(folders)]
    out = console()
    every: list[Row] = []
    results: list[TrialRow] = []
    for recording in loaded:
        replays = [replay(recording, seed=seed) for seed in range(seeds)]
        if trials:
            results.append(trial_row(recording, replays))
            continue
        mine = rows(recording, replays)
        every.extend(mine)
        out.print(_table(recording.name, mine, spread(recording.folder), writes))
    if trials:
        out.print(_trials_table(results))
    else:
        out.print(_summary(every))
    if json_file is not None:
        write_json(json_file, results if trials else every)


def _table(name: str, rows: list[Row], spread: Spread, writes: bool) -> Table:
    from rich import box
    from rich.table import Table

    table = Table("cgroup", "at", "counter", title=name, box=box.SIMPLE, title_justify="left")
    for column in ("kernel", "model", "error %", "kernel's own %"):
        table.add_column(column, justify="right")
    for row in rows:
        if row.counter not in _SHOWN or (row.label in ("pre", "post") and not writes):
            continue
        pair = spread.get((row.scenario, row.cgroup, row.counter)) if row.label == "final" else None
        own = "" if pair is None else _percent(pair[1] - pair[0], pair[0])
        difference = _percent(row.model - row.kernel, row.kernel)
        table.add_row(row.cgroup, row.label, row.counter, str(row.kernel), str(row.model), difference, own)
    return table


def _percent(difference: float, base: float) -> str:
    if difference == 0:
        return "0"
    return f"{100 * difference / base:+.1f}" if base else "n/a"


def _summary(rows: list[Row]) -> str:
    import statistics

    if not rows:
        return "no labelled samples to compare"
    errors = [abs(row.error) for row in rows]
    final = [abs(row.error) for row in rows if row.label == "final"] or errors
    exact = sum(error == 0 for error in errors)
    return (
        f"{len(rows)} counters compared, {exact} equal; median error "
        f"{100 * statistics.median(errors):.2f} %, at the end {100 * statistics.median(final):.2f} %"
    )


def _trials_table(results: list[TrialRow]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table("trial", title="policy trials", box=box.SIMPLE, title_justify="left")
    for column in ("memory MiB kernel", "model", "error %", "disk reads kernel", "model", "error %"):
        table.add_column(column, justify="right")
    for row in results:
        table.add_row(
            row.trial,
            f"{row.mem_mib_kernel:.1f}",
            f"{row.mem_mib_model:.1f}",
            _percent(row.mem_mib_model - row.mem_mib_kernel, row.mem_mib_kernel),
            str(row.disk_reads_kernel),
            str(row.disk_reads_model),
            _percent(row.disk_reads_model - row.disk_reads_kernel, row.disk_reads_kernel),
        )
    return table
