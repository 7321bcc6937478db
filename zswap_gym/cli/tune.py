"""``zswap-gym tune``: fit the parameters of a rule to a promise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zswap_gym.cli._options import ClusterAddress, Promised, WorkerCount
from zswap_gym.errors import UserError, nearest

if TYPE_CHECKING:
    from zswap_gym.agents.tuning.study import Plan, Progress, Tuned
    from zswap_gym.workloads.scenario import Scenario

ALL = "all"
SPLITS = ("train", "validation", "test", "bench")
STUDIES = Path("runs/tuning")
LAWS_FOLDER = Path("configs/laws")


def tune(
    law: Annotated[
        str,
        typer.Argument(
            metavar="LAW", help="A rule's name, with parameters that are to stay in brackets; or 'all'."
        ),
    ],
    promise: Promised = None,
    split: Annotated[str, typer.Option(help="Tune on the scenarios of this split.")] = "train",
    scenario: Annotated[
        list[str] | None,
        typer.Option("--scenario", help="Tune on this scenario instead; repeat it for several."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="So many settings the study is to hold.")] = 50,
    study: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The study, gone on with if it is there. Default: runs/tuning/LAW.db."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The tuned law. Default: configs/laws/LAW.yaml.")
    ] = None,
    sampler: Annotated[str, typer.Option(help="tpe or cmaes.")] = "tpe",
    seeds: Annotated[
        int,
        typer.Option(
            min=2, help="Seeds of a trial, a third of which may end it; as many new ones at the end."
        ),
    ] = 6,
    first_seed: Annotated[int, typer.Option(min=0, help="The first of them.")] = 0,
    workers: WorkerCount = None,
    cluster: ClusterAddress = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for programs, and no progress.")
    ] = False,
) -> None:
    """Look for the parameters with which a rule saves most memory while every cgroup keeps the promise.

    A setting that breaks it never counts above one that keeps it. Everything tried is in the study: a
    tuning that was stopped or killed goes on with the same command, and ends where it would have ended.
    The best few and the untuned rule meet new seeds at the end; the best of these becomes a file that
    takes the place of the rule's name, in evaluate and in a controller.

    Examples:

        zswap-gym tune aimd
        zswap-gym tune "promise(writeback=0)" --out configs/laws/release.yaml
        zswap-gym tune promotion --promise minutes=0.9,cpu_pct_per_gib=0.5 --trials 100
        zswap-gym tune all --workers 2
    """
    from zswap_gym.cli._extras import optional_parts
    from zswap_gym.cli._output import ensure_writable, print_json, warn_of_coarse
    from zswap_gym.policy.laws import LAWS
    from zswap_gym.policy.laws.parameters import ranges_of
    from zswap_gym.policy.promise import Promise

    promised = Promise.of(promise, "--promise")
    every = law.strip() == ALL
    if every and (study is not None or out is not None):
        raise UserError("--study and --out name one rule's files; leave them out with 'all'")
    names = [name for name, kind in LAWS.items() if ranges_of(kind)] if every else [law]
    with optional_parts("tuning"):
        from zswap_gym.agents.parallel import open_workers
        from zswap_gym.agents.tuning.law_yaml import write_law
        from zswap_gym.agents.tuning.objective import Bench, long_enough
        from zswap_gym.agents.tuning.space import Space
        from zswap_gym.agents.tuning.study import SAMPLERS, Plan
        from zswap_gym.agents.tuning.study import tune as run
    if sampler not in SAMPLERS:
        raise UserError(f"--sampler {sampler}: unknown{nearest(sampler, SAMPLERS)}; it is tpe or cmaes")
    spaces = [Space.of(name) for name in names]
    files = [
        (study or STUDIES / f"{space.law}.db", out or LAWS_FOLDER / f"{space.law}.yaml") for space in spaces
    ]
    for pair in files:
        for path in pair:
            ensure_writable(path)
    chosen = long_enough(_scenarios(scenario, split), promised, _note)
    warn_of_coarse(chosen, promised.disk_reads_pct_min)
    told = []
    with open_workers(workers, cluster) as work:
        bench = Bench(chosen, promised, work)
        for space, (file, target) in zip(spaces, files, strict=True):
            plan = Plan(space, first_seed, seeds, sampler)  # type: ignore[arg-type] # one of SAMPLERS
            with _bar(space.law, trials, quiet=as_json) as tick:
                tuned = run(plan, bench, file, trials, tick)
            write_law(target, plan, bench, tuned)
            told.append(_summary(plan, tuned, target))
            if not as_json:
                _tell(plan, tuned, target)
    if as_json:
        print_json(told if every else told[0])


def _scenarios(named: list[str] | None, split: str) -> list[Scenario]:
    from zswap_gym.workloads.scenario import load_scenario, scenario_names

    if named:
        return [load_scenario(name) for name in dict.fromkeys(named)]
    if split not in SPLITS:
        raise UserError(f"--split {split}: unknown{nearest(split, SPLITS)}; it is one of {', '.join(SPLITS)}")
    found = [s for s in map(load_scenario, scenario_names()) if s.split == split]
    if not found:
        raise UserError(f"--split {split}: no scenario of it in configs/scenarios; name some with --scenario")
    return found


def _note(text: str) -> None:
    print(f"zswap-gym: {text}", file=sys.stderr)


def _summary(plan: Plan, tuned: Tuned, target: Path) -> dict[str, Any]:
    """For programs."""
    parts = {"tuned": tuned.standings[-1], "untuned": tuned.untuned[-1]}
    scores = {
        name: {"saved_pct": s.saved_pct.value, "broken_pct": s.broken_pct, "kept": s.kept}
        for name, s in parts.items()
    }
    return {
        "law": plan.space.law,
        "parameters": {**plan.space.given, **tuned.parameters},
        "trials": tuned.trials,
        "file": str(target),
        **scores,
    }


def _tell(plan: Plan, tuned: Tuned, target: Path) -> None:
    """For people."""
    from rich import box
    from rich.table import Table

    from zswap_gym.cli._output import console

    table = Table(
        "scenario", "saved %", "broken min %", "cgroups that keep it", "untuned: saved %", "broken min %",
        "keep it", box=box.SIMPLE, title=f"{plan.space.law} on new seeds, {tuned.trials} trials",
    )  # fmt: skip
    for ours, before in zip(tuned.standings, tuned.untuned, strict=True):
        table.add_row(
            ours.scenario,
            *(
                cell
                for s in (ours, before)
                for cell in (
                    f"{s.saved_pct.value:.2f}", f"{s.broken_pct:.1f}", f"{s.keeping} of {s.cgroups}",
                )
            ),
        )  # fmt: skip
    out = console()
    out.print(table)
    given = ", ".join(f"{key}={value:g}" for key, value in {**plan.space.given, **tuned.parameters}.items())
    print(f"{plan.space.law}({given})")
    print(f"wrote {target}")


@contextmanager
def _bar(law: str, total: int, *, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Trials, time left and the best so far on stderr; yields what to call after each trial."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    bar = Bar(
        TextColumn("{task.fields[law]}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.description}"), console=Console(stderr=True), disable=quiet,
    )  # fmt: skip
    with bar:
        task = bar.add_task("measuring what doing nothing costs", total=total, law=law)

        def tick(now: Progress) -> None:
            text = "no trial yet"
            if now.best is not None:
                best = now.best
                text = f"best {best.saved_pct:.2f} % saved, {best.keeping} of {best.cgroups} cgroups keep it"
            bar.update(task, completed=now.done, description=text)

        yield tick
