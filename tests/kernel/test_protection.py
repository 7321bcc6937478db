"""memory.min and memory.low on random trees: effective_protection() and what reclaim skips."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from zswap_gym.kernel.protection import _effective
from zswap_gym.units import PAGE_SIZE

Make = Callable[..., Any]
MIB = 1 << 20


@pytest.mark.parametrize(
    ("use", "parent_use", "setting", "parent_effective", "siblings", "expected"),
    [
        (100, 300, 50, 1000, 50, 50 + 950 * 50 // 250),  # unclaimed protection is spread by unprotected use
        (100, 300, 200, 150, 150, 100),  # no more than is used
        (100, 300, 75, 50, 150, 25),  # overcommitted: in proportion
        (100, 300, 0, 0, 0, 0),
        (100, 100, 0, 60, 0, 60),
    ],
)
def test_effective_protection(
    use: int, parent_use: int, setting: int, parent_effective: int, siblings: int, expected: int
) -> None:
    assert _effective.py_func(use, parent_use, setting, parent_effective, siblings) == expected


@pytest.mark.parametrize("setting", ["memory_min", "memory_low"])
def test_reclaim_from_the_parent_takes_from_the_unprotected(make: Make, setting: str) -> None:
    b = make({"p": None, "p/a": 1000, "p/b": 1000}, limits={"p/a": {setting: 8 * MIB}})
    b.run(1)
    assert b.write("p", "3M", "memory.reclaim").errno == 0
    assert b.count("p/a", "pgscan") == 0
    assert b.count("p/b", "pgsteal") >= 768
    assert b.count("p", "events_low") == 0


def test_min_holds_where_low_gives_in(make: Make) -> None:
    for setting, code in (("memory_min", errno.EAGAIN), ("memory_low", 0)):
        b = make({"p": None, "p/a": 1000}, limits={"p/a": {setting: 8 * MIB}})
        b.run(1)
        assert b.write("p", "1M", "memory.reclaim").errno == code
        assert b.count("p/a", "pgsteal") == (0 if code else b.count("p", "pgsteal"))
        assert (b.count("p/a", "events_low") > 0) == (code == 0)


def test_the_targets_own_protection_does_not_count(make: Make) -> None:
    b = make({"a": 1000}, limits={"a": {"memory_min": 8 * MIB}})
    b.run(1)
    assert b.write("a", "1M", "memory.reclaim").errno == 0


def test_protection_is_written_and_read(make: Make) -> None:
    b = make({"p": None, "p/a": 1000})
    b.run(1)
    assert b.write("p/a", "max", "memory.min").errno == 0
    assert b.write("p", "1M", "memory.reclaim").errno == errno.EAGAIN
    assert b.write("p/a", "0", "memory.min").errno == 0
    assert b.write("p", "1M", "memory.reclaim").errno == 0
    assert b.write("", "1M", "memory.min").errno == errno.ENOENT
    assert b.record("p/a")["min"] == 0
    assert b.record("p/a")["resident"] <= 1000 - 256 + PAGE_SIZE
