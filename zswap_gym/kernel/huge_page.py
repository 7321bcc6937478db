"""Transparent huge pages, as far as zswap meets them (mm/huge_memory.c, mm/zswap.c:zswap_store()).

The first touch of an empty, aligned 2 MiB of a mapping that may have them allocates all 512 pages
with one fault. 6.12's zswap refuses large folios, so they go straight to the device; what comes
back are single pages (15).

Where the host's LRU is MGLRU in full and zswap refuses them, such a folio is one entry of the LRU, its
first page, that counts 512: it is looked at, unmapped, written and freed as a whole, and a reclaim
that lacks a few pages frees 512. A fault on one in the swap cache maps all of it, page by page.
Elsewhere its pages age one by one. Left out: khugepaged, which makes huge pages of small ones later.
"""

from __future__ import annotations

from zswap_gym.kernel.jit import inline, njit
from zswap_gym.kernel.layout import F_HUGE, LRU_FULL, NEW, NO_LIST, SINGLE, TABLE
from zswap_gym.kernel.mglru import add_newest, examine, remove

WINDOW = 64
"""Look-around clears the accessed bits of this many neighbours: one more window seen young is one more
reference."""


@njit
def huge_range(st, p):
    """First page of the 2 MiB that a fault on the never allocated page p allocates, or -1 for just p."""
    rec = st.regions[st.pages[p].region]
    if not rec.huge:
        return -1
    first = head(st, p)
    if first + TABLE > rec.first_page + rec.n_pages:
        return -1
    for q in range(first, first + TABLE):
        if st.pages[q].state != NEW:
            return -1
    return first


@inline
def head(st, p):
    """First page of the 2 MiB that page p lies in."""
    return p - (p - st.regions[st.pages[p].region].first_page) % TABLE


@inline
def stays_whole(st):
    """A huge page is one folio to reclaim."""
    return st.host[0].lru == LRU_FULL and not st.host[0].stores_large


@inline
def weight(st, p):
    """folio_nr_pages() of the folio at page p of a list."""
    return 1 if st.pages[p].folio == SINGLE else TABLE


@inline
def bypasses_zswap(st, p):
    """Page p is part of a folio this kernel's zswap does not take."""
    return st.pages[p].flags & F_HUGE and not st.host[0].stores_large


@njit
def examine_huge(st, c, first):
    """Look at a mapped huge page: (its young pages, the windows they lie in). Clears their bits."""
    young = 0
    windows = 0
    for start in range(first, first + TABLE, WINDOW):
        before = young
        for q in range(start, start + WINDOW):
            if examine(st, c, q):
                young += 1
        windows += young > before
    return young, windows


@inline
def recount(st, c, p, sign):
    """Generations count pages: what a huge page adds to, or takes from, the one list entry it is."""
    st.gen_count[c, st.gen[p] & 3] += sign * (weight(st, p) - 1)


@njit
def split(st, c, p):
    """split_huge_page(): the 512 pages go on alone, on the LRU where the folio was tagged to be."""
    first = head(st, p)
    on_lru = st.on_list[first] != NO_LIST
    if on_lru:
        recount(st, c, first, -1)
        remove(st, c, first)
    seq = st.cgs[c].min_seq
    while seq & 3 != st.gen[first] & 3:
        seq += 1
    for q in range(first, first + TABLE):
        st.pages[q].folio = SINGLE
        st.pages[q].flags &= ~F_HUGE
        if on_lru:
            add_newest(st, c, q, seq)
