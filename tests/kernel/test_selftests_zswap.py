"""Acceptance scenarios Z1 to Z8 of the kernel's test_zswap.c, restated (spec/selftests.md).

A page that a test fills with one letter compresses to a few dozen bytes: 50 here.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from zswap_gym.host import simulated_files
from zswap_gym.host.files import parse_keyed
from zswap_gym.kernel.access import OP_READ
from zswap_gym.kernel.layout import RESIDENT
from zswap_gym.units import PAGE_SIZE, US_PER_S

Make = Callable[..., Any]
MIB = 1 << 20
PAGES = MIB // PAGE_SIZE
LETTER = 50


def read_back(make_plan: Make, mib: int, clen: int) -> Any:
    """Memory written once, and read again in the same order 10 s later."""
    n = mib * PAGES
    return make_plan(n, clen=clen, accesses=[(10 * US_PER_S + 10 * p, p, OP_READ) for p in range(n)])


def test_z1_usage(make: Make, make_plan: Make) -> None:
    b = make({"G": make_plan(4 * PAGES, clen=LETTER)}, limits={"G": {"memory_max": MIB}})
    assert b.count("G", "zswpout") == 0
    b.run(1)
    assert b.count("G", "zswpout") > 0


def test_z2_swapin_without_zswap(make: Make, make_plan: Make) -> None:
    b = make({"G": read_back(make_plan, 32, LETTER)}, limits={"G": {"memory_max": 8 * MIB, "zswap_max": 0}})
    b.run(20)
    assert b.gauge("G", "swap_peak") >= 24 * MIB
    assert b.count("G", "zswpout") == 0
    assert b.count("G", "pswpin") >= 24 * PAGES


def test_z3_zswapin(make: Make, make_plan: Make) -> None:
    b = make({"G": read_back(make_plan, 32, LETTER)}, limits={"G": {"memory_max": 8 * MIB}})
    b.run(20)
    assert b.count("G", "zswpin") >= 24 * PAGES


def attempt_writeback(b: Any, cgroup: str, writeback: bool) -> None:
    """The workload W(G): all into zswap, read back, then again with half the room."""
    amount = str(4 * MIB)
    b.run(1)
    assert b.write(cgroup, amount, "memory.reclaim").errno == 0
    used = int(b.gauge(cgroup, "zswap"))
    assert used > 0
    b.run(20)
    assert b.states(cgroup)[RESIDENT] == 4 * PAGES
    b.write(cgroup, str(used // 2), "memory.zswap.max")
    again = b.write(cgroup, amount, "memory.reclaim").errno
    assert again == (0 if writeback else errno.EAGAIN)


@pytest.mark.parametrize("cgroup", ["G", "G/C"])
@pytest.mark.parametrize("on", [True, False], ids=["Z4", "Z5"])
@pytest.mark.parametrize("version", ["v1", "v2", "v3", "v4", "v5", "stock"])
def test_z4_z5_p1_writeback(make: Make, make_plan: Make, cgroup: str, on: bool, version: str) -> None:
    """Z4, Z5: the parent's 0 wins over the child's 1. P1: none of it counts as proactive."""
    work = read_back(make_plan, 4, 300)
    tree = {"G": work} if cgroup == "G" else {"G": None, "G/C": work}
    b = make(tree, limits={"G": {"zswap_writeback": on}}, interface=version)
    assert b.count(cgroup, "zswpwb") == 0
    attempt_writeback(b, cgroup, on)
    assert (b.count(cgroup, "zswpwb") > 0) == on
    assert b.count(cgroup, "zswpwb_proactive") == b.count(cgroup, "zswpwb_proactive_b") == 0
    stat = parse_keyed(simulated_files.read(b.machine, cgroup, "memory.stat"), "memory.stat")
    assert ("zswpwb_proactive" in stat) == (version in ("v1", "v2", "v3"))  # P6: whole keys
    assert ("zswpwb_proactive_b" in stat) == (version in ("v4", "v5"))


def test_z6_kswapd_evicts_for_the_owner(make: Make, make_plan: Make) -> None:
    """no_kmem_bypass: what kswapd stores when others allocate belongs to the cgroup it took it from."""
    ram = 64 * MIB
    pages = int(ram // PAGE_SIZE * 0.95)
    other = make_plan(20 * ram // 20 // PAGE_SIZE, clen=LETTER, step_us=2_000)
    other.first_touch += 5 * US_PER_S
    b = make(
        {"G": make_plan(pages, clen=LETTER, accesses=[]), "other": other},
        ram_bytes=ram,
        exact=False,
        max_pool_percent=90,
    )
    b.run(4)
    stored = b.machine.state.host
    for _ in range(400):
        b.run(0.1)
        if stored["stored_pages"][0] > pages // 5:
            break
    total = int(stored["stored_pages"][0]) * PAGE_SIZE
    assert total > ram // 5 - MIB * 5
    assert total - b.gauge("G", "zswapped") < total // 4
    assert b.count("", "pgscan_kswapd") > 0
    assert b.count("", "pgsteal_kswapd") > b.count("", "pgsteal") // 2


def test_z7_limits_of_others_are_left_alone(make: Make, make_plan: Make) -> None:
    """no_invasive_cgroup_shrink: G1's over-limit stores write back G1's entries, not G2's."""
    late = make_plan(10 * PAGES, clen=LETTER)
    late.first_touch += 5 * US_PER_S
    limits = {"G1": {"memory_max": MIB, "zswap_max": 10 * 1024}, "G2": {"memory_max": MIB}}
    b = make({"G1": late, "G2": make_plan(10 * PAGES, clen=LETTER)}, limits=limits)
    b.run(4)
    assert b.gauge("G2", "zswapped") >= 1
    b.run(4)
    assert b.count("G1", "zswpwb") > 0
    assert b.count("G2", "zswpwb") == 0


@pytest.mark.parametrize(("kernel", "shown"), [("6.12", False), ("6.18", False), ("7.3", True)])
def test_z8_incompressible(make: Make, make_plan: Make, kernel: str, shown: bool) -> None:
    """zswap_incomp is a gauge, in 7.1 and later; 6.18 stores such pages without telling."""
    work = make_plan(4 * PAGES, clen=4096)
    work.frees = np.array([(30 * US_PER_S, 0, 4 * PAGES)], work.frees.dtype)
    b = make({"G": work}, limits={"G": {"memory_max": 32 * MIB}}, kernel=kernel)
    b.fill("G")

    def incompressible() -> int | None:
        text = simulated_files.read(b.machine, "G", "memory.stat")
        return parse_keyed(text, "memory.stat").get("zswap_incomp")

    assert incompressible() == (4 * MIB if shown else None)
    assert b.gauge("G", "zswapped") == (0 if kernel == "6.12" else 4 * MIB)
    b.run(60)
    assert incompressible() == (0 if shown else None)
