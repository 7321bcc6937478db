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
    link = st.links[p]
    link.older = rec.newest
    link.newer = -1
    st.on_list[p] = which
    if rec.newest >= 0:
        st.links[rec.newest].newer = p
    else:
        rec.oldest = p
    rec.newest = p
    rec.length += 1


@inline
def push_oldest(st, c, which, p):
    """Insert page p at the oldest end: it will be looked at next."""
    rec = st.lists[c * LISTS_PER_CGROUP + which]
    link = st.links[p]
    link.newer = rec.oldest
    link.older = -1
    st.on_list[p] = which
    if rec.oldest >= 0:
        st.links[rec.oldest].older = p
    else:
        rec.newest = p
    rec.oldest = p
    rec.length += 1


@inline
def _cut(st, rec, p):
    link = st.links[p]
    if link.older >= 0:
        st.links[link.older].newer = link.newer
    else:
        rec.oldest = link.newer
    if link.newer >= 0:
        st.links[link.newer].older = link.older
    else:
        rec.newest = link.older


@inline
def unlink(st, c, p):
    """Take page p off whatever list it is on (it must be on one)."""
    rec = st.lists[c * LISTS_PER_CGROUP + st.on_list[p]]
    _cut(st, rec, p)
    rec.length -= 1
    st.on_list[p] = NO_LIST


@inline
def to_newest(st, c, which, p):
    """Move page p, which is on list ``which``, to its newest end: reads no page, only links."""
    rec = st.lists[c * LISTS_PER_CGROUP + which]
    if rec.newest == p:
        return
    _cut(st, rec, p)
    link = st.links[p]
    link.older = rec.newest
    link.newer = -1
    st.links[rec.newest].newer = p
    rec.newest = p
