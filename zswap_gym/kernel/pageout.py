"""The second half of shrink_folio_list() (mm/vmscan.c): slot, unmap, then store, write or free one page.

Who decides before it that the page may go, and where a kept page then lies, differs between the
LRUs; what becomes of it here does not.
"""

from __future__ import annotations

from zswap_gym.kernel.access import next_access
from zswap_gym.kernel.calendar_queue import schedule_access
from zswap_gym.kernel.huge_page import bypasses_zswap
from zswap_gym.kernel.jit import inline, njit, rare
from zswap_gym.kernel.layout import (
    BATCH,
    DISK,
    F_ACTIVE,
    F_DIRTY,
    F_FULLREF,
    F_HELD,
    F_HUGE,
    F_LRUREF,
    F_READAHEAD,
    F_RECLAIM,
    F_SLOT,
    F_WORKINGSET,
    IN_PIECES,
    RESIDENT,
    S_PGSTEAL,
    S_PSWPOUT,
    S_SWPOUT_ZERO,
    SINGLE,
    SWAPCACHE,
    TABLE,
    UNMAPPED,
    ZERO,
)
from zswap_gym.kernel.memcg import account, swap_room, take_slot
from zswap_gym.kernel.mglru import work_now
from zswap_gym.kernel.swapdev import keep_in_ram, write
from zswap_gym.kernel.workingset import leave_shadow
from zswap_gym.kernel.zswap import store

FREED_CLEAN, FREED_STORED, WRITTEN, ACTIVATED, HELD = 0, 1, 2, 3, 4
"""What became of the page. WRITTEN: its write was started; ACTIVATED: no room for it anywhere."""
_FOLIO_FLAGS = F_HUGE | F_RECLAIM | F_WORKINGSET | F_ACTIVE | F_LRUREF | F_FULLREF | F_READAHEAD


@inline
def _unmap(st, c, p):
    """Page p leaves the page tables: from now on its next access is an event."""
    page = st.pages[p]
    page.state = SWAPCACHE
    st.gen[p] |= UNMAPPED
    page.stamp = 0
    account(st, c, 0, -1, 0, 0, 0)
    if not rare(st.cgs[c].dead):
        when, by_sweep = next_access(st, p, work_now(st, c))
        schedule_access(st, c, p, when, by_sweep)


@inline
def _free(st, c, p, state):
    """The page is gone from memory; a shadow stays."""
    page = st.pages[p]
    page.state = state
    leave_shadow(st, c, p)
    page.flags &= ~_FOLIO_FLAGS
    account(st, c, -1, 0, -1, 0, 0)
    st.stat[c, S_PGSTEAL] += st.host[0].scale
    if rare(st.host[0].lru):  # free_unref_folios() uncharges a batch at a time
        st.host[0].uncharging = (st.host[0].uncharging + 1) % BATCH


@njit
def _pageout_huge(st, c, first, t):
    """... and a huge page, which zswap does not take: one write of 2 MiB, single pages from then on."""
    if not st.pages[first].flags & F_SLOT:
        if swap_room(st, c) < TABLE:
            return ACTIVATED, t
        for q in range(first, first + TABLE):
            take_slot(st, c, q)
            account(st, c, 0, 0, 1, 0, 0)
            st.pages[q].flags |= F_DIRTY
    dirty = 0
    for q in range(first, first + TABLE):
        if st.pages[q].state == RESIDENT:
            _unmap(st, c, q)
        st.pages[q].folio = IN_PIECES
        dirty |= st.pages[q].flags & F_DIRTY
    if not dirty:
        for q in range(first, first + TABLE):
            _free(st, c, q, DISK)
            st.pages[q].folio = SINGLE
        return FREED_CLEAN, t
    if not st.cgs[c].writeback_effective:
        return ACTIVATED, t
    for q in range(first, first + TABLE):
        st.pages[q].flags &= ~F_DIRTY
        if rare(len(st.zram) > 0):
            keep_in_ram(st, q)
    st.pages[first].flags |= F_RECLAIM
    st.stat[c, S_PSWPOUT] += TABLE - 1
    t, _ = write(st, c, first, t)
    return WRITTEN, t


@njit
def pageout(st, c, p, t, in_fault):
    """Try to free isolated page p, not accessed and not under write: (what became of it, time to go on)."""
    page = st.pages[p]
    if rare(page.folio):
        return _pageout_huge(st, c, p, t)
    if not page.flags & F_SLOT:
        if rare(not take_slot(st, c, p)):
            return ACTIVATED, t
        account(st, c, 0, 0, 1, 0, 0)
        page.flags |= F_DIRTY
    if page.state == RESIDENT:
        _unmap(st, c, p)
    if not page.flags & F_DIRTY:
        _free(st, c, p, ZERO if page.clen == 0 else DISK)
        return FREED_CLEAN, t
    if rare(page.flags & F_HELD):  # a batch's reference: stays, unmapped
        return HELD, t
    if page.clen == 0:  # swap_writepage(): the zeromap takes it
        page.flags &= ~F_DIRTY
        st.stat[c, S_SWPOUT_ZERO] += st.host[0].scale
        _free(st, c, p, ZERO)
        return FREED_STORED, t
    if not rare(bypasses_zswap(st, p)):
        stored, t = store(st, c, p, t, in_fault)
        if stored:
            _free(st, c, p, page.state)
            return FREED_STORED, t
    if not st.cgs[c].writeback_effective:
        return ACTIVATED, t
    page.flags = (page.flags & ~F_DIRTY) | F_RECLAIM
    t, _ = write(st, c, p, t)
    return WRITTEN, t
