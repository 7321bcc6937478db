"""How requests are spelt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zswap_gym.host.dialects import AGE_LIMIT_S, STOCK, V1, Dialect, probe, whole, writes
from zswap_gym.host.types import NOTHING, Request
from zswap_gym.kernel.interfaces import parse_proactive, parse_reclaim
from zswap_gym.units import PAGE_SIZE

requests = st.builds(
    Request,
    st.none() | st.floats(0, 1e12),
    st.integers(0, 1 << 60),
    st.none() | st.integers(0, 1 << 60),
)


@pytest.mark.parametrize(
    ("request_", "writeback", "release"),
    [
        (Request(60, 10 << 20), "max=10485760 60", "10485760"),
        (Request(59.2, 10 << 20, 0), "max=10485760 60", None),
        (Request(0.0, 4096, 0), "max=4096 1", None),
        (Request(5, 1, 1), "max=4096 5", "4096"),
        (Request(5, 8191), "max=4096 5", "4096"),
        (Request(None, 8192), None, "8192"),
        (Request(None, 0, 4096), None, "4096"),
        (Request(5, 0, 4096), None, "4096"),
        (Request(1e300, 4096, 0), f"max=4096 {AGE_LIMIT_S}", None),
        (NOTHING, None, None),
    ],
)
def test_version_1(request_: Request, writeback: str | None, release: str | None) -> None:
    spelt = writes(V1, request_)
    assert spelt.writeback == (None if writeback is None else ("memory.zswap.proactive_writeback", writeback))
    assert spelt.release == (None if release is None else ("memory.reclaim", release))
    assert spelt.notes == ()


@given(requests)
def test_the_kernel_takes_whatever_is_written(request: Request) -> None:
    spelt, want = writes(V1, request), whole(request)
    if spelt.writeback is not None:
        parsed = parse_proactive(spelt.writeback[1])
        assert parsed.age_s == want.age_s >= min(request.age_s, AGE_LIMIT_S)
        assert parsed.max_pages * PAGE_SIZE == want.writeback_bytes <= max(request.max_bytes, PAGE_SIZE)
    if spelt.release is not None:
        assert parse_reclaim(spelt.release[1]).size == want.release_bytes
    assert (spelt.writeback is None and spelt.release is None) == request.is_nothing


def test_a_stock_kernel_releases_and_says_what_it_cannot() -> None:
    spelt = writes(STOCK, Request(60, 1 << 20))
    assert spelt.writeback is None
    assert spelt.release == ("memory.reclaim", "1048576")
    assert spelt.notes == ("stock kernel: no proactive writeback, release only",)
    assert writes(STOCK, Request(None, 1 << 20)).notes == ()


def test_a_dialect_is_data() -> None:
    """Version 5 of the series: no age, compressed bytes, its own key in memory.reclaim."""
    v5 = Dialect("v5", "memory.reclaim", "{bytes} source=zswap", has_age=False, unit="compressed")
    spelt = writes(v5, Request(60, 3 << 20, 0), compressed_share=1 / 3)
    assert spelt.writeback == ("memory.reclaim", f"{1 << 20} source=zswap")
    assert spelt.notes == ("v5 dialect: no age, 60 s was dropped",)


def test_probe() -> None:
    assert probe(lambda file: file == "memory.zswap.proactive_writeback") is V1
    assert probe(lambda file: file == "memory.reclaim") is STOCK
