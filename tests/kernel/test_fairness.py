"""Fairness of one call on a parent: the rows of spec/series.md 6.1 that version 1's cursor gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from zswap_gym.kernel.spec import COMPRESSORS

GIB = 1 << 30
CHILDREN = [f"parent/{i}" for i in range(10)]


@pytest.mark.slow
def test_f5_cursor_1m_batch_128(make: Callable[..., Any], make_plan: Callable[..., Any]) -> None:
    """Ten children of 1600 MB, half random half zero, all in zswap; 200 writes of 1M, 2 s apart.

    Measured on the kernel: 5120 pages from each child. The second chance was bypassed, as version 1
    does for old entries.
    """
    pages = 1600 * 256
    child = make_plan(pages, clen=2139, step_us=1)
    b = make(
        {"parent": None, **dict.fromkeys(CHILDREN, child)},
        exact=False,
        ram_bytes=36 * GIB,
        swap_bytes=32 * GIB,
        max_pool_percent=50,
        compressor=COMPRESSORS["lz4"],
    )
    b.fill(*CHILDREN)
    assert b.gauge("parent", "zswapped") == 16_000 << 20
    b.run(60)
    for _ in range(200):
        start = b.machine.now_us
        assert b.write("parent", "max=1M 30").errno == 0
        b.machine.advance(start + 2_000_000)
    assert [b.count(name, "zswpwb_proactive") for name in CHILDREN] == [5120] * 10
    assert b.count("parent", "zswpwb") == 200 * 256
