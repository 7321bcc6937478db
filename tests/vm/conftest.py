"""One guest for each kernel and session; where packages cannot be had the tests say so and are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kernelvm.image import parts
from kernelvm.machine import Guest
from kernelvm.packages import UnavailableError


@pytest.fixture(scope="session", params=["6.12", "newest"])
def kernel(request: pytest.FixtureRequest) -> str:
    """One of Debian's kernels that can be pulsed."""
    return str(request.param)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, kernel: str) -> Path:
    """Of the guest's disks."""
    return Path(tmp_path_factory.mktemp(f"guest-{kernel}"))


@pytest.fixture(scope="session")
def booted(kernel: str, folder: Path) -> Iterator[Guest]:
    """A guest that all tests share."""
    try:
        made = parts(kernel)
    except UnavailableError as error:
        pytest.skip(f"no guest with kernel {kernel}: {error}")
    with Guest(made, folder) as guest:
        yield guest


@pytest.fixture
def guest(booted: Guest) -> Iterator[Guest]:
    """The guest with no cgroups but its own, before and after."""
    booted.call("empty")
    yield booted
    booted.call("empty")


@pytest.fixture(scope="module")
def old_guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """Debian 12's own kernel, whose zswap has no shrinker that could be turned on."""
    try:
        made = parts("6.1")
    except UnavailableError as error:
        pytest.skip(f"no guest with kernel 6.1: {error}")
    with Guest(made, Path(tmp_path_factory.mktemp("guest-6.1"))) as guest:
        yield guest
