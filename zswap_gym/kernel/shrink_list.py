"""shrink_folio_list() over a batch of isolated pages, and how MGLRU puts back what it kept (mm/vmscan.c).

Used where the LRU is modelled in full or classic: pages leave and return in order, and what is
clean, unmapped and idle at the end of an MGLRU batch is tried once more.
"""

from __future__ import annotations

from zswap_gym.kernel.access import NEVER
from zswap_gym.kernel.folio_batch import lru_add
from zswap_gym.kernel.huge_page import examine_huge, weight
from zswap_gym.kernel.jit import inline, njit
from zswap_gym.kernel.layout import (
    F_ACTIVE,
    F_DIRTY,
    F_FULLREF,
    F_LRUREF,
    F_RECLAIM,
    F_WRITEBACK,
    IN_PIECES,
    LRU_FULL,
    RESIDENT,
    S_PGACTIVATE,
)
from zswap_gym.kernel.mglru import examine
from zswap_gym.kernel.page_walk import look_around
from zswap_gym.kernel.pageout import ACTIVATED, FREED_CLEAN, FREED_STORED, HELD, pageout
from zswap_gym.kernel.swapdev import settle


@njit
def _stays(st, c, p, again):
    """Under write, or referenced: folio_check_references() and what comes before it."""
    page = st.pages[p]
    full = st.host[0].lru == LRU_FULL
    mapped = page.state == RESIDENT
    if full and not again and mapped and page.flags & F_LRUREF:  # a neighbour's look-around marked it
        return True
    if page.flags & F_WRITEBACK:
        page.flags |= F_RECLAIM | F_ACTIVE
        st.stat[c, S_PGACTIVATE] += weight(st, p)
        return True
    if again:
        return False
    references = 1 if page.flags & F_LRUREF else 0
    page.flags &= ~F_LRUREF
    if not mapped:
        return False
    if page.folio:
        young, windows = examine_huge(st, c, p)
        references += windows if page.folio == IN_PIECES else min(young, 1)
    elif examine(st, c, p):
        young = 1
        references += 1
        if full:
            look_around(st, c, p)
    else:
        young = 0
    if young == 0:
        return False
    page.flags |= F_LRUREF
    if references > 1:  # the second time round, or by several entries
        page.flags |= F_ACTIVE
        st.stat[c, S_PGACTIVATE] += weight(st, p)
    return True


@njit
def shrink_list(st, c, n, t, in_fault, again):
    """Shrink the n pages in ``scratch``; what is kept is at its start, in order.

    Returns (kept, freed, sent to pageout, time to go on). ``again``: accessed bits no longer count.
    """
    kept = 0
    freed = 0
    sent = 0
    for i in range(n):
        p = st.scratch[i]
        if not _stays(st, c, p, again):
            pages = weight(st, p)
            verdict, t = pageout(st, c, p, t, in_fault)
            sent += verdict != FREED_CLEAN and verdict != HELD
            if verdict <= FREED_STORED:
                freed += pages
                continue
            if verdict == ACTIVATED:
                st.pages[p].flags |= F_ACTIVE
                st.stat[c, S_PGACTIVATE] += pages
        st.scratch[kept] = p
        kept += 1
    st.host[0].uncharging = 0
    return kept, freed, sent, t


@inline
def finish_writes(st):
    """Replays: writes that reclaim started end right after its batch was put back (spec/mglru.md 7)."""
    if st.host[0].exact:
        settle(st, NEVER)


@njit
def _put_back(st, c, kept):
    """evict_folios(): kept pages return; the clean, unmapped and idle ones stay in ``scratch``."""
    clean = 0
    for i in range(kept):
        p = st.scratch[i]
        page = st.pages[p]
        if page.flags & F_RECLAIM and page.flags & (F_DIRTY | F_WRITEBACK):
            lru_add(st, c, p, False)
        elif page.state == RESIDENT or page.flags & (F_ACTIVE | F_LRUREF | F_DIRTY | F_WRITEBACK):
            page.flags = (page.flags & ~(F_LRUREF | F_FULLREF)) | F_ACTIVE
            lru_add(st, c, p, False)
        else:
            st.scratch[clean] = p
            clean += 1
    return clean


@njit
def evict_isolated(st, c, taken, t, in_fault):
    """evict_folios() after isolation, MGLRU in full: (pages freed, time to go on)."""
    for i in range(taken):
        st.pages[st.scratch[i]].flags &= ~F_LRUREF
    kept, freed, _, t = shrink_list(st, c, taken, t, in_fault, False)
    clean = _put_back(st, c, kept)
    finish_writes(st)
    if clean > 0:
        kept, more, _, t = shrink_list(st, c, clean, t, in_fault, True)
        freed += more
        for i in range(kept):
            st.pages[st.scratch[i]].flags |= F_ACTIVE
            lru_add(st, c, st.scratch[i], False)
    return freed, t
