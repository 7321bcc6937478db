"""The host short of memory: watermarks, kswapd, direct reclaim, OOM (kernel/kswapd.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from zswap_gym.kernel.kswapd import watermarks
from zswap_gym.units import PAGE_SIZE

Make = Callable[..., Any]
MIB = 1 << 20


def free(b: Any) -> int:
    """Free pages of the host."""
    state = b.machine.state
    root, host = state.cgs[0], state.host[0]
    return int(host["ram_pages"] - root["resident"] - root["base"] - host["pool_pages"])


def test_watermarks() -> None:
    """16 GiB: min_free_kbytes = isqrt(16 GiB in kB * 16) = 16384, the gap a thousandth of memory."""
    assert watermarks(16 << 18) == (4096, 4096 + 4194, 4096 + 2 * 4194)
    assert watermarks(64 << 8) == (256, 256 + 64, 256 + 128)  # 64 MiB: a quarter of min
    assert watermarks(16) == (32, 40, 48)  # at least 128 kB


def test_kswapd_keeps_the_watermarks(make: Make, make_plan: Make) -> None:
    """Slow allocation: kswapd alone keeps memory free, between low and high, and nobody stalls."""
    b = make({"g": make_plan(24_000, step_us=1_000)}, exact=False, ram_bytes=64 * MIB)
    lowest, low, high = watermarks(64 * MIB // PAGE_SIZE)
    b.run(14)
    assert b.count("", "pgscan_kswapd") == 0
    least = 1 << 30
    for _ in range(100):
        b.run(0.1)
        least = min(least, free(b))
    assert b.count("", "pgsteal_kswapd") == b.count("", "pgsteal") > 5_000
    assert lowest < least <= low
    assert free(b) >= low - 64
    assert free(b) <= high + 4096
    assert b.count("g", "events_max") == b.count("g", "events_oom_kill") == 0


def test_a_burst_reclaims_directly(make: Make, make_plan: Make) -> None:
    """Faster than kswapd: below min the program reclaims itself, and that is memory pressure."""
    b = make({"g": make_plan(24_000, step_us=1, clen=2000)}, exact=False, ram_bytes=64 * MIB)
    b.run(5)
    assert b.count("", "pgsteal") > b.count("", "pgsteal_kswapd")
    assert b.record("g")["some_us"] > 0
    assert free(b) >= 0


def test_out_of_memory_kills_the_biggest(make: Make, make_plan: Make) -> None:
    """No swap, nothing to reclaim: oom_kill is counted, but no cgroup ran into a limit."""
    late = make_plan(4_000, step_us=100)
    late.first_touch += 5_000_000
    b = make(
        {"big": make_plan(13_000, step_us=1), "small": late},
        ram_bytes=64 * MIB,
        swap_bytes=0,
        restart_on_oom=False,
    )
    b.run(10)
    assert b.count("big", "events_oom_kill") == 1
    assert b.count("small", "events_oom_kill") == 0
    assert b.count("", "events_oom") == 0
    assert b.states("small")[1] == 4_000


def test_kswapd_leaves_what_is_protected(make: Make, make_plan: Make) -> None:
    b = make(
        {"kept": 8_000, "other": make_plan(10_000, step_us=1_000)},
        exact=False,
        ram_bytes=64 * MIB,
        limits={"kept": {"memory_min": 40 * MIB}},
    )
    b.run(20)
    assert b.count("other", "pgsteal_kswapd") > 1_000
    assert b.count("kept", "pgscan") == 0


@pytest.mark.parametrize("disabled", [True, False])
def test_stores_fail_without_a_page(make: Make, make_plan: Make, disabled: bool) -> None:
    """zs_malloc() has nothing to take: reject_alloc_fail, and the page goes to disk."""
    b = make({"g": make_plan(1_000)}, ram_bytes=64 * MIB)
    b.run(1)
    if disabled:
        b.machine.state.host["exhausted_at"] = 0
    b.write("g", "1M", "memory.reclaim")
    assert (b.count("", "reject_alloc_fail") > 0) == disabled
    assert (b.count("g", "pswpout") > 0) == disabled
