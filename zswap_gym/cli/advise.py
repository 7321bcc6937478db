"""``zswap-gym advise``: what to write into the kernel's file for a workload, without any learning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zswap_gym.cli._options import ClusterAddress, Promised, WorkerCount
from zswap_gym.errors import UserError

if TYPE_CHECKING:
    from zswap_gym.workloads.scenario import Scenario


def advise(
    subject: Annotated[
        str,
        typer.Argument(metavar="TRACE|SCENARIO|PID", help="A recording, a scenario, or a running process."),
    ],
    promise: Promised = None,
    ages: Annotated[
        str | None, typer.Option(help="Ages to try, e.g. 10s,1m,5m; default: up to the limit.")
    ] = None,
    budgets: Annotated[
        str | None, typer.Option(help="Sizes per decision and cgroup to try, e.g. 1M,4M; default: by memory.")
    ] = None,
    interval: Annotated[
        str | None, typer.Option(help="Time between decisions; default: 5s, or what the scenario says.")
    ] = None,
    record_for: Annotated[str, typer.Option(help="With a PID: how long to record it first.")] = "2m",
    seeds: Annotated[
        int,
        typer.Option(min=3, help="Runs per setting; those that might be best get up to 24 times as many."),
    ] = 3,
    workers: WorkerCount = None,
    cluster: ClusterAddress = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write everything as JSON.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the trade-off (png, svg, pdf).")
    ] = None,
    save_scenario: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the scenario it was tried on, to train or evaluate."),
    ] = None,
    slo: Annotated[str | None, typer.Option(hidden=True)] = None,
    psi: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Try every age and size in the model and say which to write.

    The workload is replayed in the simulated kernel from the same warm state under every setting, on
    several seeds. Printed are the memory saved, the minutes in which disk reads broke the promise, the
    pressure and CPU added, and the setting that frees most while the promise is kept to every cgroup: the
    same promise, judged the same way, as in evaluate, tune and score. Minutes of all seeds count together;
    recommended is what keeps it with 95 % confidence. The same for kernels that take a size only.

    A recording is replayed once and never looped: ages up to half its length can be judged.

    Examples:

        zswap-gym advise redis_zipf
        zswap-gym advise mine.npz --promise disk_reads_pct_min=1 --json advice.json --plot advice.png
        zswap-gym advise 1234 --record-for 10m
        zswap-gym advise kv-and-sidecar --ages 1m,5m,20m --budgets 1M,4M,16M
    """
    from zswap_gym.atomic import write_atomically
    from zswap_gym.cli._extras import optional_parts
    from zswap_gym.cli._output import console, ensure_picture, ensure_writable, write_json
    from zswap_gym.policy.promise import Promise

    for path in (json_file, save_scenario):
        if path is not None:
            ensure_writable(path, source=Path(subject))
    if plot is not None:
        ensure_picture(plot, source=Path(subject))
        with optional_parts("drawing"):
            import_module("matplotlib")  # to find out before the work is done
    _refuse_old(slo, psi)
    promised = Promise.of(promise, "--promise")
    scenario = _with_interval(_subject(subject, record_for), interval)
    tried: dict[str, Any] = {"ages": _durations(ages), "budgets": _sizes(budgets)}
    from zswap_gym.agents.advice.advise import advise as run
    from zswap_gym.agents.advice.grid import check_grid
    from zswap_gym.agents.advice.report import as_json, draw, print_report
    from zswap_gym.agents.parallel import open_workers

    check_grid(scenario, **tried)
    with open_workers(workers, cluster) as work, _bar() as (start, tick):
        advice = run(scenario, promised, **tried, seeds=seeds, workers=work, on_start=start, on_run=tick)
    print_report(advice, console())
    if json_file is not None:
        write_json(json_file, as_json(advice))
    if save_scenario is not None:
        import yaml

        write_atomically(save_scenario, yaml.safe_dump(scenario.model_dump(mode="json"), sort_keys=False))
    if plot is not None:
        draw(advice, plot)
    written = [str(path) for path in (json_file, plot, save_scenario) if path is not None]
    if written:
        print("wrote " + ", ".join(written))


def _subject(text: str, record_for: str) -> Scenario:
    from zswap_gym.agents.advice.subject import scenario_of, subject
    from zswap_gym.workloads.traces import load_trace

    if text.isdigit() and not Path(text).exists():
        path = _recorded(int(text), record_for)
        return scenario_of(load_trace(path), str(path))
    return subject(text)


def _recorded(pid: int, duration: str) -> Path:
    """A recording of the process, kept in the current folder."""
    from zswap_gym.cli.record import record
    from zswap_gym.units import parse_duration
    from zswap_gym.workloads.recorder.processes import open_process

    with closing(open_process(pid)) as process:
        path = Path(f"{process.name.replace('/', '_')}.npz")
    # Shorter recordings take more looks: there must be enough of them to tell ages apart.
    interval = max(1.0, min(5.0, parse_duration(duration) / 40))
    record(pid=pid, cgroup=None, out=path, interval=f"{interval:.1f}s", duration=duration, method="auto",
           chunk=1, samples=4000, probe=False)  # fmt: skip
    return path


def _refuse_old(slo: str | None, psi: str | None) -> None:
    """UserError for the options of the promise that was `advise`'s own."""
    for option, value, key in (("--slo", slo, "disk_reads_pct_min"), ("--psi", psi, "psi_added_pct")):
        if value is not None:
            raise UserError(
                f"{option}: is gone, the promise is that of evaluate; use --promise {key}={value}"
            )


def _with_interval(scenario: Scenario, interval: str | None) -> Scenario:
    if interval is None:
        return scenario
    from zswap_gym.units import parse_duration

    seconds = parse_duration(interval)
    if not 0 < seconds <= scenario.episode.length / 4:
        raise UserError(
            f"--interval: {interval}: give more than 0 and at most {scenario.episode.length / 4:g} s, "
            "a quarter of what is replayed"
        )
    episode = scenario.episode.model_copy(update={"decision_interval": seconds})
    return scenario.model_copy(update={"episode": episode})


def _durations(text: str | None) -> list[float] | None:
    from zswap_gym.units import parse_duration

    return None if text is None else [parse_duration(part) for part in text.split(",")]


def _sizes(text: str | None) -> list[int] | None:
    from zswap_gym.units import parse_size

    return None if text is None else [parse_size(part) for part in text.split(",")]


@contextmanager
def _bar() -> Iterator[tuple[Callable[[int], None], Callable[[], None]]]:
    """A progress bar on stderr: what to tell the number of runs, and what to call after each."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("runs"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    with bar:
        task = bar.add_task("", total=None)
        yield lambda total: bar.update(task, total=total), lambda: bar.advance(task)
