"""Samples, a copy of the fixture tree, and deciders that are easy to foresee."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from zswap_gym.host.simulated import SimulatedHost
from zswap_gym.host.types import Sample
from zswap_gym.kernel.access import AccessPlan
from zswap_gym.kernel.spec import CgroupSpec, HostSpec, StageOneSpec

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
def make_host(access_plan: Callable[..., AccessPlan]) -> Callable[..., SimulatedHost]:
    """``make_host(interface="v1")``: a small simulated machine with cgroups web and db."""

    def make(interface: str = "v1") -> SimulatedHost:
        spec = HostSpec(ram_bytes=64 << 20, swap_bytes=128 << 20, interface=interface)
        tree = [CgroupSpec("web", memory_max=6 << 20), CgroupSpec("db", memory_high=12 << 20, threads=2)]
        plans = {"web": access_plan(2048, 1), "db": access_plan(4096, 2)}
        return SimulatedHost((spec, tree, plans, StageOneSpec("fixed", 1_000_000, 1 << 20), []), seed=1)

    return make
