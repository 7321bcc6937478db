"""Proactive writeback: the write() behind memory.zswap.proactive_writeback and memory.reclaim keys.

One driver for the five posted versions of the series (spec/series.md 1 to 4): go round the target's
subtree, give each cgroup a visit, walk its zswap LRU from the oldest entry, until the budget is
written or 16 visits of the call have failed. The versions differ in the numbers and switches of
spec.InterfaceSpec: what the budget counts (v1 to v3 uncompressed pages, v4 and v5 compressed
bytes), how long a visit is, whether the cursor outlives the call, whether referenced entries get
their second chance, what is an error. Only version 1 has an age: it writes entries stored at or
before the cutoff and rotates young ones. Overshoot up to a batch is the kernel's own.
"""

from __future__ import annotations

from zswap_gym.kernel.charge import charge_writeback, refuse_writeback
from zswap_gym.kernel.jit import inline, njit, prefetch, rare
from zswap_gym.kernel.layout import F_REFERENCED, S_ZSWPWB_PROACTIVE, S_ZSWPWB_PROACTIVE_B
from zswap_gym.kernel.reclaim import MAX_RECLAIM_RETRIES
from zswap_gym.kernel.swapdev import queue_full, settle
from zswap_gym.kernel.zswap import catch_up, entries, oldest_entry, rotate, rotate_many, write_back

ROTATE_US = 0.2
ENOENT, EINTR, EAGAIN = 2, 4, 11
NO_GOAL = 1 << 62
NO_CUTOFF = 1 << 62
"""A cutoff that lets every entry pass, for interfaces without an age."""


@inline
def writeback_begin(st, j, root, budget, cutoff):
    """Open the write() in job j; ``budget`` counts as the interface does."""
    job = st.jobs[j]
    job.cg = root
    job.budget = budget
    job.cutoff = cutoff
    job.cursor = -1
    job.done = 0
    job.written = 0
    job.failures = 0
    job.attempts = 0
    job.visit = -1
    job.walk_pages = -1
    job.wb_errno = 0


@inline
def _advance_cursor(st, j, root):
    """The next cgroup of root's subtree in pre-order, -1 at the end of a round.

    Versions 1 to 3 keep it in the cgroup (zswap_wb_iter), across calls; 4 and 5 in the call.
    """
    persists = st.host[0].wb_cursor == 1
    at = st.cgs[root].wb_iter if persists else st.jobs[j].cursor
    nxt = root if at < 0 else at + 1
    while nxt < st.cgs[root].sub_end and st.cgs[nxt].offline:
        nxt += 1
    if nxt >= st.cgs[root].sub_end:
        nxt = -1
    if persists:
        st.cgs[root].wb_iter = nxt
    else:
        st.jobs[j].cursor = nxt
    return nxt


@inline
def _open_visit(st, j, m):
    """How much of m this visit may write, and how many entries it may look at."""
    host = st.host[0]
    job = st.jobs[j]
    unit = 4096 if host.wb_compressed else 1  # of a page of the budget
    goal = host.wb_batch * unit if host.wb_batch > 0 else NO_GOAL
    job.visit = m
    job.visit_goal = min(job.budget - job.done, goal)
    if host.wb_batch == 0:
        job.visit_goal = NO_GOAL
    cap = host.wb_walk
    if host.wb_scan_ratio > 0:
        cap = (job.visit_goal + unit - 1) // unit * host.wb_scan_ratio
    job.visit_total = min(entries(st, m), cap)
    job.visit_scanned = 0
    job.visit_written = 0
    job.walk_pages = -1


@inline
def _open_walk(st, j):
    """list_lru_walk of at most ``wb_walk`` entries.

    A coarse page may reach past the walk's end. What it writes there is ``wb_debt``: the next
    walks of that LRU find it done, so that volumes are exact in the long run.
    """
    job = st.jobs[j]
    cg = st.cgs[job.visit]
    job.walk_pages = min(st.host[0].wb_walk, job.visit_total - job.visit_scanned)
    job.visit_scanned += job.walk_pages
    done = min(cg.wb_debt, job.walk_pages)
    of_bytes = cg.wb_debt_bytes * done // max(cg.wb_debt, 1)
    cg.wb_debt -= done
    cg.wb_debt_bytes -= of_bytes
    job.walk_need = job.walk_pages - done
    job.walk_seen = 0
    job.walk_hit = done
    job.walk_bytes = of_bytes


@inline
def _close_walk(st, j):
    """Count what the walk wrote, as the budget counts."""
    job = st.jobs[j]
    job.visit_written += job.walk_bytes if st.host[0].wb_compressed else job.walk_hit
    job.written += job.walk_hit
    job.walk_pages = -1


@inline
def _count(st, j, m, length, counted):
    """Account one simulated page written back, of which ``counted`` real ones lie inside the walk."""
    scale = st.host[0].scale
    job = st.jobs[j]
    st.stat[m, S_ZSWPWB_PROACTIVE] += scale
    st.stat[m, S_ZSWPWB_PROACTIVE_B] += scale * length
    job.walk_hit += counted
    job.walk_bytes += counted * length
    st.cgs[m].wb_debt += scale - counted
    st.cgs[m].wb_debt_bytes += (scale - counted) * length


@inline
def _ask_ahead(st, p):
    """Have the memory bring the entry after the next one."""
    ahead = st.links[p].newer
    if ahead >= 0:
        ahead = st.links[ahead].newer
        if ahead >= 0:
            prefetch(st.pages, ahead)


@njit
def _walk(st, j, t):
    """Entries of the open walk until it ends or the device's queue is full; returns the time."""
    job = st.jobs[j]
    m = job.visit
    scale = st.host[0].scale
    while job.walk_need > 0:
        p = oldest_entry(st, m)
        if p < 0:
            break
        _ask_ahead(st, p)
        page = st.pages[p]
        keep = page.stamp > job.cutoff  # young: rotated, referenced bit untouched, the walk goes on
        spare = not keep and st.host[0].wb_second_chance == 1 and page.flags & F_REFERENCED != 0
        if not (keep or spare) and queue_full(st):
            return max(t, st.ring[st.host[0].ring_head].done)  # the write blocks; walk stays open
        counted = min(scale, job.walk_need)
        job.walk_need -= scale
        job.walk_seen += 1
        if not keep:
            page.flags &= ~F_REFERENCED
        if keep or spare:
            rotate(st, m, p)
            continue
        charged, t = charge_writeback(st, st.owner[p], t)
        if oldest_entry(st, m) != p:  # that reclaim's shrinker took it, or the OOM killer
            continue
        if not charged:
            refuse_writeback(st, m, p)
            continue
        length = min(int(page.clen), 4096)
        t = write_back(st, st.owner[p], p, t, False)
        _count(st, j, m, length, counted)
    _close_walk(st, j)
    return t


@inline
def _nothing_to_write(st, j):
    """The visit can only meet young entries: every one on m's LRU was stored after the cutoff."""
    job = st.jobs[j]
    cg = st.cgs[job.visit]
    return cg.all_since > job.cutoff and cg.wb_debt == 0 and job.visit_scanned == 0 and not job.signal


@inline
def _rotate_visit(st, j):
    """All walks of a visit that writes nothing, at once; returns how many entries they rotate."""
    job = st.jobs[j]
    scale = st.host[0].scale
    walk = st.host[0].wb_walk
    rotated = job.visit_total // walk * -(-walk // scale) + -(-(job.visit_total % walk) // scale)
    job.visit_scanned = job.visit_total
    rotate_many(st, job.visit, rotated)
    return rotated


@inline
def _finish_visit(st, j):
    """Back in write(): count progress or a failure. True where the call ends."""
    job = st.jobs[j]
    job.visit = -1
    job.attempts += 1
    if job.visit_written > 0:
        if st.host[0].wb_compressed and st.host[0].wb_round:
            job.visit_written = (job.visit_written + 4095) // 4096 * 4096
        job.done += job.visit_written
        return False
    job.failures += 1
    return job.failures == MAX_RECLAIM_RETRIES


@inline
def _errno(st, j):
    """What the write() returns once it stops by itself."""
    job = st.jobs[j]
    enough = job.done >= job.budget if st.host[0].wb_whole else job.done > 0
    return 0 if enough else EAGAIN


@njit
def _next_visit(st, j):
    """On to the next cgroup worth a visit: (finished?, errno)."""
    host = st.host[0]
    job = st.jobs[j]
    while job.done < job.budget:
        if job.signal and host.wb_signals:
            return True, EINTR  # even if progress was made
        m = _advance_cursor(st, j, job.cg)
        if m < 0:
            if job.attempts == 0:
                job.failures += 1
                if job.failures == MAX_RECLAIM_RETRIES:
                    break
            job.attempts = 0
            continue
        if not st.cgs[m].writeback_effective:
            continue  # ENOENT: not counted at all
        _open_visit(st, j, m)
        if job.visit_total > 0:
            return False, 0
        if not host.wb_empty_fails:
            job.visit = -1
        elif _finish_visit(st, j):  # an empty LRU returns 0 and burns a failure
            break
    job.visit = -1
    return True, _errno(st, j)


@njit
def writeback_step(st, j, t):
    """One walk, or the search for the next cgroup: (finished?, errno, time to go on)."""
    finished, errno, t = _step(st, j, t)
    if finished:
        root = st.jobs[j].cg
        for c in range(root, st.cgs[root].sub_end):
            catch_up(st, c)
    return finished, errno, t


@njit
def _step(st, j, t):
    job = st.jobs[j]
    settle(st, t)
    if job.visit < 0:
        finished, errno = _next_visit(st, j)
        return finished, errno, t
    if job.walk_pages < 0 and _nothing_to_write(st, j):
        looked = _rotate_visit(st, j)
    else:
        if job.walk_pages < 0:
            _open_walk(st, j)
        before = job.walk_seen
        t = _walk(st, j, t)
        if job.walk_pages >= 0:
            return False, 0, t
        looked = job.walk_seen - before
    if not rare(st.host[0].exact):
        t += int(looked * ROTATE_US * st.host[0].scale)
    ended = (
        job.visit_written >= job.visit_goal
        or job.visit_scanned >= job.visit_total
        or (job.signal and st.host[0].wb_signals)  # shrink_one() returns what it has
    )
    if ended and _finish_visit(st, j):
        return True, _errno(st, j), t
    return False, 0, t
