"""Per-CPU folio batches (mm/swap.c: lru_add, lru_activate, lru_rotate), 31 folios each.

A page on its way to an LRU, or between two places on it, waits here until the batch is full or
somebody on the same CPU drains it: every reclaim pass, read-ahead, a write fault. Meanwhile reclaim
does not see it. For zswap writeback this decides what is freed first: a page whose write ends while
it still waits in lru_add is not moved to the tail (spec/mglru.md 7 and 9).

Only where the host's LRU is modelled in full or classic, with two CPUs, as the ground truth's guest
has: programs run on one, whoever writes cgroup files (and the pool limit's worker) on the other.
"""

from __future__ import annotations

from zswap_gym.kernel.huge_page import recount
from zswap_gym.kernel.jit import inline, njit, rare
from zswap_gym.kernel.layout import (
    B_ACTIVATE,
    B_ADD,
    B_ROTATE,
    BATCH,
    CPUS,
    F_ACTIVE,
    F_DIRTY,
    F_FULLREF,
    F_HELD,
    F_LRUREF,
    F_RECLAIM,
    F_SLOT,
    F_WRITEBACK,
    LRU_CLASSIC,
    LRU_FULL,
    NO_LIST,
    RESIDENT,
    S_PGACTIVATE,
    SWAPCACHE,
    UNMAPPED,
)
from zswap_gym.kernel.lists import push_newest, push_oldest
from zswap_gym.kernel.mglru import add_youngest, remove


@inline
def cpu(st):
    """The CPU that runs now."""
    return 1 if st.host[0].task > 0 else 0


@inline
def charged(st, p):
    """Page p is in memory, mapped or in the swap cache."""
    return st.pages[p].state == RESIDENT or st.pages[p].state == SWAPCACHE


@inline
def _generation(st, c, p, tail):
    """lru_gen_add_folio(): the generation a page enters by its flags."""
    cg = st.cgs[c]
    page = st.pages[p]
    if page.flags & F_ACTIVE:
        page.flags &= ~(F_ACTIVE | F_LRUREF | F_FULLREF)
        return cg.max_seq
    busy = page.flags & F_RECLAIM and page.flags & (F_DIRTY | F_WRITEBACK)
    if not page.flags & F_SLOT or busy:
        return cg.max_seq - 1
    if tail or cg.min_seq + 2 >= cg.max_seq:
        return cg.min_seq
    return cg.min_seq + 1


@njit
def lru_add(st, c, p, tail):
    """Put page p on its LRU: the list its flags name, at the head, or at the tail to go next."""
    if st.host[0].lru == LRU_CLASSIC:
        which = 1 if st.pages[p].flags & F_ACTIVE else 0
    else:
        which = _generation(st, c, p, tail) & 3
    st.gen[p] = (st.gen[p] & UNMAPPED) | which
    st.gen_count[c, which] += 1
    recount(st, c, p, 1)
    if tail:
        push_oldest(st, c, which, p)
    else:
        push_newest(st, c, which, p)


@njit
def flush_batch(st, at, kind):
    """Carry out what a batch's pages wait for; those freed or moved meanwhile are left alone."""
    n = st.batches[at, kind, BATCH]
    st.batches[at, kind, BATCH] = 0
    for i in range(n):
        p = st.batches[at, kind, i]
        page = st.pages[p]
        page.flags &= ~F_HELD
        if not charged(st, p):
            continue
        on_lru = st.on_list[p] != NO_LIST
        if kind == B_ADD:
            if not on_lru:
                lru_add(st, st.owner[p], p, False)
        elif on_lru and kind == B_ROTATE:
            recount(st, st.owner[p], p, -1)
            remove(st, st.owner[p], p)
            page.flags &= ~F_ACTIVE
            lru_add(st, st.owner[p], p, True)
        elif on_lru and not page.flags & F_ACTIVE:
            remove(st, st.owner[p], p)
            page.flags |= F_ACTIVE
            lru_add(st, st.owner[p], p, False)
            st.stat[st.owner[p], S_PGACTIVATE] += 1


@njit
def batch_push(st, at, kind, p):
    """Let page p wait in a batch of CPU ``at``; a full batch is flushed."""
    n = st.batches[at, kind, BATCH]
    st.batches[at, kind, n] = p
    st.batches[at, kind, BATCH] = n + 1
    if kind == B_ACTIVATE:
        st.pages[p].flags |= F_HELD
    if n + 1 == BATCH or st.pages[p].folio:  # large folios do not wait
        flush_batch(st, at, kind)


@njit
def drain(st, at):
    """lru_add_drain(): flush this CPU's batches."""
    flush_batch(st, at, B_ADD)
    flush_batch(st, at, B_ROTATE)
    flush_batch(st, at, B_ACTIVATE)


@njit
def drain_all(st):
    """lru_add_drain_all()."""
    for i in range(CPUS):
        drain(st, i)


@inline
def add_faulted(st, c, p):
    """folio_add_lru() of a page a fault brings in: MGLRU marks it active, for the youngest generation."""
    lru = st.host[0].lru
    if not rare(lru):
        add_youngest(st, c, p)
        return
    if lru == LRU_FULL:
        st.pages[p].flags |= F_ACTIVE
    st.pages[p].state = SWAPCACHE  # in memory, not yet mapped: a full batch puts it on the LRU now
    batch_push(st, cpu(st), B_ADD, p)
