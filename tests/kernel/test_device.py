"""Time: what the swap device, the CPU and throttling cost, and what PSI makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from zswap_gym.host.simulated_files import meminfo
from zswap_gym.kernel.access import FREE, OP_READ
from zswap_gym.kernel.layout import DISK, NEW, RESIDENT, SWAPCACHE, ZSWAP
from zswap_gym.kernel.spec import COMPRESSORS, DEVICES
from zswap_gym.units import PAGE_SIZE, US_PER_S

Make = Callable[..., Any]
BOOT = 172_800 * US_PER_S
STEADY = {name: replace(device, jitter=0.0) for name, device in DEVICES.items()}


def loaded(make: Make, device: str, pages: int = 6000, **options: Any) -> Any:
    b = make({"g": pages}, exact=False, device=STEADY[device], **options)
    b.fill("g")
    b.run(60)
    return b


# --- writes --------------------------------------------------------------------------------------


def test_a_write_blocks_at_device_speed_once_the_queue_is_full(make: Make) -> None:
    """8 MiB at 400 writes a second; what fits the queue is written after the call returned (FINDINGS 9)."""
    b = loaded(make, "iops400")
    result = b.write("g", "max=8M 30")
    assert result.pages == 2048
    assert result.duration_us == pytest.approx((2048 - 128) * 2500, rel=0.02)
    under_way = int(b.machine.state.host["ring_len"][0])
    assert 120 <= under_way <= 128
    b.run(1)
    assert b.machine.state.host["ring_len"][0] == 0


def test_a_write_that_fits_the_queue_does_not_block(make: Make) -> None:
    b = loaded(make, "iops400")
    result = b.write("g", "max=512K 30")
    assert (result.pages, result.duration_us < 10_000) == (128, True)


@pytest.mark.parametrize("device", ["nvme", "sata", "iops400", "hdd"])
def test_the_slower_device_takes_longer(make: Make, device: str) -> None:
    b = loaded(make, device)
    took = b.write("g", "30").duration_us
    spec = STEADY[device]
    assert took >= (6000 - spec.queue_depth) * spec.write_us / spec.channels
    assert took <= 6000 * (spec.write_us / spec.channels + 10)


def test_a_write_lasts_as_long_as_the_request_it_is(make: Make) -> None:
    """Its last batch included: write() returns when the call would."""
    b = loaded(make, "nvme")
    twin = b.clone()
    result = b.write("g", "max=512K 30")
    assert twin.machine.request(1, 30 * US_PER_S, 128, 0)
    twin.run(1)
    (end,) = twin.machine.finished()
    assert (end.errno, end.pages, end.duration_us) == (result.errno, result.pages, result.duration_us)
    assert result.duration_us >= 128 * COMPRESSORS["zstd"].decompress_us
    before = b.machine.now_us
    reclaimed = b.write("g", "64K", "memory.reclaim")
    assert b.machine.now_us - before == reclaimed.duration_us > 0


def test_the_workload_goes_on_beside_a_blocked_write(make: Make, make_plan: Make) -> None:
    other = make_plan(4000, step_us=2000)
    b = make({"g": 6000, "other": other}, exact=False, device=STEADY["iops400"])
    b.run(0.1)
    assert b.write("g", "24000K", "memory.reclaim").errno == 0
    b.machine.advance(b.machine.now_us + 2 * US_PER_S)
    before = b.states("other")[NEW]
    result = b.write("g", "max=8M 1")
    assert before - b.states("other")[NEW] == pytest.approx(result.duration_us / 2000, abs=2)


def test_a_sleeper_delays_nobody_else(make: Make, make_plan: Make) -> None:
    """Its frees, due in a moment, move by seconds when memory.high puts it to sleep; others' times do not."""
    sleeper = make_plan(1000, step_us=1000)
    sleeper.first_touch += 20 * US_PER_S
    sleeper.frees = np.zeros(5000, FREE)
    sleeper.frees["time"] = 20 * US_PER_S + np.arange(5000) * 200
    sleeper.frees["n_pages"] = 1
    limits = {"sleeper": {"memory_high": 1 << 20, "swap_max": 0, "threads": 1}}
    alone = make({"g": 6000, "sleeper": 10}, exact=False, device=STEADY["iops400"], limits=limits)
    both = make({"g": 6000, "sleeper": sleeper}, exact=False, device=STEADY["iops400"], limits=limits)
    written = []
    for b in (alone, both):
        b.run(1)
        assert b.write("g", "24000K", "memory.reclaim").errno == 0
        b.machine.advance(BOOT + 20 * US_PER_S - 1000)
        assert b.machine.request(b.machine.index["g"], 0, 6000, 0)
        b.run(2)
        written.append(b.count("g", "zswpwb"))
    assert both.count("sleeper", "stall_us") > US_PER_S
    assert written[0] > 800
    assert written[1] == written[0]


# --- reads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("device", "gap_us"), [("iops400", 100_000), ("sata", 1_000)])
def test_reads_compete_with_writes(make: Make, make_plan: Make, device: str, gap_us: int) -> None:
    """The same reads from disk, with and without a writeback of another cgroup under way."""
    reads = [(20 * US_PER_S + i * gap_us, i, OP_READ) for i in range(30)]
    reader = make_plan(3000, accesses=reads, step_us=1)
    quiet = make({"other": 3000, "reader": reader}, exact=False, device=STEADY[device])
    quiet.fill("other", "reader")
    quiet.run(2)
    assert quiet.write("reader", "1").errno == 0
    quiet.run(1)
    quiet.fill("reader")
    assert (quiet.states("reader")[DISK], quiet.states("other")[ZSWAP]) == (3000, 3000)
    quiet.machine.advance(BOOT + 20 * US_PER_S - 5000)
    busy = quiet.clone()
    assert busy.machine.request(busy.machine.index["other"], 0, 3000, 0)
    waits = []
    for b in (quiet, busy):
        b.run(20)
        assert b.count("reader", "pswpin") == 30
        waits.append(b.count("reader", "read_wait_us") / 30)
    read_us = STEADY[device].read_us
    assert waits[0] == pytest.approx(read_us, rel=0.01)
    assert waits[1] > 5 * read_us


def cost_of_a_fault(make: Make, make_plan: Make, kind: str, device: str, compressor: str) -> float:
    """Mean stall of 100 pages touched once, 9 ms apart."""
    accesses = [(20 * US_PER_S + 9000 * page, page, OP_READ) for page in range(100)]
    plan = make_plan(100, accesses=accesses)
    b = make({"g": plan}, exact=False, device=STEADY[device], compressor=COMPRESSORS[compressor])
    b.run(1)
    if kind != "mapped":
        b.fill("g")
        b.run(5)
    if kind in {"cached", "disk"}:
        assert b.write("g", "1").errno == 0
        b.run(5)
    if kind == "disk":
        b.fill("g")
    state = {"mapped": RESIDENT, "cached": SWAPCACHE, "zswap": ZSWAP, "disk": DISK}[kind]
    assert b.states("g")[state] == 100
    before = b.count("g", "stall_us")
    b.machine.advance(BOOT + 30 * US_PER_S)
    assert b.states("g")[RESIDENT] == 100
    return (b.count("g", "stall_us") - before) / 100


@pytest.mark.parametrize("compressor", ["lz4", "zstd"])
@pytest.mark.parametrize("device", ["nvme", "sata", "iops400"])
def test_cost_of_a_fault(make: Make, make_plan: Make, device: str, compressor: str) -> None:
    """A mapped page costs nothing, a cached one a minor fault, then zswap, then the disk."""
    mapped, cached, zswap, disk = (
        cost_of_a_fault(make, make_plan, kind, device, compressor)
        for kind in ("mapped", "cached", "zswap", "disk")
    )
    assert mapped == 0 < cached < zswap < disk
    assert cached == pytest.approx(1.0)
    assert zswap == pytest.approx(1 + COMPRESSORS[compressor].decompress_us, abs=0.6)
    assert disk == pytest.approx(1 + STEADY[device].read_us, rel=0.01)


# --- pressure ------------------------------------------------------------------------------------


def thrashing(make: Make, make_plan: Make, threads: int = 4, **limits: Any) -> Any:
    """2000 pages touched once a second or so, in room for half of them."""
    plan = make_plan(2000, rate=1.0, clen=3000, write_share=0.5)
    both = {"memory_max": 1000 * 4096, "threads": threads, **limits}
    return make({"p": None, "p/g": plan}, exact=False, limits={"p/g": both}, shrinker_enabled=True)


@pytest.mark.parametrize("threads", [1, 4])
def test_thrashing_is_pressure(make: Make, make_plan: Make, threads: int) -> None:
    b = thrashing(make, make_plan, threads)
    b.run(30)
    totals = []
    for _ in range(3):
        b.run(20)
        g, p, root = b.record("p/g"), b.record("p"), b.record("")
        totals.append((int(g["some_us"]), int(g["full_us"])))
        assert p["some_us"] == root["some_us"] == g["some_us"]
    some, full = np.diff(totals, axis=0).T
    assert (some > 100_000).all()
    assert (some <= 20 * US_PER_S).all()
    assert totals[-1][1] > 0
    assert (full == some).all() if threads == 1 else (full < some / 10).all()
    avg10, avg60, _, full10, full60, _ = b.record("p/g")["avg"].tolist()
    share = some[-1] / (20 * US_PER_S) * 100 * 2048
    assert avg10 == pytest.approx(share, rel=0.6)
    assert avg60 > 0
    assert (full10, full60) == (avg10, avg60) if threads == 1 else full10 < avg10


def test_pressure_decays_when_it_is_over(make: Make, make_plan: Make) -> None:
    b = thrashing(make, make_plan)
    b.run(60)
    before = b.record("p/g")["avg"].copy()
    total = int(b.record("p/g")["some_us"])
    b.write("p/g", "max", "memory.max")
    b.run(60)
    after = b.record("p/g")["avg"]
    assert after[0] < before[0] / 50  # six half-lives and more
    assert after[1] < before[1]
    assert int(b.record("p/g")["some_us"]) - total < 0.01 * total + 50_000


def test_a_reader_of_memory_reclaim_is_not_under_pressure(make: Make) -> None:
    """No psi_memstall there, and first swap-ins of cold pages are no workingset (FINDINGS 20)."""
    b = make({"g": 5000}, exact=False)
    b.fill("g")
    b.run(30)
    assert b.record("g")["some_us"] == 0
    assert b.record("g")["avg"].tolist() == [0] * 6
    assert b.count("g", "cpu_us") >= 5000 * COMPRESSORS["zstd"].compress_us


def test_the_work_clock_lags_by_what_the_threads_lost(make: Make, make_plan: Make) -> None:
    for threads in (1, 4):
        b = thrashing(make, make_plan, threads)
        b.run(60)
        rec = b.record("p/g")
        lag = int(rec["lag"]) - BOOT
        assert lag == b.count("p/g", "stall_us") // threads > 0
        assert rec["work"] == b.machine.now_us - rec["lag"]


# --- a device that is RAM -------------------------------------------------------------------------


@pytest.mark.parametrize("page_scale", [1, 4])
def test_what_is_written_to_zram_takes_ram_until_its_slot_is_free(
    make: Make, make_plan: Make, page_scale: int
) -> None:
    """Written back to a disk, pages leave RAM; written back to zram they stay there, compressed."""
    plan = make_plan(6000)
    plan.frees = np.zeros(1, FREE)
    plan.frees["time"], plan.frees["n_pages"] = 300 * US_PER_S, 6000
    free = {}
    for device in ("nvme", "zram"):
        b = make({"g": plan}, exact=False, device=STEADY[device], page_scale=page_scale)
        b.fill("g")
        b.run(60)
        assert b.write("g", "30").pages == 6000 * page_scale
        assert b.write("g", str(6000 * page_scale * PAGE_SIZE), "memory.reclaim").errno == 0
        b.run(1)
        free[device] = meminfo(b.machine)["MemFree"]
    lengths = np.minimum(b.pages("g")["clen"], 4096).astype(int)
    held = int(b.machine.state.host["zram_bytes"][0])
    assert b.states("g")[DISK] == 6000
    assert held == int(lengths.sum()) * page_scale > 0
    assert free["nvme"] - free["zram"] == -(-held // PAGE_SIZE) * PAGE_SIZE
    b.machine.advance(BOOT + 301 * US_PER_S)
    assert b.machine.state.host["zram_bytes"][0] == 0
