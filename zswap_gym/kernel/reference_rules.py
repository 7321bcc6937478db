"""Rules of the reference: reclaim and zswap a second time, with real accessed and dirty bits.

Written from spec/mglru.md ("walk always, no look-around") and spec/zswap-model.md, sharing no rule with
the core. Nothing here is fast. Swap never runs short, operations take no time, a page is one page.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from zswap_gym.kernel import layout as lo
from zswap_gym.kernel.jit import njit
from zswap_gym.kernel.layout import DISK, RESIDENT, SWAPCACHE, ZERO, ZSWAP
from zswap_gym.kernel.rng import uniform

NOTHING, SPARED, WRITTEN = -1, 0, 1  # what trying the oldest zswap entry came to


def _record(**fields: str) -> np.dtype:
    return np.dtype([(name, kind) for kind, names in fields.items() for name in names.split()], align=True)


PAGE = _record(
    f8="rate write_share",
    i8="seq shadow",  # generation, -1 while on none; min_seq at the eviction
    i4="older newer",  # neighbours on the list it lies on, a ring closed by the list's head
    i2="cg region clen state",
    b1="accessed dirty slot second_chance rotate extra_round",
)
CGROUP = _record(
    i8="first end base max zswap_max writeback stage_one resident zbytes zpages disk_swapins deferred "
    "max_seq min_seq",
    f8="last_walk",
)
HOST = _record(
    u8="rng",
    f8="now rotated stage_next stage_interval",
    i8="accesses segment touched stage_pages shrinker store_raw in_flight worker_at worker_queued "
    "pool_pages pool_max pool_accept pool_full",
)


class World(NamedTuple):
    """All that the reference remembers: n pages, c cgroups with the root first."""

    pages: np.ndarray  # PAGE (n + 5 c,): behind the pages the list heads, five a cgroup
    cgs: np.ndarray  # CGROUP (c,)
    host: np.ndarray  # HOST (1,)
    stat: np.ndarray  # int64 (c, len(STAT))
    tagged: np.ndarray  # int64 (c, 4): pages by the generation they are tagged with, & 3
    change: np.ndarray  # float64 (segments,): us at which each segment of constant rates ends
    mult: np.ndarray  # float64 (segments, regions)
    cumulative: np.ndarray  # float64 (n,): summed rates of pages 0..i in this segment, Hz
    touch_page: np.ndarray  # int64 (n,): pages in the order of their first touch
    touch_time: np.ndarray  # float64 (n + 1,): when, us; inf closes it
    flight: np.ndarray  # int64 (n,): pages whose write has been submitted
    batch: np.ndarray  # int64 (64,): pages isolated by one eviction batch
    zclass: np.ndarray  # layout.ZCLASS
    zclass_of: np.ndarray  # uint8 (4097,)


# --- lists ------------------------------------------------------------------------------------------


@njit
def head(st, c, seq):
    """The record that closes generation ``seq`` of cgroup c, or with -1 its list of zswap entries."""
    return len(st.pages) + (c - len(st.cgs)) * 5 + (seq & 3 if seq >= 0 else 4)


@njit
def link(st, p, before):
    """Put page p on the newer side of ``before``."""
    after = st.pages[before].newer
    st.pages[p].older, st.pages[p].newer = before, after
    st.pages[before].newer = st.pages[after].older = p


@njit
def unlink(st, p):
    """Take page p off its list."""
    page = st.pages[p]
    st.pages[page.older].newer, st.pages[page.newer].older = page.newer, page.older


@njit
def tag(st, p, seq):
    """Make page p one of generation ``seq``, -1: of none. It stays where it lies."""
    page = st.pages[p]
    st.tagged[page.cg, page.seq & 3] -= page.seq >= 0
    st.tagged[page.cg, seq & 3] += seq >= 0
    page.seq = seq


@njit
def add(st, p, seq):
    """Put page p at the newest end of generation ``seq``."""
    tag(st, p, seq)
    link(st, p, st.pages[head(st, st.pages[p].cg, seq)].older)


# --- zswap and the device ---------------------------------------------------------------------------


@njit
def account_entry(st, p, delta):
    """Page p's zswap entry comes (1) or goes (-1); zspages are compacted."""
    cg, length, host = st.cgs[st.pages[p].cg], min(st.pages[p].clen, 4096), st.host[0]
    cg.zpages += delta
    cg.zbytes += delta * length
    cls = st.zclass[st.zclass_of[length]]
    host.pool_pages -= -(-cls.objects // cls.per_zspage) * cls.zspage_pages
    cls.objects += delta
    host.pool_pages += -(-cls.objects // cls.per_zspage) * cls.zspage_pages


@njit
def note_refault(st, p):
    """workingset_refault(): True if the oldest generation is still the one page p was evicted from."""
    page = st.pages[p]
    recent = page.shadow == st.cgs[page.cg].min_seq
    st.stat[page.cg, lo.S_REFAULT] += 1
    st.stat[page.cg, lo.S_ACTIVATE] += recent
    return recent


@njit
def land(st):
    """All writes end: pages written to be freed go to the oldest end of the oldest generation."""
    for i in range(st.host[0].in_flight):
        p = st.flight[i]
        page = st.pages[p]
        if page.state == SWAPCACHE and page.rotate:
            page.rotate = False
            unlink(st, p)
            tag(st, p, st.cgs[page.cg].min_seq)
            link(st, p, head(st, page.cg, page.seq))
    st.host[0].in_flight = 0


@njit
def submit(st, p):
    """Write page p to the device; its write ends after what goes on now."""
    st.flight[st.host[0].in_flight] = p
    st.host[0].in_flight += 1
    st.stat[st.pages[p].cg, lo.S_PSWPOUT] += 1


@njit
def try_oldest(st, c, in_fault):
    """Spare c's oldest zswap entry if it has its second chance, else write it back to the swap cache."""
    cg = st.cgs[c]
    if not cg.writeback or cg.zpages == 0:
        return NOTHING
    p = st.pages[head(st, c, -1)].newer
    page = st.pages[p]
    unlink(st, p)
    if page.second_chance:
        page.second_chance = False
        link(st, p, st.pages[head(st, c, -1)].older)
        return SPARED
    page.extra_round = note_refault(st, p) and in_fault  # spec/mglru.md 6.3
    account_entry(st, p, -1)
    st.stat[c, lo.S_ZSWPWB] += 1
    cg.resident += 1
    page.state, page.dirty = SWAPCACHE, False
    page.rotate = in_fault or uniform(st) < st.host[0].rotated
    behind = cg.min_seq if cg.max_seq - cg.min_seq <= 2 else cg.min_seq + 1
    add(st, p, cg.max_seq - 1 if page.rotate else behind)
    submit(st, p)
    return WRITTEN


@njit
def store(st, p, in_fault):
    """zswap_store(): False if the page must go to the device."""
    page, cg, host = st.pages[p], st.cgs[st.pages[p].cg], st.host[0]
    ok = cg.zbytes // 4096 < cg.zswap_max or try_oldest(st, page.cg, in_fault) == WRITTEN  # one out, one in
    if ok and host.pool_pages >= host.pool_max:
        st.stat[0, lo.S_POOL_LIMIT_HIT] += 1
        host.pool_full = True
    elif ok and host.pool_pages <= host.pool_accept:
        host.pool_full = False
    ok = ok and not host.pool_full
    poor = page.clen >= 4096 and not (host.store_raw and cg.writeback)
    st.stat[0, lo.S_REJECT_COMPRESS_FAIL] += ok and poor
    if not ok or poor:
        st.stat[page.cg, lo.S_STORES_REFUSED] += 1
        host.worker_queued |= host.pool_full
        return False
    account_entry(st, p, 1)
    page.state, page.dirty, page.second_chance = ZSWAP, False, True
    link(st, p, st.pages[head(st, page.cg, -1)].older)
    st.stat[page.cg, lo.S_ZSWPOUT] += 1
    return True


@njit
def shrink_zswap(st, c, prio, in_fault):
    """The dynamic shrinker after the LRU of one priority: do_shrink_slab(), zswap_shrinker_count()."""
    cg = st.cgs[c]
    if not st.host[0].shrinker or not cg.writeback or cg.zpages == 0:
        return
    protected = min(cg.disk_swapins, cg.zpages)
    cg.disk_swapins -= protected
    count = (cg.zpages - protected) * (cg.zbytes // 4096) // cg.zpages
    if count == 0:
        return
    delta = (count >> prio) * 4 // 2
    total = min((cg.deferred >> prio) + delta, 2 * count)
    scanned = 0
    while total > 0 and (total >= 128 or total >= count):
        n = min(128, total)
        written = 0
        for _ in range(n):
            written += try_oldest(st, c, in_fault) == WRITTEN
        if written == 0:
            break
        total -= n
        scanned += n
    cg.deferred = min(max(cg.deferred + delta - scanned, 0), 2 * count)


# --- reclaim ----------------------------------------------------------------------------------------


@njit
def age(st, c):
    """Walk the page table: clear every accessed bit, tag those pages youngest; open a generation."""
    cg = st.cgs[c]
    for p in range(cg.first, cg.end):
        page = st.pages[p]
        if page.state == RESIDENT and page.accessed:
            page.accessed = page.extra_round = False
            tag(st, p, cg.max_seq)
    cg.max_seq += 1
    st.stat[c, lo.S_WALKS] += st.host[0].now > cg.last_walk  # as the core counts: it skips what sees nothing
    cg.last_walk = st.host[0].now


@njit
def shrink_page(st, p, in_fault):
    """shrink_folio_list() for one isolated page: True if it was freed."""
    page, cg = st.pages[p], st.cgs[st.pages[p].cg]
    if page.state == RESIDENT and page.accessed:
        page.accessed = False
        add(st, p, cg.max_seq)
        return False
    page.dirty |= not page.slot
    page.state, page.slot = SWAPCACHE, True
    if page.dirty and page.clen == 0:
        page.dirty = False
        st.stat[page.cg, lo.S_SWPOUT_ZERO] += 1
    if page.dirty and not store(st, p, in_fault):
        if cg.writeback:
            page.dirty, page.rotate = False, True
            add(st, p, cg.max_seq - 1)
            submit(st, p)
        else:
            st.stat[page.cg, lo.S_PGACTIVATE] += 1
            add(st, p, cg.max_seq)
        return False
    if page.state != ZSWAP:
        page.state = ZERO if page.clen == 0 else DISK
    page.shadow = cg.min_seq
    cg.resident -= 1
    st.stat[page.cg, lo.S_PGSTEAL] += 1
    return True


@njit
def isolate(st, c):
    """Take up to 64 pages off the oldest generation: (how many, how many were looked at)."""
    cg, end = st.cgs[c], head(st, c, st.cgs[c].min_seq)
    taken = looked = 0
    while taken < 64 and looked < 4096 and st.pages[end].newer != end:
        p = st.pages[end].newer
        page = st.pages[p]
        looked += 1
        unlink(st, p)
        if page.seq != cg.min_seq:  # a walk found it young: sort it
            link(st, p, st.pages[head(st, c, page.seq)].older)
        elif page.extra_round:
            page.extra_round = False
            tag(st, p, cg.min_seq + 1)
            link(st, p, head(st, c, page.seq))
        else:
            tag(st, p, -1)
            st.batch[taken] = p
            taken += 1
    st.stat[c, lo.S_PGSCAN] += taken
    st.stat[c, lo.S_PGREFILL] += looked - taken
    return taken, looked if taken > 0 or looked == 4096 else 0


@njit
def evict_batch(st, c, in_fault):
    """evict_folios(): (pages looked at, pages freed)."""
    cg = st.cgs[c]
    land(st)
    taken, looked = isolate(st, c)
    oldest = cg.min_seq
    while cg.max_seq - cg.min_seq >= 2 and st.pages[head(st, c, cg.min_seq)].newer == head(st, c, cg.min_seq):
        cg.min_seq += 1
    looked = looked + (cg.min_seq > oldest) if cg.max_seq - cg.min_seq >= 2 else 0
    freed = 0
    for i in range(taken):
        freed += shrink_page(st, st.batch[i], in_fault)
    return looked, freed


@njit
def shrink(st, c, prio, in_fault):
    """shrink_lruvec() of one priority, with should_run_aging(): pages freed."""
    cg = st.cgs[c]
    scanned = freed = 0
    while True:
        total = st.tagged[c].sum()
        if total == 0:
            return freed
        generations = cg.max_seq - cg.min_seq + 1
        young, old = st.tagged[c, cg.max_seq & 3], st.tagged[c, (cg.max_seq - 2) & 3]
        if prio < 12 and (generations < 3 or (generations == 3 and (young * 2 > total or old * 4 < total))):
            age(st, c)
            return freed
        todo = total >> prio if generations >= 3 else 0
        if todo == 0:
            return freed
        looked, gone = evict_batch(st, c, in_fault)
        freed += gone
        scanned += looked
        if looked == 0 or scanned >= todo:
            return freed


@njit
def try_free(st, c, goal, in_fault):
    """try_to_free_mem_cgroup_pages(): pages freed."""
    freed = 0
    for _ in range(2):
        for prio in range(12, -1, -1):
            freed += shrink(st, c, prio, in_fault)
            shrink_zswap(st, c, prio, in_fault)
            if freed >= max(goal, 32):
                return freed
        if freed > 0:  # else once more, as the kernel does before it gives up
            break
    return freed
