"""The host runs short of memory: watermarks, kswapd, direct reclaim, OOM (mm/page_alloc.c, mm/vmscan.c).

One zone. min_free_kbytes is the root of 16 times its size in kB (init_per_zone_wmark_min()), low and
high lie above it by the larger of a quarter of it and a thousandth of memory
(__setup_per_zone_wmarks(), watermark_scale_factor 10). An allocation that leaves less than ``low``
free wakes kswapd, which reclaims beside the programs over the whole tree until ``high`` is free; one
that finds less than ``min`` reclaims 32 pages itself, and after 16 fruitless rounds kills.

Free memory = RAM - resident pages - what is never reclaimed - zswap's pool - what zram holds, so the
watermarks are kept as thresholds on memcg.ram_used().
"""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING

from zswap_gym.kernel.jit import inline, njit
from zswap_gym.kernel.jobs import HOST_JOBS
from zswap_gym.kernel.layout import S_EV_OOM_KILL
from zswap_gym.kernel.memcg import ram_used
from zswap_gym.kernel.oom import oom_kill
from zswap_gym.kernel.reclaim import MAX_RECLAIM_RETRIES, begin, step, try_free

if TYPE_CHECKING:
    from zswap_gym.kernel.layout import State

DIRECT_GOAL = 32  # SWAP_CLUSTER_MAX
SLACK = 64  # MIN_LRU_BATCH: should_abort_scan()


def watermarks(ram_pages: int) -> tuple[int, int, int]:
    """(min, low, high) in pages of a zone of that many."""
    kib = min(max(isqrt(ram_pages * 4 * 16), 128), 262_144)
    lowest = kib // 4
    gap = max(lowest // 4, ram_pages // 1000)
    return lowest, lowest + gap, lowest + 2 * gap


def set_watermarks(st: State) -> None:
    """Enter the thresholds of this host."""
    host = st.host
    all_pages = int(host["ram_pages"][0])
    usable = all_pages - int(st.cgs["base"][0])
    lowest, low, high = watermarks(all_pages)
    host["direct_at"], host["wake_at"], host["stop_at"] = usable - lowest, usable - low, usable - high
    host["exhausted_at"] = usable


@inline
def short_of_memory(st):
    """zone_watermark_fast(): less than ``low`` would be free."""
    return ram_used(st) >= st.host[0].wake_at


@njit
def reclaim_globally(st, c, t):
    """The slow path of an allocation for c: (False if c was killed for it, time to go on)."""
    host = st.host[0]
    if not host.kswapd_wanted and host.kswapd_failures < MAX_RECLAIM_RETRIES:
        host.kswapd_wanted = 1
        host.jobs_changed = 1
    tries = 0
    while ram_used(st) >= host.direct_at:
        freed, t = try_free(st, 0, DIRECT_GOAL, t, True)
        if freed > 0:  # should_reclaim_retry(): progress, so the allocation is tried again
            host.kswapd_failures = 0
            return True, t
        tries += 1
        if tries > MAX_RECLAIM_RETRIES:
            if ram_used(st) < host.exhausted_at:
                return True, t  # what is left below ``min`` goes to those who must have it
            kills = st.stat[c, S_EV_OOM_KILL]
            if oom_kill(st, 0, c) < 0:
                return True, t
            return st.stat[c, S_EV_OOM_KILL] == kills, t
    return True, t


@inline
def kswapd_begin(st):
    """balance_pgdat() from priority 12, full walks of the tree."""
    j = len(st.jobs) - HOST_JOBS
    begin(st, j, 0, max(ram_used(st) - st.host[0].stop_at, 1))
    st.jobs[j].attempt = 1


@njit
def kswapd_step(st, t):
    """A stretch of kswapd(): (back to sleep?, time to go on)."""
    host = st.host[0]
    job = st.jobs[len(st.jobs) - HOST_JOBS]
    if ram_used(st) + SLACK <= host.stop_at:
        host.kswapd_failures = 0
        return True, t
    if not job.active:
        if job.freed == 0:
            host.kswapd_failures += 1
            return True, t  # whoever allocates next wakes it again, up to 16 times in vain
        kswapd_begin(st)
        return not job.active, t
    return False, step(st, len(st.jobs) - HOST_JOBS, 0, t, False)
