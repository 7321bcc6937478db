"""What tests of several rooms share: a copy of the fixture tree, and a small program."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from zswap_gym.kernel.access import REGION, AccessPlan, segments

# Machines are busy and the first call compiles: how long an example takes says nothing.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

FIXTURES = Path(__file__).parent / "fixtures" / "cgroup"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A machine with the version 1 interface: ``cgroup/``, ``proc/``, ``sys/``."""
    return Path(shutil.copytree(FIXTURES / "6.12-v1", tmp_path / "machine"))


def _access_plan(n: int, seed: int, rate: float = 1.0) -> AccessPlan:
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
def access_plan() -> Callable[..., AccessPlan]:
    """``access_plan(n, seed, rate=1.0)``: some pages hot, most cold."""
    return _access_plan
