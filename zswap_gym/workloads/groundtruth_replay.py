"""Replay a ground-truth recording in the model: same pages, same order, same writes, same times.

The script's events drive it: phases become access plans (groundtruth_plan.py), writes to cgroup
files are done when the kernel's began, counters are read where the recording has a sample.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zswap_gym.errors import UserError
from zswap_gym.kernel.build import set_pool_limit
from zswap_gym.kernel.charge_stock import charge_kernel_memory
from zswap_gym.kernel.interfaces import memparse
from zswap_gym.kernel.layout import STAT, TABLE
from zswap_gym.kernel.machine import GAUGES, Machine, Meanwhile
from zswap_gym.kernel.spec import CgroupSpec
from zswap_gym.units import PAGE_SIZE, US_PER_S
from zswap_gym.workloads.groundtruth import Phase, Recording, Worker
from zswap_gym.workloads.groundtruth_guest import (
    CPUS,
    FIRST_FAULTS,
    KERNEL_PAGES,
    LIBRARY_PAGES,
    WRITEBACK_US,
    guest,
)
from zswap_gym.workloads.groundtruth_plan import Run, plans, runs

_GAUGE_OF = {
    "memory.current": "memory_current",
    "memory.swap.current": "swap_current",
    "memory.zswap.current": "zswap",
}
_COUNTER_OF = {
    "ev_high": "events_high",
    "ev_max": "events_max",
    "ev_oom": "events_oom",
}


@dataclass(frozen=True)
class Write:
    """One write of the script: what the kernel answered and what the model answered."""

    path: str
    value: str
    kernel_errno: int
    model_errno: int
    kernel_ms: float
    model_ms: float


@dataclass(frozen=True)
class Reading:
    """The model's counters where the recording has a sample; ``values`` by column of samples.csv."""

    row: int
    """Index in the recording's samples."""
    cgroup: str
    values: dict[str, int]


@dataclass
class Replay:
    """A finished replay: the machine as it ended, every write with both errnos, every sample."""

    machine: Machine
    writes: list[Write] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)


def columns(recording: Recording) -> dict[str, tuple[bool, int]]:
    """Columns of samples.csv that the model has: name -> (is it a gauge?, index)."""
    known = {}
    for name in recording.samples[0]:
        gauge = _GAUGE_OF.get(name, name)
        counter = _COUNTER_OF.get(name, name)
        if gauge in GAUGES:
            known[name] = (True, GAUGES.index(gauge))
        elif counter in STAT:
            known[name] = (False, STAT.index(counter))
    return known


class _Replayer:
    """The machine, and what the samples add that is not zswap's business: libc, first faults."""

    def __init__(self, recording: Recording, seed: int) -> None:
        self.recording = recording
        access = plans(recording, seed)
        self.workers = recording.workers()
        specs = [
            CgroupSpec(name, parent=name.rpartition("/")[0] or None, threads=1)
            for name in recording.cgroups()
        ]
        host = guest(recording, seed)
        try:
            self.machine = Machine(host, specs, access, seed=seed, restart_on_oom=False, exact=True)
        except ValueError as error:
            raise UserError(f"{recording.folder}: {error}") from error
        self.start = self.machine.now_us
        self.tables: set[tuple[str, int]] = set()
        self.ended: set[str] = set()
        self.busy_until: dict[str, float] = {}
        self.columns = columns(recording)
        self.placed = np.random.default_rng(seed) if seed else None
        self.replay = Replay(self.machine)

    def advance(self, t: float) -> None:
        """To second t of the recording; does nothing where a write took longer than the kernel's."""
        target = self.boot_time(t)
        if target > self.machine.now_us:
            self.machine.advance(target)

    def boot_time(self, t: float) -> int:
        """Boot time, us, of second t of the recording."""
        return self.start + int(t * US_PER_S)

    def act(self, kind: str, item: Any) -> None:
        """Anything of the timeline but a write."""
        if kind == "run":
            self.run(item)
        elif kind == "wl":
            self.charge(self.workers[item["name"]], LIBRARY_PAGES + KERNEL_PAGES, by_program=False)
        elif kind == "kill":
            self.end_program(self.workers[item["wl"]])
        elif kind == "rmcg":
            self.machine.rmdir(item["name"])
        else:
            self.sample(item)

    def sample(self, rows: list[tuple[int, dict[str, str]]]) -> None:
        """Read the counters of the cgroups in these rows of one instant."""
        self.machine.flush_stats()
        self.bury()
        counters, gauges = self.machine.counters(), self.machine.gauges()
        for i_row, row in rows:
            c = self.machine.index.get(row["cg"])
            if c is None:
                continue
            values = {
                name: int((gauges if is_gauge else counters)[c, i])
                for name, (is_gauge, i) in self.columns.items()
            }
            below = row["cg"] + "/"
            mine = [w.name for w in self.workers.values() if (w.cgroup + "/").startswith(below)]
            values["anon"] += len(set(mine) - self.ended) * LIBRARY_PAGES * PAGE_SIZE
            if "pgfault" in values:
                values["pgfault"] += len(mine) * FIRST_FAULTS
            self.replay.readings.append(Reading(i_row, row["cg"], values))

    def charge(self, worker: Worker, pages: int, *, by_program: bool) -> None:
        """A worker takes memory that is never reclaimed.

        It starts on the CPU of the runner that forked it and works on the other one: only then does
        memory.current of p1, p2, p12, p13 and p14 come out to the page.
        """
        c = self.machine.index[worker.cgroup]
        charge_kernel_memory(self.machine.block, c, pages, by_program)

    def end_program(self, worker: Worker) -> None:
        """A worker was killed: what was charged for it besides data is given back, past the stocks."""
        pages = LIBRARY_PAGES + KERNEL_PAGES + sum(name == worker.name for name, _ in self.tables)
        self.ended.add(worker.name)
        c = self.machine.index[worker.cgroup]
        while c >= 0:
            self.machine.state.cgs["base"][c] -= pages
            c = int(self.machine.state.cgs["parent"][c])

    def bury(self) -> None:
        """Workers the model's OOM killer took since the last sample."""
        for worker in self.workers.values():
            dead = self.machine.state.cgs["dead"][self.machine.index[worker.cgroup]]
            if dead and worker.name not in self.ended:
                self.end_program(worker)

    def run(self, phase: Run) -> None:
        """A phase begins: its program runs until it ends, or until that of another in its cgroup ends.

        On which CPU, the scheduler decides and no recording tells: with seed 0 not on the runner's, with
        others on either. 03 shows that both happen: its two runs of the kernel differ by one stock of 64
        pages, and each comes out to the page for some placement of its five phases.
        """
        if self.placed:
            self.machine.state.host["charge_cpu"] = self.placed.integers(CPUS)
        self.charge(phase.worker, self._new_tables(phase), by_program=True)
        cgroup = phase.worker.cgroup
        until = max(self.busy_until.get(cgroup, 0.0), phase.end)
        self.busy_until[cgroup] = until
        span = (self.start + int(second * US_PER_S) for second in (phase.woken, until))
        self.machine.busy(cgroup, *span)

    def _new_tables(self, phase: Run) -> int:
        """Page tables a phase is the first to need: one for 2 MiB, with the first also one above them."""
        options = Phase.parse(phase.command).options
        first = int(options.get("start", 0))
        last = first + (int(options.get("count", 0)) or phase.worker.pages) - 1
        name = phase.worker.name
        wanted = {(name, -1)} | {(name, table) for table in range(first // TABLE, last // TABLE + 1)}
        new = wanted - self.tables
        self.tables |= new
        return len(new)

    def write(self, event: dict[str, Any], meanwhile: Meanwhile) -> None:
        """Do what the script wrote, be it a cgroup file or a parameter of the host."""
        path, value = event["path"], event["val"]
        if path.startswith("/"):
            self._parameter(path.rpartition("/")[2], value)
            return
        cgroup, _, file = path.rpartition("/")
        before = self.machine.now_us
        pace = self._pace(event)
        if file == "memory.zswap.proactive_writeback":
            self.machine.state.host["writeback_us"] = pace or WRITEBACK_US
        result = self.machine.write(
            "" if cgroup == "." else cgroup, file, value, pace_us=pace, meanwhile=meanwhile
        )
        took = (self.machine.now_us - before) / 1000.0
        self.replay.writes.append(Write(path, value, event["errno"], result.errno, event["ms"], took))

    def _pace(self, event: dict[str, Any]) -> float:
        """Microseconds the kernel took per page asked for, 0 = unknown.

        A writeback that did not find enough old entries, or waited for the device, does not tell.
        """
        sizes = [word.rpartition("=")[2] for word in event["val"].split() if not word.isdigit()]
        if not sizes or event["errno"] == errno.EINVAL:
            return 0.0
        pace = float(event["ms"]) * 1000.0 * PAGE_SIZE / max(PAGE_SIZE, memparse(sizes[-1])[0])
        if event["path"].endswith("proactive_writeback"):
            known = not self.recording.options.get("throttle") and pace > WRITEBACK_US / 2
            return pace if known else 0.0
        return pace

    def _parameter(self, name: str, value: str) -> None:
        if name == "enabled":
            self.machine.set_zswap(enabled=value in ("Y", "y", "1"))
        elif name == "shrinker_enabled":
            self.machine.set_zswap(shrinker=value in ("Y", "y", "1"))
        elif name in ("max_pool_percent", "accept_threshold_percent"):
            host = self.machine.host
            percent = {
                "max_pool_percent": host.max_pool_percent,
                "accept_threshold_percent": host.accept_threshold_percent,
                name: int(value),
            }
            set_pool_limit(self.machine.state, *percent.values())


def _timeline(recording: Recording) -> Iterator[tuple[float, str, Any]]:
    """(second, "write" or "sample", event or rows) in order; a sample before a write of its instant."""
    items: list[tuple[float, int, str, Any]] = []
    for i, event in enumerate(recording.of("write")):
        items.append((event["t"] - event["ms"] / 1000.0, 2 * i + 1, "write", event))
    rows: dict[tuple[str, str], list[tuple[int, dict[str, str]]]] = {}
    for i, row in enumerate(recording.samples):
        rows.setdefault((row["t"], row["label"]), []).append((i, row))
    for (at, _), same in rows.items():
        items.append((float(at), -1, "sample", same))
    for kind in ("wl", "kill", "rmcg"):
        items.extend((event["t"], -2, kind, event) for event in recording.of(kind))
    items.extend((run.woken, -2, "run", run) for run in runs(recording))
    for t, _, kind, item in sorted(items, key=lambda entry: entry[:2]):
        yield t, kind, item


def replay(recording: Recording, *, seed: int = 0) -> Replay:
    """Run a recording from start to end.

    Accesses come when they came in the kernel's run; operations in between take no time but what
    the device needs.
    """
    replayer = _Replayer(recording, seed)
    left = deque(_timeline(recording))

    def act() -> None:
        replayer.act(*left.popleft()[1:])

    while left:
        t, kind, item = left[0]
        replayer.advance(t)
        if kind != "write":
            act()
            continue
        left.popleft()
        beside = []
        for second, what, rows in left:
            after = what == "sample" and rows[0][1]["label"] == "post"  # times are rounded to 1 ms
            if second >= item["t"] or what == "write" or after:
                break
            beside.append((replayer.boot_time(second), act))
        replayer.write(item, beside)
    return replayer.replay
