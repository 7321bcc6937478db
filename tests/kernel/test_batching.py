"""Batched shrink_memcg(), the part of the series that went upstream: the table of spec/series.md 6.2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from zswap_gym.kernel.access import NEVER
from zswap_gym.kernel.spec import COMPRESSORS, DEVICES
from zswap_gym.units import PAGE_SIZE

Make = Callable[..., Any]
GIB = 1 << 30

MEASURED = {  # baseline, patched (spec/series.md 6.2)
    "shrink_worker_runs": (5_363, 85),
    "shrink_memcg_calls": (11_345_012, 188_264),
    "zswpwb": (40_214, 40_275),
    "stores": (161_190, 168_741),
    "zswpout": (102_743, 127_644),
    "stores_refused": (58_447, 41_097),
    "pool_limit_hit": (55_826, 14_062),
    "pswpout": (98_659, 81_333),
}
OTHERS = 90
"""Cgroups with nothing in zswap: 11.3 M calls for 16 x 5363 rotations and 40 k pages is 90 for each."""


def measure(make: Make, make_plan: Make, kernel: str) -> dict[str, int]:
    """512 MB of random memory into zswap at once, then one small page every few ms for 120 s."""
    big, small = 131_072, 37_600
    clen = np.concatenate([np.full(big, 4096), np.full(small, 40)]).astype(np.uint16)
    plan = make_plan(big + small, clen=clen, step_us=1)
    start = 1_000_000
    plan.first_touch[big:] = NEVER
    plan.first_touch[big:] = 60 * start + np.arange(small) * 3_200
    tree = {"test": plan, **{f"other{i}": None for i in range(OTHERS)}}
    b = make(
        tree,
        exact=False,
        kernel=kernel,
        ram_bytes=32_944 * 1_000_000,
        swap_bytes=8 * GIB,
        max_pool_percent=1,
        accept_threshold_percent=50,
        compressor=COMPRESSORS["lz4"],
        device=DEVICES["sata"],
    )
    b.run(1)
    assert b.write("test", str(big * PAGE_SIZE), "memory.reclaim").errno == 0
    base = int(b.machine.state.cgs["lag"][1])
    for i in range(small):
        b.machine.advance(base + int(plan.first_touch[big + i]) + 1_000)
        b.write("test", "4K", "memory.reclaim")
    found = {name: b.count("", name) for name in MEASURED if name != "stores"}
    return found | {"stores": found["zswpout"] + found["stores_refused"]}


def test_patched_against_baseline(make: Make, make_plan: Make) -> None:
    """Every row's ratio patched / baseline within a factor 1.5 of the measured one.

    The baseline is 7.2: incompressible pages are stored, one entry is tried per visit, as in 6.18.
    """
    baseline, patched = measure(make, make_plan, "6.18"), measure(make, make_plan, "7.3")
    for name, (before, after) in MEASURED.items():
        ratio = patched[name] / baseline[name] / (after / before)
        assert 1 / 1.5 <= ratio <= 1.5, (name, baseline[name], patched[name])
