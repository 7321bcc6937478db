"""Reclaim: evict_folios(), shrink_lruvec(), try_to_free_mem_cgroup_pages() (mm/vmscan.c).

One routine, `step`, does one unit of work (a batch of 64 pages, an aging pass, a shrinker
pass) and returns. Called in a row it is direct reclaim; called once per event it is
memory.reclaim, which runs beside the workload and yields between batches.
"""

from __future__ import annotations

from zswap_gym.kernel.classic_lru import classic_begin, classic_step, remember_activations
from zswap_gym.kernel.file_lru import FILE_CHUNK, file_begin, file_step
from zswap_gym.kernel.folio_batch import cpu, drain, drain_all
from zswap_gym.kernel.jit import inline, njit, rare, unit
from zswap_gym.kernel.jobs import J_KSWAPD, J_RECLAIM
from zswap_gym.kernel.layout import (
    F_RECLAIM,
    LRU_CLASSIC,
    RESIDENT,
    S_PGACTIVATE,
    S_PGSCAN,
    S_PGSCAN_KSWAPD,
    S_PGSCAN_PROACTIVE,
    S_PGSTEAL,
    S_PGSTEAL_KSWAPD,
    S_PGSTEAL_PROACTIVE,
    SWAPCACHE,
)
from zswap_gym.kernel.memcg import swap_room
from zswap_gym.kernel.mglru import (
    add_youngest,
    advance_min,
    age,
    ask_ahead,
    examine,
    isolate,
    keep_written,
    length,
    oldest,
    should_age,
)
from zswap_gym.kernel.page_walk import walk
from zswap_gym.kernel.pageout import FREED_STORED, WRITTEN, pageout
from zswap_gym.kernel.protection import SKIP, protects
from zswap_gym.kernel.shrink_list import evict_isolated, finish_writes
from zswap_gym.kernel.shrinker import shrink_slab
from zswap_gym.kernel.stateref import TIMED
from zswap_gym.kernel.swapdev import settle
from zswap_gym.kernel.zswap import charge_cpu

SCAN_US = 0.3  # isolate, rmap, unmap and free of one page besides compression
WALK_US = 30.0  # one aging pass
MAX_RECLAIM_RETRIES = 16


@njit
def _shrink_page(st, c, p, t, in_fault):
    """shrink_folio_list() for one isolated page, simple MGLRU: returns (freed?, time to go on)."""
    page = st.pages[p]
    if page.state == SWAPCACHE and page.stamp > t:  # under writeback
        page.flags |= F_RECLAIM
        st.stat[c, S_PGACTIVATE] += st.host[0].scale
        add_youngest(st, c, p)
        return False, t
    if page.state == RESIDENT and examine(st, c, p):
        add_youngest(st, c, p)
        return False, t
    verdict, t = pageout(st, c, p, t, in_fault)
    if verdict <= FREED_STORED:
        return True, t
    if verdict == WRITTEN:
        keep_written(st, c, p)
    else:
        st.stat[c, S_PGACTIVATE] += st.host[0].scale
        add_youngest(st, c, p)
    return False, t


@njit
def evict_batch(st, c, t, in_fault):
    """evict_folios(): returns (real pages looked at or 1 if min_seq moved, real pages freed, time)."""
    cg = st.cgs[c]
    scale = st.host[0].scale
    if cg.max_seq - cg.min_seq + 1 <= 2:
        return 0, 0, t
    settle(st, t)
    taken, looked = isolate(st, c)
    if advance_min(st, c):
        looked += 1
    if cg.max_seq - cg.min_seq + 1 <= 2:
        looked = 0
    freed = 0
    if not rare(st.host[0].exact):
        t += int(charge_cpu(st, c, SCAN_US) * taken)
    if rare(st.host[0].lru):
        freed, t = evict_isolated(st, c, taken, t, in_fault)
        return looked, freed, t
    ahead = oldest(st, c)
    for i in range(taken):
        ahead = ask_ahead(st, ahead)
        gone, t = _shrink_page(st, c, st.scratch[i], t, in_fault)
        if gone:
            freed += 1
    return looked * scale, _credit(st, c, taken, freed), t


@inline
def _credit(st, c, taken, freed):
    """Real pages a batch counts as freed.

    Of 64 real pages some are kept, and a goal of 64 then takes a second batch. With page_scale 64 a
    batch is one page and frees all or nothing, so that goals would be met exactly and less would be
    reclaimed than in truth (12 % less where a tenth is kept). Coarse batches count the share that
    was freed of the last 16 simulated pages or so; what that is wrong by evens out.
    """
    scale = st.host[0].scale
    if scale <= 4 or taken == 0:
        return freed * scale
    cg = st.cgs[c]
    cg.free_rate += 4.0 / scale * (freed / taken - cg.free_rate)
    credit = taken * scale * cg.free_rate + cg.free_carry
    cg.free_carry = credit - int(credit)
    return int(credit)


# --- one try_free, resumable -------------------------------------------------------------------


@inline
def begin(st, j, root, goal):
    """Start try_to_free_mem_cgroup_pages(root, goal) in job j."""
    job = st.jobs[j]
    job.active = 1
    job.goal = max(goal, 32)
    job.freed = 0
    job.prio = 12
    job.attempt = 0
    job.low_skipped = 0
    job.walk_left = -1
    job.in_lruvec = 0
    job.skipped_active = 0
    job.force_deactivate = 0
    job.anon_too = 1 if job.pulse == 0 and swap_room(st, root) >= 64 else 0  # can_reclaim_anon_pages()
    if not job.anon_too and st.cgs[root].file == 0 and job.pulse == 0:
        job.active = 0


@inline
def _next_priority(st, j, root):
    """End of one pass over the subtree."""
    job = st.jobs[j]
    job.walk_left = -1
    if rare(st.host[0].lru == LRU_CLASSIC) and (job.freed >= job.goal or job.prio == 0):
        remember_activations(st, root)
    if job.freed >= job.goal:
        job.active = 0
        return
    job.prio -= 1
    if rare(job.prio < 0):
        if job.freed == 0 and job.attempt == 0:  # once more, walking the full tree
            job.attempt = 1
            job.prio = 12
        elif job.freed == 0 and job.skipped_active:  # and once more, touching the active list
            job.skipped_active = 0
            job.force_deactivate = 1
            job.prio = 12
        elif job.freed == 0 and job.low_skipped:  # and once more, memory.low broken
            job.attempt = 2
            job.low_skipped = 0
            job.prio = 12
        else:
            job.active = 0


@njit
def _leave_cgroup(st, j, root):
    """shrink_node_memcgs(): on to the next cgroup, or stop here if the goal is met.

    Reclaimers share their place in the tree (mem_cgroup_iter() with a cookie): a pass begins where
    the last one stopped and ends at the end of the tree, so it may see only part of it.
    """
    job = st.jobs[j]
    job.in_lruvec = 0
    job.walk_left -= 1
    nxt = job.walk_from + 1
    job.walk_from = nxt
    if job.attempt == 0:
        st.cgs[root].reclaim_iter = nxt if nxt < st.cgs[root].sub_end else root
        if job.freed >= job.goal:
            job.walk_left = 0
    if job.walk_left == 0:
        _next_priority(st, j, root)


@njit
def _mglru_step(st, j, c, t, in_fault):
    """One batch, or one aging, of lru_gen_shrink_lruvec(): (this priority is over?, time to go on)."""
    job = st.jobs[j]
    run, total = should_age(st, c)
    if length(st, c) == 0:
        return True, t
    if run and job.prio < 12:
        if rare(st.host[0].lru):
            walk(st, c)
            st.cgs[c].max_seq += 1
        else:
            age(st, c)
        if not rare(st.host[0].exact):
            t += int(WALK_US)
        return True, t
    todo = (total * st.host[0].scale) >> job.prio
    if todo <= 0:
        return True, t
    looked, freed, t = evict_batch(st, c, t, in_fault)
    job.freed += freed
    job.scanned += looked
    return looked == 0 or job.scanned >= todo, t


@inline
def _by_whom(st, c, kind, scanned, freed):
    """Count pgscan and pgsteal once more by who reclaims; what is left over is direct reclaim."""
    if kind == J_RECLAIM:
        st.stat[c, S_PGSCAN_PROACTIVE] += scanned
        st.stat[c, S_PGSTEAL_PROACTIVE] += freed
    elif kind == J_KSWAPD:
        st.stat[c, S_PGSCAN_KSWAPD] += scanned
        st.stat[c, S_PGSTEAL_KSWAPD] += freed


@unit(TIMED)
def step(st, j, root, t, in_fault):
    """One unit of the try_free in job j; returns the time to go on. ``active`` drops to 0 at its end."""
    job = st.jobs[j]
    host = st.host[0]
    if job.walk_left < 0:  # a new pass over the subtree
        job.walk_from = st.cgs[root].reclaim_iter
        if job.walk_from < root or job.walk_from >= st.cgs[root].sub_end or job.attempt > 0:
            job.walk_from = root
        job.walk_left = st.cgs[root].sub_end - job.walk_from
    c = job.walk_from
    host.reclaiming = 1
    if not job.in_lruvec:
        job.in_lruvec = 1
        job.scanned = 0
        if rare(host.protected) and protects(st, j, root, c, job.attempt == 2) == SKIP:
            host.reclaiming = 0
            _leave_cgroup(st, j, root)
            return t
        file_begin(st, j, c)
        if rare(host.lru):
            drain(st, cpu(st))
        if rare(host.lru == LRU_CLASSIC):
            classic_begin(st, j, c)
    host.reclaiming = 1
    scanned, freed = st.stat[c, S_PGSCAN], st.stat[c, S_PGSTEAL]
    if rare(job.todo_file > 0 or job.todo_file_active > 0):
        over = file_step(st, j, c)
        if not rare(host.exact):
            t += int(charge_cpu(st, c, SCAN_US) * FILE_CHUNK)
    elif rare(not job.anon_too):
        over = True
    elif rare(host.lru == LRU_CLASSIC):
        over, t = classic_step(st, j, c, t, in_fault)
    else:
        over, t = _mglru_step(st, j, c, t, in_fault)
    _by_whom(st, c, job.kind, st.stat[c, S_PGSCAN] - scanned, st.stat[c, S_PGSTEAL] - freed)
    if over:
        t = shrink_slab(st, c, job.prio, t, in_fault)
        if rare(host.lru):
            finish_writes(st)
        _leave_cgroup(st, j, root)
    host.reclaiming = 0
    return t


@njit
def try_free(st, root, goal, t, in_fault):
    """Direct reclaim, at once: returns (real pages freed, time to go on)."""
    j = len(st.jobs) - 1
    begin(st, j, root, goal)
    st.host[0].walking = 0
    st.cgs[st.host[0].task].ran = 1
    while st.jobs[j].active:
        t = step(st, j, root, t, in_fault)
    return st.jobs[j].freed, t


# --- memory.reclaim ------------------------------------------------------------------------------


@inline
def reclaim_begin(st, j, root, target):
    """user_proactive_reclaim(): loop try_free((target - reclaimed) / 4) until the target is met."""
    job = st.jobs[j]
    job.cg = root
    job.target = target
    job.reclaimed = 0
    job.retries = MAX_RECLAIM_RETRIES
    job.active = 0
    job.pace_us = 0.0


@njit
def reclaim_step(st, j, t):
    """One unit of a memory.reclaim write: (finished?, errno, time to go on)."""
    job = st.jobs[j]
    if job.active:
        st.host[0].walking = 1
        t = step(st, j, job.cg, t, False)
        st.host[0].walking = 0
        if job.pace_us > 0.0:
            t = max(t, job.start + int(job.pace_us * (job.reclaimed + job.freed)))
        if job.active:
            return False, 0, t
        job.reclaimed += job.freed
        if job.freed == 0:
            if job.retries == 0:
                return True, 11, t
            job.retries -= 1
    if job.reclaimed >= job.target:
        return True, 0, t
    if job.signal:
        return True, 4, t
    if job.retries == 0 and st.host[0].lru:
        drain_all(st)
    begin(st, j, job.cg, (job.target - job.reclaimed) // 4)
    if not job.active:  # no swap room: every try frees nothing
        return True, 11, t
    return False, 0, t
