"""Intrusive lists: the generations of a cgroup and its zswap LRU (include/linux/list.h).

A list runs from oldest to newest. For MGLRU the newest end is the kernel's head; for the
zswap LRU the oldest end is (list_lru adds at the tail and walks from the head).
"""

from __future__ import annotations

from zswap_gym.kernel.jit import inline
from zswap_gym.kernel.layout import LISTS_PER_CGROUP, NO_LIST


@inline
def push_newest(st, c, which, p):
    """Append page p at the newest end of list ``which`` of cgroup c."""
    rec = st.lists[c * LISTS_PER_CGROUP + which]
    page = st.pages[p]
    page.older = rec.newest
    page.newer = -1
    page.list = which
    if rec.newest >= 0:
        st.pages[rec.newest].newer = p
    else:
        rec.oldest = p
    rec.newest = p
    rec.length += 1


@inline
def push_oldest(st, c, which, p):
    """Insert page p at the oldest end: it will be looked at next."""
    rec = st.lists[c * LISTS_PER_CGROUP + which]
    page = st.pages[p]
    page.newer = rec.oldest
    page.older = -1
    page.list = which
    if rec.oldest >= 0:
        st.pages[rec.oldest].older = p
    else:
        rec.newest = p
    rec.oldest = p
    rec.length += 1


@inline
def unlink(st, c, p):
    """Take page p off whatever list it is on (it must be on one)."""
    page = st.pages[p]
    rec = st.lists[c * LISTS_PER_CGROUP + page.list]
    if page.older >= 0:
        st.pages[page.older].newer = page.newer
    else:
        rec.oldest = page.newer
    if page.newer >= 0:
        st.pages[page.newer].older = page.older
    else:
        rec.newest = page.older
    rec.length -= 1
    page.list = NO_LIST
