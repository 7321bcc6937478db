"""Swap read-ahead (mm/swap_state.c: swap_vma_readahead(), swap_cluster_readahead(), __swapin_nr_pages()).

A major fault reads a window of up to 2**page_cluster pages around it, wider while the pages of the
last windows were used. Every page it takes leaves zswap as if it had been asked for
(spec/corrections.md, memcg-model 11; exact in 14). The pages wait unmapped in the swap cache; their
use is a minor fault.

Around it means by address, within the mapping and its page table. On a rotating device it means by swap
slot: an aligned block of slots, whosever pages they hold, with one count of hits for the whole host.
"""

from __future__ import annotations

from zswap_gym.kernel.folio_batch import add_faulted, cpu, drain
from zswap_gym.kernel.jit import inline, njit
from zswap_gym.kernel.layout import F_READAHEAD, SWAPCACHE, TABLE, ZSWAP
from zswap_gym.kernel.swapin import swap_in

MAX_ORDER = 5  # SWAP_RA_ORDER_CEILING
MAX_HITS = 63


@inline
def swapped(st, p):
    """Page p is in swap and not in the swap cache."""
    return st.pages[p].state >= ZSWAP


@inline
def by_slot(st):
    """swap_use_vma_readahead(), the other way round: a swap device rotates."""
    return len(st.slot_page) > 0


@inline
def note_hit(st, p):
    """A fault found page p in the swap cache: lookup via swap_cache_get_folio()."""
    page = st.pages[p]
    hit = 1 if page.flags & F_READAHEAD else 0
    page.flags &= ~F_READAHEAD
    if by_slot(st):
        st.host[0].ra_hits += hit
        return
    vma = st.vmas[page.region]
    vma.ra_addr = p - st.regions[page.region].first_page
    vma.ra_hits = min(vma.ra_hits + hit, MAX_HITS)


@inline
def _pages(hits, at, before, most, last):
    """__swapin_nr_pages(): how many pages to read at ``at``, the last fault having been at ``before``."""
    size = hits + 2
    if size == 2:  # no hits: only a fault next door is worth two
        if at != before + 1 and at != before - 1:
            size = 1
    else:
        rounded = 4
        while rounded < size:
            rounded <<= 1
        size = rounded
    return max(min(size, most), last // 2)


@njit
def window(st, p):
    """Pages [first, end) to read with a major fault on p; remembers the fault."""
    rec = st.regions[st.pages[p].region]
    vma = st.vmas[st.pages[p].region]
    at = p - rec.first_page
    before = vma.ra_addr
    size = _pages(vma.ra_hits, at, before, 1 << min(st.host[0].page_cluster, MAX_ORDER), vma.ra_window)
    vma.ra_addr = at
    vma.ra_window = size
    vma.ra_hits = 0
    if size == 1:
        return p, p + 1
    if at == before + 1:
        first = at
    elif at == before - 1:
        first = at - size + 1
    else:
        first = at - (size - 1) // 2
    table = at // TABLE * TABLE
    end = min(first + size, rec.n_pages, table + TABLE)
    return rec.first_page + max(first, table), rec.first_page + end


@njit
def block(st, p):
    """Slots [first, end) to read with a major fault on p (swapin_nr_pages()); remembers the fault."""
    host = st.host[0]
    slot = st.slot_of[p]
    hits = host.ra_hits
    size = _pages(hits, slot, host.ra_slot, 1 << host.page_cluster, host.ra_window)
    host.ra_hits = 0
    host.ra_window = size
    if hits == 0:
        host.ra_slot = slot
    first = slot - slot % size
    return max(first, 1), min(first + size, len(st.slot_page))


@njit
def bring(st, c, q, t, ahead):
    """Read page q into the swap cache."""
    t = swap_in(st, c, q, t)
    page = st.pages[q]
    page.state = SWAPCACHE
    page.stamp = 0
    if ahead:
        page.flags |= F_READAHEAD
    add_faulted(st, c, q)
    return t


@inline
def settle_window(st):
    """lru_add_drain() after the window was read."""
    if st.host[0].lru:
        drain(st, cpu(st))
