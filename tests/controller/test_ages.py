"""An age as a size, where the kernel takes no age."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zswap_gym.controller.ages import Ages
from zswap_gym.controller.config import ControllerConfig
from zswap_gym.controller.loop import Controller
from zswap_gym.host.types import NOTHING, Request, Sample

MIB = 1 << 20


def sample(time_s: float, stored_mib: int, total_mib: int) -> Sample:
    return Sample(
        "a", 7, time_s=time_s, zswpout=stored_mib * 256.0, zswapped=total_mib * float(MIB),
        zswap=total_mib * MIB / 3.0, memory_current=64.0 * MIB, anon=64.0 * MIB,
    )  # fmt: skip


def watched_ages(page_size: int = 4096) -> Ages:
    """10 MiB stored before the first look at 0 s, 10 more by 100 s."""
    watched = Ages(10.0, page_size)
    watched.watch([sample(0.0, 10, 10)])
    for t in range(10, 101, 10):
        watched.watch([sample(float(t), 10 + t // 10, 10 + t // 10)])
    return watched


@pytest.fixture
def ages() -> Ages:
    return watched_ages()


def test_no_more_than_there_is_of_that_age(ages: Ages) -> None:
    old = ages.as_size(7, Request(90.0, 100 * MIB))
    assert old.max_bytes == pytest.approx(10 * MIB, rel=0.15)
    assert old.release == 100 * MIB
    half = ages.as_size(7, Request(50.0, 100 * MIB))
    assert half.max_bytes == pytest.approx(15 * MIB, rel=0.15)
    assert ages.as_size(7, Request(50.0, MIB)).max_bytes == MIB


def test_nothing_that_old_is_a_release_only(ages: Ages) -> None:
    assert ages.as_size(7, Request(3600.0, 5 * MIB)) == Request(None, 0, 5 * MIB)
    assert ages.as_size(8, Request(10.0, 5 * MIB)) == Request(None, 0, 5 * MIB)  # never seen
    assert ages.as_size(7, NOTHING) == NOTHING
    release = Request(None, 0, MIB)
    assert ages.as_size(7, release) == release


@pytest.mark.parametrize("interface", ["v1", "v3", "v5"])
def test_the_controller_bounds_what_it_asks(
    make_host: Callable[..., Any], tmp_path: Path, interface: str
) -> None:
    """A law that asks for 64 MiB of entries an hour old, on a host that has been watched for a minute."""

    class Greedy:
        name = "greedy"

        def decide(self, samples: list[Sample], dt_s: float) -> list[Request]:  # noqa: ARG002
            return [Request(3600.0, 64 * MIB, 0) for _ in samples]

        def asked(self, inode: int, request: Request) -> None:
            """It does not remember."""

        def describe(self) -> dict[str, Any]:
            return {"kind": "test"}

    files = {"log": str(tmp_path / "log"), "state": str(tmp_path / "state")}
    config = ControllerConfig.from_mapping({"mode": "act", "cgroups": ["*"], "interval": 10, **files})
    host = make_host(interface=interface)
    host.sleep(30)
    Controller(host, Greedy(), config, complain=lambda _: None).run(ticks=5)
    assert host.machine.counter("", "zswpwb_proactive") == 0


def test_a_size_is_whole_pages_of_the_machines(ages: Ages) -> None:
    """Less than a page more would be of entries that are too young."""
    small = ages.as_size(7, Request(50.0, 100 * MIB)).max_bytes
    large = watched_ages(page_size=1 << 20).as_size(7, Request(50.0, 100 * MIB)).max_bytes
    assert large == small >> 20 << 20
    assert large < small
