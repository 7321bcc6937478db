"""Transparent huge pages, as far as zswap meets them (mm/huge_memory.c, mm/zswap.c:zswap_store()).

The first touch of an empty, aligned 2 MiB of a mapping that may have them allocates all 512 pages
with one fault. 6.12's zswap refuses large folios, so they go straight to the device; what comes
back are single pages (15). Left out: a huge page has one accessed bit and one place on the LRU;
here its 512 pages age one by one.
"""

from __future__ import annotations

from zswap_gym.kernel.jit import inline, njit
from zswap_gym.kernel.layout import F_HUGE, NEW, TABLE


@njit
def huge_range(st, p):
    """First page of the 2 MiB that a fault on the never allocated page p allocates, or -1 for just p."""
    rec = st.regions[st.pages[p].region]
    if not rec.huge:
        return -1
    first = p - (p - rec.first_page) % TABLE
    if first + TABLE > rec.first_page + rec.n_pages:
        return -1
    for q in range(first, first + TABLE):
        if st.pages[q].state != NEW:
            return -1
    return first


@inline
def bypasses_zswap(st, p):
    """Page p is part of a folio this kernel's zswap does not take."""
    return st.pages[p].flags & F_HUGE and not st.host[0].stores_large
