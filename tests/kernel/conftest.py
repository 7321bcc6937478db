"""Small machines for the tests of the kernel: access plans, trees of cgroups, and what they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from zswap_gym.kernel import layout
from zswap_gym.kernel.access import REGION, AccessPlan, segments
from zswap_gym.kernel.machine import Machine, WriteResult
from zswap_gym.kernel.spec import CgroupSpec, HostSpec, StageOneSpec
from zswap_gym.units import PAGE_SIZE, US_PER_S

GIB = 1 << 30
PROACTIVE = "memory.zswap.proactive_writeback"
MakePlan = Callable[..., AccessPlan]
MakeMachine = Callable[..., "Bench"]


def plan(
    n: int,
    *,
    clen: int | Sequence[int] | npt.NDArray[np.uint16] = 1000,
    step_us: int = 10,
    rate: float | npt.NDArray[np.float32] = 0.0,
    write_share: float = 0.0,
    accesses: Iterable[tuple[int, int, int]] | None = None,
) -> AccessPlan:
    """N pages first written ``step_us`` apart, in order; then touched at ``rate`` Hz or as ``accesses`` says.

    ``accesses`` are (work time in us, page, OP_*); an empty list means never again.
    """
    region = np.zeros(1, REGION)
    region["n_pages"], region["seg_count"], region["write_share"] = n, 1, write_share
    region["traced"] = accesses is not None
    seg_time, seg_mult, seg_integral = segments([0], [1.0])
    traced = sorted((page, time, op) for time, page, op in accesses or ())
    counts = np.bincount(np.array([page for page, _, _ in traced], np.int64), minlength=n)
    return AccessPlan(
        rate=np.full(n, rate, np.float32) if np.isscalar(rate) else np.asarray(rate, np.float32),
        region=np.zeros(n, np.uint16),
        clen=np.full(n, clen, np.uint16) if isinstance(clen, int) else np.asarray(clen, np.uint16),
        regions=region,
        seg_time=seg_time,
        seg_mult=seg_mult,
        seg_integral=seg_integral,
        first_touch=np.arange(n, dtype=np.int64) * step_us,
        span_us=10**12,
        trace_offset=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        trace_time=np.array([time for _, time, _ in traced], np.int64),
        trace_op=np.array([op for _, _, op in traced], np.uint8),
    )


class Bench:
    """A machine and the questions tests ask about it."""

    def __init__(self, machine: Machine, plans: Mapping[str, AccessPlan]) -> None:
        self.machine = machine
        self.plans = plans

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.machine.advance(self.machine.now_us + round(seconds * US_PER_S))

    def write(self, cgroup: str, text: str, file: str = PROACTIVE, **options: Any) -> WriteResult:
        """Write to the proactive file, or another."""
        return self.machine.write(cgroup, file, text, **options)

    def fill(self, *cgroups: str, pages: int | None = None) -> None:
        """Touch everything once, then push ``pages`` (default: all) of each cgroup out of memory."""
        self.run(max(p.first_touch.max() for p in self.plans.values()) / US_PER_S + 0.001)
        for cgroup in cgroups:
            want = self.record(cgroup)["n_pages"] * self.scale if pages is None else pages
            assert self.write(cgroup, str(want * PAGE_SIZE), "memory.reclaim").errno == 0

    @property
    def scale(self) -> int:
        """Real pages per simulated page."""
        return int(self.machine.state.host["scale"][0])

    def record(self, cgroup: str) -> Any:
        """The CGROUP record."""
        return self.machine.state.cgs[self.machine.index[cgroup]]

    def pages(self, cgroup: str) -> npt.NDArray[np.void]:
        """The PAGE records of a cgroup."""
        rec = self.record(cgroup)
        return self.machine.state.pages[rec["first_page"] : rec["first_page"] + rec["n_pages"]]

    def states(self, cgroup: str) -> list[int]:
        """How many pages are NEW, RESIDENT, SWAPCACHE, ZSWAP, DISK, ZERO."""
        return np.bincount(self.pages(cgroup)["state"], minlength=6).tolist()

    def lru(self, cgroup: str) -> list[int]:
        """The zswap LRU, oldest entry first, as page numbers of the cgroup."""
        state, c = self.machine.state, self.machine.index[cgroup]
        p = int(state.lists[c * layout.LISTS_PER_CGROUP + layout.ZSWAP_LIST]["oldest"])
        result = []
        while p >= 0:
            result.append(p - int(state.cgs[c]["first_page"]))
            p = int(state.pages[p]["newer"])
        return result

    def clone(self) -> Bench:
        """The same, apart."""
        return Bench(self.machine.clone(), self.plans)

    def differences(self, other: layout.State) -> list[str]:
        """Names of the state's arrays and fields that are not equal in ``other``."""
        found = []
        for name, mine in self.machine.state._asdict().items():
            theirs = getattr(other, name)
            fields = mine.dtype.names or ()
            found += [f"{name}.{f}" for f in fields if not np.array_equal(mine[f], theirs[f])]
            if not fields and not np.array_equal(mine, theirs):
                found.append(name)
        return found

    def count(self, cgroup: str, name: str) -> int:
        """A hierarchical counter."""
        return self.machine.counter(cgroup, name)

    def gauge(self, cgroup: str, name: str) -> int:
        """A hierarchical gauge, bytes."""
        return int(self.machine.gauge(cgroup, name))


def bench(
    tree: Mapping[str, AccessPlan | int | None],
    *,
    seed: int = 1,
    exact: bool = True,
    limits: Mapping[str, Mapping[str, Any]] | None = None,
    stage_one: StageOneSpec | None = None,
    restart_on_oom: bool = True,
    **host: Any,
) -> Bench:
    """A machine of ``tree``: cgroup path -> its plan, a number of idle pages, or None for an inner one.

    ``limits`` are CgroupSpec options by path; everything else goes to HostSpec. ``exact``: operations
    take no time, so that page counts do not depend on a device.
    """
    plans = {name: plan(p) if isinstance(p, int) else p for name, p in tree.items() if p is not None}
    specs = [
        CgroupSpec(name, parent=name.rpartition("/")[0] or None, **(limits or {}).get(name, {}))
        for name in tree
    ]
    spec = HostSpec(**{"ram_bytes": 4 * GIB, "swap_bytes": 4 * GIB, "max_pool_percent": 50, **host})
    machine = Machine(
        spec, specs, plans, seed=seed, stage_one=stage_one, restart_on_oom=restart_on_oom, exact=exact
    )
    return Bench(machine, plans)


@pytest.fixture
def make_plan() -> MakePlan:
    """``make_plan(n, ...)``, see :func:`plan`."""
    return plan


@pytest.fixture
def make() -> MakeMachine:
    """``make({"a": 4096}, ...)``, see :func:`bench`."""
    return bench
