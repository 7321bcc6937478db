"""Acceptance scenarios M1 to M13 of the kernel's test_memcontrol.c, restated (spec/selftests.md).

A process is a leaf cgroup here, so a test that puts several processes into one cgroup puts them
into leaves below it. Memory that a test touches with zeros is all-zero pages. Left out:

* M1 (+memory in cgroup.subtree_control): a simulated cgroup always has the memory controller;
* M2's and M10's reset of memory.peak through one file descriptor: files here have no descriptors,
  the peak since boot is what an unreset one reads;
* M6's mlock: there are no unevictable pages; its point, that memory.high neither kills nor counts as
  memory.max, is kept with pages that cannot be swapped;
* M11's mount option memory_localevents: events are hierarchical here, as by default;
* M14 (TCP): there are no sockets.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from zswap_gym.units import PAGE_SIZE

Make = Callable[..., Any]
MIB = 1 << 20
PAGES = MIB // PAGE_SIZE


def close(a: float, b: float, percent: int) -> bool:
    """values_close() of the selftests, with its integer division."""
    return abs(int(a) - int(b)) <= (int(a) + int(b)) // 100 * percent


def current(b: Any, cgroup: str) -> int:
    """memory.current."""
    return int(b.gauge(cgroup, "memory_current"))


def anon(make_plan: Make, mib: int, start_s: float = 0.0) -> Any:
    """A program that touches so much memory, all zero, from ``start_s`` on."""
    plan = make_plan(mib * PAGES, clen=0)
    plan.first_touch += round(start_s * 1e6)
    return plan


def cache(make_plan: Make, mib: int, start_s: float = 0.0) -> Any:
    """A program that reads a file of that size once."""
    plan = make_plan(mib * PAGES, clen=4096, file=True, accesses=[])
    plan.first_touch += round(start_s * 1e6)
    return plan


def test_m2_current_and_peak(make: Make, make_plan: Make) -> None:
    b = make({"g": None, "g/anon": anon(make_plan, 50), "g/file": cache(make_plan, 50, 10)})
    assert b.gauge("g", "memory_current") == b.gauge("g", "peak") == 0
    b.run(5)
    assert current(b, "g") >= 50 * MIB
    assert close(50 * MIB, current(b, "g"), 3)
    assert close(current(b, "g"), b.gauge("g", "anon"), 3)
    assert b.gauge("g", "peak") >= 50 * MIB
    b.run(10)
    assert current(b, "g/file") >= 50 * MIB
    assert close(current(b, "g/file"), b.gauge("g/file", "file"), 10)
    assert b.gauge("g", "file") == b.gauge("g/file", "file")
    assert b.gauge("g/anon", "file") == 0


CHILDREN = ("C", "D", "E", "F")


def protected(make: Make, make_plan: Make, setting: str, allocate: list[tuple[int, float]]) -> Any:
    """The tree of test_memcg_protection(): page cache below A/B, then memory allocated in A/G.

    ``allocate`` are (MiB, at s): a program of its own below A/G each.
    """
    amount = dict(zip(CHILDREN, (75, 25, 0, 500), strict=True))
    tree: dict[str, Any] = {"A": None, "A/B": None}
    limits: dict[str, dict[str, Any]] = {
        "A": {"memory_max": 200 * MIB, "swap_max": 0},
        "A/B": {setting: 50 * MIB},
    }
    for name in CHILDREN:
        tree[f"A/B/{name}"] = cache(make_plan, 50) if name != "F" else None
        limits[f"A/B/{name}"] = {setting: amount[name] * MIB}
    tree["A/G"] = None
    for i, (mib, start_s) in enumerate(allocate):
        tree[f"A/G/{i}"] = anon(make_plan, mib, start_s)
    b = make(tree, limits=limits, restart_on_oom=False)
    b.run(5)
    assert close(current(b, "A/B"), 150 * MIB, 3)
    return b


def check_shares(b: Any) -> None:
    """C and D have about what their share of B's protection is, F nothing."""
    assert close(current(b, "A/B"), 50 * MIB, 3)
    assert close(current(b, "A/B/C"), 29 * MIB, 10)
    assert close(current(b, "A/B/D"), 21 * MIB, 10)
    assert current(b, "A/B/F") == 0


def reclaim_from_c(b: Any) -> None:
    """M3c: the target's own protection does not count."""
    rest = current(b, "A/B/C") - 10 * MIB
    assert b.write("A/B/C", str(rest), "memory.reclaim").errno == 0
    assert close(current(b, "A/B/C"), 10 * MIB, 3)


def test_m3_min(make: Make, make_plan: Make) -> None:
    b = protected(make, make_plan, "memory_min", [(148, 10)])
    b.run(15)
    check_shares(b)
    assert b.count("A", "events_oom") == 0
    reclaim_from_c(b)


def test_m3b_min_holds_against_oom(make: Make, make_plan: Make) -> None:
    b = protected(make, make_plan, "memory_min", [(170, 10)])
    b.run(15)
    assert b.count("A", "events_oom_kill") == 1
    assert b.states("A/G/0")[0] == 170 * PAGES  # the allocating program died
    assert close(current(b, "A/B"), 50 * MIB, 3)
    reclaim_from_c(b)


def test_m4_low(make: Make, make_plan: Make) -> None:
    b = protected(make, make_plan, "memory_low", [(148, 10)])
    b.run(15)
    check_shares(b)
    reclaim_from_c(b)


def test_m4_low_is_broken_rather_than_killing(make: Make, make_plan: Make) -> None:
    b = protected(make, make_plan, "memory_low", [(170, 10)])
    b.run(15)
    assert close(current(b, "A/B"), 30 * MIB, 3)
    assert b.count("A", "events_oom") == 0
    low = {name: b.count(f"A/B/{name}", "events_low") for name in CHILDREN}
    assert low["C"] > 0
    assert low["D"] > 0
    assert low["F"] == 0  # E is left to the mount option, as in the selftest


def test_m5_high(make: Make, make_plan: Make) -> None:
    tree = {"G": None, "G/anon": anon(make_plan, 31), "G/file": cache(make_plan, 50, 200)}
    b = make(tree, limits={"G": {"swap_max": 0, "memory_high": 30 * MIB}}, exact=False)
    b.run(150)
    assert b.states("G/anon")[1] == 31 * PAGES  # it gets there, slowly
    assert b.count("G", "events_high") > 0
    b = make({"G": cache(make_plan, 50)}, limits={"G": {"swap_max": 0, "memory_high": 30 * MIB}}, exact=False)
    b.run(60)
    assert b.gauge("G", "peak") < 50 * MIB  # the selftest wants this check to fail
    assert close(current(b, "G"), 30 * MIB, 5)
    assert b.count("G", "events_high") > 0


def test_m6_high_is_not_max(make: Make, make_plan: Make) -> None:
    limits = {"G": {"swap_max": 0, "memory_high": 30 * MIB, "memory_max": 140 * MIB}}
    b = make({"G": anon(make_plan, 200)}, limits=limits, exact=False)
    b.run(20)
    assert b.count("G", "events_high") > 0
    assert b.count("G", "events_max") == 0
    assert current(b, "G") < 140 * MIB


def test_m7_max(make: Make, make_plan: Make) -> None:
    limits = {"G": {"swap_max": 0, "memory_max": 30 * MIB}}
    b = make({"G": anon(make_plan, 100)}, limits=limits, restart_on_oom=False)
    b.run(5)
    assert b.count("G", "events_oom_kill") == 1
    b = make({"G": cache(make_plan, 50)}, limits=limits)
    b.run(5)
    assert b.states("G")[1] > 0
    assert close(current(b, "G"), 30 * MIB, 5)
    assert current(b, "G") <= 30 * MIB
    assert b.count("G", "events_max") > 0
    assert b.count("G", "events_oom") == 0


@pytest.mark.parametrize("swap", [True, False])
def test_m8_reclaim(make: Make, make_plan: Make, swap: bool) -> None:
    tree: dict[str, Any] = {"G": None, "G/file": cache(make_plan, 50)}
    if swap:
        tree["G/anon"] = anon(make_plan, 50)
    b = make(tree, swap_bytes=(1 << 30) if swap else 0)
    b.run(5)
    assert close(current(b, "G"), (100 if swap else 50) * MIB, 10)
    for _ in range(5):
        result = b.write("G", str(current(b, "G") - 30 * MIB), "memory.reclaim")
        assert result.errno in (0, errno.EAGAIN)
        if result.errno == 0:
            break
    assert result.errno == 0
    assert current(b, "G") < 30 * MIB or close(current(b, "G"), 30 * MIB, 3)


def test_m9_oom_events(make: Make, make_plan: Make) -> None:
    limits = {"G": {"swap_max": 0, "memory_max": 30 * MIB}}
    b = make({"G": anon(make_plan, 100)}, limits=limits, restart_on_oom=False)
    b.run(5)
    assert b.states("G")[0] == 100 * PAGES
    assert b.count("G", "events_oom") == b.count("G", "events_oom_kill") == 1
    assert b.count("G", "events_oom_group_kill") == 0


def test_m10_swap_max_and_peak(make: Make, make_plan: Make) -> None:
    limits = {"G": {"swap_max": 30 * MIB, "memory_max": 30 * MIB}}
    b = make({"G": None, "G/a": anon(make_plan, 100), "G/b": anon(make_plan, 50, 20)}, limits=limits,
             restart_on_oom=False)  # fmt: skip
    b.run(10)
    assert b.count("G", "events_oom") == b.count("G", "events_oom_kill") == 1
    assert b.gauge("G", "peak") >= 29 * MIB
    assert b.gauge("G", "swap_peak") >= 29 * MIB
    b.run(20)
    assert close(current(b, "G"), 30 * MIB, 3)
    assert close(current(b, "G") + b.gauge("G", "swap_current"), 50 * MIB, 3)
    assert b.count("G", "events_max") > 0
    assert b.gauge("G", "zswap") == 0  # zero pages take the zeromap


def test_m11_oom_group_leaf(make: Make, make_plan: Make) -> None:
    tree = {"parent": None, "parent/own": anon(make_plan, 60), "parent/child": None}
    tree |= {f"parent/child/{i}": anon(make_plan, mib) for i, mib in enumerate((1, 1, 100))}
    limits = {"parent/child": {"memory_max": 50 * MIB, "swap_max": 0, "oom_group": True}}
    b = make(tree, limits=limits, restart_on_oom=False)
    b.run(5)
    assert current(b, "parent/child") == 0
    assert b.count("parent/child", "events_oom_kill") > 0
    assert b.count("parent/child", "events_oom_group_kill") == 1
    assert b.count("parent", "events_oom_kill") > 0
    assert b.states("parent/own")[1] == 60 * PAGES


def test_m12_oom_group_parent(make: Make, make_plan: Make) -> None:
    tree = {"parent": None, "parent/own": anon(make_plan, 60), "parent/child": None}
    tree |= {f"parent/child/{i}": anon(make_plan, mib) for i, mib in enumerate((1, 1, 100))}
    limits = {"parent": {"memory_max": 80 * MIB, "swap_max": 0, "oom_group": True}}
    b = make(tree, limits=limits, restart_on_oom=False)
    b.run(5)
    assert current(b, "parent") == 0
    assert b.count("parent", "events_oom_group_kill") == 1


def test_m13_oom_group_spares_who_is_protected(make: Make, make_plan: Make) -> None:
    """Three kills for two programs: the victim counts once more as a member of its group."""
    tree = {"G": None, "G/safe": anon(make_plan, 1), "G/big": anon(make_plan, 100), "G/c": anon(make_plan, 1)}
    limits = {
        "G": {"memory_max": 50 * MIB, "swap_max": 0, "oom_group": True},
        "G/safe": {"oom_protected": True},
    }
    b = make(tree, limits=limits, restart_on_oom=False)
    b.run(5)
    assert b.count("G", "events_oom_kill") == 3
    assert b.states("G/safe")[1] == PAGES
    assert current(b, "G") == MIB
