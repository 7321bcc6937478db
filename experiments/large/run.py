"""64 GiB of memory at page_scale 1: builds, is pushed into zswap and runs. Prints what it took as JSON.

python experiments/large/run.py [GIB]
"""

from __future__ import annotations

import json
import resource
import sys
import time

import numpy as np

from zswap_gym.kernel.access import NEVER, REGION, AccessPlan, segments
from zswap_gym.kernel.machine import Machine
from zswap_gym.kernel.spec import CgroupSpec, HostSpec
from zswap_gym.units import PAGE_SIZE, US_PER_S


def plan(pages: int) -> AccessPlan:
    """Allocated within a second; a fiftieth is used about once a minute, the rest never again."""
    rng = np.random.default_rng(1)
    region = np.zeros(1, REGION)
    region["n_pages"], region["seg_count"], region["write_share"] = pages, 1, 0.3
    region["sweep_block"] = region["sweep_period"] = 1
    seg_time, seg_mult, seg_integral = segments([0], [1.0])
    rate = np.zeros(pages, np.float32)
    rate[::50] = 1 / 60
    return AccessPlan(
        rate=rate,
        region=np.zeros(pages, np.uint16),
        clen=rng.integers(200, 2500, pages, dtype=np.uint16),
        regions=region,
        seg_time=seg_time,
        seg_mult=seg_mult,
        seg_integral=seg_integral,
        first_touch=np.arange(pages, dtype=np.int64) * US_PER_S // pages,
        span_us=int(NEVER),
    )


def main(gib: int) -> dict[str, float]:
    """Build, fill, reclaim half, run a minute, write back a GiB."""
    pages = (gib << 30) // PAGE_SIZE
    began = time.monotonic()
    host = HostSpec(ram_bytes=2 * gib << 30, swap_bytes=2 * gib << 30, max_pool_percent=50)
    machine = Machine(host, [CgroupSpec("big")], {"big": plan(pages)}, seed=1)
    built = time.monotonic()
    machine.advance(machine.now_us + 2 * US_PER_S)
    filled = time.monotonic()
    assert machine.write("big", "memory.reclaim", str(gib << 29)).errno == 0
    machine.advance(machine.now_us + 60 * US_PER_S)
    assert machine.write("big", "memory.zswap.proactive_writeback", "max=1G 30").errno == 0
    ended = time.monotonic()
    return {
        "gib": gib,
        "pages": pages,
        "peak_rss_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20), 3),
        "build_s": round(built - began, 1),
        "fill_s": round(filled - built, 1),
        "run_s": round(ended - filled, 1),
        "zswpout": machine.counter("big", "zswpout"),
        "zswpin": machine.counter("big", "zswpin"),
        "zswpwb": machine.counter("big", "zswpwb"),
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 64)))
