"""Page faults: first touch, swap cache, zswap, zero page, disk (mm/memory.c:do_swap_page()).

Every non-resident page's next access ends here. The page is charged first, which may reclaim,
throttle or kill; then it is filled, mapped and put at the head of the youngest generation.
"""

from __future__ import annotations

from zswap_gym.kernel.access import OP_READ, OP_WRITE, access_op
from zswap_gym.kernel.calendar_queue import cancel
from zswap_gym.kernel.charge import charge, over_high
from zswap_gym.kernel.file_lru import add_file
from zswap_gym.kernel.folio_batch import add_faulted, cpu, drain
from zswap_gym.kernel.huge_page import head, huge_range, stays_whole
from zswap_gym.kernel.jit import inline, njit, rare
from zswap_gym.kernel.kswapd import reclaim_globally, short_of_memory
from zswap_gym.kernel.layout import (
    F_DIRTY,
    F_HUGE,
    F_SLOT,
    F_SWEEP,
    F_WORKINGSET,
    F_WRITEBACK,
    F_YOUNG,
    NEW,
    NO_LIST,
    RESIDENT,
    S_PGFAULT,
    S_PGMAJFAULT,
    SWAPCACHE,
    TABLE,
    UNMAPPED,
    WHOLE,
)
from zswap_gym.kernel.memcg import (
    account,
    drop_slot,
    swap_half_full,
)
from zswap_gym.kernel.mglru import work_now
from zswap_gym.kernel.oom import RESTART_US, discard, renew
from zswap_gym.kernel.psi import stall
from zswap_gym.kernel.readahead import block, bring, by_slot, note_hit, settle_window, swapped, window
from zswap_gym.kernel.swapdev import read_file
from zswap_gym.kernel.swapin import swap_in

FAULT_US = 1.0


@inline
def _map(st, c, p, op):
    """The page enters the page tables with its accessed bit set by this very access."""
    page = st.pages[p]
    page.state = RESIDENT
    st.gen[p] &= ~UNMAPPED
    page.when = work_now(st, c)
    page.flags = (page.flags | F_YOUNG) & ~F_SWEEP
    # Only a write *fault* gives the slot up; a page read in is mapped writable and keeps it.
    if op == OP_WRITE and page.flags & F_SLOT and st.on_list[p] == NO_LIST:
        drain(st, cpu(st))  # do_swap_page(): a batch's reference would keep it from being reused
    if page.flags & F_SLOT and not page.flags & F_WRITEBACK and (op == OP_WRITE or swap_half_full(st, c)):
        account(st, c, 0, 1, -1, 0, 0)
        drop_slot(st, c, p)
        page.flags |= F_DIRTY
    else:
        account(st, c, 0, 1, 0, 0, 0)
    if op != OP_READ:
        page.flags |= F_DIRTY


@njit
def _read_block(st, p, t):
    """swap_cluster_readahead(): each page of a block of slots is charged to whom it belongs.

    Returns as `_read_around`.
    """
    first, end = block(st, p)
    for slot in range(first, end):
        q = st.slot_page[slot]
        if q < 0 or not swapped(st, q):
            continue
        _, t = charge(st, st.owner[q], t)
        if st.pages[p].state == NEW:  # the charge killed p's program
            return False, t
        if st.slot_page[slot] == q and swapped(st, q):
            t = bring(st, st.owner[q], q, t, q != p)
    settle_window(st)
    return True, t


@njit
def _read_around(st, c, p, t):
    """swapin_readahead(): (False if c was killed for it, time to go on). Page p comes in its turn."""
    if by_slot(st):
        return _read_block(st, p, t)
    first, end = window(st, p)
    for q in range(first, end):
        if swapped(st, q):
            alive, t = charge(st, c, t)
            if not alive:
                return False, t
            if swapped(st, q):
                t = bring(st, c, q, t, q != p)
    settle_window(st)
    return True, t


@njit
def _major_fault(st, c, p, t):
    """do_swap_page(): (False if c was killed for it, time to go on)."""
    st.stat[c, S_PGMAJFAULT] += st.host[0].scale
    if rare(st.host[0].page_cluster):
        alive, t = _read_around(st, c, p, t)
        if not alive or not swapped(st, p):  # else the window's own reclaim took it again
            return alive, t
        alive, t = charge(st, c, t)
        if not alive:
            return False, t
    t = swap_in(st, c, p, t)
    add_faulted(st, c, p)
    return True, t


@njit
def _fault_huge(st, c, p, first, t):
    """do_huge_pmd_anonymous_page(): the other 511 pages. Returns (False if c was killed for it, time)."""
    whole = stays_whole(st)
    for q in range(first, first + TABLE):
        if q == p:
            continue
        alive, t = charge(st, c, t)
        if not alive:
            return False, t
        cancel(st, c, q)
        account(st, c, 1, 0, 0, 0, 0)
        st.pages[q].flags |= F_HUGE | F_DIRTY
        if not whole:
            add_faulted(st, c, q)
        _map(st, c, q, OP_READ)
    st.pages[p].flags |= F_HUGE
    if whole:
        for q in range(first, first + TABLE):
            st.pages[q].folio = WHOLE
        add_faulted(st, c, first)
        st.pages[first].state = RESIDENT
    return True, t


@njit
def _map_around(st, c, p, op):
    """do_swap_page(): a huge page in the swap cache is mapped in full, by 512 entries, when one is wanted."""
    first = head(st, p)
    for q in range(first, first + TABLE):
        if q != p:
            cancel(st, c, q)
            _map(st, c, q, OP_WRITE if op == OP_WRITE else OP_READ)


@njit
def _read_file(st, c, p, t, work):
    """filemap_read() of page p: into the page cache, charged to the reader; no page fault."""
    start = t
    alive, t = charge(st, c, t)
    if alive and rare(short_of_memory(st)):
        alive, t = reclaim_globally(st, c, t)
    pressed = t
    counts = False
    if alive:
        t = read_file(st, t)
        counts = add_file(st, c, p, work)
    elif not st.cgs[c].dead:  # the page is read once the program is back
        renew(st, c, p, work + RESTART_US)
    after = over_high(st, c, t) if alive and st.host[0].throttled else t
    stall(st, c, start, pressed - start, True)
    stall(st, c, pressed, (t - pressed) * st.host[0].scale, counts)
    stall(st, c, t, after - t, True)


@njit
def fault(st, c, p, t):
    """Serve the access to non-resident page p of cgroup c at boot time t."""
    page = st.pages[p]
    work = work_now(st, c)
    by_sweep = page.flags & F_SWEEP != 0
    op = access_op(st, p, work, by_sweep)
    if by_sweep and page.state != NEW and st.regions[page.region].sweep_fresh:
        discard(st, c, p)
    st.host[0].task = c
    if rare(st.regions[page.region].file):
        _read_file(st, c, p, t, work)
        return
    st.stat[c, S_PGFAULT] += st.host[0].scale
    start = t
    pressed = start
    if page.state != SWAPCACHE:
        alive = True
        if not (
            rare(st.host[0].page_cluster) and swapped(st, p)
        ):  # else every page read is charged for itself
            alive, t = charge(st, c, t)
        if alive and rare(short_of_memory(st)):
            alive, t = reclaim_globally(st, c, t)
        if rare(not alive):
            stall(st, c, start, t - start, True)
            return
        pressed = t
    if page.state != SWAPCACHE:  # reclaim may just have written this very entry back
        if page.state == NEW:
            first = huge_range(st, p)
            if rare(first >= 0):
                alive, t = _fault_huge(st, c, p, first, t)
                if not alive:
                    stall(st, c, start, t - start, True)
                    return
            account(st, c, 1, 0, 0, 0, 0)
            page.flags |= F_DIRTY
            if not rare(page.folio):
                add_faulted(st, c, p)
        elif swapped(st, p):
            alive, t = _major_fault(st, c, p, t)
            if rare(not alive):
                stall(st, c, start, t - start, True)
                return
    elif rare(page.folio):
        _map_around(st, c, p, op)
    elif rare(st.host[0].page_cluster):
        note_hit(st, p)
    # Only workingset folios' waits count as memory pressure, direct reclaim always does.
    counts = page.flags & F_WORKINGSET != 0
    _map(st, c, p, op)
    after = over_high(st, c, t) if rare(st.host[0].throttled) else t
    us = 0 if rare(st.host[0].exact) else int(FAULT_US)
    # A batch of reclaim is real pages already; a coarse page's faults each wait for their own load.
    own = (t - pressed + us) * st.host[0].scale
    stall(st, c, start, pressed - start, True)
    stall(st, c, pressed, own, counts)
    stall(st, c, t, after - t, True)
    st.regions[page.region].waited += pressed - start + own + after - t
