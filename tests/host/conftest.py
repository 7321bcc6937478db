"""A copy of the fixture tree that tests may change, and a small simulated machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields

import pytest

from zswap_gym.host.simulated import SimulatedHost
from zswap_gym.kernel.access import AccessPlan
from zswap_gym.kernel.spec import CgroupSpec, HostSpec, StageOneSpec


@pytest.fixture
def make_host(access_plan: Callable[..., AccessPlan]) -> Callable[..., SimulatedHost]:
    """``make_host(seed=1, events=(), **spec)``: a small machine; web is below apps, db beside it."""

    def make(seed: int = 1, events: Sequence[object] = (), **options) -> SimulatedHost:
        names = {f.name for f in fields(HostSpec)}
        spec = {name: options.pop(name) for name in list(options) if name in names}
        host = HostSpec(**{"ram_bytes": 64 << 20, "swap_bytes": 128 << 20, **spec})
        tree = [
            CgroupSpec("apps", swap_max=96 << 20),
            CgroupSpec("web", parent="apps", memory_max=6 << 20, base_bytes=1 << 18, zswap_max=16 << 20),
            CgroupSpec("db", memory_high=12 << 20, threads=2),
        ]
        plans = {"web": access_plan(2048, seed), "db": access_plan(4096, seed + 1)}
        stage_one = StageOneSpec("fixed", 1_000_000, 1 << 20)
        return SimulatedHost((host, tree, plans, stage_one, list(events)), seed, **options)

    return make
