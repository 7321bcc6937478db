"""Swap read-ahead by address (mm/swap_state.c: swap_vma_readahead(), __swapin_nr_pages()).

A major fault reads a window of up to 2**page_cluster pages around it, wider while the pages of the
last windows were used. Every page it takes leaves zswap as if it had been asked for
(spec/corrections.md, memcg-model 11; exact in 14). The pages wait unmapped in the swap cache; their
use is a minor fault.
"""

from __future__ import annotations

from zswap_gym.kernel.folio_batch import add_faulted, cpu, drain
from zswap_gym.kernel.jit import inline, njit
from zswap_gym.kernel.layout import DISK, F_READAHEAD, SWAPCACHE, TABLE, ZERO, ZSWAP
from zswap_gym.kernel.swapin import swap_in

MAX_ORDER = 5  # SWAP_RA_ORDER_CEILING
MAX_HITS = 63


@inline
def swapped(st, p):
    """Page p is in swap and not in the swap cache."""
    state = st.pages[p].state
    return state in (ZSWAP, DISK, ZERO)


@inline
def note_hit(st, p):
    """A fault found page p in the swap cache: lookup via swap_cache_get_folio()."""
    page = st.pages[p]
    vma = st.vmas[page.region]
    vma.ra_addr = p - st.regions[page.region].first_page
    if page.flags & F_READAHEAD:
        page.flags &= ~F_READAHEAD
        vma.ra_hits = min(vma.ra_hits + 1, MAX_HITS)


@njit
def window(st, p):
    """Pages [first, end) to read with a major fault on p; remembers the fault."""
    rec = st.regions[st.pages[p].region]
    vma = st.vmas[st.pages[p].region]
    at = p - rec.first_page
    size = vma.ra_hits + 2
    if size == 2:  # no hits: only a fault next door is worth two
        if at != vma.ra_addr + 1 and at != vma.ra_addr - 1:
            size = 1
    else:
        rounded = 4
        while rounded < size:
            rounded <<= 1
        size = rounded
    size = max(min(size, 1 << min(st.host[0].page_cluster, MAX_ORDER)), vma.ra_window // 2)
    before = vma.ra_addr
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
