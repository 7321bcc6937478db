"""A copy of the fixture tree that tests may change, and a small simulated machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from zswap_gym.host.simulated import SimulatedHost
from zswap_gym.kernel.access import REGION, AccessPlan, segments
from zswap_gym.kernel.spec import CgroupSpec, HostSpec, StageOneSpec

FIXTURES = Path(__file__).parents[1] / "fixtures" / "cgroup"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A machine with the version 1 interface: ``cgroup/``, ``proc/``, ``sys/``."""
    return Path(shutil.copytree(FIXTURES / "6.12-v1", tmp_path / "machine"))


def access_plan(n: int, seed: int, rate: float = 1.0) -> AccessPlan:
    """A fifth of n pages accessed about every 1 / rate seconds, the rest once in ten minutes or so."""
    rng = np.random.default_rng(seed)
    region = np.zeros(1, REGION)
    region["n_pages"], region["seg_count"], region["write_share"] = n, 1, 0.3
    seg_time, seg_mult, seg_integral = segments([0], [1.0])
    return AccessPlan(
        rate=np.where(rng.random(n) < 0.2, rate, 0.002).astype(np.float32),
        region=np.zeros(n, np.uint16),
        clen=rng.integers(300, 3000, n).astype(np.uint16),
        regions=region,
        seg_time=seg_time,
        seg_mult=seg_mult,
        seg_integral=seg_integral,
        first_touch=np.arange(n, dtype=np.int64) * 100,
        span_us=10**12,
    )


@pytest.fixture
def make_host() -> Callable[..., SimulatedHost]:
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
