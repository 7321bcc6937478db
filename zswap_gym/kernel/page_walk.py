"""MGLRU's page-table walks, their filters, and look-around (mm/vmscan.c: walk_mm(), lru_gen_look_around()).

Aging clears accessed bits by walking the page tables of every program that ran since its last
walk. A walk leaves a filter behind: tables that held many young pages; the walk after next only
looks at those. Eviction finds the young neighbours of a young page in its page table and saves
them too (spec/mglru.md 4 and 5). The kernel's Bloom filters are exact sets here.

Used where the host's LRU is modelled in full; the simple model walks everything, in O(1).
"""

from __future__ import annotations

from zswap_gym.kernel.folio_batch import batch_push, cpu
from zswap_gym.kernel.huge_page import examine_huge, recount
from zswap_gym.kernel.jit import inline, njit
from zswap_gym.kernel.layout import (
    B_ACTIVATE,
    F_FULLREF,
    F_LRUREF,
    IN_PIECES,
    NO_LIST,
    RESIDENT,
    S_WALKS,
    TABLE,
    WHOLE,
)
from zswap_gym.kernel.mglru import examine, retag
from zswap_gym.kernel.rng import uniform


@inline
def _table(st, p):
    """Index in ``tables`` of the page table that maps page p."""
    page = st.pages[p]
    return st.vmas[page.region].table + (p - st.regions[page.region].first_page) // TABLE


@inline
def _promote(st, c, p):
    """A young page is tagged youngest where it lies; one off the LRU is marked instead."""
    page = st.pages[p]
    if st.on_list[p] == NO_LIST:
        page.flags |= F_LRUREF
        return
    page.flags &= ~(F_LRUREF | F_FULLREF)
    if st.gen[p] & 3 != st.cgs[c].max_seq & 3:
        recount(st, c, p, -1)
        retag(st, c, p, st.cgs[c].max_seq)
        recount(st, c, p, 1)


@njit
def _walk_huge(st, c, first):
    """walk_pmd_range_locked(), or its PTEs: young pages of a huge page as far as a filter counts them."""
    if st.pages[first].state != RESIDENT:
        return 0
    young, _ = examine_huge(st, c, first)
    if young > 0:
        _promote(st, c, first)
    return young if st.pages[first].folio == IN_PIECES else 0


@njit
def _walk_table(st, c, first, end):
    """walk_pte_range(): young pages found among [first, end), their bits cleared."""
    if st.pages[first].folio:
        return _walk_huge(st, c, first)
    young = 0
    for p in range(first, end):
        if st.pages[p].state == RESIDENT and examine(st, c, p):
            young += 1
            _promote(st, c, p)
    return young


@inline
def _has_run(st, c):
    """lru_gen_use_mm(): was the program switched in since its last walk?

    Where it reclaims for itself nothing else of it runs, and a second walk finds nothing to do;
    unless it was preempted in between, which the scheduler decides and a seed stands for.
    """
    cg = st.cgs[c]
    if st.host[0].task == c:
        return cg.ran == 1 or (st.host[0].preempted > 0.0 and uniform(st) < st.host[0].preempted)
    return cg.run_from <= st.host[0].now and cg.run_until > cg.walked_at


@njit
def walk(st, c):
    """iterate_mm_list() of one aging: walk c's program unless it has not run since the last walk."""
    cg = st.cgs[c]
    forced = cg.walked_at < 0
    if cg.n_pages == 0 or not (forced or _has_run(st, c)):
        return
    cg.ran = 0
    cg.walked_at = st.host[0].now
    st.stat[c, S_WALKS] += 1
    use = 1 << (cg.max_seq & 1)
    fill = 1 << ((cg.max_seq + 1) & 1)
    filtered = not forced and cg.filters & use != 0
    cg.filters |= fill
    p = cg.first_page
    while p < cg.first_page + cg.n_pages:
        rec = st.regions[st.pages[p].region]
        last = rec.first_page + rec.n_pages
        table = _table(st, p)
        end = min(p + TABLE, last)
        passes = not filtered or st.tables[table] & use != 0 or st.pages[p].folio == WHOLE
        st.tables[table] &= ~fill
        if passes and _walk_table(st, c, p, end) * 8 >= TABLE:
            st.tables[table] |= fill
        p = end


@njit
def look_around(st, c, p):
    """Eviction found page p young: so are neighbours among 64 PTEs; keep them as well.

    With a walk structure at hand (memory.reclaim) they are tagged, else moved through the
    lru_activate batch, which counts pgactivate.
    """
    cg = st.cgs[c]
    rec = st.regions[st.pages[p].region]
    start = p - (p - rec.first_page) % TABLE
    end = min(start + TABLE, rec.first_page + rec.n_pages)
    if end - start > 64:
        if p - start < 32:
            end = start + 64
        elif end - p < 32:
            start = end - 64
        else:
            start = p - 32
            end = p + 32
    young = 1
    for q in range(start, end):
        page = st.pages[q]
        if page.state != RESIDENT or not examine(st, c, q):
            continue
        young += 1
        if st.host[0].walking or st.on_list[q] == NO_LIST:
            _promote(st, c, q)
        elif st.gen[q] & 3 != cg.max_seq & 3:
            page.flags &= ~(F_LRUREF | F_FULLREF)
            batch_push(st, cpu(st), B_ACTIVATE, q)
    use = 1 << (cg.max_seq & 1)
    if young * 8 >= end - start and cg.filters & use:
        st.tables[_table(st, p)] |= use
