"""Proactive writeback, version 1: ``memory.zswap.proactive_writeback`` (spec/series.md 1).

An age in seconds selects entries (stored at or before the cutoff), ``max`` counts uncompressed
pages. Batches of 128 entries, a scan cap of 16 times the budget of a visit, a cursor over the
subtree that persists between calls, 16 failures in the life of a call. The second chance is
ignored for old entries; young ones are rotated. Overshoot up to a batch is the kernel's own.
"""

from __future__ import annotations

from zswap_gym.kernel.jit import inline, njit, prefetch
from zswap_gym.kernel.layout import F_REFERENCED, S_ZSWPWB_PROACTIVE
from zswap_gym.kernel.reclaim import charge_writeback, refuse_writeback
from zswap_gym.kernel.swapdev import queue_full, settle
from zswap_gym.kernel.zswap import entries, oldest_entry, rotate, write_back

SCAN_RATIO = 16
BATCH = 128
MAX_RECLAIM_RETRIES = 16
ROTATE_US = 0.2
ENOENT, EINTR, EAGAIN = 2, 4, 11


@inline
def writeback_begin(st, j, root, max_pages, cutoff):
    """Open the write() in job j."""
    job = st.jobs[j]
    job.cg = root
    job.max_pages = max_pages
    job.cutoff = cutoff
    job.written = 0
    job.failures = 0
    job.attempts = 0
    job.visit = -1
    job.walk_pages = -1
    job.wb_errno = 0


@inline
def _advance_cursor(st, root):
    """zswap_wb_iter: the next cgroup of root's subtree in pre-order, -1 at the end of a round."""
    cg = st.cgs[root]
    nxt = root if cg.wb_iter < 0 else cg.wb_iter + 1
    if nxt >= cg.sub_end:
        cg.wb_iter = -1
        return -1
    cg.wb_iter = nxt
    return nxt


@inline
def _open_visit(st, j, m):
    job = st.jobs[j]
    job.visit = m
    job.visit_goal = min(job.max_pages - job.written, BATCH)
    job.visit_total = min(entries(st, m), job.visit_goal * SCAN_RATIO)
    job.visit_scanned = 0
    job.visit_written = 0
    job.walk_pages = -1


@inline
def _open_walk(st, j):
    """list_lru_walk of min(128, rest) entries.

    A coarse page may reach past the walk's end. What it writes there is ``wb_debt``: the next
    walks of that LRU find it done, so that volumes are exact in the long run.
    """
    job = st.jobs[j]
    cg = st.cgs[job.visit]
    job.walk_pages = min(BATCH, job.visit_total - job.visit_scanned)
    job.visit_scanned += job.walk_pages
    done = min(cg.wb_debt, job.walk_pages)
    cg.wb_debt -= done
    job.walk_need = job.walk_pages - done
    job.walk_seen = 0
    job.walk_hit = done


@inline
def _close_walk(st, j):
    """Count what the walk wrote, in real pages."""
    job = st.jobs[j]
    job.visit_written += job.walk_hit
    job.walk_pages = -1


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
        ahead = st.links[p].newer
        if ahead >= 0:
            ahead = st.links[ahead].newer
            if ahead >= 0:
                prefetch(st.pages, ahead)
        page = st.pages[p]
        young = page.stamp > job.cutoff
        if not young and queue_full(st):
            return max(t, st.ring[st.host[0].ring_head].done)  # the write blocks; walk stays open
        counted = min(scale, job.walk_need)
        job.walk_need -= scale
        job.walk_seen += 1
        if young:  # rotate, referenced bit untouched, walk goes on
            rotate(st, m, p)
            continue
        page.flags &= ~F_REFERENCED  # no second chance
        charged, t = charge_writeback(st, m, t)
        if oldest_entry(st, m) != p:  # that reclaim's shrinker took it
            continue
        if not charged:
            refuse_writeback(st, m, p)
            continue
        t = write_back(st, m, p, t, False)
        st.stat[m, S_ZSWPWB_PROACTIVE] += scale
        job.walk_hit += counted
        st.cgs[m].wb_debt += scale - counted
    _close_walk(st, j)
    return t


@inline
def _finish_visit(st, j):
    """Back in write(): count progress or a failure. True where the call ends."""
    job = st.jobs[j]
    job.visit = -1
    job.attempts += 1
    if job.visit_written > 0:
        job.written += job.visit_written
        return False
    job.failures += 1
    return job.failures == MAX_RECLAIM_RETRIES


@njit
def writeback_step(st, j, t):
    """One walk, or the search for the next cgroup: (finished?, errno, time to go on)."""
    job = st.jobs[j]
    settle(st, t)
    if job.visit >= 0:
        if job.walk_pages < 0:
            _open_walk(st, j)
        before = job.walk_seen
        t = _walk(st, j, t)
        if job.walk_pages >= 0:
            return False, 0, t
        if not st.host[0].exact:
            t += int((job.walk_seen - before) * ROTATE_US * st.host[0].scale)
        ended = (
            job.visit_written >= job.visit_goal
            or job.visit_scanned >= job.visit_total
            or job.signal  # shrink_one() returns what it has
        )
        if not ended:
            return False, 0, t
        if _finish_visit(st, j):
            return True, 0 if job.written > 0 else EAGAIN, t
        return False, 0, t
    while job.written < job.max_pages:
        if job.signal:
            return True, EINTR, t  # even if progress was made
        m = _advance_cursor(st, job.cg)
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
        if job.visit_total == 0:  # an empty LRU returns 0 and burns a failure
            if _finish_visit(st, j):
                break
            continue
        return False, 0, t
    return True, 0 if job.written > 0 else EAGAIN, t
