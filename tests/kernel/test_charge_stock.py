"""Per-CPU charge batching (kernel/charge_stock.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zswap_gym.units import PAGE_SIZE

Make = Callable[..., Any]


def ahead(b: Any, cgroup: str) -> int:
    """Pages memory.current is ahead of what is used."""
    return b.gauge(cgroup, "memory_current") // PAGE_SIZE - b.states(cgroup)[1]


def test_memory_current_runs_ahead_by_less_than_64_pages_a_cpu(make: Make, make_plan: Make) -> None:
    b = make({"g": make_plan(1000, step_us=1000)}, charge_cpus=4)
    seen = set()
    for _ in range(50):
        b.run(0.013)
        b.check()
        seen.add(ahead(b, "g"))
    assert max(seen) <= 4 * 64
    assert max(seen) > 128
    assert min(seen) >= 0
    assert b.gauge("g", "peak") >= b.gauge("g", "memory_current")


def test_a_limit_drains_them(make: Make, make_plan: Make) -> None:
    """memory.max holds with the stocks counted, and they are given back before anyone is killed."""
    b = make(
        {"g": make_plan(1000, step_us=1000)},
        charge_cpus=4,
        swap_bytes=0,
        limits={"g": {"memory_max": 700 * PAGE_SIZE}},
        restart_on_oom=False,
    )
    b.run(0.6995)
    assert b.states("g")[1] == 700
    assert ahead(b, "g") == b.count("g", "events_oom") == 0
    b.check()


def test_two_cgroups_on_a_cpu_take_it_in_turn(make: Make, make_plan: Make) -> None:
    b = make({"a": make_plan(300, step_us=1000), "b": make_plan(300, step_us=1000)}, charge_cpus=1)
    b.run(1)
    b.check()
    assert ahead(b, "a") + ahead(b, "b") <= 64
    assert min(ahead(b, "a"), ahead(b, "b")) == 0
