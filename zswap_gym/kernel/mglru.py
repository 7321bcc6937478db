"""The anonymous LRU as MGLRU (mm/vmscan.c: lru_gen), as replayed in spec/mglru.md.

A FIFO of arrival order cut into at most four generations, with one accessed-bit check at
eviction and a mass clearing of accessed bits whenever the oldest generation runs out. Left out,
because anonymous-only replays do not need them within 3 %: look-around, walk filters, per-CPU
batches, tiers (spec/mglru.md 11, "simplest").

How it meets the lazy core: a mapped page was referenced iff it was accessed after the later of
its last fault, its last look and the last aging walk. A walk clears every accessed bit, so for
pages already tagged youngest it is one timestamp; only older tags are looked at one by one.
"""

from __future__ import annotations

from zswap_gym.kernel import access
from zswap_gym.kernel.access import look
from zswap_gym.kernel.jit import inline, njit, prefetch, rare
from zswap_gym.kernel.layout import (
    F_DIRTY,
    F_FULLREF,
    F_YOUNG,
    LISTS_PER_CGROUP,
    S_LOOKS,
    S_PGREFILL,
    S_PGSCAN,
    S_WALKS,
    TABLE,
    UNMAPPED,
)
from zswap_gym.kernel.lists import push_newest, push_oldest, unlink

WALK_AHEAD = 8  # pages: a miss takes as long as looking at a few


@inline
def work_now(st, c):
    """Cgroup c's work clock: boot time less what its threads lost to stalls, never backwards."""
    cg = st.cgs[c]
    return max(cg.work, st.host[0].now - cg.lag)


@inline
def length(st, c):
    """Pages on c's generations."""
    return st.gen_count[c, 0] + st.gen_count[c, 1] + st.gen_count[c, 2] + st.gen_count[c, 3]


@inline
def _add(st, c, p, seq):
    gen = seq & 3
    st.gen[p] = (st.gen[p] & UNMAPPED) | gen
    st.gen_count[c, gen] += 1
    return gen


@inline
def add_newest(st, c, p, seq):
    """Put page p at the head of generation ``seq``."""
    gen = _add(st, c, p, seq)
    push_newest(st, c, gen, p)


@inline
def add_youngest(st, c, p):
    """Where every fault and every kept page goes (spec/mglru.md 2)."""
    add_newest(st, c, p, st.cgs[c].max_seq)


@inline
def add_written_back(st, c, p):
    """A folio zswap writeback brought in, leaving its per-CPU batch with its write over.

    lru_gen_add_folio(): head of the oldest generation, or of the second oldest if there are four.
    """
    cg = st.cgs[c]
    add_newest(st, c, p, cg.min_seq if cg.max_seq - cg.min_seq <= 2 else cg.min_seq + 1)


@inline
def remove(st, c, p):
    """Take page p off its generation."""
    st.gen_count[c, st.gen[p] & 3] -= 1
    unlink(st, c, p)


@inline
def retag(st, c, p, seq):
    """Change p's generation tag; it stays where it lies (lazy promotion)."""
    st.gen_count[c, st.gen[p] & 3] -= 1
    _add(st, c, p, seq)


@njit
def examine(st, c, p):
    """Look at mapped page p: True if its accessed bit is set. Clears it; ORs the dirty bit in."""
    cg = st.cgs[c]
    page = st.pages[p]
    now = work_now(st, c)
    st.stat[c, S_LOOKS] += 1
    accessed = (page.flags & F_YOUNG != 0) & (page.when >= cg.last_walk)
    dirty = page.flags & F_DIRTY != 0
    since = page.when
    if cg.last_walk > since:  # before the walk only writes still matter
        if not dirty:
            dirty = look(st, p, since, cg.last_walk, False) & 2 != 0
        since = cg.last_walk
    seen = look(st, p, since, now, dirty)
    page.flags = (page.flags & ~F_YOUNG) | (dirty | (seen & 2 != 0)) * F_DIRTY
    page.when = now
    return accessed | (seen & 1 != 0)


@inline
def _to_walk(st, p, young):
    """Whether an aging walk looks at page p: of those tagged youngest its timestamp voids the bits."""
    tag = st.gen[p]
    return tag < UNMAPPED and tag != young


@inline
def _walk_page(st, c, p):
    if examine(st, c, p):
        retag(st, c, p, st.cgs[c].max_seq)
        st.pages[p].flags &= ~F_FULLREF


@njit
def _walk_in_memory_order(st, c, young):
    """Find which of a few pages to look at first, without a branch: whether one is is a coin toss."""
    cg = st.cgs[c]
    end = cg.first_page + cg.n_pages
    room = len(st.scratch)
    for start in range(cg.first_page, end, room):
        found = 0
        for p in range(start, min(start + room, end)):
            st.scratch[found] = p
            found += _to_walk(st, p, young)
        for i in range(found):
            access.ask_ahead(st, st.scratch[min(i + WALK_AHEAD, found - 1)])
            _walk_page(st, c, st.scratch[i])


@njit
def _walk(st, c):
    """walk_mm(): clear accessed bits; pages found young are tagged with the (old) youngest seq."""
    cg = st.cgs[c]
    now = work_now(st, c)
    if now > cg.last_walk:  # else nothing can have been accessed since
        st.stat[c, S_WALKS] += 1
        young = cg.max_seq & 3
        old = length(st, c) - st.gen_count[c, young]
        if old * 4 > cg.n_pages:  # cheap to prefetch
            _walk_in_memory_order(st, c, young)
        elif old > 0:
            for seq in range(cg.min_seq, cg.max_seq):
                p = st.lists[c * LISTS_PER_CGROUP + (seq & 3)].newest
                while p >= 0:
                    if _to_walk(st, p, young):
                        _walk_page(st, c, p)
                    p = st.links[p].older
        cg.last_walk = now


@njit
def age(st, c):
    """inc_max_seq(): walk, then open a new youngest generation."""
    _walk(st, c)
    st.cgs[c].max_seq += 1


@inline
def should_age(st, c):
    """should_run_aging(): (age now?, pages to scan at priority 0)."""
    cg = st.cgs[c]
    if cg.min_seq + 2 > cg.max_seq:
        return True, 0
    total = length(st, c)
    if cg.min_seq + 2 < cg.max_seq:
        return False, total
    young = st.gen_count[c, cg.max_seq & 3]
    old = st.gen_count[c, (cg.max_seq - 2) & 3]
    return young * 2 > total or old * 4 < total, total


@inline
def advance_min(st, c):
    """try_to_inc_min_seq(): past empty oldest generations; True if it moved."""
    cg = st.cgs[c]
    moved = False
    while cg.min_seq + 2 <= cg.max_seq and st.lists[c * LISTS_PER_CGROUP + (cg.min_seq & 3)].length == 0:
        cg.min_seq += 1
        moved = True
    return moved


@njit
def isolate(st, c):
    """scan_folios(): take up to 64 real pages off the oldest generation into ``scratch``.

    Returns (simulated pages isolated, simulated pages looked at).
    """
    cg = st.cgs[c]
    scale = st.host[0].scale
    want = max(1, 64 // scale)
    remaining = max(1, 4096 // scale)
    taken = 0
    looked = 0
    refill = 0
    more = 0  # pages of huge pages besides their first
    huge = 0
    gen = cg.min_seq & 3
    while taken < want and remaining > 0:
        p = st.lists[c * LISTS_PER_CGROUP + gen].oldest
        if p < 0:
            break
        looked += 1
        remaining -= 1
        page = st.pages[p]
        tag = st.gen[p] & 3
        if tag != gen:  # promoted by a walk: sort it
            unlink(st, c, p)
            push_newest(st, c, tag, p)
            refill += 1
            if rare(page.folio):
                refill += TABLE - 1
                more += TABLE - 1
        elif page.flags & F_FULLREF:
            page.flags &= ~F_FULLREF
            retag(st, c, p, cg.min_seq + 1)
            unlink(st, c, p)
            push_oldest(st, c, st.gen[p] & 3, p)
            refill += 1
        else:
            remove(st, c, p)
            st.scratch[taken] = p
            taken += 1
            if rare(page.folio):  # a huge page is a batch
                st.gen_count[c, gen] -= TABLE - 1
                huge = TABLE - 1
                break
    st.stat[c, S_PGSCAN] += taken * scale + huge
    st.stat[c, S_PGREFILL] += refill * scale
    if taken == 0 and remaining > 0:
        looked = 0
    return taken, looked + more + huge


@inline
def oldest(st, c):
    """The page eviction looks at next, or -1."""
    return st.lists[c * LISTS_PER_CGROUP + (st.cgs[c].min_seq & 3)].oldest


@inline
def ask_ahead(st, p):
    """Have the memory bring page p, of the next batch; returns the one after it, -1 at the end.

    One a page of this batch: following the list costs a miss a page, which so has time to arrive.
    """
    if p < 0:
        return p
    prefetch(st.pages, p)
    access.ask_ahead(st, p)
    after = st.links[p].newer
    if after >= 0:
        prefetch(st.links, after)
    return after


@inline
def keep_written(st, c, p):
    """A page eviction sent to disk: head of the second youngest until its write ends."""
    add_newest(st, c, p, st.cgs[c].max_seq - 1)
