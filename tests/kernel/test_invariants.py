"""Whatever happens to a small machine, its books balance: lists, gauges, pool, calendar, limits."""

from __future__ import annotations

import faulthandler
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from zswap_gym.kernel import layout as lo
from zswap_gym.kernel.access import FREE, NEVER, OP_WRITE
from zswap_gym.kernel.spec import DEVICES, StageOneSpec
from zswap_gym.units import PAGE_SIZE, US_PER_S

HANG_S = 120


@pytest.fixture(autouse=True)
def _no_operation_hangs() -> Iterator[None]:
    """A compiled loop cannot be interrupted: if one never ends, say where and end the process."""
    faulthandler.dump_traceback_later(HANG_S, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


# --- what must hold ------------------------------------------------------------------------------


def check_pages(state: lo.State) -> None:
    """State, list and slot of every page fit together."""
    p = state.pages
    s, flags = p["state"], p["flags"]
    on_lru = (s == lo.RESIDENT) | (s == lo.SWAPCACHE)
    assert (s <= lo.ZERO).all()
    assert (p["list"][on_lru] < 4).all()
    assert (p["list"][s == lo.ZSWAP] == lo.ZSWAP_LIST).all()
    assert (p["list"][~on_lru & (s != lo.ZSWAP)] == lo.NO_LIST).all()
    slot = flags & lo.F_SLOT != 0
    assert slot[(s != lo.RESIDENT) & (s != lo.NEW)].all()
    assert not slot[s == lo.NEW].any()
    assert (p["clen"][s == lo.ZERO] == 0).all()
    assert (p["clen"][s == lo.ZSWAP] > 0).all()


def check_lists(state: lo.State) -> None:
    """Both directions, lengths, and the tags that gen_count counts."""
    p, seen = state.pages, 0
    older, newer, on, owner = (p[f].tolist() for f in ("older", "newer", "list", "cg"))
    for c, cg in enumerate(state.cgs):
        for which in range(lo.LISTS_PER_CGROUP):
            rec = state.lists[c * lo.LISTS_PER_CGROUP + which]
            at, before, length = int(rec["oldest"]), -1, 0
            while at >= 0:
                assert (older[at], on[at], owner[at]) == (before, which, c)
                before, at, length = at, newer[at], length + 1
                assert length <= len(p)
            assert (before, length) == (rec["newest"], rec["length"])
            seen += length
        live = {int(seq) & 3 for seq in range(cg["min_seq"], cg["max_seq"] + 1)}
        assert 2 <= cg["max_seq"] - cg["min_seq"] + 1 <= 4
        assert all(state.lists[c * lo.LISTS_PER_CGROUP + g]["length"] == 0 for g in set(range(4)) - live)
        tags = p["gen"][(p["cg"] == c) & (p["list"] < 4)]
        assert state.gen_count[c].tolist() == np.bincount(tags, minlength=4).tolist()
        assert set(tags.tolist()) <= live
    assert seen == (p["list"] != lo.NO_LIST).sum()


def check_gauges(state: lo.State) -> None:
    """Every gauge is what the pages below the cgroup say, and the pool what its classes hold."""
    p, host, k = state.pages, state.host[0], int(state.host["scale"][0])
    s, slot = p["state"], p["flags"] & lo.F_SLOT != 0
    charged = (s == lo.RESIDENT) | (s == lo.SWAPCACHE)
    length = np.minimum(p["clen"].astype(np.int64), 4096)
    for c, cg in enumerate(state.cgs):
        mine = (p["cg"] >= c) & (p["cg"] < cg["sub_end"])
        expected = {
            "resident": charged.astype(int),
            "mapped": (s == lo.RESIDENT).astype(int),
            "swapcached": (charged & slot).astype(int),
            "zpages": (s == lo.ZSWAP).astype(int),
            "zbytes": np.where(s == lo.ZSWAP, length, 0),
            "slots": slot.astype(int),
        }
        for name, values in expected.items():
            assert cg[name] == values[mine].sum() * k, (name, c)
    assert host["slots_used"] == state.cgs[0]["slots"] <= host["swap_pages"]
    assert host["stored_pages"] == state.cgs[0]["zpages"]
    objects = np.bincount(state.zclass_of[length[s == lo.ZSWAP]], minlength=len(state.zclass)) * k
    z = state.zclass
    zspages = -(-objects // z["per_zspage"])
    assert np.array_equal(z["objects"], objects)
    assert np.array_equal(z["room"], zspages * z["per_zspage"] - objects)
    assert host["pool_pages"] == (zspages * z["zspage_pages"]).sum()


def check_calendar(state: lo.State) -> None:
    """Every page that is not mapped and will be accessed is queued, once, where it can be found."""
    p = state.pages
    when, flags = p["when"], p["flags"]
    queued = flags & lo.F_QUEUED != 0
    alive = state.cgs["dead"][p["cg"]] == 0
    expected = (p["state"] != lo.RESIDENT) & (when < NEVER)
    assert np.array_equal(queued[alive], expected[alive])
    assert not queued[~alive].any()
    following, before, times = p["cal_next"].tolist(), p["cal_prev"].tolist(), when.tolist()
    found: list[int] = []
    for c, cg in enumerate(state.cgs):
        first, now = int(cg["first_page"]), int(cg["bucket"])
        heap = state.heap[first : first + int(cg["heap_len"])].tolist()
        start = len(found)
        for i, page in enumerate(heap):
            assert before[page] == i
            assert flags[page] & lo.F_HEAP
            assert times[page] >> lo.BUCKET_SHIFT <= now
            assert (times[heap[(i - 1) // 2]], heap[(i - 1) // 2]) <= (times[page], page) or i == 0
        found += heap
        for level, slot in np.argwhere(state.wheel[c] >= 0).tolist():
            at, previous = int(state.wheel[c, level, slot]), -1
            while at >= 0:
                bucket = times[at] >> lo.BUCKET_SHIFT
                assert before[at] == previous
                assert bucket > now
                assert (bucket >> 10 == now >> 10) == (level == 0)
                assert slot == (bucket if level == 0 else bucket >> 10) & (lo.WHEEL - 1)
                found.append(at)
                previous, at = at, following[at]
        assert len(found) - start == cg["queued"]
    assert sorted(found) == np.flatnonzero(queued).tolist()


def check_device(state: lo.State) -> None:
    """Writes in flight end in the order in which they are taken off the ring."""
    host, ring = state.host[0], state.ring
    done = ring["done"][(host["ring_head"] + np.arange(host["ring_len"])) % len(ring)]
    assert 0 <= host["ring_len"] <= len(ring)
    assert (np.diff(done) >= 0).all()


def check_limits(state: lo.State) -> None:
    """memory.max holds, but where base memory alone exceeds it or reclaim itself had to charge."""
    forced = state.host["shrinker"][0] or (state.cgs["zswap_max"] < lo.INF_PAGES).any()
    for cg in state.cgs:
        usage = cg["resident"] + cg["base"] + (cg["zbytes"] + 4095) // 4096
        assert usage >= 0
        assert forced or usage <= max(cg["max"], cg["base"])


def check(state: lo.State) -> None:
    """All of it."""
    check_pages(state)
    check_lists(state)
    check_gauges(state)
    check_calendar(state)
    check_device(state)
    check_limits(state)


# --- random machines and operations --------------------------------------------------------------

SIZES = some.sampled_from(["0", "4K", "64K", "128K", "256K", "512K", "1M", "2M", "16M", "max"])
OPERATIONS = some.one_of(
    some.tuples(some.just("run"), some.sampled_from([0.0, 0.001, 0.02, 0.5, 3.0, 20.0, 400.0])),
    some.tuples(
        some.just("write"),
        some.integers(0, 4),
        some.sampled_from(
            ["memory.max", "memory.high", "memory.swap.max", "memory.zswap.max", "memory.reclaim"]
        ),
        SIZES,
    ),
    some.tuples(
        some.just("write"),
        some.integers(0, 4),
        some.just("memory.zswap.proactive_writeback"),
        some.sampled_from(["1", "max=4K 1", "max=68K 2", "max=1M 5", "max=600K 30", "100000000", "x"]),
    ),
    some.tuples(
        some.just("write"),
        some.integers(0, 4),
        some.just("memory.zswap.writeback"),
        some.sampled_from("01"),
    ),
    some.tuples(
        some.just("request"),
        some.integers(1, 4),
        some.sampled_from([-1, 0, 1, 10 * US_PER_S]),
        some.sampled_from([0, 1, 200, 1 << 40]),
        some.sampled_from([0, 1, 300]),
    ),
    some.tuples(some.just("zswap"), some.fixed_dictionaries({}, optional={
        "enabled": some.booleans(),
        "shrinker": some.booleans(),
        "max_pool_percent": some.sampled_from([0, 1, 20]),
    })),
    some.tuples(some.just("clone")),
)  # fmt: skip

MACHINES = some.fixed_dictionaries(
    {
        "seed": some.integers(0, 2**32),
        "parents": some.lists(some.integers(0, 3), min_size=1, max_size=4),
        "page_scale": some.sampled_from([1, 2, 4, 16, 64]),
        "shrinker_enabled": some.booleans(),
        "swap": some.sampled_from([0.0, 0.2, 1.0, 4.0]),
        "pool_percent": some.sampled_from([1, 5, 50]),
        "kernel": some.sampled_from(["6.12", "6.18"]),
        "device": some.sampled_from(["nvme", "sata", "iops400"]),
        "stage_one": some.sampled_from(["none", "fixed", "senpai"]),
        "exact": some.booleans(),
        "restart_on_oom": some.booleans(),
        "limit": some.sampled_from([None, 0.3, 0.8]),
        "base": some.sampled_from([0, 0, 50]),
    }
)


def random_plan(make_plan: Callable[..., Any], rng: np.random.Generator) -> Any:
    """Pages of every kind; a third of the plans is traced, a third is swept, half of them frees some."""
    n = int(rng.integers(64, 513))
    clen = np.where(rng.random(n) < 0.7, rng.integers(1, 4200, n), rng.choice([0, 50, 4096], n))
    options: dict[str, Any] = {"clen": clen.astype(np.uint16), "step_us": int(rng.choice([1, 300, 50_000]))}
    kind = rng.integers(3)
    if kind == 0:
        m = 3 * n
        times, pages, ops = rng.integers(0, 10**9, m), rng.integers(0, n, m), rng.integers(0, OP_WRITE + 2, m)
        options["accesses"] = list(zip(times.tolist(), pages.tolist(), ops.tolist(), strict=True))
    else:
        options |= {"rate": rng.choice([0.0, 1e-3, 0.05, 2.0], n), "write_share": float(rng.random())}
    plan = make_plan(n, **options)
    if kind == 2:
        region = plan.regions
        region["sweep_kind"], region["sweep_block"] = rng.integers(1, 3), rng.integers(1, 65)
        region["sweep_share"], region["sweep_write_share"] = rng.random(), rng.random()
        region["sweep_period"], region["sweep_active"] = 30 * US_PER_S, 9 * US_PER_S
        region["sweep_fresh"], region["seed"] = rng.integers(2), rng.integers(1000)
        plan.first_touch[rng.random(n) < 0.3] = NEVER
    if rng.random() < 0.5:
        plan.frees = np.zeros(3, FREE)
        plan.frees["time"] = np.sort(rng.integers(0, 10**8, 3))
        plan.frees["first_page"], plan.frees["n_pages"] = rng.integers(0, n // 2, 3), n // 3
    return plan


def build(make: Callable[..., Any], make_plan: Callable[..., Any], spec: dict[str, Any]) -> Any:
    rng = np.random.default_rng(spec["seed"])
    names: list[str] = []
    for i, parent in enumerate(spec["parents"]):
        names.append(f"{names[parent]}/{i}" if parent < i else f"{i}")
    leaves = [name for name in names if not any(other.startswith(name + "/") for other in names)]
    tree = {name: random_plan(make_plan, rng) if name in leaves else None for name in names}
    k = spec["page_scale"]
    total = sum(plan.n_pages for plan in tree.values() if plan) * k
    limits: dict[str, dict[str, Any]] = {}
    for name, plan in tree.items():
        limits[name] = {"base_bytes": spec["base"] * PAGE_SIZE, "threads": int(rng.integers(1, 5))}
        if spec["limit"]:
            pages = plan.n_pages * k if plan else total
            limits[name]["memory_max"] = int(spec["limit"] * pages) * PAGE_SIZE
    return make(
        tree,
        limits=limits,
        seed=spec["seed"],
        exact=spec["exact"],
        restart_on_oom=spec["restart_on_oom"],
        stage_one=StageOneSpec(spec["stage_one"], US_PER_S, 1 << 20, psi_threshold=0.1),
        ram_bytes=4 * total * PAGE_SIZE,
        swap_bytes=int(spec["swap"] * total) * PAGE_SIZE,
        page_scale=k,
        shrinker_enabled=spec["shrinker_enabled"],
        max_pool_percent=spec["pool_percent"],
        kernel=spec["kernel"],
        device=DEVICES[spec["device"]],
    )


def perform(b: Any, operation: tuple[Any, ...]) -> Any:
    """Do one operation; the machine to go on with."""
    kind, *args = operation
    names = b.machine.names
    if kind == "run":
        b.run(args[0])
    elif kind == "write":
        c, file, text = args
        b.write(names[c % len(names)], text, file)
    elif kind == "request":
        c, age, pages, release = args
        b.machine.request(1 + (c - 1) % (len(names) - 1), age, pages, release)
    elif kind == "zswap":
        b.machine.set_zswap(**args[0])
    else:
        twin = b.clone()
        assert twin.differences(b.machine.state) == []
        return twin
    return b


def hold(make: Any, make_plan: Any, spec: dict[str, Any], operations: list[tuple[Any, ...]]) -> None:
    b = build(make, make_plan, spec)
    check(b.machine.state)
    counters, work = b.machine.counters(), b.machine.state.cgs["work"].copy()
    for operation in operations:
        b = perform(b, operation)
        check(b.machine.state)
        now = b.machine.counters()
        assert (now >= counters).all()
        assert (b.machine.state.cgs["work"] >= work).all()
        counters, work = now, b.machine.state.cgs["work"].copy()


COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@given(spec=MACHINES, operations=some.lists(OPERATIONS, min_size=3, max_size=15))
@settings(max_examples=80, derandomize=True, **COMMON)
def test_the_books_balance(make: Any, make_plan: Any, spec: Any, operations: Any) -> None:
    hold(make, make_plan, spec, operations)


@pytest.mark.slow
@given(spec=MACHINES, operations=some.lists(OPERATIONS, min_size=3, max_size=40))
@settings(max_examples=1500, **COMMON)
def test_the_books_balance_for_longer(make: Any, make_plan: Any, spec: Any, operations: Any) -> None:
    hold(make, make_plan, spec, operations)
