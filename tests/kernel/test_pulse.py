"""The pulse in the model: as on Debian's 6.12, where every number here without a comment comes from."""

from __future__ import annotations

import errno
from dataclasses import replace

import numpy as np
import pytest

from zswap_gym.host.dialects import DIALECTS, STOCK_PULSE
from zswap_gym.host.pulse import BATCH, FILE_MAX, PULSE_MAX, TIMEOUT_S
from zswap_gym.host.simulated import SimulatedHost
from zswap_gym.host.types import Request
from zswap_gym.kernel import pulse as model
from zswap_gym.kernel.access import REGION, AccessPlan, segments
from zswap_gym.kernel.layout import ZSWAP
from zswap_gym.kernel.machine import Machine
from zswap_gym.kernel.shrinker import SHRINK_BATCH
from zswap_gym.kernel.spec import DEVICES, CgroupSpec, HostSpec, StageOneSpec

A, B = "a", "b"


def idle(pages: int) -> AccessPlan:
    """Pages touched once, in order, a quarter of each incompressible."""
    region = np.zeros(1, REGION)
    region["n_pages"], region["seg_count"] = pages, 1
    seg_time, seg_mult, seg_integral = segments([0], [1.0])
    return AccessPlan(
        rate=np.full(pages, 1e-9, np.float32),
        region=np.zeros(pages, np.uint16),
        clen=np.full(pages, 1083, np.uint16),
        regions=region,
        seg_time=seg_time,
        seg_mult=seg_mult,
        seg_integral=seg_integral,
        first_touch=np.arange(pages, dtype=np.int64) * 100,
        span_us=10**12,
    )


def machine(pages: int = 12288, **spec: object) -> Machine:
    """Two leaves below t, all of both in zswap."""
    host = HostSpec(**{"ram_bytes": 2 << 30, "swap_bytes": 1 << 30, "interface": "stock-pulse"} | spec)
    tree = [
        CgroupSpec("t"),
        CgroupSpec(A, parent="t"),
        CgroupSpec(B, parent="t"),
        CgroupSpec("empty", parent="t"),
    ]
    made = Machine(host, tree, {A: idle(pages), B: idle(4096)}, seed=1, stage_one=StageOneSpec("none"))
    made.advance(made.now_us + 10_000_000)
    for name in (A, B):
        made.write(name, "memory.reclaim", "1G")
    return made


def test_the_constants_are_those_of_the_real_pulse() -> None:
    assert (model.PULSE_MAX, SHRINK_BATCH) == (PULSE_MAX, BATCH)
    assert model.FILE_MAX * 4096 == FILE_MAX
    assert model.TIMEOUT_US == TIMEOUT_S * 1e6


@pytest.mark.parametrize("pages", [128, 256, 512, 1024])
def test_it_writes_what_was_asked_and_nothing_elsewhere(pages: int) -> None:
    made = machine()
    for _ in range(3):
        before = made.counter(A, "zswpwb")
        result = made.pulse(A, pages)
        assert (result.errno, result.pages) == (0, pages)
        assert made.counter(A, "zswpwb") - before == pages
    assert made.counter(B, "zswpwb") == 0
    assert not made.state.host["shrinker"][0]


def test_many_entries_take_one_pass_to_lose_their_second_chance() -> None:
    """raw.md big.py, 60,000 entries, 1024 asked for: 0, 1056, 1024, 1024."""
    made = machine(60_000, max_pool_percent=40)
    written = [made.pulse(A, 1024).pages for _ in range(4)]
    assert written[0] == 0
    assert abs(written[1] - 1056) <= BATCH
    assert written[2:] == [1024, 1024]


def test_on_a_parent_the_kernel_would_write_everything_so_it_is_refused() -> None:
    made = machine()
    assert made.pulse("t", 128).errno == errno.ECANCELED


@pytest.mark.parametrize("setting", ["shrinker", "writeback", "empty"])
def test_conditions_refuse(setting: str) -> None:
    made = machine()
    if setting == "shrinker":
        made.set_zswap(shrinker=True)
    elif setting == "writeback":
        made.write("t", "memory.zswap.writeback", "0")
    assert made.pulse("empty" if setting == "empty" else A, 256).errno == errno.ECANCELED
    assert made.counter("", "zswpwb") == 0
    assert made.state.host["shrinker"][0] == (setting == "shrinker")


def test_a_large_reclaim_elsewhere_in_the_same_moment_loses_entries_too() -> None:
    """raw.md b3viii: B's own memory.reclaim of 32 MiB while the shrinker was on cost it 5117 entries."""
    made = machine()
    made.state.host["shrinker"] = 1
    made.write(B, "memory.reclaim", "32M")
    assert made.counter(B, "zswpwb") > 0


def test_the_release_takes_what_the_pulse_left_in_the_swap_cache() -> None:
    made = machine()
    c = made.index[A]
    stored = made.counter(A, "zswpout")
    assert made.request(c, 0, 1024, 1024)
    made.advance(made.now_us + 5_000_000)
    (done,) = made.finished()
    assert (done.errno, done.release_errno, done.pages) == (0, 0, 1024)
    assert abs(done.released - 1024) <= 32
    assert made.counter(A, "zswpout") == stored


def test_a_slow_disk_ends_it_at_the_time_limit() -> None:
    slow = replace(DEVICES["hdd"], write_us=20_000.0)
    made = machine(device=slow)
    result = made.pulse(A, 1024)
    assert result.errno == errno.ETIME
    assert 0 < result.pages < 1024
    assert not made.state.host["shrinker"][0]


def test_the_oldest_go_first() -> None:
    made = machine()
    written = sum(made.pulse(A, 512).pages for _ in range(3))
    state = made.state.pages["state"][:12288]
    gone = np.flatnonzero(state != ZSWAP)
    assert len(gone) == written
    # A page is stored when reclaim comes to it, which is nearly in the order of first touch.
    assert gone.max() < written + 64


def test_a_simulated_host_takes_requests_as_a_real_one_does() -> None:
    assert DIALECTS["stock-pulse"] is STOCK_PULSE
    host = HostSpec(ram_bytes=2 << 30, swap_bytes=1 << 30, interface="stock-pulse")
    parts = (host, [CgroupSpec(A)], {A: idle(4096)}, StageOneSpec("none"), [])
    simulated = SimulatedHost(parts, 1)
    simulated.sleep(10)
    simulated.write(A, "memory.reclaim", "1G")
    assert not simulated.has_age(A)
    assert simulated.submit(A, Request(60, 300 * 4096, 300 * 4096))
    simulated.sleep(5)
    ((_, outcome),) = simulated.outcomes()
    assert (outcome.errno, outcome.pages) == (0, 256)
