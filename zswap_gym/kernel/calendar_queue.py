"""The calendar: when each non-resident page is next accessed, on its cgroup's work clock.

A two-level timing wheel of intrusive buckets (as the kernel's timer wheel), 66 ms and 67 s
wide, feeding a small heap that orders the current bucket. Insert and remove are O(1), and an
event is touched at most three times in its life.
"""

from __future__ import annotations

from zswap_gym.kernel.access import NEVER
from zswap_gym.kernel.jit import inline, njit, prefetch
from zswap_gym.kernel.layout import BUCKET_SHIFT, F_HEAP, F_QUEUED, F_SWEEP, LANES, WHEEL

_LEVEL = 10  # log2(WHEEL)
_MASK = WHEEL - 1
assert LANES == 4  # _cascade follows them by name


@inline
def _lane(p):
    """A coarse bucket is LANES lists, so that whoever follows them waits for several misses at once."""
    return 1 + p % LANES


@inline
def _before(st, a, b):
    """Order of the heap: by time, then by page, so that runs are reproducible."""
    ta = st.pages[a].when
    tb = st.pages[b].when
    return ta < tb or (ta == tb and a < b)


@inline
def _sift_up(st, base, pos):
    heap = st.heap
    p = heap[base + pos]
    while pos > 0:
        up = (pos - 1) >> 1
        q = heap[base + up]
        if not _before(st, p, q):
            break
        heap[base + pos] = q
        st.calendar[q].prev = pos
        pos = up
    heap[base + pos] = p
    st.calendar[p].prev = pos


@inline
def _sift_down(st, base, pos, length):
    heap = st.heap
    p = heap[base + pos]
    while True:
        child = 2 * pos + 1
        if child >= length:
            break
        if child + 1 < length and _before(st, heap[base + child + 1], heap[base + child]):
            child += 1
        q = heap[base + child]
        if not _before(st, q, p):
            break
        heap[base + pos] = q
        st.calendar[q].prev = pos
        pos = child
    heap[base + pos] = p
    st.calendar[p].prev = pos


@inline
def _heap_push(st, c, p):
    cg = st.cgs[c]
    base = cg.first_page
    pos = cg.heap_len
    cg.heap_len = pos + 1
    st.heap[base + pos] = p
    st.pages[p].flags |= F_HEAP
    _sift_up(st, base, pos)


@inline
def _bucket(st, c, p, b):
    """(level, slot) of the list in which page p waits for fine bucket b: on level 0 in the present lap."""
    fine = b >> _LEVEL == st.cgs[c].bucket >> _LEVEL
    return 0 if fine else _lane(p), (b if fine else b >> _LEVEL) & _MASK


@inline
def _bucket_push(st, c, level, slot, p):
    place = st.calendar[p]
    head = st.wheel[c, level, slot]
    st.calendar[head if head >= 0 else p].prev = p  # a store in vain is cheaper than a wrong guess
    place.prev = -1
    place.next = head
    st.wheel[c, level, slot] = p


@njit
def schedule(st, c, p, when):
    """Enter page p's next access at work time ``when`` (NEVER: it is only remembered)."""
    page = st.pages[p]
    page.when = when
    if when >= NEVER:
        return
    page.flags |= F_QUEUED
    st.cgs[c].queued += 1
    st.due[c] = min(st.due[c], when + st.cgs[c].lag)
    b = when >> BUCKET_SHIFT
    cur = st.cgs[c].bucket
    if b <= cur:
        _heap_push(st, c, p)
    else:
        level, slot = _bucket(st, c, p, b)
        _bucket_push(st, c, level, slot, p)


@inline
def schedule_access(st, c, p, when, by_sweep):
    """Enter an access as `access.next_access` gives it, remembering whether a sweep makes it."""
    if by_sweep:
        st.pages[p].flags |= F_SWEEP
    else:
        st.pages[p].flags &= ~F_SWEEP
    schedule(st, c, p, when)


@njit
def cancel(st, c, p):
    """Forget page p's next access; harmless if none is queued."""
    page = st.pages[p]
    if not page.flags & F_QUEUED:
        return
    place = st.calendar[p]
    if page.flags & F_HEAP:
        cg = st.cgs[c]
        base = cg.first_page
        pos = place.prev
        last = cg.heap_len - 1
        cg.heap_len = last
        if pos != last:
            q = st.heap[base + last]
            st.heap[base + pos] = q
            st.calendar[q].prev = pos
            _sift_down(st, base, pos, last)
            _sift_up(st, base, st.calendar[q].prev)
    else:
        if place.prev >= 0:
            st.calendar[place.prev].next = place.next
        else:
            b = page.when >> BUCKET_SHIFT
            level, slot = _bucket(st, c, p, b)
            st.wheel[c, level, slot] = place.next
        if place.next >= 0:
            st.calendar[place.next].prev = place.prev
    page.flags &= ~(F_QUEUED | F_HEAP)
    st.cgs[c].queued -= 1


@inline
def _sink(st, c, lap, p):
    """Move page p of a coarse bucket to its fine one; returns the next of its lane."""
    nxt = st.calendar[p].next
    if nxt >= 0:
        prefetch(st.calendar, nxt)
        prefetch(st.pages, nxt)
    b = st.pages[p].when >> BUCKET_SHIFT
    if b >> _LEVEL == lap:
        _bucket_push(st, c, 0, b & _MASK, p)
    else:  # a later lap of the wheel
        _bucket_push(st, c, _lane(p), lap & _MASK, p)
    return nxt


@njit
def _cascade(st, c, lap):
    """Entering a coarse bucket: spread its events over the fine buckets, all lanes at a time."""
    slot = lap & _MASK
    p, q, r, s = st.wheel[c, 1, slot], st.wheel[c, 2, slot], st.wheel[c, 3, slot], st.wheel[c, 4, slot]
    for lane in range(1, 1 + LANES):
        st.wheel[c, lane, slot] = -1
    while p >= 0 or q >= 0 or r >= 0 or s >= 0:
        if p >= 0:
            p = _sink(st, c, lap, p)
        if q >= 0:
            q = _sink(st, c, lap, q)
        if r >= 0:
            r = _sink(st, c, lap, r)
        if s >= 0:
            s = _sink(st, c, lap, s)


@njit
def _load(st, c, limit):
    """Advance to the next bucket with events and order them; stop past work time ``limit``."""
    cg = st.cgs[c]
    last = limit >> BUCKET_SHIFT
    while cg.heap_len == 0 and cg.bucket < last:
        b = cg.bucket + 1
        cg.bucket = b
        if b & _MASK == 0:
            _cascade(st, c, b >> _LEVEL)
        p = st.wheel[c, 0, b & _MASK]
        if p >= 0:
            st.wheel[c, 0, b & _MASK] = -1
        while p >= 0:
            nxt = st.calendar[p].next
            _heap_push(st, c, p)
            p = nxt
        cg.fetch = st.wheel[c, 0, (b + 1) & _MASK]
        cg.fetched = -1
        # by the time its bucket comes its records have arrived
        ahead = max(st.wheel[c, 0, (b + 4) & _MASK], 0)
        prefetch(st.pages, ahead)
        prefetch(st.links, ahead)
        prefetch(st.calendar, ahead)


@inline
def _ask_ahead(st, c):
    """Have the memory bring one more page of the next bucket, and the neighbours of the one before.

    One an event: following a bucket costs a miss a page, which so has time to arrive. A page that has
    left the bucket since leads astray, to no harm.
    """
    cg = st.cgs[c]
    p = cg.fetched
    if p >= 0:
        link = st.links[p]
        prefetch(st.links, max(link.older, 0))
        prefetch(st.links, max(link.newer, 0))
    p = cg.fetch
    cg.fetched = p
    if p >= 0:
        prefetch(st.pages, p)
        prefetch(st.links, p)
        after = st.calendar[p].next
        cg.fetch = after
        prefetch(st.calendar, max(after, 0))


@inline
def peek(st, c, limit):
    """Work time of cgroup c's next event, or NEVER if there is none up to ``limit``."""
    cg = st.cgs[c]
    if cg.queued == 0:
        return NEVER
    if cg.heap_len == 0:
        _load(st, c, limit)
        if cg.heap_len == 0:
            return NEVER
    return st.pages[st.heap[cg.first_page]].when


@njit
def pop(st, c):
    """Remove and return the page whose access comes first (peek must have found one)."""
    _ask_ahead(st, c)
    cg = st.cgs[c]
    base = cg.first_page
    p = st.heap[base]
    last = cg.heap_len - 1
    cg.heap_len = last
    if last > 0:
        q = st.heap[base + last]
        st.heap[base] = q
        st.calendar[q].prev = 0
        _sift_down(st, base, 0, last)
    st.pages[p].flags &= ~(F_QUEUED | F_HEAP)
    cg.queued -= 1
    return p
