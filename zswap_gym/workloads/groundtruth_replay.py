"""Replay a ground-truth recording in the model: same pages, same order, same writes, same times."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zswap_gym.kernel.access import (
    NEVER,
    OP_READ,
    OP_READ_WRITE,
    OP_WRITE,
    REGION,
    AccessPlan,
    segments,
)
from zswap_gym.kernel.machine import Machine
from zswap_gym.kernel.spec import COMPRESSORS, CgroupSpec, DeviceSpec, HostSpec
from zswap_gym.units import PAGE_SIZE, US_PER_S
from zswap_gym.workloads.groundtruth import Phase, Recording, compressed_length, content_permille

MIB = 1 << 20
_RAM = 1015380 * 1024  # MemTotal of the guest
_SWAP = 1048572 * 1024
_BASE_PAGES = 105 + 14  # libc and stacks of the worker, kernel objects (spec/mglru.md 10)
_START_S = 3.3  # the guest's uptime when the runner starts


@dataclass(frozen=True)
class Write:
    """One write of the script: what the kernel answered and what the model answered."""

    path: str
    value: str
    kernel_errno: int
    model_errno: int


@dataclass(frozen=True)
class Replay:
    """A finished replay: the machine as it ended, and every write with both errnos."""

    machine: Machine
    writes: list[Write]


@dataclass
class _Worker:
    cgroup: str
    pages: int
    seed: int
    mix: str
    first: int


def _workers(recording: Recording) -> dict[str, _Worker]:
    """Workers in order; those of one cgroup share its page array."""
    workers: dict[str, _Worker] = {}
    used: dict[str, int] = defaultdict(int)
    for words in recording.lines:
        if words[0] == "wl":
            opt = dict(word.split("=") for word in words[3:])
            n = int(opt["pages"])
            workers[words[1]] = _Worker(words[2], n, int(opt["seed"]), opt["mix"], used[words[2]])
            used[words[2]] += n
    return workers


def _phase_accesses(
    event: dict[str, Any], worker: _Worker
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """(page in the cgroup, time us, op) of every access of a recorded phase."""
    phase = Phase.parse(event["cmd"])
    page, writes = phase.order(worker.seed, worker.pages)
    n = max(1, len(page))
    step = (event["t_end"] - event["t_start"]) / n
    if "rate" in phase.options:
        step = 1.0 / float(phase.options["rate"])
    time = ((event["t_start"] + np.arange(len(page)) * step) * US_PER_S).astype(np.int64)
    op = np.where(writes, OP_READ_WRITE, OP_READ).astype(np.uint8)
    if phase.kind == "fill":
        op[:] = OP_WRITE
    return page + worker.first, time, op


def plans(recording: Recording) -> dict[str, AccessPlan]:
    """One traced AccessPlan per cgroup that has workers."""
    workers = _workers(recording)
    parts: dict[str, list[tuple[Any, Any, Any]]] = defaultdict(list)
    for event in recording.events:
        if event["ev"] == "phase" and event["accesses"]:
            worker = workers[event["wl"]]
            parts[worker.cgroup].append(_phase_accesses(event, worker))
    result = {}
    for cgroup in dict.fromkeys(w.cgroup for w in workers.values()):
        mine = [w for w in workers.values() if w.cgroup == cgroup]
        lengths = np.concatenate([compressed_length(content_permille(w.seed, w.mix, w.pages)) for w in mine])
        result[cgroup] = _traced_plan(lengths, parts[cgroup])
    return result


def _traced_plan(lengths: npt.NDArray[np.uint16], parts: list[tuple[Any, Any, Any]]) -> AccessPlan:
    n = len(lengths)
    page, time, op = (np.concatenate(column) for column in zip(*parts, strict=True))
    by_page = np.lexsort((np.arange(len(page)), time, page))
    region = np.zeros(1, REGION)
    region["n_pages"], region["seg_count"], region["traced"], region["sweep_block"] = n, 1, 1, 1
    seg_time, seg_mult, seg_integral = segments([0], [1.0])
    return AccessPlan(
        rate=np.zeros(n, np.float32),
        region=np.zeros(n, np.uint16),
        clen=lengths,
        regions=region,
        seg_time=seg_time,
        seg_mult=seg_mult,
        seg_integral=seg_integral,
        first_touch=np.full(n, NEVER, np.int64),
        span_us=int(time.max()) + 1,
        trace_offset=np.searchsorted(page[by_page], np.arange(n + 1)).astype(np.int64),
        trace_time=time[by_page],
        trace_op=op[by_page],
    )


def _host(recording: Recording) -> HostSpec:
    opt = recording.options
    return HostSpec(
        ram_bytes=_RAM,
        swap_bytes=_SWAP,
        max_pool_percent=int(opt.get("maxpool", 20)),
        accept_threshold_percent=int(opt.get("accept", 90)),
        shrinker_enabled=opt.get("shrinker", "N") == "Y",
        compressor=COMPRESSORS["zstd"],
        device=DeviceSpec(rotated_fraction=0.45, queue_depth=256),
        boot_us=int(_START_S * US_PER_S),
    )


def replay(recording: Recording, *, seed: int = 0) -> Replay:
    """Run a recording with one foreground script from start to end.

    Operations take no time (``exact``): only the order of accesses and writes matters.
    """
    access = plans(recording)
    cgroups = [words[1] for words in recording.lines if words[0] == "cg"]
    specs = [
        CgroupSpec(
            name,
            parent=name.rpartition("/")[0] or None,
            threads=1,
            base_bytes=(_BASE_PAGES + access[name].n_pages // 512) * PAGE_SIZE if name in access else 0,
        )
        for name in cgroups
    ]
    machine = Machine(_host(recording), specs, access, seed=seed, restart_on_oom=False, exact=True)
    start = machine.now_us
    writes = []
    pending = deque(event for event in recording.events if event["ev"] == "write")
    for event in pending:
        machine.advance(start + int((event["t"] - event["ms"] / 1000.0) * US_PER_S))
        cgroup, _, file = event["path"].rpartition("/")
        result = machine.write("" if cgroup == "." else cgroup, file, event["val"])
        writes.append(Write(event["path"], event["val"], event["errno"], result.errno))
    last = max(float(row["t"]) for row in recording.samples)
    machine.advance(start + int(last * US_PER_S))
    return Replay(machine, writes)
