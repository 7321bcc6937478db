"""Time: what the swap device, the CPU and throttling cost, and what PSI makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from zswap_gym.kernel.access import OP_READ
from zswap_gym.kernel.layout import DISK, NEW, SWAPCACHE, ZSWAP
from zswap_gym.kernel.spec import COMPRESSORS, DEVICES
from zswap_gym.units import US_PER_S

Make = Callable[..., Any]
STEADY = {name: replace(device, jitter=0.0) for name, device in DEVICES.items()}
READS = [(20 * US_PER_S, page, OP_READ) for page in range(0, 3000, 100)]


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
    assert b.write("g", "24M", "memory.reclaim").errno == 0
    b.machine.advance(b.machine.now_us + 2 * US_PER_S)
    before = b.states("other")[NEW]
    result = b.write("g", "max=8M 1")
    assert before - b.states("other")[NEW] == pytest.approx(result.duration_us / 2000, abs=2)


# --- reads ---------------------------------------------------------------------------------------


def on_disk(make: Make, make_plan: Make, device: str) -> Any:
    """3000 pages on disk and 3000 in zswap; 30 of those on disk are read 20 s after boot."""
    reader = make_plan(3000, accesses=READS, step_us=1)
    b = make({"g": 3000, "reader": reader}, exact=False, device=STEADY[device])
    b.run(0.01)
    assert b.write("g", "max", "memory.max").errno == 0
    for name in ("g", "reader"):
        assert b.write(name, "12000K", "memory.reclaim").errno == 0
    b.run(2)
    assert b.write("reader", "1").errno == 0
    b.run(1)
    assert b.write("reader", "12000K", "memory.reclaim").errno == 0
    assert (b.states("reader")[DISK], b.states("g")[ZSWAP]) == (3000, 3000)
    return b


@pytest.mark.parametrize(("device", "factor"), [("iops400", 20.0), ("sata", 2.0)])
def test_reads_compete_with_writes(make: Make, make_plan: Make, device: str, factor: float) -> None:
    """The same reads, with and without a writeback of another cgroup under way."""
    quiet = on_disk(make, make_plan, device)
    start = 172_800 * US_PER_S
    quiet.machine.advance(start + 20 * US_PER_S - 5000)
    busy = quiet.clone()
    assert busy.machine.request(busy.machine.index["g"], 0, 3000, 0)
    waits = []
    for b in (quiet, busy):
        b.run(20)
        assert b.count("reader", "pswpin") == len(READS)
        waits.append(b.count("reader", "read_wait_us") / len(READS))
    assert waits[0] == pytest.approx(STEADY[device].read_us, rel=0.5 if device == "sata" else 20)
    assert waits[1] > factor * STEADY[device].read_us
    assert waits[1] > 1.5 * waits[0]


@pytest.mark.parametrize("compressor", ["lz4", "zstd"])
@pytest.mark.parametrize("device", ["nvme", "sata", "iops400"])
def test_cost_of_a_fault_hit_zswap_disk(make: Make, make_plan: Make, device: str, compressor: str) -> None:
    """One touch each of 100 mapped, cached, compressed and written pages, a second apart."""
    kinds = {"mapped": 10, "cached": 11, "zswap": 12, "disk": 13}
    accesses = [
        (kinds[kind] * US_PER_S + page * 9000, 100 * i + page, OP_READ)
        for i, kind in enumerate(kinds)
        for page in range(100)
    ]
    plan = make_plan(400, accesses=accesses, step_us=1)
    b = make({"g": plan}, exact=False, device=STEADY[device], compressor=COMPRESSORS[compressor])
    b.fill("g")
    b.run(3)
    pages = b.pages("g")
    assert b.write("g", "1").errno == 0
    b.run(1)
    assert (pages["state"] == SWAPCACHE).all()
    cost = {}
    for kind, second in kinds.items():
        b.machine.advance(172_800 * US_PER_S + second * US_PER_S - 1000)
        if kind == "zswap":
            b = _with_state(b, make, plan, device, compressor, written=False)
        if kind == "disk":
            b = _with_state(b, make, plan, device, compressor, written=True)
        before = b.count("g", "stall_us")
        b.run(1)
        cost[kind] = (b.count("g", "stall_us") - before) / 100
    assert cost["mapped"] <= cost["cached"] < cost["zswap"] < cost["disk"]
    assert cost["zswap"] == pytest.approx(COMPRESSORS[compressor].decompress_us + 1, abs=0.5)
    assert cost["disk"] == pytest.approx(STEADY[device].read_us + 1, rel=0.02)
