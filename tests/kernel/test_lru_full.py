"""The LRUs in full: batches, walks, look-around, classic lists, read-ahead, huge pages, zspages."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from zswap_gym.kernel.access import FREE, OP_READ, OP_WRITE
from zswap_gym.kernel.layout import BATCH, DISK, RESIDENT, SWAPCACHE, ZSWAP
from zswap_gym.units import PAGE_SIZE

MIB = 1 << 20
S = 1_000_000


def filled(n: int, then: list[tuple[int, int, int]] | None = None) -> list[tuple[int, int, int]]:
    """Accesses that write n pages in order within the first second, and what comes ``then``."""
    return [(i * 10, i, OP_WRITE) for i in range(n)] + (then or [])


def traced(make_plan, n, then=None, **options):
    plan = make_plan(n, accesses=filled(n, then), **options)
    plan.first_touch[:] = 1 << 62
    return plan


# --- per-CPU batches --------------------------------------------------------------------------------


def test_the_newest_pages_wait_in_a_batch(make, make_plan) -> None:
    b = make({"A": traced(make_plan, 100)}, lru="mglru-full")
    b.run(1)
    assert b.count("A", "pgfault") == 100
    assert int(b.machine.state.gen_count.sum()) == 100 // BATCH * BATCH


def test_reclaim_on_another_cpu_does_not_see_them(make, make_plan) -> None:
    """The writer of memory.reclaim drains its own CPU only; the last try drains all."""
    b = make({"A": traced(make_plan, 100)}, lru="mglru-full")
    b.run(1)
    b.write("A", str(90 * PAGE_SIZE), "memory.reclaim")
    assert b.states("A")[RESIDENT] == 7
    assert b.count("A", "pgsteal") == 93
    b.write("A", "1M", "memory.reclaim")
    assert b.states("A")[RESIDENT] == 0


@pytest.mark.parametrize(("latency", "first"), [(0.0, 0), (1e6, 1)])
def test_write_latency_decides_what_goes_before_anon(make, make_plan, latency: float, first: int) -> None:
    """A page whose write ends while it waits in lru_add stays behind older anon (spec/mglru.md 7)."""
    from zswap_gym.kernel.spec import DeviceSpec

    device = DeviceSpec(read_us=0, write_us=0, jitter=0.0, latency_us=latency, queue_depth=4096)
    b = make({"A": traced(make_plan, 1240)}, lru="mglru-full", device=device, writeback_us=10.0)
    b.run(1)
    b.write("A", str(640 * PAGE_SIZE), "memory.reclaim")
    b.run(5)
    assert b.write("A", "max=2M 1").errno == 0
    b.run(5)
    before = b.states("A")[SWAPCACHE]
    b.write("A", str(128 * PAGE_SIZE), "memory.reclaim")
    gone = before - b.states("A")[SWAPCACHE]
    assert gone >= 120 if first else gone <= 40


# --- aging ----------------------------------------------------------------------------------------------


def test_look_around_saves_the_neighbours(make, make_plan) -> None:
    """Limit reclaim that finds one young page moves its young neighbours, and counts them."""
    n = 2048
    hot = [(2 * S + p, p, OP_READ) for p in range(400, 1024)]
    first = [(S + i * 10, p, OP_WRITE) for i, p in enumerate(range(n, n + 256))]
    more = [(4 * S + i * 10, p, OP_WRITE) for i, p in enumerate(range(n + 256, n + 768))]
    plan = make_plan(n + 768, accesses=filled(n, hot + first + more))
    plan.first_touch[:] = 1 << 62
    kept = {}
    for lru in ("mglru", "mglru-full"):
        b = make({"A": plan}, lru=lru, limits={"A": {"memory_max": (n + 64) * PAGE_SIZE}})
        b.run(6)
        kept[lru] = b.count("A", "pgactivate")
        assert b.count("A", "zswpout") > 0
    assert kept["mglru"] == 0
    assert kept["mglru-full"] > 0


def test_aging_skips_a_program_that_did_not_run(make, make_plan) -> None:
    walks = {}
    for runs in (True, False):
        b = make({"A": traced(make_plan, 4096)}, lru="mglru-full")
        b.run(1)
        if not runs:
            b.machine.busy("A", 0, b.machine.now_us)
        for _ in range(6):
            b.run(1)
            b.write("A", "2M", "memory.reclaim")
        walks[runs] = b.count("A", "walks")
    assert walks == {True: 2, False: 1}


# --- classic --------------------------------------------------------------------------------------------


def test_classic_gives_every_page_one_more_round(make, make_plan) -> None:
    """Its own fault set the accessed bit: each page is scanned twice before it goes (corrections.md 6.3)."""
    scans = {}
    for lru in ("mglru", "classic"):
        b = make({"A": traced(make_plan, 4096)}, lru=lru)
        b.run(1)
        b.write("A", "8M", "memory.reclaim")
        assert 2048 <= b.count("A", "pgsteal") <= 2048 + 64
        scans[lru] = b.count("A", "pgscan") - b.count("A", "pgsteal")
    assert scans["mglru"] == 0
    assert scans["classic"] >= 4000


def test_classic_activates_what_comes_back_soon(make, make_plan) -> None:
    """A refault within the active list's length goes to the active list; the others do not."""
    n = 4096
    back = [(3 * S + p, p, OP_READ) for p in range(64)]
    b = make({"A": traced(make_plan, n, back)}, lru="classic")
    b.run(1)
    b.write("A", "2M", "memory.reclaim")
    b.run(5)
    assert b.count("A", "pgmajfault") == 64
    assert b.count("A", "workingset_refault_anon") == 64
    assert b.gauge("A", "active_anon") + b.gauge("A", "inactive_anon") <= b.gauge("A", "anon")


# --- read-ahead -------------------------------------------------------------------------------------------


def test_read_ahead_takes_neighbours_out_of_zswap(make, make_plan) -> None:
    n = 1024
    back = [(3 * S + p * 100, p, OP_READ) for p in range(n)]
    faults = {}
    for cluster in (0, 3):
        b = make({"A": traced(make_plan, n, back)}, lru="mglru-full", page_cluster=cluster)
        b.run(1)
        b.write("A", "16M", "memory.reclaim")
        assert b.states("A")[ZSWAP] == n
        b.run(9)
        assert b.count("A", "zswpin") == n
        faults[cluster] = b.count("A", "pgmajfault")
    assert faults[0] == n
    assert n // 8 <= faults[3] <= n // 8 + 4


def test_read_ahead_narrows_where_it_does_not_pay(make, make_plan) -> None:
    """Scattered faults: no hits, so after the first windows single pages are read."""
    n = 8192
    rng = np.random.default_rng(1)
    spots = rng.permutation(n // 64)[:64] * 64 + 13
    back = [(3 * S + i * 100, int(p), OP_READ) for i, p in enumerate(spots)]
    b = make({"A": traced(make_plan, n, back)}, page_cluster=3)
    b.run(1)
    b.write("A", "64M", "memory.reclaim")
    b.run(9)
    assert b.count("A", "pgmajfault") == 64
    assert 64 <= b.count("A", "zswpin") <= 64 + 16


@pytest.mark.parametrize(("fault", "block"), [(20, range(15, 23)), (0, range(7)), (39, range(39, 40))])
def test_read_ahead_by_slot_reads_an_aligned_block(make, make_plan, fault: int, block: range) -> None:
    """Page i has slot i + 1, as the first holds the header; the first window is 8, wherever one faults."""
    b = make({"A": traced(make_plan, 40, [(3 * S, fault, OP_READ)])}, page_cluster=3, rotational=True)
    b.run(1)
    b.write("A", "1M", "memory.reclaim")
    assert b.states("A")[ZSWAP] == 40
    b.run(9)
    assert b.count("A", "pgmajfault") == 1
    assert np.flatnonzero(b.pages("A")["state"] != ZSWAP).tolist() == list(block)
    b.check()


def test_read_ahead_by_slot_crosses_cgroups(make, make_plan) -> None:
    """What lies beside a page on the device may be another's: it is charged for it."""
    tree = {"A": traced(make_plan, 4, [(3 * S, 2, OP_READ)]), "B": traced(make_plan, 4)}
    b = make(tree, page_cluster=3, rotational=True)
    b.run(1)
    b.write("A", "1M", "memory.reclaim")
    b.write("B", "1M", "memory.reclaim")
    assert b.states("A")[ZSWAP] == b.states("B")[ZSWAP] == 4
    b.run(9)
    assert b.count("A", "zswpin") == 4
    assert b.count("B", "zswpin") == 3  # slots 1 to 7
    assert b.states("B")[SWAPCACHE] == 3
    assert b.gauge("B", "memory_current") > 3 * PAGE_SIZE


def test_hits_of_read_ahead_by_slot_are_the_hosts(make, make_plan) -> None:
    """Another program's use of what was read keeps the window wide; without any use it narrows to one."""
    loads = {}
    for used in (False, True):
        reads = [(3 * S + i * S // 4, 64 * i + 3, OP_READ) for i in range(8)]
        use = [(3 * S + i * S // 4 + 1000 * j, 64 * i + j, OP_READ) for i in range(8) for j in range(1, 7)]
        b = make({"A": traced(make_plan, 1024, use if used else reads)}, page_cluster=3, rotational=True)
        b.run(1)
        b.write("A", "16M", "memory.reclaim")
        b.run(9)
        loads[used] = b.count("A", "zswpin")
    assert loads[True] >= 8 * 7
    assert 8 + 7 <= loads[False] <= 8 + 7 + 3 + 1  # 8, then 4, 2 and single pages


# --- huge pages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "state"), [("6.12", DISK), ("6.18", ZSWAP)])
def test_huge_pages_and_zswap(make, make_plan, kernel: str, state: int) -> None:
    plan = traced(make_plan, 1024)
    plan.regions["huge"] = 1
    b = make({"A": plan}, kernel=kernel)
    b.run(1)
    assert b.count("A", "pgfault") == 2
    assert b.gauge("A", "anon") == 1024 * PAGE_SIZE
    b.write("A", "16M", "memory.reclaim")
    assert b.states("A")[state] == 1024
    assert b.count("A", "zswpout") == (0 if state == DISK else 1024)


def huge_plan(make_plan, n: int, then: list[tuple[int, int, int]] | None = None):
    plan = traced(make_plan, n, then)
    plan.regions["huge"] = 1
    return plan


def test_a_huge_page_is_reclaimed_as_a_whole(make, make_plan) -> None:
    """A page is asked for, 512 go: one entry of the LRU, unmapped, written and freed together (15)."""
    b = make({"A": huge_plan(make_plan, 2048)}, lru="mglru-full")
    b.run(1)
    assert int(b.machine.state.gen_count.sum()) == 2048
    assert b.write("A", "128K", "memory.reclaim").errno == 0
    assert b.states("A")[DISK] == b.count("A", "pgsteal") == b.count("A", "pswpout") == 512
    assert int(b.machine.state.gen_count.sum()) == 1536
    assert b.count("A", "pgscan") % 512 == 0
    b.write("A", "16M", "memory.reclaim")
    assert b.states("A")[DISK] == b.count("A", "pgsteal") == 2048
    assert not b.machine.state.gen_count.any()
    assert b.count("A", "zswpout") == 0


def test_a_huge_page_in_the_swap_cache_comes_back_with_one_fault(make, make_plan) -> None:
    """Then 512 entries map it, all of them young."""
    b = make({"A": huge_plan(make_plan, 1024, [(3 * S, 700, OP_READ)])}, lru="mglru-full")
    b.run(1)
    b.write("A", "0", "memory.zswap.writeback")
    assert b.write("A", "4M", "memory.reclaim").errno == errno.EAGAIN
    assert b.states("A")[SWAPCACHE] == 1024
    b.run(3)
    assert b.states("A")[RESIDENT] == b.states("A")[SWAPCACHE] == 512
    assert b.count("A", "pgfault") == 3
    assert b.count("A", "pgmajfault") == 0
    assert b.gauge("A", "anon") == b.gauge("A", "swapcached") - 512 * PAGE_SIZE == 512 * PAGE_SIZE
    b.write("A", "1", "memory.zswap.writeback")
    b.write("A", "4M", "memory.reclaim")
    assert b.states("A")[DISK] == 1024


def test_part_of_a_huge_page_given_back_splits_it(make, make_plan) -> None:
    plan = huge_plan(make_plan, 1024)
    plan.frees = np.zeros(1, FREE)
    plan.frees["time"], plan.frees["first_page"], plan.frees["n_pages"] = 2 * S, 600, 100
    b = make({"A": plan}, lru="mglru-full")
    b.run(3)
    assert b.states("A")[RESIDENT] == 924
    assert int(b.machine.state.gen_count.sum()) == 924
    b.write("A", "16M", "memory.reclaim")
    assert b.states("A")[DISK] == 512  # the other one, whole
    assert b.states("A")[ZSWAP] == 412


def test_a_mapping_smaller_than_a_huge_page_gets_none(make, make_plan) -> None:
    plan = traced(make_plan, 500)
    plan.regions["huge"] = 1
    b = make({"A": plan})
    b.run(1)
    assert b.count("A", "pgfault") == 500


# --- zspages ----------------------------------------------------------------------------------------------


def test_a_pool_with_holes_does_not_shrink(make, make_plan) -> None:
    """Loading every other entry frees no zspage of seven objects; the compacting count halves."""
    n = 1400
    back = [(3 * S + p, p, OP_READ) for p in range(0, n, 2)]
    pool = {}
    for lru in ("mglru", "mglru-full"):
        b = make({"A": traced(make_plan, n, back, clen=1707)}, lru=lru)
        b.run(1)
        b.write("A", "16M", "memory.reclaim")
        full = b.machine.pool_bytes
        assert full == 600 * PAGE_SIZE
        b.run(5)
        pool[lru] = b.machine.pool_bytes / full
    assert pool["mglru"] == 0.5
    assert pool["mglru-full"] == 1.0


def test_an_emptied_pool_is_given_back(make, make_plan) -> None:
    n = 1400
    back = [(3 * S + p, p, OP_READ) for p in range(n)]
    b = make({"A": traced(make_plan, n, back, clen=1707)}, lru="mglru-full")
    b.run(1)
    b.write("A", "16M", "memory.reclaim")
    b.run(5)
    assert b.machine.pool_bytes == 0


# --- the rest ---------------------------------------------------------------------------------------------


def test_forced_charges_are_events(make, make_plan) -> None:
    """At the limit the first 31 stores of a batch charge above it (corrections.md, section 2)."""
    b = make(
        {"A": traced(make_plan, 8192, clen=1000)},
        lru="mglru-full",
        limits={"A": {"memory_max": 4096 * PAGE_SIZE}},
    )
    b.run(2)
    calls = b.count("A", "pgscan") / 64
    assert b.count("A", "events_max") == pytest.approx(calls * (1 + 31 * 1000 / 4096), rel=0.05)


def test_rmdir(make, make_plan) -> None:
    b = make({"P": None, "P/a": traced(make_plan, 64), "P/b": traced(make_plan, 64)})
    b.run(1)
    assert b.machine.rmdir("P/a").errno == errno.EBUSY
    assert b.machine.rmdir("P").errno == errno.EBUSY
    assert b.machine.rmdir("P/none").errno == errno.ENOENT


def test_a_removed_cgroup_costs_proactive_writeback_no_failure(make, make_plan) -> None:
    """Sixteen failures end a call: an empty cgroup burns one per round, a removed one does not (p14)."""
    written = {}
    for removed in (True, False):
        gone = traced(make_plan, 64)
        gone.frees = np.array([(2 * S, 0, 64)], dtype=gone.frees.dtype)
        b = make({"P": None, "P/a": gone, "P/b": traced(make_plan, 4096)})
        b.run(1)
        b.write("P", "32M", "memory.reclaim")
        b.run(5)
        if removed:
            assert b.machine.rmdir("P/a").errno == 0
            assert b.machine.rmdir("P/a").errno == errno.ENOENT
        b.write("P", "1")
        written[removed] = b.count("P", "zswpwb")
    assert written[False] == 7 * 128  # the parent has no entries either: two failures a round
    assert written[True] == 15 * 128


@pytest.mark.parametrize("lru", ["mglru-full", "classic"])
def test_a_clone_goes_on_as_the_original(make, make_plan, lru: str) -> None:
    b = make(
        {"A": make_plan(4096, rate=0.5, write_share=0.3)},
        lru=lru,
        exact=False,
        limits={"A": {"memory_max": 2048 * PAGE_SIZE}},
        page_cluster=3,
    )
    b.run(20)
    b.write("A", "1M", "memory.reclaim")
    twin = b.clone()
    for machine in (b, twin):
        machine.run(10)
        machine.write("A", "max=1M 2")
        machine.run(10)
    assert b.differences(twin.machine.state) == []
    assert b.count("A", "zswpin") > 1000


@pytest.mark.parametrize("option", [{"lru": "mglru-full"}, {"lru": "classic"}, {"page_cluster": 3}])
def test_single_pages_only(make, option: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="page_scale must be 1"):
        make({"A": 64}, page_scale=4, **option)


def test_unknown_lru(make) -> None:
    with pytest.raises(ValueError, match="lru must be one of"):
        make({"A": 64}, lru="clock")


def test_faults_cost_more_the_farther_the_data_is(make, make_plan) -> None:
    """A hit costs nothing, a load from zswap its decompression, a read the device (order only)."""
    n = 256
    back = [(9 * S + p * 5000, p, OP_READ) for p in range(n)]
    stall = {}
    for where in ("memory", "zswap", "disk"):
        b = make({"A": traced(make_plan, n, back)}, exact=False, lru="mglru-full")
        b.run(3)
        if where != "memory":
            b.write("A", "2M", "memory.reclaim")
        if where == "disk":
            b.run(2)
            b.write("A", "1")
            b.write("A", "2M", "memory.reclaim")
        before = b.count("A", "stall_us")
        b.run(10)
        stall[where] = b.count("A", "stall_us") - before
    assert stall["memory"] == 0
    assert 0 < stall["zswap"] < stall["disk"] / 3
