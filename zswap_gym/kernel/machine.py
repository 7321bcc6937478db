"""Machine: the simulated kernel as a Python object. Build it, let time pass, read and write.

machine = Machine(host, cgroups, plans, seed=1)
machine.advance(machine.now_us + 60 * US_PER_S)
machine.write("kv", "memory.zswap.proactive_writeback", "max=10M 30")
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from zswap_gym.kernel import build, engine, interfaces, pulse, requests, stateref
from zswap_gym.kernel.access import NEVER, AccessPlan
from zswap_gym.kernel.ahead import prepare
from zswap_gym.kernel.jobs import (
    J_NONE,
    J_PULSE,
    J_RECLAIM,
    J_WRITEBACK,
    SLOT_REQUEST,
    SLOTS,
)
from zswap_gym.kernel.layout import CONSTANT, STAT, ZSWAP, State, page_array
from zswap_gym.kernel.offline import take_offline
from zswap_gym.kernel.spec import KERNELS, CgroupSpec, HostSpec, StageOneSpec
from zswap_gym.units import PAGE_SIZE, US_PER_S

GAUGES: tuple[str, ...] = (
    "memory_current",
    "anon",
    "swapcached",
    "zswap",
    "zswapped",
    "swap_current",
    "active_anon",
    "inactive_anon",
    "peak",
    "swap_peak",
    "file",
    "active_file",
    "inactive_file",
)
"""Sizes in bytes, hierarchical."""

LIMIT_FILES = {
    "memory.max": "max",
    "memory.high": "high",
    "memory.min": "min",
    "memory.low": "low",
    "memory.swap.max": "swap_max",
    "memory.swap.high": "swap_high",
    "memory.zswap.max": "zswap_max",
}


@dataclass(frozen=True)
class WriteResult:
    """What a write to a cgroup file returned: errno, real pages written back, how long it took."""

    errno: int
    pages: int = 0
    duration_us: int = 0


class Finished(NamedTuple):
    """A request that ended: errno and real pages of the writeback, errno and real pages of the release."""

    cgroup: int
    errno: int
    pages: int
    duration_us: int
    release_errno: int
    released: int


_FINISHED = ["cg", "errno", "pages", "duration_us", "release_errno", "released"]
"""Of the done log, in the order of Finished."""

Meanwhile = Sequence[tuple[int, Callable[[], None]]]


class Machine:
    """A host with its cgroups. Same arguments and seed: bit-equal runs.

    Args:
        host: RAM, swap, device, zswap parameters, page_scale.
        cgroups: the tree; the root (index 0, name "") is implicit.
        plans: who touches which page, by cgroup name; only leaves may have one.
        seed: of the machine's one random stream.
        stage_one: the user-space reclaimer, part of the scenario.
    """

    def __init__(
        self,
        host: HostSpec,
        cgroups: Sequence[CgroupSpec],
        plans: Mapping[str, AccessPlan],
        *,
        seed: int,
        stage_one: StageOneSpec | None = None,
        restart_on_oom: bool = True,
        exact: bool = False,
    ) -> None:
        self.host = host
        self.specs, self.names, self.index = build.order(cgroups)
        state = build.state(
            host, self.specs, self.names, plans, stage_one or StageOneSpec(), seed, restart_on_oom, exact
        )
        self.rules = build.interface_rules(host)
        self._meanwhile: Meanwhile = ()
        self._hold(state)
        engine.boot(self.block)

    # --- time ------------------------------------------------------------------------------------

    @property
    def now_us(self) -> int:
        """CLOCK_BOOTTIME in microseconds."""
        return int(self.state.host["now"][0])

    def advance(self, until_us: int) -> None:
        """Let simulated time pass up to boot time ``until_us``."""
        self._advance(until_us)

    def _advance(self, until_us: int, stop_job: int = -1) -> None:
        engine.advance(self.block[None], np.array([until_us], np.int64), stop_job)

    # --- writing ---------------------------------------------------------------------------------

    def write(
        self,
        cgroup: str,
        file: str,
        text: str,
        *,
        signal: bool = False,
        pace_us: float = 0.0,
        meanwhile: Meanwhile = (),
    ) -> WriteResult:
        """Write ``text`` to a cgroup file and wait for the write to return, as a shell would.

        ``signal``: a signal is pending for the writer (selftest A13). ``pace_us``: time per page
        of a memory.reclaim on a machine whose operations take none (replays). ``meanwhile``: what
        others do at which boot times; left alone once the write has returned. Unknown cgroup or
        file: ENOENT, as on the root for files it does not have.
        """
        self._meanwhile = meanwhile
        c = self.index.get(cgroup)
        if c is None or self.state.cgs["offline"][c]:
            return WriteResult(errno.ENOENT)
        try:
            if file == "memory.reclaim":
                return self._write_reclaim(c, text, signal, pace_us)
            if self.rules is not None and file == self.rules.file and c > 0:
                return self._write_proactive(c, text, signal)
            if file == "memory.zswap.writeback":
                return self._write_switch(c, "writeback", text)
            if file == "memory.oom.group" and c > 0:
                return self._write_switch(c, "oom_group", text)
            if file in LIMIT_FILES and c > 0:
                return self._write_limit(c, file, text)
        except interfaces.BadWrite as bad:
            return WriteResult(bad.errno)
        return WriteResult(errno.ENOENT)

    def _write_proactive(self, c: int, text: str, signal: bool) -> WriteResult:
        if not self.state.cgs["writeback_effective"][c]:
            raise interfaces.BadWrite(errno.EINVAL)  # before parsing
        parsed = interfaces.parse_proactive(text)
        if parsed.age_s * US_PER_S >= self.now_us:
            return WriteResult(0)
        return self._wait(c, J_WRITEBACK, parsed.max_pages, parsed.age_s * US_PER_S, signal)

    def _write_reclaim(self, c: int, text: str, signal: bool, pace_us: float) -> WriteResult:
        """memory.reclaim: reclaim, or with the key of versions 2 to 5 proactive writeback."""
        key = self.rules.key if self.rules is not None else None
        swappiness_max = KERNELS[self.host.kernel].swappiness_max
        parsed = interfaces.parse_reclaim(text, key=key, swappiness_max=swappiness_max)
        if self.rules is None or not parsed.proactive:
            return self._wait(c, J_RECLAIM, parsed.pages, 0, signal, pace_us)
        if self.rules.disabled_is_einval and not self.state.cgs["writeback_effective"][c]:
            raise interfaces.BadWrite(errno.EINVAL)
        amount = self.budget(parsed.size)
        return self._wait(c, J_WRITEBACK, amount, -1, signal) if amount else WriteResult(0)

    def budget(self, size: int) -> int:
        """Bytes written to the interface, as it counts them: pages, bytes, or bytes of whole pages."""
        rules = self.rules
        if rules is None or not rules.compressed:
            return size // PAGE_SIZE
        return size // PAGE_SIZE * PAGE_SIZE if rules.whole_pages else size

    def pulse(self, cgroup: str, pages: int) -> WriteResult:
        """Write back about ``pages`` real pages by a pulse (pulse.py) and wait for its end.

        ECANCELED where a condition refuses it.
        """
        c = self.index[cgroup]
        if pulse.refused(self.block, c):
            return WriteResult(errno.ECANCELED)
        return self._wait(c, J_PULSE, pages, 0, signal=False)

    def _wait(
        self, c: int, kind: int, amount: int, age_us: int, signal: bool, pace_us: float = 0.0
    ) -> WriteResult:
        """Run the operation in c's request slot to its end; other requests of c must be over."""
        job = c * SLOTS + SLOT_REQUEST
        if self.state.jobs["kind"][job] != J_NONE:
            self._advance(int(NEVER) - 1, job)
        start = self.now_us
        requests.submit(self.block, c, kind, amount, age_us, 0, 0)
        self.state.jobs["signal"][job] = int(signal)
        self.state.jobs["pace_us"][job] = pace_us
        for when, act in self._meanwhile:
            self._advance(when, job)
            if self.state.jobs["kind"][job] == J_NONE:
                break
            act()
        self._meanwhile = ()
        if self.state.jobs["kind"][job] != J_NONE:
            self._advance(int(NEVER) - 1, job)
        record = self.state.jobs[job]
        self.advance(record["ended"])  # the last batch takes time too
        written = int(record["written"]) if kind != J_RECLAIM else 0
        return WriteResult(int(record["errno"]), written, self.now_us - start)

    def _write_switch(self, c: int, field: str, text: str) -> WriteResult:
        if text.strip() not in ("0", "1"):
            raise interfaces.BadWrite(errno.EINVAL)
        self.state.cgs[field][c] = int(text)
        engine.writeback_switched(self.block)
        return WriteResult(0)

    def _write_limit(self, c: int, file: str, text: str) -> WriteResult:
        self.state.cgs[LIMIT_FILES[file]][c] = interfaces.parse_limit(text)
        build.note_limits(self.state)
        if file in ("memory.max", "memory.high"):
            engine.limit_write(self.block, c, file == "memory.max")
        return WriteResult(0)

    def set_zswap(
        self,
        *,
        enabled: bool | None = None,
        max_pool_percent: int | None = None,
        shrinker: bool | None = None,
    ) -> None:
        """Change /sys/module/zswap/parameters at run time."""
        if enabled is not None:
            self.state.host["zswap_enabled"] = int(enabled)
            engine.writeback_switched(self.block)
        if shrinker is not None:
            self.state.host["shrinker"] = int(shrinker)
        if max_pool_percent is not None:
            build.set_pool_limit(self.state, max_pool_percent, self.host.accept_threshold_percent)

    @property
    def zswap_enabled(self) -> bool:
        """The module parameter ``enabled``."""
        return bool(self.state.host["zswap_enabled"][0])

    # --- requests that run beside the caller -----------------------------------------------------

    def request(self, cgroup: int, age_us: int, amount: int, release_pages: int) -> bool:
        """Start writeback, then release, of the cgroup at an index of ``names``. False: still busy.

        ``amount`` counts as the interface does (:meth:`budget`). No writeback without an amount, on a
        kernel without an interface or, where the interface takes an age, with ``age_us`` < 0.
        IndexError where there is no such cgroup: compiled code would write past its arrays.
        """
        self._check_index(cgroup)
        return bool(requests.request(self.block, cgroup, age_us, amount, release_pages))

    def _check_index(self, cgroup: int) -> None:
        if not 0 <= cgroup < len(self.names):
            raise IndexError(
                f"cgroup {cgroup}: this machine has {len(self.names)}; see Machine.index for names"
            )

    def finished(self) -> list[Finished]:
        """Requests that ended since the last call, in order."""
        n = int(self.state.host["done_len"][0])
        if n == 0:
            return []
        self.state.host["done_len"] = 0
        rows = self.state.done[:n][_FINISHED].tolist()
        return [Finished._make(row) for row in rows]

    # --- reading ---------------------------------------------------------------------------------

    def counters(self) -> npt.NDArray[np.int64]:
        """int64 (n_cgroups, len(STAT)): cumulative, hierarchical, real pages."""
        total = self.state.stat.copy()
        parent = self.state.cgs["parent"]
        for c in range(len(total) - 1, 0, -1):
            total[parent[c]] += total[c]
        return total

    def counter(self, cgroup: str, name: str) -> int:
        """One hierarchical counter by name."""
        return int(self.counters()[self.index[cgroup], STAT.index(name)])

    def incompressible(self, cgroup: int) -> int:
        """Real pages of the subtree that zswap holds as they are (memory.stat zswap_incomp)."""
        p, cg = self.state.pages, self.state.cgs[cgroup]
        mine = (self.state.owner >= cgroup) & (self.state.owner < cg["sub_end"])
        return int((mine & (p["state"] == ZSWAP) & (p["clen"] >= PAGE_SIZE)).sum()) * self.host.page_scale

    def gauges(self) -> npt.NDArray[np.float64]:
        """float64 (n_cgroups, len(GAUGES)): bytes, hierarchical."""
        return build.gauges(self.state)

    def gauge(self, cgroup: str, name: str) -> float:
        """One gauge by name, bytes."""
        return float(self.gauges()[self.index[cgroup], GAUGES.index(name)])

    def zswap_ages(self, cgroup: int, edges_s: Sequence[float]) -> npt.NDArray[np.int64]:
        """True ages of zswap entries: real pages per [edges[i], edges[i+1]), last bin open. Privileged.

        ``cgroup`` is an index of ``names``; IndexError where there is no such cgroup.
        """
        self._check_index(cgroup)
        edges = (np.asarray(edges_s, np.float64) * US_PER_S).astype(np.int64)
        out = np.zeros(len(edges) + 1, np.int64)
        engine.zswap_ages(self.block, cgroup, edges, out)
        return out[:-1]

    @property
    def pool_bytes(self) -> int:
        """Zsmalloc pages of the host, in bytes (/proc/meminfo Zswap)."""
        return int(self.state.host["pool_pages"][0]) * PAGE_SIZE

    def flush_stats(self) -> None:
        """Reading memory.stat flushes it, and the classic LRU decides by what was flushed last."""
        engine.flush_stats(self.block)

    def rmdir(self, cgroup: str, *, leave: bool = False) -> WriteResult:
        """Remove a cgroup: EBUSY while it has children or pages of a program, ENOENT if there is none.

        ``leave``: its programs have ended, and what is charged to it outlives them (files of a tmpfs).
        """
        c = self.index.get(cgroup)
        if c is None or c == 0 or self.state.cgs["offline"][c]:
            return WriteResult(errno.ENOENT)
        record = self.state.cgs[c]
        children = self.state.cgs["offline"][c + 1 : record["sub_end"]] == 0
        if children.any() or (not leave and (record["resident"] or record["slots"])):
            return WriteResult(errno.EBUSY)
        take_offline(self.block, c)
        return WriteResult(0)

    def busy(self, cgroup: str, start_us: int, until_us: int) -> None:
        """The program of ``cgroup`` works from ``start_us`` to ``until_us`` of boot time (else: always).

        Aging skips the page tables of programs that did not run (MGLRU in full).
        """
        cg = self.state.cgs[self.index[cgroup]]
        cg["run_from"], cg["run_until"] = start_us, until_us

    # --- copies and pickles ------------------------------------------------------------------------

    def _hold(self, state: State) -> None:
        """Be the machine in this state."""
        prepare()
        self.state = state
        self.block = stateref.block(state)
        self._changing = _changing(state)

    def __getstate__(self) -> dict[str, Any]:
        """All but what says where in memory the state lies: that means nothing elsewhere."""
        return {name: value for name, value in self.__dict__.items() if name not in ("block", "_changing")}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.__dict__.update(saved)
        self._hold(self.state)

    def clone(self) -> Machine:
        """An independent machine in the same state, mid-operation included; it continues identically."""
        twin = object.__new__(Machine)
        twin.__dict__.update(self.__dict__)
        twin._hold(self.snapshot())
        return twin

    def snapshot(self) -> State:
        """A copy of the whole state, for :meth:`restore`."""
        arrays = self.state._asdict()
        copies = {name: a if name in CONSTANT else a.copy() for name, a in arrays.items()}
        copies["pages"] = page_array(len(self.state.pages))
        copies["pages"].view(np.uint8)[...] = self.state.pages.view(np.uint8)
        return State(**copies)

    def restore(self, snapshot: State) -> None:
        """Return to a snapshot; the snapshot stays usable."""
        _fill(self._changing, _changing(snapshot))

    def become(self, other: Machine) -> None:
        """Go on from the state of ``other`` (a machine of the same scenario), which stays as it is.

        What :meth:`clone` does without new memory, where the sizes are the same.
        """
        state, block, changing = self.state, self.block, self._changing
        self.__dict__.update(other.__dict__)
        if not stateref.same_sizes(block, other.block):
            self._hold(other.snapshot())
            return
        _fill(changing, other._changing)
        self.state = state._replace(**{name: getattr(other.state, name) for name in CONSTANT})
        self.block, self._changing = stateref.with_constants(block, other.block), changing

    def reseed(self, seed: int) -> None:
        """Continue from here with a fresh random stream (episodes that share a warm snapshot)."""
        self.state.host["rng"] = np.uint64(seed)


def _changing(state: State) -> list[npt.NDArray[np.uint8]]:
    """The arrays that rules write, as bytes: numpy copies records one by one."""
    arrays = state._asdict().items()
    return [array.view(np.uint8).reshape(-1) for name, array in arrays if name not in CONSTANT and array.size]


def _fill(to: list[npt.NDArray[np.uint8]], source: list[npt.NDArray[np.uint8]]) -> None:
    for mine, theirs in zip(to, source, strict=True):
        mine[...] = theirs
