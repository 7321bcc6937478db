"""Small machines for the tests of the kernel: access plans, trees of cgroups, and what they hold."""

from __future__ import annotations

import faulthandler
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from zswap_gym.kernel import layout
from zswap_gym.kernel.access import NEVER, REGION, AccessPlan, segments
from zswap_gym.kernel.charge_stock import BYTES, OBJECT_OWNER, OWNER, PAGES, STOCK
from zswap_gym.kernel.machine import Machine, WriteResult
from zswap_gym.kernel.spec import CgroupSpec, HostSpec, StageOneSpec
from zswap_gym.units import PAGE_SIZE, US_PER_S

PROACTIVE = "memory.zswap.proactive_writeback"


def plan(
    n: int,
    *,
    clen: int | Sequence[int] | npt.NDArray[np.uint16] = 1000,
    step_us: int = 10,
    rate: float | npt.NDArray[np.float32] = 0.0,
    write_share: float = 0.0,
    file: bool = False,
    accesses: Iterable[tuple[int, int, int]] | None = None,
) -> AccessPlan:
    """N pages first written ``step_us`` apart, in order; then touched at ``rate`` Hz or as ``accesses`` says.

    ``file``: they are page cache. ``accesses`` are (work time in us, page, OP_*); an empty list means
    never again.
    """
    region = np.zeros(1, REGION)
    region["n_pages"], region["seg_count"], region["write_share"] = n, 1, write_share
    region["traced"], region["file"] = accesses is not None, file
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
        self.forced = False

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
            p = int(state.links[p]["newer"])
        return result

    def clone(self) -> Bench:
        """The same, apart."""
        twin = Bench(self.machine.clone(), self.plans)
        twin.forced = self.forced
        return twin

    def check(self) -> None:
        """The books balance; memory.max holds but where reclaim itself had to charge (PF_MEMALLOC).

        What an exit gives back waits in the CPUs' stocks, however low the limit (07: 33 pages).
        """
        state = self.machine.state
        for rule in (check_pages, check_lists, check_gauges, check_calendar, check_device):
            rule(state)
        spared = state.cgs["oom_protected"].any() or state.cgs["offline"].any()
        # memory.min keeps page cache, and no kill frees it.
        kept = (state.cgs["file"] > 0).any() and (state.cgs["min"] > 0).any()
        self.forced |= bool(spared or kept)  # there may be nobody to kill
        self.forced |= bool(state.host["shrinker"][0] or (state.cgs["zswap_max"] < layout.INF_PAGES).any())
        usage = (
            state.cgs["resident"]
            + state.cgs["base"]
            + state.cgs["ahead"]
            + (state.cgs["zbytes"] + 4095) // 4096
        )
        assert (usage >= 0).all()
        usage -= state.cgs["ahead"]
        assert self.forced or (usage <= np.maximum(state.cgs["max"], state.cgs["base"])).all()

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
    spec = HostSpec(**{"ram_bytes": 4 << 30, "swap_bytes": 4 << 30, "max_pool_percent": 50, **host})
    machine = Machine(
        spec, specs, plans, seed=seed, stage_one=stage_one, restart_on_oom=restart_on_oom, exact=exact
    )
    return Bench(machine, plans)


def check_pages(state: layout.State) -> None:
    """State, list and slot of every page fit together."""
    p = state.pages
    s, flags = p["state"], p["flags"]
    on_lru = (s == layout.RESIDENT) | (s == layout.SWAPCACHE)
    assert (s <= layout.ZERO).all()
    file = state.regions["file"][p["region"]] == 1
    assert (state.on_list[on_lru & ~file] < 4).all()
    assert np.isin(state.on_list[on_lru & file], (layout.FILE_INACTIVE, layout.FILE_ACTIVE)).all()
    assert (s[file] <= layout.RESIDENT).all()
    assert (state.on_list[s == layout.ZSWAP] == layout.ZSWAP_LIST).all()
    assert (state.on_list[~on_lru & (s != layout.ZSWAP)] == layout.NO_LIST).all()
    slot = flags & layout.F_SLOT != 0
    assert slot[(s != layout.RESIDENT) & (s != layout.NEW)].all()
    assert not slot[file].any()
    assert not slot[s == layout.NEW].any()
    assert (p["clen"][s == layout.ZERO] == 0).all()
    assert (p["clen"][s == layout.ZSWAP] > 0).all()


def check_lists(state: layout.State) -> None:
    """Both directions, lengths, and the tags that gen_count counts."""
    p, seen = state.pages, 0
    older, newer, on, owner = (
        a.tolist() for a in (state.links["older"], state.links["newer"], state.on_list, state.owner)
    )
    for c, cg in enumerate(state.cgs):
        for which in range(layout.LISTS_PER_CGROUP):
            rec = state.lists[c * layout.LISTS_PER_CGROUP + which]
            at, before, length = int(rec["oldest"]), -1, 0
            while at >= 0:
                holder = int(state.cgs["zlru"][owner[at]]) if which == layout.ZSWAP_LIST else owner[at]
                assert (older[at], on[at], holder) == (before, which, c)
                before, at, length = at, newer[at], length + 1
                assert length <= len(p)
            assert (before, length) == (rec["newest"], rec["length"])
            seen += length
        live = {int(seq) & 3 for seq in range(cg["min_seq"], cg["max_seq"] + 1)}
        assert 2 <= cg["max_seq"] - cg["min_seq"] + 1 <= 4
        assert all(state.lists[c * layout.LISTS_PER_CGROUP + g]["length"] == 0 for g in set(range(4)) - live)
        tags = state.gen[(state.owner == c) & (state.on_list < 4)] & 3
        assert state.gen_count[c].tolist() == np.bincount(tags, minlength=4).tolist()
        assert set(tags.tolist()) <= live
    assert seen == (state.on_list != layout.NO_LIST).sum()


def check_gauges(state: layout.State) -> None:
    """Every gauge is what the pages below the cgroup say, and the pool what its classes hold."""
    p, host, k = state.pages, state.host[0], int(state.host["scale"][0])
    s, slot = p["state"], p["flags"] & layout.F_SLOT != 0
    charged = (s == layout.RESIDENT) | (s == layout.SWAPCACHE)
    length = np.minimum(p["clen"].astype(np.int64), 4096)
    file = state.regions["file"][p["region"]] == 1
    for c, cg in enumerate(state.cgs):
        mine = (state.owner >= c) & (state.owner < cg["sub_end"])
        expected = {
            "resident": charged.astype(int),
            "mapped": ((s == layout.RESIDENT) & ~file).astype(int),
            "file": ((s == layout.RESIDENT) & file).astype(int),
            "swapcached": (charged & slot).astype(int),
            "zpages": (s == layout.ZSWAP).astype(int),
            "zbytes": np.where(s == layout.ZSWAP, length, 0),
            "slots": slot.astype(int),
        }
        for name, values in expected.items():
            assert cg[name] == values[mine].sum() * k, (name, c)
    if len(state.slot_page):
        held = np.flatnonzero(slot)
        assert np.array_equal(state.slot_page[state.slot_of[held]], held)
        assert (state.slot_page >= 0).sum() == len(held)
    check_stocks(state, np.where(s == layout.ZSWAP, length, 0) * k)
    assert host["slots_used"] == state.cgs[0]["slots"] <= host["swap_pages"]
    assert host["stored_pages"] == state.cgs[0]["zpages"]
    objects = np.bincount(state.zclass_of[length[s == layout.ZSWAP]], minlength=len(state.zclass)) * k
    z = state.zclass
    zspages = -(-objects // z["per_zspage"])
    assert np.array_equal(z["objects"], objects)
    assert np.array_equal(z["room"], zspages * z["per_zspage"] - objects)
    assert host["pool_pages"] == (zspages * z["zspage_pages"]).sum()


def check_stocks(state: layout.State, objects: np.ndarray) -> None:
    """What is charged beyond use: CPUs' stocks, and whole pages for each cgroup's compressed bytes."""
    stocks = state.stocks
    if len(stocks) == 0:
        assert not state.cgs["ahead"].any()
        return
    charged = np.bincount(state.owner, objects, len(state.cgs)).astype(np.int64) + state.cgs["loose_bytes"]
    np.add.at(charged, stocks[:, OBJECT_OWNER], stocks[:, BYTES])
    assert not (charged % PAGE_SIZE).any()
    assert (stocks[:, PAGES] >= 0).all()
    assert (stocks[:, PAGES] <= max(STOCK, int(state.host["scale"][0]))).all()
    assert (stocks[:, BYTES] >= 0).all()
    for c, cg in enumerate(state.cgs):
        mine = (stocks[:, OWNER] >= c) & (stocks[:, OWNER] < cg["sub_end"])
        pages = stocks[mine, PAGES].sum() + charged[c : cg["sub_end"]].sum() // PAGE_SIZE
        assert cg["ahead"] == pages - -(-cg["zbytes"] // PAGE_SIZE) >= 0


def check_calendar(state: layout.State) -> None:
    """Every page that is not mapped and will be accessed is queued, once, where it can be found."""
    p = state.pages
    when, flags = p["when"], p["flags"]
    queued = flags & layout.F_QUEUED != 0
    alive = state.cgs["dead"][state.owner] == 0
    expected = (p["state"] != layout.RESIDENT) & (when < NEVER)
    assert np.array_equal(queued[alive], expected[alive])
    assert not queued[~alive].any()
    following, before, times = state.calendar["next"].tolist(), state.calendar["prev"].tolist(), when.tolist()
    found: list[int] = []
    for c, cg in enumerate(state.cgs):
        first, now = int(cg["first_page"]), int(cg["bucket"])
        heap = state.heap[first : first + int(cg["heap_len"])].tolist()
        start = len(found)
        for i, page in enumerate(heap):
            assert before[page] == i
            assert flags[page] & layout.F_HEAP
            assert times[page] >> layout.BUCKET_SHIFT <= now
            assert (times[heap[(i - 1) // 2]], heap[(i - 1) // 2]) <= (times[page], page) or i == 0
        found += heap
        for level, slot in np.argwhere(state.wheel[c] >= 0).tolist():
            at, previous = int(state.wheel[c, level, slot]), -1
            while at >= 0:
                bucket = times[at] >> layout.BUCKET_SHIFT
                assert before[at] == previous
                assert bucket > now
                assert (bucket >> 10 == now >> 10) == (level == 0)
                assert level in {0, 1 + at % layout.LANES}
                assert slot == (bucket if level == 0 else bucket >> 10) & (layout.WHEEL - 1)
                found.append(at)
                previous, at = at, following[at]
        assert len(found) - start == cg["queued"]
    assert sorted(found) == np.flatnonzero(queued).tolist()


def check_device(state: layout.State) -> None:
    """Writes in flight end in the order in which they are taken off the ring."""
    host, ring = state.host[0], state.ring
    done = ring["done"][(host["ring_head"] + np.arange(host["ring_len"])) % len(ring)]
    assert 0 <= host["ring_len"] <= len(ring)
    assert (np.diff(done) >= 0).all()


@pytest.fixture
def make_plan() -> Callable[..., AccessPlan]:
    """``make_plan(n, ...)``, see :func:`plan`."""
    return plan


@pytest.fixture
def make() -> Callable[..., Bench]:
    """``make({"a": 4096}, ...)``, see :func:`bench`."""
    return bench


@pytest.fixture(autouse=True)
def _nothing_hangs(request: pytest.FixtureRequest) -> Iterator[None]:
    """A compiled loop cannot be interrupted: if one never ends, say where and end the process."""
    slow = request.node.get_closest_marker("slow") is not None
    faulthandler.dump_traceback_later(1200 if slow else 300, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="module")
def module_plan() -> Callable[..., AccessPlan]:
    """As ``make_plan``, for fixtures of a module."""
    return plan


@pytest.fixture(scope="module")
def module_bench() -> Callable[..., Bench]:
    """As ``make``, for fixtures of a module."""
    return bench
