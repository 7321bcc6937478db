"""``zswap-gym record``: which pages a running program touches, on a stock kernel."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from zswap_gym.errors import UserError

if TYPE_CHECKING:
    from zswap_gym.workloads.recorder.processes import Process

Method = Literal["auto", "pageout", "split", "mglru"]
AGES_S = (10, 30, 60, 120)


def record(
    pid: Annotated[int | None, typer.Argument(metavar="PID", help="The process to record.")] = None,
    cgroup: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Record all processes of a cgroup instead.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The recording; default NAME.npz (mglru: NAME.csv).")
    ] = None,
    interval: Annotated[str, typer.Option(help="Time between two looks.")] = "5s",
    duration: Annotated[str, typer.Option(help="Of the whole; ages up to half of it can be judged.")] = "5m",
    method: Annotated[Method, typer.Option(help="How to look; auto takes the first that works.")] = "auto",
    chunk: Annotated[
        int, typer.Option(min=1, max=512, help="split: pages per VMA; more is cheaper and coarser.")
    ] = 1,
    samples: Annotated[
        int, typer.Option(min=50, help="Pages to compress for the distribution of compressed sizes.")
    ] = 4000,
    probe: Annotated[bool, typer.Option("--probe", help="Only say which methods work here.")] = False,
) -> None:
    """Record which pages a program touches and how well they compress.

    pageout sends the program's memory to compressed RAM (zram) every interval and sees what comes back: exact
    per 4 KiB page, reads and writes; the program waits 10 us for each page it touches. split makes every
    chunk a mapping of its own and reads the kernel's accessed bits. mglru gives ages per cgroup only, as CSV.

    Whatever is changed meanwhile (swap, vm.page-cluster, vm.max_map_count, mappings) is put back at the end,
    after Ctrl-C, and when the recorder is killed. Private anonymous memory is seen, no file cache.

    Examples:

        zswap-gym record 1234 --duration 10m -o mine.npz
        zswap-gym record --cgroup /sys/fs/cgroup/system.slice/redis.service --interval 2s
        zswap-gym record 1234 --probe
    """
    from zswap_gym.cli._output import ensure_writable
    from zswap_gym.units import parse_duration
    from zswap_gym.workloads.recorder.methods import choose

    seconds, length = parse_duration(interval), parse_duration(duration)
    processes, newcomers = _targets(pid, cgroup, mglru=method == "mglru")
    if probe:
        _print_probe(processes)
        return
    how = choose(method, processes)
    if how == "mglru":
        _mglru(cgroup, out, seconds, length)
        return
    target = out or Path(f"{processes[0].name.replace('/', '_')}.npz")
    ensure_writable(target)
    from zswap_gym.workloads.recorder.session import record as run
    from zswap_gym.workloads.recording_file import save_recording

    try:
        with _bar(length, f"{how} {processes[0].name}") as tick:
            recorded, troubles = run(
                processes, how, interval_s=seconds, duration_s=length, chunk_pages=chunk, samples=samples,
                newcomers=newcomers, on_scan=tick,
            )  # fmt: skip
    finally:
        for process in processes:
            process.close()
    save_recording(recorded, target)
    _say(target, recorded, troubles)


def import_(
    text: Annotated[
        Path, typer.Argument(metavar="FILE", help="A text file: what DAMON saw, or the plain format.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The recording; default FILE with .npz.")
    ] = None,
    interval: Annotated[str, typer.Option(help="Join DAMON's snapshots to intervals of this length.")] = "5s",
    contents: Annotated[
        str | None, typer.Option(help="Archetype whose compressed sizes to use where the text has none.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Take this target of DAMON's only; without, all, as one program."),
    ] = None,
) -> None:
    """Turn what another tool recorded into a recording.

    Understood are `damo report access --raw_form`; DAMON's events damon_aggregated and
    damon_region_aggregated as `perf script`, `trace-cmd report` and tracefs print them; and a plain format of
    lines, numbers decimal or 0x, # for comments:

        scan 5.0                       # a look, seconds
        alloc 0x7f0000000000 65536     # allocated since, address and bytes
        touch 0x7f0000001000 4096      # accessed since the scan before
        free 0x7f0000008000 4096
        size 0x7f0000001000 1800 1820 1300 1280   # compressed bytes: lzo lz4 zstd1 zstd3

    Examples:

        zswap-gym import damon.txt --contents kv_zipf -o mine.npz
        zswap-gym import two-programs.txt --contents kv_zipf --target 1
        zswap-gym import pages.txt
    """
    from zswap_gym.cli._output import ensure_writable
    from zswap_gym.units import parse_duration
    from zswap_gym.workloads.importers import import_text
    from zswap_gym.workloads.recording_file import save_recording

    to = out or text.with_suffix(".npz")
    ensure_writable(to, source=text)
    recorded = import_text(text, interval_s=parse_duration(interval), contents=contents, target=target)
    save_recording(recorded, to)
    print(_recognised(text, recorded.meta))
    _say(to, recorded, [])


def _recognised(text: Path, meta: Mapping[str, Any]) -> str:
    """What an import took the text for, in one line."""
    said = f"{text}: {meta['format']}"
    if targets := meta["targets"]:
        names = ", ".join(targets)
        said += (
            f", target{'s' if len(targets) > 1 else ''} {names}{' side by side' if len(targets) > 1 else ''}"
        )
        said += f", {meta['snapshots']} snapshots {meta['spacing_s']:.3g} s apart"
    said += f", intervals of {meta['interval_s']:.3g} s"
    if missing := meta.get("missing"):
        said += f"; {missing} of the regions it announces are missing and count as not accessed"
    return said


def _targets(
    pid: int | None, cgroup: Path | None, *, mglru: bool
) -> tuple[list[Process], Callable[[], list[int]]]:
    from zswap_gym.workloads.recorder.processes import open_process, processes_of

    if (pid is None) == (cgroup is None):
        raise UserError("record: name a PID, or a cgroup by --cgroup PATH, one of the two")
    if pid is not None:
        if mglru:
            raise UserError("--method mglru: sees cgroups, not processes; give --cgroup PATH")
        return [open_process(pid)], list
    assert cgroup is not None
    pids = processes_of(cgroup)
    processes: list[Process] = []
    for one in pids:
        try:
            processes.append(open_process(one, len(processes)))
        except UserError:
            if len(pids) == 1:
                raise
            continue  # one of many ended, or may not be looked at
    if not processes and not mglru:
        raise UserError(f"{cgroup}: no process in it can be recorded; name a cgroup with running programs")
    return processes, lambda: processes_of(cgroup)


def _mglru(cgroup: Path | None, out: Path | None, interval_s: float, duration_s: float) -> None:
    from zswap_gym.cli._output import ensure_writable
    from zswap_gym.workloads.recorder.mglru import cold_share, watch

    assert cgroup is not None
    target = out or Path(f"{cgroup.name}.csv")
    ensure_writable(target)
    name = "/" + str(cgroup.resolve()).removeprefix("/sys/fs/cgroup").strip("/")
    last: list[Any] = []

    def remember(_: float, found: list[Any]) -> None:
        last[:] = found

    looks = watch(name, interval_s=interval_s, duration_s=duration_s, out=target, on_look=remember)
    shares = ", ".join(f"{100 * cold_share(last, age):.0f} % for {age} s" for age in AGES_S)
    print(f"wrote {target}: {looks} looks; anonymous memory not accessed: {shares}")


def _print_probe(processes: list[Process]) -> None:
    from zswap_gym.workloads.recorder.methods import probe

    for found in probe(processes):
        print(f"{found.method:8s} {'works' if not found.problem else 'no: ' + found.problem}")
        print(f"{'':8s} costs {found.cost}")


def _say(path: Path, recorded: Any, troubles: list[str]) -> None:
    import numpy as np

    from zswap_gym.units import PAGE_SIZE, format_size
    from zswap_gym.workloads.coldness import cold_share

    held = recorded.allocated.sum(axis=1)
    span = float(recorded.times_s[-1])
    ages = [age for age in AGES_S if age <= span]
    share = float((recorded.touched.sum(axis=1) / np.maximum(held, 1)).mean())
    cold = cold_share(recorded.touched, recorded.allocated, recorded.times_s, ages)
    print(
        f"wrote {path}: {len(recorded.times_s)} looks over {span:.0f} s, "
        f"{format_size(float(held.mean()) * PAGE_SIZE)} allocated, "
        f"{100 * share:.1f} % touched per interval"
    )
    if ages:
        print(
            "cold: "
            + ", ".join(f"{100 * one:.0f} % for {age} s" for age, one in zip(ages, cold, strict=True))
        )
    if recorded.cost_s is not None:
        look, arm = recorded.cost_s.mean(axis=0)
        print(f"cost: a look took {look:.2f} s, arming again {arm:.2f} s; {recorded.note}")
    if estimated := recorded.meta.get("sizes_estimated"):
        print(f"compressed sizes under {', '.join(estimated)} are estimates: that library is not installed")
    print(f"ages up to {span / 2:.0f} s can be judged: zswap-gym advise {path}")
    for trouble in troubles:
        print(f"could not be put back: {trouble}")


@contextmanager
def _bar(length_s: float, what: str) -> Iterator[Callable[[Any], None]]:
    """A progress bar on stderr over the seconds of the recording; into a file, a line for each look."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    def said(progress: Any) -> str:
        return f"{progress.touched} of {progress.pages} pages touched, look {progress.cost_s:.2f} s"

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda progress: print(
            f"{what} {progress.seconds:.1f} of {length_s:g} s: {said(progress)}", file=sys.stderr, flush=True
        )
        return
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[seen]}"),
        console=console, transient=True,
    )  # fmt: skip
    with bar:
        task = bar.add_task(what, total=length_s, seen="")

        def tick(progress: Any) -> None:
            bar.update(task, completed=progress.seconds, seen=said(progress))

        yield tick
