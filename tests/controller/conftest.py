"""Samples, a copy of the fixture tree, and deciders that are easy to foresee."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from zswap_gym.host.simulated import SimulatedHost
from zswap_gym.host.types import Sample
from zswap_gym.kernel.access import REGION, AccessPlan, segments
from zswap_gym.kernel.spec import CgroupSpec, HostSpec, StageOneSpec

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
def make_host() -> Callable[[], SimulatedHost]:
    """``make_host()``: a small simulated machine with cgroups web and db."""

    def make() -> SimulatedHost:
        spec = HostSpec(ram_bytes=64 << 20, swap_bytes=128 << 20)
        tree = [CgroupSpec("web", memory_max=6 << 20), CgroupSpec("db", memory_high=12 << 20, threads=2)]
        plans = {"web": access_plan(2048, 1), "db": access_plan(4096, 2)}
        return SimulatedHost((spec, tree, plans, StageOneSpec("fixed", 1_000_000, 1 << 20), []), seed=1)

    return make
