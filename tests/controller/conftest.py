"""Samples, a copy of the fixture tree, and deciders that are easy to foresee."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from zswap_gym.host.types import Sample

FIXTURES = Path(__file__).parents[1] / "fixtures" / "cgroup"

GOOD = Sample(
    "web",
    inode=7,
    time_s=1000.0,
    memory_current=float(64 << 20),
    zswap=float(8 << 20),
    zswapped=float(32 << 20),
    swap_current=float(40 << 20),
    host_mem_total=float(1 << 30),
    host_swap_total=float(1 << 30),
    host_swap_free=float(900 << 20),
)
"""Nothing about it stops a request."""


@pytest.fixture
def sample() -> Callable[..., Sample]:
    """``sample(**changes)``: a sample that stops no request, changed."""
    return lambda **changes: replace(GOOD, **changes)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A machine with the version 1 interface: ``cgroup/``, ``proc/``, ``sys/``."""
    return Path(shutil.copytree(FIXTURES / "6.12-v1", tmp_path / "machine"))
