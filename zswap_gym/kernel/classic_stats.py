"""Statistics the classic LRU decides by: memory.stat as of its last flush (mm/memcontrol.c).

inactive_is_low(), the decay of costs, the refault distance and "activations since the last reclaim"
read rstat values. Those are as old as the last flush: the kernel's own every 2 s, a reader's of
memory.stat, or a store's where a memory.zswap.max is set. Scan targets use exact list lengths.
"""

from __future__ import annotations

from zswap_gym.kernel.jit import inline, njit
from zswap_gym.kernel.layout import INF_PAGES, LISTS_PER_CGROUP, S_ACTIVATE

FLUSH_US = 2_000_000  # FLUSH_TIME
INACTIVE, ACTIVE = 0, 1  # the lists of a cgroup


@inline
def list_length(st, c, which):
    """Exact length of c's inactive or active list."""
    return st.lists[c * LISTS_PER_CGROUP + which].length


@njit
def flush_stats(st, c):
    """mem_cgroup_flush_stats(): take the values as they are now."""
    cg = st.cgs[c]
    cg.flushed_at = st.host[0].now
    cg.seen_inactive = list_length(st, c, INACTIVE)
    cg.seen_active = list_length(st, c, ACTIVE)
    cg.seen_activations = st.stat[c, S_ACTIVATE]


@inline
def _refresh(st, c):
    cg = st.cgs[c]
    if cg.flushed_at < 0 or st.host[0].now - cg.flushed_at >= FLUSH_US or cg.zswap_max < INF_PAGES:
        flush_stats(st, c)


@inline
def seen_active(st, c):
    """Length of the active list, as of the last flush."""
    _refresh(st, c)
    return st.cgs[c].seen_active


@inline
def seen_activations(st, c):
    """Refault activations, as of the last flush."""
    _refresh(st, c)
    return st.cgs[c].seen_activations


@inline
def inactive_is_low(st, c):
    """Inactive shorter than active: the ratio is 1 below a GiB of anonymous memory."""
    _refresh(st, c)
    return st.cgs[c].seen_inactive < st.cgs[c].seen_active


@njit
def add_cost(st, c, amount):
    """lru_note_cost(): decays where it outgrows a quarter of the lists."""
    _refresh(st, c)
    cg = st.cgs[c]
    cg.anon_cost += amount
    if cg.anon_cost > (cg.seen_inactive + cg.seen_active) // 4:
        cg.anon_cost //= 2
