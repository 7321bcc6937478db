"""From a recording's events to access plans: who touched which page when, in the kernel's own run.

Inputs are the recorded start and end of each phase, its command and, for a phase that an OOM kill
or the end of a worker cut short, the time it died. Nothing the kernel counted enters.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zswap_gym.kernel.access import (
    FREE,
    NEVER,
    OP_READ,
    OP_READ_WRITE,
    OP_WRITE,
    REGION,
    AccessPlan,
    segments,
)
from zswap_gym.units import US_PER_S
from zswap_gym.workloads.groundtruth import Phase, Recording, Worker, content_permille
from zswap_gym.workloads.groundtruth_lengths import compressed_length


@dataclass(frozen=True)
class Run:
    """One phase as it ran: seconds of the recording, and whether its worker died in it."""

    worker: Worker
    command: str
    woken: float
    """When its worker was told to begin: it runs from here on, its accesses begin at ``start``."""
    start: float
    end: float
    died: bool


def runs(recording: Recording) -> list[Run]:
    """Every phase that ran, in the order they ended; dead workers run nothing more."""
    workers = recording.workers()
    started: dict[str, tuple[float, str]] = {}
    dead: set[str] = set()
    result = []
    for event in recording.events:
        name = str(event.get("wl"))
        if event["ev"] == "start" and name not in dead:
            started[name] = (event["t"], event["cmd"])
        elif event["ev"] == "phase":
            woken = min(started.pop(name, (event["t_start"], ""))[0], event["t_start"])
            span = (woken, event["t_start"], event["t_end"])
            result.append(Run(workers[name], event["cmd"], *span, False))
        elif event["ev"] in ("phase_dead", "kill"):
            dead.add(name)
            if name in started:
                start, command = started.pop(name)
                result.append(Run(workers[name], command, start, start, event["t"], True))
    return result


_Accesses = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint8]]


def _accesses(run: Run) -> _Accesses:
    """(page in the cgroup, time us, op) of every access of a phase.

    A phase with a rate runs at it unless the program fell behind; one without is taken as even.
    """
    phase = Phase.parse(run.command)
    page, writes = phase.order(run.worker.seed, run.worker.pages)
    step = (run.end - run.start) / max(1, len(page))
    rate = float(phase.options.get("rate", 0) or 0)
    if rate > 0:
        step = 1.0 / rate if run.died else max(step, 1.0 / rate)
    time = ((run.start + np.arange(len(page)) * step) * US_PER_S).astype(np.int64)
    op = np.where(writes, OP_READ_WRITE, OP_READ).astype(np.uint8)
    if phase.kind == "fill":
        op[:] = OP_WRITE
    page = page + run.worker.first
    if run.died:
        kept = time <= int(run.end * US_PER_S)
        return page[kept], time[kept], op[kept]
    return page, time, op


def _frees(recording: Recording, runs_: list[Run], cgroup: str) -> npt.NDArray[np.void]:
    """Pages given back: ``free`` phases (MADV_DONTNEED) and killed workers."""
    records = []
    for run in runs_:
        phase = Phase.parse(run.command)
        if phase.kind == "free" and run.worker.cgroup == cgroup:
            start = int(phase.options.get("start", 0))
            count = int(phase.options.get("count", 0)) or run.worker.pages
            records.append((int(run.start * US_PER_S), run.worker.first + start, count))
    workers = recording.workers()
    for event in recording.of("kill"):
        worker = workers[event["wl"]]
        if worker.cgroup == cgroup:
            records.append((int(event["t"] * US_PER_S), worker.first, worker.pages))
    return np.array(sorted(records), dtype=FREE) if records else np.zeros(0, FREE)


def plans(recording: Recording, seed: int = 0) -> dict[str, AccessPlan]:
    """One traced AccessPlan per cgroup that has workers; each worker is one region, its mapping.

    ``seed``: see :func:`compressed_length`.
    """
    ran = runs(recording)
    parts: dict[str, list[_Accesses]] = defaultdict(list)
    for run in ran:
        parts[run.worker.cgroup].append(_accesses(run))
    workers = list(recording.workers().values())
    result = {}
    for cgroup in dict.fromkeys(worker.cgroup for worker in workers):
        mine = [worker for worker in workers if worker.cgroup == cgroup]
        frees = _frees(recording, ran, cgroup)
        compressor = recording.options.get("comp", "zstd") or "zstd"
        lengths = np.concatenate(
            [compressed_length(content_permille(w.seed, w.mix, w.pages), compressor, seed) for w in mine]
        )
        result[cgroup] = _traced_plan(mine, parts[cgroup], frees, lengths)
    return result


def _traced_plan(
    workers: list[Worker],
    parts: list[_Accesses],
    frees: npt.NDArray[np.void],
    lengths: npt.NDArray[np.uint16],
) -> AccessPlan:
    n = len(lengths)
    empty: Any = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint8))
    page, time, op = (np.concatenate(column) for column in zip(*(parts or [empty]), strict=True))
    by_page = np.lexsort((np.arange(len(page)), time, page))
    region = np.zeros(len(workers), REGION)
    region["first_page"] = [worker.first for worker in workers]
    region["n_pages"] = [worker.pages for worker in workers]
    region["seg_start"] = np.arange(len(workers))
    region["seg_count"], region["traced"], region["sweep_block"] = 1, 1, 1
    region["huge"] = [worker.huge for worker in workers]
    seg_time, seg_mult, seg_integral = segments([0], [1.0])
    return AccessPlan(
        rate=np.zeros(n, np.float32),
        region=np.repeat(np.arange(len(workers)), region["n_pages"]).astype(np.uint16),
        clen=lengths,
        regions=region,
        seg_time=np.tile(seg_time, len(workers)),
        seg_mult=np.tile(seg_mult, len(workers)),
        seg_integral=np.tile(seg_integral, len(workers)),
        first_touch=np.full(n, NEVER, np.int64),
        span_us=int(time.max(initial=0)) + 1,
        trace_offset=np.searchsorted(page[by_page], np.arange(n + 1)).astype(np.int64),
        trace_time=time[by_page],
        trace_op=op[by_page],
        frees=frees,
    )
