"""How requests are spelt."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zswap_gym.host.dialects import (
    AGE_LIMIT_S,
    DIALECTS,
    STOCK,
    V1,
    V2,
    V3,
    V4,
    V5,
    Dialect,
    probe,
    whole,
    writes,
)
from zswap_gym.host.files import parse_keyed
from zswap_gym.host.simulated_files import cgroup_files
from zswap_gym.host.types import NOTHING, Request
from zswap_gym.kernel.interfaces import parse_proactive, parse_reclaim
from zswap_gym.kernel.spec import INTERFACES
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


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        (V2, "3145728 zswap_writeback_only"),
        (V3, "3145728 zswap_writeback_only"),
        (V4, "1048576 zswap_writeback_only"),
        (V5, "1048576 source=zswap"),
    ],
)
def test_versions_2_to_5(dialect: Dialect, text: str) -> None:
    """A key of memory.reclaim, no age; 4 and 5 count compressed bytes."""
    spelt = writes(dialect, Request(60, 3 << 20, 0), compressed_share=1 / 3)
    assert spelt.writeback == ("memory.reclaim", text)
    assert spelt.notes == (f"{dialect.name} dialect: no age, 60 s was dropped",)
    parsed = parse_reclaim(text, key=text.split()[1])
    assert parsed.proactive
    assert parsed.size == int(text.split(maxsplit=1)[0])


@pytest.mark.parametrize("name", list(INTERFACES))
def test_the_dialect_a_simulated_kernel_understands_is_found(make_host: Any, name: str) -> None:
    """Versions 2 and 3 cannot be told apart without writing something back, and are spelt alike.

    A stock kernel is found to be one; pulses are asked for by name.
    """
    host = make_host(interface=name)
    cgroup = host.cgroups()[0]

    def exists(file: str) -> bool:
        return file in cgroup_files(host.machine, 1)

    def keys() -> list[str]:
        return list(parse_keyed(host.read(cgroup, "memory.stat"), "memory.stat"))

    before = host.machine.snapshot()
    found = probe(exists, lambda file, text: host.write(cgroup, file, text) == 0, keys)
    looks_like = {"v2": "v3", "stock-pulse": "stock"}
    assert found is DIALECTS[looks_like.get(name, name)]
    assert found.text == host.dialect.text or name == "stock-pulse"
    after = host.machine.state
    assert all((getattr(before, field) == getattr(after, field)).all() for field in ("stat", "pages"))


def test_probe_without_writing() -> None:
    assert probe(lambda file: file == "memory.zswap.proactive_writeback") is V1
    assert probe(lambda file: file == "memory.reclaim") is STOCK
    assert probe(lambda _file: False) is STOCK


def test_a_file_that_takes_anything_is_not_a_kernels() -> None:
    assert probe(lambda file: file == "memory.reclaim", lambda _file, _text: True) is STOCK
