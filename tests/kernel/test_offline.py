"""Removed cgroups: what is left of them in zswap goes to their parent (kernel/offline.py)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from zswap_gym.host import simulated_files
from zswap_gym.kernel.layout import F_REFERENCED, RESIDENT, SWAPCACHE, ZSWAP
from zswap_gym.units import PAGE_SIZE

Make = Callable[..., Any]


def leftover(make: Make, **options: Any) -> Any:
    """A parent with two children, both in zswap; the first is removed, its memory stays."""
    b = make({"p": None, "p/a": 600, "p/b": 500}, **options)
    b.fill("p/a", "p/b")
    b.run(60)
    b.machine.state.pages["flags"] &= 0xFFFF ^ F_REFERENCED
    assert b.machine.rmdir("p/a", leave=True).errno == 0
    return b


def test_what_can_be_removed(make: Make) -> None:
    b = make({"p": None, "p/a": 600})
    b.run(1)
    assert b.machine.rmdir("p").errno == errno.EBUSY  # has a child
    assert b.machine.rmdir("p/a").errno == errno.EBUSY  # has memory
    assert b.machine.rmdir("p/a", leave=True).errno == 0
    assert b.machine.rmdir("p/a", leave=True).errno == errno.ENOENT
    assert b.write("p/a", "1M", "memory.reclaim").errno == errno.ENOENT
    with pytest.raises(FileNotFoundError):
        simulated_files.read(b.machine, "p/a", "memory.current")
    b.check()


def test_entries_join_the_parents_lru_at_its_oldest_end(make: Make) -> None:
    b = leftover(make)
    assert len(b.lru("p/a")) == 0
    assert len(b.lru("p")) == 600
    assert b.gauge("p", "zswapped") == 1100 * PAGE_SIZE  # charges stay in the hierarchy
    b.check()


def test_the_parents_walk_writes_them_back(make: Make) -> None:
    b = leftover(make)
    result = b.write("p", "30")
    assert result.errno == 0
    assert b.states("p/a")[ZSWAP] == 0
    assert b.states("p/a")[SWAPCACHE] == 600
    assert b.states("p/b")[ZSWAP] == 0
    assert b.count("p", "zswpwb_proactive") == result.pages == 1100
    b.check()


@pytest.mark.parametrize("version", ["v3", "v5"])
def test_cursors_pass_it_by(make: Make, version: str) -> None:
    b = leftover(make, interface=version)
    key = "zswap_writeback_only" if version == "v3" else "source=zswap"
    assert b.write("p/b", f"64K {key}", "memory.reclaim").errno == 0
    assert b.states("p/a")[ZSWAP] == 600
    b.write("p", f"1G {key}", "memory.reclaim")
    assert b.states("p/a")[ZSWAP] == b.states("p/b")[ZSWAP] == 0
    b.check()


def test_pages_left_in_memory_are_stored_for_the_parent(make: Make) -> None:
    b = make({"p": None, "p/a": 600, "p/b": 500})
    b.run(1)
    assert b.machine.rmdir("p/a", leave=True).errno == 0
    assert b.states("p/a")[RESIDENT] == 600
    assert b.write("p", "4M", "memory.reclaim").errno == 0
    assert len(b.lru("p")) == b.states("p/a")[ZSWAP] > 400
    b.check()


def test_to_the_next_living_ancestor(make: Make) -> None:
    b = make({"p": None, "p/c": None, "p/c/a": 300})
    b.fill("p/c/a")
    b.run(60)
    assert b.machine.rmdir("p/c/a", leave=True).errno == 0
    assert len(b.lru("p/c")) == 300
    assert b.machine.rmdir("p/c", leave=True).errno == 0
    assert len(b.lru("p")) == 300
    assert b.write("p", "30").errno == 0
    assert b.states("p/c/a")[SWAPCACHE] == 300
    b.check()


def test_its_programs_are_gone(make: Make, make_plan: Make) -> None:
    """Nothing is accessed any more, and the OOM killer does not choose what has no process."""
    b = make({"p": None, "p/a": make_plan(600, rate=1.0), "p/b": 100}, restart_on_oom=False, swap_bytes=0)
    b.run(1)
    assert b.machine.rmdir("p/a", leave=True).errno == 0
    faults = b.count("p/a", "pgfault")
    b.write("p", "1M", "memory.reclaim")
    b.run(100)
    assert b.count("p/a", "pgfault") == faults
    b.write("p", "2M", "memory.max")
    assert b.count("p/b", "events_oom_kill") == 1
    assert b.count("p/a", "events_oom_kill") == 0
