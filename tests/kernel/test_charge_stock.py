"""Per-CPU charge batching (kernel/charge_stock.py)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from zswap_gym.kernel.access import OP_READ, OP_WRITE
from zswap_gym.units import PAGE_SIZE, US_PER_S

Make = Callable[..., Any]


def ahead(b: Any, cgroup: str) -> int:
    """Pages memory.current is ahead of what is used."""
    used = sum(b.states(cgroup)[1:3]) + math.ceil(b.gauge(cgroup, "zswap") / PAGE_SIZE)
    return b.gauge(cgroup, "memory_current") // PAGE_SIZE - used


def test_memory_current_runs_ahead_by_less_than_64_pages_a_cpu(make: Make, make_plan: Make) -> None:
    b = make({"g": make_plan(1000, step_us=1000)}, charge_cpus=4)
    seen = set()
    for i in range(50):
        b.machine.state.host["charge_cpu"] = i % 4
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


def test_compressed_bytes_are_charged_from_the_same_stock(make: Make, make_plan: Make) -> None:
    """Unlimited, on one CPU: charged are multiples of 64 less what reclaim freed."""
    reads = [(US_PER_S + 1000 * i, i, OP_READ) for i in range(500)]
    writes = [(100 * i, i, OP_WRITE) for i in range(1000)]
    b = make({"g": make_plan(1000, clen=1300, accesses=writes + reads)}, charge_cpus=1)
    for seconds, amount in ((0.3, "2M"), (0.3, "1M"), (1.0, None)):
        b.run(seconds)
        if amount:
            assert b.write("g", amount, "memory.reclaim").errno == 0
        b.check()
        current = b.gauge("g", "memory_current") // PAGE_SIZE
        assert (current + b.count("g", "pgsteal")) % 64 == 0
        assert 0 <= ahead(b, "g") <= 64
    assert b.count("g", "zswpout") >= 768
    assert b.count("g", "zswpin") > 100


def test_writers_and_programs_have_stocks_of_their_own(make: Make, make_plan: Make) -> None:
    """What reclaim stores is charged on the CPU it runs on: the program's stock is not touched."""
    b = make(
        {"g": make_plan(1000, clen=4000, step_us=100, accesses=[(i, i, OP_WRITE) for i in range(1000)])},
        charge_cpus=2,
    )
    b.run(0.2)
    assert ahead(b, "g") == 1024 - 1000
    b.write("g", "512K", "memory.reclaim")
    b.check()
    stored = b.count("g", "zswpout")
    assert stored >= 128
    assert ahead(b, "g") == 24 + -math.ceil(stored * 4000 / PAGE_SIZE) % 64


def test_a_removed_cgroup_leaves_no_stock(make: Make, make_plan: Make) -> None:
    b = make({"g": make_plan(10), "g/a": make_plan(10)}, charge_cpus=2)
    b.run(1)
    assert b.machine.rmdir("g/a", leave=True).errno == 0
    assert ahead(b, "g/a") == 0
    b.check()
