"""Shadows: what an evicted page leaves behind, and what a refault makes of it (mm/workingset.c).

MGLRU remembers min_seq and calls a refault recent if it has not moved. The classic LRU remembers
how many pages had been evicted or activated before, and activates a page that was away for no more
of them than the active list is long (spec/corrections.md, memcg-model 6).
"""

from __future__ import annotations

from zswap_gym.kernel.classic_stats import add_cost, seen_active
from zswap_gym.kernel.jit import inline, njit, rare
from zswap_gym.kernel.layout import (
    F_ACTIVE,
    F_WORKINGSET,
    LRU_CLASSIC,
    S_ACTIVATE,
    S_REFAULT,
    S_RESTORE,
)

REFAULT_COST = 32  # lru_note_cost_refault(): SWAP_CLUSTER_MAX a page, that is per scanned chunk


@inline
def leave_shadow(st, c, p):
    """workingset_eviction()."""
    cg = st.cgs[c]
    page = st.pages[p]
    if st.host[0].lru != LRU_CLASSIC:
        page.shadow = cg.min_seq
        return
    was = 1 if page.flags & F_WORKINGSET else 0
    page.shadow = (cg.nonresident << 1 | was) & 0x7FFFFFFF
    cg.nonresident += 1


@njit
def note_refault(st, c, p, in_fault):
    """workingset_refault(), also called for every zswap writeback, through __read_swap_cache_async().

    A controller that watches workingset_refault_anon sees its own writebacks (FINDINGS 2).
    """
    page = st.pages[p]
    k = st.host[0].scale
    if page.shadow < 0:
        return
    st.stat[c, S_REFAULT] += k
    if rare(st.host[0].lru == LRU_CLASSIC):
        _classic_refault(st, c, p)
    else:
        recent = page.shadow == st.cgs[c].min_seq
        st.stat[c, S_ACTIVATE] += recent * k
        if in_fault:
            st.stat[c, S_RESTORE] += recent * k
            page.flags |= recent * F_WORKINGSET
    page.shadow = -1


@njit
def _classic_refault(st, c, p):
    cg = st.cgs[c]
    page = st.pages[p]
    distance = cg.nonresident - (page.shadow >> 1)
    if distance > seen_active(st, c):
        return
    page.flags |= F_ACTIVE
    cg.nonresident += 1
    st.stat[c, S_ACTIVATE] += 1
    if page.shadow & 1:
        page.flags |= F_WORKINGSET
        st.stat[c, S_RESTORE] += 1
        add_cost(st, c, REFAULT_COST)
