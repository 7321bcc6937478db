"""What tests of several rooms share: a copy of the fixture tree, and a small program."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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


# --- hosts as people have them --------------------------------------------------------------------

STAT = {
    "anon": 268435456, "file": 134217728, "kernel": 4194304, "pagetables": 1048576, "zswap": 67108864,
    "zswapped": 201326592, "swapcached": 4096, "inactive_anon": 134217728, "active_anon": 134217728,
    "inactive_file": 67108864, "active_file": 67108864, "workingset_refault_anon": 1000, "pgscan": 100000,
    "pgsteal": 90000, "pgfault": 1000000, "pgmajfault": 1000, "zswpin": 900, "zswpout": 60000, "zswpwb": 50,
}  # fmt: skip
CALM = "avg10=0.00 avg60=0.00 avg300=0.00"
PRESSURE = f"some {CALM} total=100\nfull {CALM} total=50\n"
CGROUP = {
    "cgroup.controllers": "cpu io memory pids\n", "memory.current": "402653184\n", "memory.max": "max\n",
    "memory.high": "max\n", "memory.swap.max": "max\n", "memory.swap.current": "201326592\n",
    "memory.zswap.current": "67108864\n", "memory.zswap.max": "max\n", "memory.zswap.writeback": "1\n",
    "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n",
    "memory.pressure": PRESSURE, "memory.reclaim": "", "memory.zswap.proactive_writeback": "",
    "memory.stat": "".join(f"{key} {value}\n" for key, value in STAT.items()),
}  # fmt: skip
PROC = {
    "meminfo": "MemTotal:       16384000 kB\nMemFree:         4096000 kB\nMemAvailable:    9000000 kB\n"
    "SwapTotal:       8388604 kB\nSwapFree:        8000000 kB\nZswap:             65536 kB\n"
    "Zswapped:         196608 kB\n",
    "pressure/memory": PRESSURE, "uptime": "90000.00 180000.00\n",
    "self/cgroup": "0::/system.slice/zswap-gym.service\n",
    "sys/kernel/random/boot_id": "11111111-2222-3333-4444-555555555555\n",
    "swaps": "Filename Type Size Used Priority\n/dev/vda2 partition 8388604 0 -2\n",
}  # fmt: skip
SYS = {"enabled": "Y\n", "max_pool_percent": "20\n", "shrinker_enabled": "N\n", "compressor": "zstd\n"}


def _write_files(folder: Path, files: Mapping[str, str | None]) -> None:
    for name, text in files.items():
        if text is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)


@pytest.fixture
def make_host_tree(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """``make_host_tree({"a": {"memory.max": "1G"}}, proc={}, root="", **settings)``: a host people have.

    Every cgroup holds the usual files but for those given, None = missing; so does /proc. ``root`` is the
    controller's below the mount. Returns the settings of a controller for it, as its YAML would say them.
    """

    def make(
        cgroups: Mapping[str, Mapping[str, str | None]],
        *,
        proc: Mapping[str, str | None] | None = None,
        top: Mapping[str, str | None] | None = None,
        root: str = "",
        **settings: Any,
    ) -> dict[str, Any]:
        base = tmp_path / "host"
        for name, changed in cgroups.items():
            _write_files(base / "cgroup" / name, {**CGROUP, **changed})
        _write_files(base / "cgroup", {"cgroup.controllers": "cpu io memory pids\n", **(top or {})})
        _write_files(base / "proc", {**PROC, **(proc or {})})
        _write_files(base / "sys" / "module" / "zswap" / "parameters", SYS)
        return {
            "mode": "observe",
            "interval": 1,
            "cgroups": ["*"],
            "law": "fixed_age(age_s=600, max_bytes=8M)",
            "log": str(base / "decisions.jsonl"),
            "cgroup_root": str(base / "cgroup" / root).rstrip("/"),
            "proc_root": str(base / "proc"),
            "sys_root": str(base / "sys"),
            **settings,
        }

    return make


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
