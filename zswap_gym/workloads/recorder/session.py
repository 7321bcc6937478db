"""One recording from start to end: look, arm again, wait; then put the looks together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from zswap_gym.errors import UserError
from zswap_gym.workloads.recorder.guardian import Guardian
from zswap_gym.workloads.recorder.methods import Look, PageOut, Split
from zswap_gym.workloads.recorder.processes import SLOT_BITS, Process, open_process
from zswap_gym.workloads.recorder.sizes import sample_sizes
from zswap_gym.workloads.recording_file import Recorded

MIN_INTERVAL_S = 0.2
LEAST_SCANS = 3
LATE_SHARE = 0.5
"""Where a look took longer than the interval, the program gets at least this much of one before the next."""


@dataclass
class Scan:
    """One look at all processes."""

    time_s: float
    pages: list[Look] = field(default_factory=list)
    look_s: float = 0.0
    arm_s: float = 0.0


@dataclass(frozen=True)
class Progress:
    """What a progress bar is told after each look."""

    seconds: float
    pages: int
    touched: int
    cost_s: float


def record(
    processes: list[Process],
    method: str,
    *,
    interval_s: float,
    duration_s: float,
    chunk_pages: int = 1,
    samples: int = 4000,
    newcomers: Callable[[], Sequence[int]] = tuple,
    on_scan: Callable[[Progress], None] = lambda _: None,
) -> tuple[Recorded, list[str]]:
    """Record the processes; the recording, and what could not be put back as it was (normally nothing).

    Ends early when every process has ended or at KeyboardInterrupt, and keeps what it has.

    Args:
        processes: opened.
        method: "pageout" or "split", see `methods`.
        interval_s: between two looks.
        duration_s: of the whole.
        chunk_pages: pages per VMA for "split".
        samples: pages whose compressed size is measured at the end.
        newcomers: PIDs there are now, for a cgroup.
        on_scan: called after each look.

    Raises:
        UserError: no rights, no swap, too few looks.
    """
    if interval_s < MIN_INTERVAL_S:
        raise UserError(f"--interval: {interval_s:g} s: looks take time; give at least {MIN_INTERVAL_S:g} s")
    if duration_s < LEAST_SCANS * interval_s:
        raise UserError(
            f"--duration: {duration_s:g} s: give at least {LEAST_SCANS} intervals of {interval_s:g} s"
        )
    guardian = Guardian()
    try:
        how = PageOut(guardian, processes) if method == "pageout" else Split(guardian, processes, chunk_pages)
        scans = _scans(processes, how, interval_s, duration_s, newcomers, on_scan)
        if len(scans) < LEAST_SCANS:
            raise UserError(f"only {len(scans)} looks before the end; nothing was recorded, give it longer")
        alive = [process for process in processes if _alive(process)]
        sizes, estimated = sample_sizes(alive, samples, np.random.default_rng(0)) if alive else (None, [])
    except OSError as error:
        if any(_alive(process) for process in processes):
            raise
        raise UserError(f"the program ended before it could be recorded ({error.strerror})") from None
    finally:
        troubles = guardian.undo()
    if sizes is None or not (sizes[1] == 0).any():
        raise UserError(
            "the program ended before its pages' compressed sizes could be measured; record it while it runs"
        )
    name = processes[0].name if len(processes) == 1 else f"{processes[0].name}+{len(processes) - 1}"
    recorded = _put_together(scans, name, sizes)
    recorded.note = f"method {method}, {how.note}"
    recorded.meta = {
        "interval_s": interval_s,
        "kernel": os.uname().release,
        "backend": method,
        "unit_bytes": how.unit,
        "pids": [process.pid for process in processes],
        "sizes_estimated": estimated,
    }
    return recorded, troubles


def _scans(
    processes: list[Process],
    how: PageOut | Split,
    interval_s: float,
    duration_s: float,
    newcomers: Callable[[], Sequence[int]],
    on_scan: Callable[[Progress], None],
) -> list[Scan]:
    scans: list[Scan] = []
    try:
        for process in processes:
            how.arm(process)
        start = time.monotonic()
        due = start + interval_s
        while due <= start + duration_s + interval_s / 2:
            time.sleep(max(0.0, due - time.monotonic()))
            scan = _scan(processes, how)
            if not any(len(numbers) for numbers, _ in scan.pages):
                break
            scans.append(scan)
            numbers = sum(len(pages) for pages, _ in scan.pages)
            touched = sum(int(seen.sum()) for _, seen in scan.pages)
            on_scan(Progress(scan.time_s - start, numbers, touched, scan.look_s + scan.arm_s))
            _welcome(processes, newcomers(), how)
            due = max(due + interval_s, time.monotonic() + LATE_SHARE * interval_s)
    except KeyboardInterrupt:
        pass  # what there is so far is worth keeping
    return scans


def _scan(processes: Sequence[Process], how: PageOut | Split) -> Scan:
    """Process by process, so that the time between a look and the arming after it is short."""
    scan = Scan(time.monotonic())
    for process in processes:
        before = time.monotonic()
        try:
            pages = how.look(process)
            between = time.monotonic()
            how.arm(process)
        except (OSError, UserError):
            if _alive(process):
                raise
            pages, between = (np.zeros(0, np.int64), np.zeros(0, bool)), time.monotonic()
        scan.pages.append((pages[0] | process.slot << SLOT_BITS, pages[1]))
        scan.look_s += between - before
        scan.arm_s += time.monotonic() - between
    return scan


def _welcome(processes: list[Process], pids: Sequence[int], how: PageOut | Split) -> None:
    """Processes that joined the cgroup are recorded from now on."""
    known = {process.pid for process in processes}
    for pid in pids:
        if pid not in known:
            try:
                process = open_process(pid, len(processes))
                how.arm(process)
            except (UserError, OSError):
                continue  # it came and went, or may not be looked at
            processes.append(process)


def _alive(process: Process) -> bool:
    try:
        return bool(process.areas())
    except OSError:
        return False


def _put_together(scans: list[Scan], name: str, sizes: tuple[np.ndarray, ...]) -> Recorded:
    numbers = np.unique(np.concatenate([pages for scan in scans for pages, _ in scan.pages]))
    touched = np.zeros((len(scans), len(numbers)), bool)
    allocated = np.zeros_like(touched)
    for k, scan in enumerate(scans):
        for pages, seen in scan.pages:
            at = np.searchsorted(numbers, pages)
            allocated[k, at] = True
            touched[k, at] = seen
    return Recorded(
        name=name,
        vpn=numbers,
        touched=touched,
        allocated=allocated,
        times_s=np.array([scan.time_s - scans[0].time_s for scan in scans]),
        sizes=sizes,
        cost_s=np.array([(scan.look_s, scan.arm_s) for scan in scans]),
    )
