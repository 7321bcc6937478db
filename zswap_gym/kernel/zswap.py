"""zswap: store, load, and writeback of one entry (mm/zswap.c of 6.12).

Entries sit on a per-memcg LRU, oldest first, each with a second chance (the referenced bit,
set at the store). Two different sums limit them: memory.zswap.max counts compressed bytes of a
cgroup and its descendants, max_pool_percent counts zsmalloc pages of the host.
"""

from __future__ import annotations

from zswap_gym.kernel.charge_stock import charge_ahead, charge_object, uncharge_object
from zswap_gym.kernel.folio_batch import batch_push, cpu
from zswap_gym.kernel.jit import inline, njit, rare
from zswap_gym.kernel.layout import (
    B_ADD,
    F_DIRTY,
    F_FULLREF,
    F_RECLAIM,
    F_REFERENCED,
    F_WORKINGSET,
    INF_PAGES,
    LISTS_PER_CGROUP,
    LRU_CLASSIC,
    S_CPU_US,
    S_EV_MAX,
    S_POOL_LIMIT_HIT,
    S_REJECT_ALLOC_FAIL,
    S_REJECT_COMPRESS_FAIL,
    S_STORES_REFUSED,
    S_ZSWPOUT,
    S_ZSWPWB,
    SWAPCACHE,
    ZSWAP,
    ZSWAP_LIST,
)
from zswap_gym.kernel.lists import push_newest, to_newest, unlink
from zswap_gym.kernel.memcg import account, ram_used, usage
from zswap_gym.kernel.mglru import add_newest, add_written_back
from zswap_gym.kernel.rng import uniform
from zswap_gym.kernel.swapdev import settle, write
from zswap_gym.kernel.workingset import note_refault
from zswap_gym.kernel.zsmalloc import pool_add
from zswap_gym.kernel.zspage import zs_free, zs_malloc


@inline
def charge_cpu(st, c, us_per_page):
    """Account CPU time of one simulated page; returns it in microseconds of real time."""
    us = us_per_page * st.host[0].scale
    st.stat[c, S_CPU_US] += int(us + 0.5)
    return us


@inline
def oldest_entry(st, c):
    """Head of c's zswap LRU, or -1."""
    catch_up(st, c)
    return st.lists[c * LISTS_PER_CGROUP + ZSWAP_LIST].oldest


@inline
def entries(st, c):
    """Length of c's own zswap LRU, real pages."""
    return st.lists[c * LISTS_PER_CGROUP + ZSWAP_LIST].length * st.host[0].scale


@inline
def rotate(st, c, p):
    """Move the oldest entry, p, to the tail of its LRU (list_lru_isolate LRU_ROTATE).

    Every entry that was there when a round began has had its turn, or is gone, once as many as
    there were have been rotated; what came since is younger than the round. So a round ends with
    a bound on the whole LRU's age, for nothing, and a walk that can only meet young entries need
    not look at them (`rotate_many`).
    """
    cg = st.cgs[c]
    cg.round_since = min(cg.round_since, st.pages[p].stamp)
    cg.round_left -= 1
    if cg.round_left <= 0:
        cg.all_since = cg.round_since
        _begin_round(st, c)
    to_newest(st, c, ZSWAP_LIST, p)


@inline
def _begin_round(st, c):
    st.cgs[c].round_since = st.host[0].now
    st.cgs[c].round_left = st.lists[c * LISTS_PER_CGROUP + ZSWAP_LIST].length


@inline
def rotate_many(st, c, n):
    """`rotate` the n oldest entries of c: the same order in the end, no entry looked at.

    A failing call rotates the same list 16 times; that is done at once, by `catch_up`.
    """
    st.cgs[c].owed += n
    _begin_round(st, c)


@inline
def catch_up(st, c):
    """Whoever touches c's zswap LRU calls this first."""
    if st.cgs[c].owed > 0:
        _turn(st, c)


@njit
def _turn(st, c):
    """Do the rotations that are owed: cut the list where it begins from now on, the shorter way there."""
    rec = st.lists[c * LISTS_PER_CGROUP + ZSWAP_LIST]
    n = st.cgs[c].owed % max(rec.length, 1)
    st.cgs[c].owed = 0
    if n == 0:
        return
    if n <= rec.length // 2:
        first = rec.oldest
        for _ in range(n):
            first = st.links[first].newer
    else:
        first = rec.newest
        for _ in range(rec.length - n - 1):
            first = st.links[first].older
    last = st.links[first].older
    st.links[rec.newest].newer = rec.oldest
    st.links[rec.oldest].older = rec.newest
    st.links[last].newer = -1
    st.links[first].older = -1
    rec.oldest = first
    rec.newest = last


@njit
def drop_entry(st, c, p):
    """zswap_entry_free(): off the LRU and out of the pool. Returns its bytes, for the caller to uncharge."""
    page = st.pages[p]
    catch_up(st, st.cgs[c].zlru)
    unlink(st, st.cgs[c].zlru, p)
    length = min(int(page.clen), 4096)
    if rare(st.host[0].lru):
        zs_free(st, p)
    else:
        pool_add(st, length, -1)
    page.flags &= ~F_REFERENCED
    if rare(len(st.stocks) > 0):
        uncharge_object(st, c, length)
    return length


@inline
def _place(st, c, p, in_fault):
    """Put the page a writeback brought in on the LRU: where its write leaves it, or where it waits."""
    if rare(st.host[0].lru):
        batch_push(st, cpu(st), B_ADD, p)
        st.pages[p].flags |= F_RECLAIM
    elif in_fault or uniform(st) < st.host[0].rotated:
        # Its write outlasts the per-CPU batch: spec/mglru.md 7.
        st.pages[p].flags |= F_RECLAIM
        add_newest(st, c, p, st.cgs[c].max_seq - 1)
    else:
        add_written_back(st, c, p)


@njit
def write_back(st, c, p, t, in_fault):
    """zswap_writeback_entry(): decompress p into the swap cache and start its write.

    The page is charged in full before its compressed bytes are given back, and stays as clean
    swap cache until a later reclaim takes it: writeback alone raises memory.current (FINDINGS 1).
    Returns the boot time at which the caller may go on (it waits for the device's queue).
    """
    host = st.host[0]
    page = st.pages[p]
    page.flags &= ~(F_WORKINGSET | F_DIRTY | F_RECLAIM | F_FULLREF)
    note_refault(st, c, p, in_fault)
    if in_fault and page.flags & F_WORKINGSET and host.lru != LRU_CLASSIC:
        page.flags |= F_FULLREF
    if rare(len(st.stocks) > 0) and host.reclaiming:
        charge_ahead(st, c)  # PF_MEMALLOC: forced where it does not fit
    length = drop_entry(st, c, p)
    account(st, c, 1, 0, 1, -1, length)
    st.stat[c, S_ZSWPWB] += host.scale
    page.state = SWAPCACHE
    if not rare(host.exact):
        t += int(charge_cpu(st, c, host.decompress_us + 1.0))
    elif not host.reclaiming:
        t += int(host.writeback_us)
        settle(st, t)
    _place(st, c, p, in_fault)
    t, _ = write(st, c, p, t)
    return t


@njit
def shrink_memcg(st, c, t, in_fault):
    """Give the oldest entry of the LRU of c its turn, one a call, as in 6.12.

    Returns (1 written, 0 gave it its second chance, -1 nothing to try; time to go on).
    """
    if not st.cgs[c].writeback_effective:
        return -1, t
    p = oldest_entry(st, c)
    if p < 0:
        return -1, t
    page = st.pages[p]
    if page.flags & F_REFERENCED:
        page.flags &= ~F_REFERENCED
        rotate(st, c, p)
        return 0, t
    return 1, write_back(st, st.owner[p], p, t, in_fault)


@inline
def _may_zswap(st, c):
    """obj_cgroup_may_zswap(): c and every ancestor below its memory.zswap.max."""
    while c >= 0:
        cg = st.cgs[c]
        if cg.zswap_max < INF_PAGES and (cg.zswap_max == 0 or cg.zbytes >> 12 >= cg.zswap_max):
            return False
        c = cg.parent
    return True


@inline
def _pool_refuses(st):
    """zswap_check_limits(): the global limit with hysteresis."""
    host = st.host[0]
    if host.pool_pages >= host.max_pool_pages:
        st.stat[0, S_POOL_LIMIT_HIT] += 1
        host.reached_full = 1
    elif host.reached_full and host.pool_pages <= host.accept_pages:
        host.reached_full = 0
    return host.reached_full == 1


@njit
def _note_forced_charge(st, c, length):
    """obj_cgroup_charge_zswap(): never refused, but a page charged beyond memory.max is an event.

    What a batch has freed is uncharged 31 pages at a time, so its first stores charge at the limit.
    """
    while c >= 0:
        cg = st.cgs[c]
        grows = (cg.zbytes + length + 4095) >> 12 > (cg.zbytes + 4095) >> 12
        if grows and usage(st, c) + st.host[0].uncharging + 1 > cg.max:
            st.stat[c, S_EV_MAX] += 1
            return
        c = cg.parent


@njit
def store(st, c, p, t, in_fault):
    """zswap_store(): returns (stored?, time to go on)."""
    host = st.host[0]
    if rare(not host.zswap_enabled):
        return False, t
    page = st.pages[p]
    ok = True
    if rare(not _may_zswap(st, c)):
        wrote, t = shrink_memcg(st, c, t, in_fault)
        ok = wrote == 1  # the limit is not checked again: one out, one in
    if ok and rare(_pool_refuses(st)):
        ok = False
    length = int(page.clen)
    if ok:
        if not rare(host.exact):
            t += int(charge_cpu(st, c, host.compress_us))
        if length >= 4096:
            if host.store_raw and st.cgs[c].writeback_effective:
                length = 4096
            else:
                st.stat[0, S_REJECT_COMPRESS_FAIL] += host.scale
                ok = False
        if ok and rare(ram_used(st) >= host.exhausted_at):
            st.stat[0, S_REJECT_ALLOC_FAIL] += host.scale  # zs_malloc(): not a page left
            ok = False
    if rare(not ok):
        st.stat[c, S_STORES_REFUSED] += host.scale
        if host.reached_full and (not host.worker_queued or host.refusal_us > 0):
            host.worker_queued += max(host.refusal_us, 1)
            host.jobs_changed = 1
        return False, t
    if rare(host.lru):
        zs_malloc(st, p, length)
        _note_forced_charge(st, c, length)
    else:
        pool_add(st, length, 1)
    if rare(len(st.stocks) > 0):
        charge_object(st, c, length)
    account(st, c, 0, 0, 0, 1, length)
    page.flags |= F_REFERENCED
    page.flags &= ~F_DIRTY
    page.state = ZSWAP
    page.stamp = host.now
    catch_up(st, st.cgs[c].zlru)
    push_newest(st, st.cgs[c].zlru, ZSWAP_LIST, p)
    st.stat[c, S_ZSWPOUT] += host.scale
    return True, t
