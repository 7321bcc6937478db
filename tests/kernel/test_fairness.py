"""Fairness of calls on a parent: selftests F1 to F5, the five rows of spec/series.md 6.1, exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from zswap_gym.kernel import build
from zswap_gym.kernel.spec import COMPRESSORS, INTERFACES, InterfaceSpec

GIB = 1 << 30
CHILDREN = [f"parent/{i}" for i in range(10)]
PAGES = 1600 * 256


@pytest.fixture(scope="module")
def full(module_bench: Callable[..., Any], module_plan: Callable[..., Any]) -> Any:
    """Ten children of 1600 MB, half random half zero, all of it in zswap."""
    child = module_plan(PAGES, clen=2139, step_us=1)
    b = module_bench(
        {"parent": None, **dict.fromkeys(CHILDREN, child)},
        exact=False,
        ram_bytes=36 * GIB,
        swap_bytes=32 * GIB,
        max_pool_percent=50,
        compressor=COMPRESSORS["lz4"],
        interface="v3",
    )
    b.fill(*CHILDREN)
    assert b.gauge("parent", "zswapped") == 16_000 << 20
    b.run(60)
    return b


def rules(**changes: Any) -> InterfaceSpec:
    """The measured algorithm: versions 2 and 3, the second chance bypassed."""
    base = INTERFACES["v3"]
    assert base is not None
    return replace(base, second_chance=False, **changes)


@pytest.mark.parametrize(
    ("changes", "size", "calls", "expected"),
    [
        # 200 calls were made; the two rows without a cursor and 1M add up to 199 (spec/selftests.md).
        ({"cursor_persists": False, "batch_pages": 32, "walk": 32}, "1M", 199, [6368] * 8 + [0] * 2),
        ({"cursor_persists": False}, "1M", 199, [25472] * 2 + [0] * 8),
        ({"cursor_persists": False}, "6M", 200, [51200] * 2 + [25600] * 8),
        ({"batch_pages": 32, "walk": 32}, "1M", 200, [5120] * 10),
        ({}, "1M", 200, [5120] * 10),
    ],
    ids=["F1", "F2", "F3", "F4", "F5"],
)
def test_pages_written_per_child(
    full: Any, changes: dict[str, Any], size: str, calls: int, expected: list[int]
) -> None:
    """Writes of ``size`` to the parent, 2 s apart, as the author of the series measured."""
    b = full.clone()
    build.set_rules(b.machine.state.host, rules(**changes))
    for _ in range(calls):
        start = b.machine.now_us
        assert b.write("parent", f"{size} zswap_writeback_only", "memory.reclaim").errno == 0
        b.machine.advance(start + 2_000_000)
    assert [b.count(name, "zswpwb_proactive") for name in CHILDREN] == expected
    assert b.count("parent", "zswpwb") == sum(expected)


def test_version_1_writes_as_evenly(full: Any) -> None:
    """Row F5 through the file of version 1: the same cursor, the second chance ignored by age."""
    b = full.clone()
    v1 = INTERFACES["v1"]
    assert v1 is not None
    b.machine.rules = v1
    build.set_rules(b.machine.state.host, v1)
    for _ in range(200):
        start = b.machine.now_us
        assert b.write("parent", "max=1M 30").errno == 0
        b.machine.advance(start + 2_000_000)
    assert [b.count(name, "zswpwb_proactive") for name in CHILDREN] == [5120] * 10
