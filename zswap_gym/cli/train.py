"""``zswap-gym train``: learn policies from an experiment YAML and choose a champion."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zswap_gym.cli._options import ClusterAddress, WorkerCount
from zswap_gym.errors import UserError

if TYPE_CHECKING:
    from zswap_gym.agents.learning.train import OnProgress, Progress


def train(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG", help="An experiment YAML, or a name in configs/experiments.")
    ],
    seed: Annotated[
        list[int] | None,
        typer.Option("--seed", help="Repeat it for several runs. Default: the experiment's."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to write to. Default: runs/ and the experiment's name."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from where the run in the folder was stopped.")
    ] = False,
    workers: WorkerCount = None,
    cluster: ClusterAddress = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Train policies and choose a champion.

    The experiment says on which scenarios, how many trainings, for how long and under which promise. Their
    candidates and the tuned rules are judged on what no training saw; who saves most memory while every
    cgroup keeps the promise is the champion, and its figures are told of draws that chose nothing. A run that
    was stopped goes on with --resume. With several seeds, each has a folder seed-N.

    Examples:

        zswap-gym train demo
        zswap-gym train mine.yaml --out runs/mine
        zswap-gym train mine.yaml --out runs/mine --resume
        zswap-gym train mine.yaml --seed 1 --seed 2 --seed 3 --out runs/three
    """
    from zswap_gym.cli._extras import optional_parts
    from zswap_gym.cli._output import ensure_writable, print_json

    with optional_parts("training"):
        from zswap_gym.agents.config import SEED_MAX, load_experiment
        from zswap_gym.agents.learning.train import train as train_one
        from zswap_gym.agents.parallel import open_workers

    experiment = load_experiment(config)
    folder = out or experiment.folder
    ensure_writable(folder, folder=True)
    for number in seed or ():
        if not 0 <= number <= SEED_MAX:
            raise UserError(f"--seed {number}: seeds are 0 to {SEED_MAX}; name another")
    seeds = list(dict.fromkeys(seed or [experiment.seed]))
    told = []
    with open_workers(workers, cluster) as work:
        for number in seeds:
            where = folder / f"seed-{number}" if len(seeds) > 1 else folder
            with progress_bar(f"{experiment.name} seed {number}", quiet=as_json) as tick:
                found = train_one(
                    experiment.model_copy(update={"seed": number}),
                    where, resume=resume, workers=work, on_progress=tick,
                )  # fmt: skip
            told.append(found)
            if not as_json:
                print_champion(found, where)
    if as_json:
        print_json(told)


def print_champion(found: dict[str, Any], run: Path) -> None:
    """The champion beside the best rule, by scenario, for people."""
    from rich import box
    from rich.table import Table

    from zswap_gym.cli._output import console

    champion, rule = found["champion"], found["best_rule"]
    table = Table(
        "scenario", "champion: saved %", "broken min %", "keep it", "best rule: saved %", "broken min %",
        "keep it",
        box=box.SIMPLE, title=f"on draws that chose nothing, {champion['seeds']} of each scenario",
    )  # fmt: skip
    for name in [*champion["scenarios"], None]:
        pair = [part["scenarios"][name] if name else part for part in (champion, rule)]
        cells = [
            cell
            for part in pair
            for cell in (
                f"{part['saved_pct']:.2f} [{part['saved_low']:.1f}, {part['saved_high']:.1f}]",
                f"{part['broken_pct']:.1f}", f"{part['keeping']} of {part['cgroups']}",
            )
        ]  # fmt: skip
        table.add_row(name or "all", *cells)
    console().print(table)
    print(f"champion: {champion['policy']} ({champion['kind']}); best rule: {rule['policy']}")
    print(f"{run}: take it with zswap-gym export {run}, or name the folder where a policy goes")


@contextmanager
def progress_bar(title: str, *, quiet: bool) -> Iterator[OnProgress]:
    """Rounds, time left and the best so far on stderr; yields what to call with a run's progress."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    bar = Bar(
        TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("{task.description}"), console=Console(stderr=True), disable=quiet,
    )  # fmt: skip
    with bar:
        task = bar.add_task("beginning", total=None)

        def tick(now: Progress) -> None:
            text = now.what
            if now.best is not None:
                text += (
                    f"; best so far {now.best.saved_pct:.2f} % saved, {now.best.keeping} of "
                    f"{now.best.cgroups} cgroups keep it ({now.name})"
                )
            bar.update(task, completed=now.done, total=now.of, description=text)

        yield tick
