"""The dynamic zswap shrinker (mm/zswap.c of 6.12, off by default).

It runs after the LRU in every reclaim priority of a cgroup (mm/shrinker.c:do_shrink_slab(),
zswap_shrinker_count(), zswap_shrinker_scan()). What it writes never counts towards the goal.
"""

from __future__ import annotations

from zswap_gym.kernel.jit import njit, rare
from zswap_gym.kernel.layout import F_REFERENCED, LISTS_PER_CGROUP, ZSWAP_LIST
from zswap_gym.kernel.zswap import oldest_entry, rotate, write_back

SHRINK_BATCH = 128


@njit
def _scan(st, c, budget, t, in_fault):
    """zswap_shrinker_scan(): walk ``budget`` real pages' entries; (real pages written, time)."""
    scale = st.host[0].scale
    written = 0
    while budget > 0:
        p = oldest_entry(st, c)
        if p < 0:
            break
        budget -= scale
        if st.pages[p].flags & F_REFERENCED:
            st.pages[p].flags &= ~F_REFERENCED
            rotate(st, c, p)
        else:
            t = write_back(st, st.owner[p], p, t, in_fault)
            written += scale
    return written, t


@njit
def shrink_slab(st, c, prio, t, in_fault):
    """The zswap shrinker of cgroup c at one priority; returns the time to go on."""
    host = st.host[0]
    if not host.shrinker:
        return t
    cg = st.cgs[c]
    own = st.lists[c * LISTS_PER_CGROUP + ZSWAP_LIST].length * host.scale
    if not cg.writeback_effective or own == 0 or cg.zpages == 0:
        return t
    taken = min(cg.disk_swapins, own)
    cg.disk_swapins -= taken
    count = (own - taken) * (cg.zbytes // 4096) // cg.zpages
    if count == 0:
        return t
    deferred = cg.deferred
    delta = (count >> prio) * 4 // 2
    total = min((deferred >> prio) + delta, 2 * count)
    scanned = 0
    while total >= SHRINK_BATCH or total >= count:
        batch = min(SHRINK_BATCH, total)
        if batch <= 0 or not host.shrinker:
            break
        written, t = _scan(st, c, batch, t, in_fault)
        if rare(host.pulsing):
            host.pulse_left -= written
            # What ends a batch exactly is seen when the next one has begun.
            host.shrinker = host.pulse_left >= 0 and t <= host.pulse_until
        if written == 0:  # SHRINK_STOP
            break
        total -= batch
        scanned += batch
    cg.deferred = min(max(deferred + delta - scanned, 0), 2 * count)
    return t
