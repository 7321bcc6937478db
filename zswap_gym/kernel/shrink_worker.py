"""shrink_worker(): the pool-limit worker (mm/zswap.c).

Queued by a refused store once the pool is full, it goes round robin over all cgroups until the pool
is below the accept threshold or 16 visits have failed. 6.12 tries one entry a visit: in a pool of
fresh entries one run clears about 16 second chances and gives up. 7.3 tries 64, each entry at most
once (spec/series.md 5, 6.2). With page_scale k a visit is at least one simulated entry.
"""

from __future__ import annotations

from zswap_gym.kernel.charge import charge_writeback, refuse_writeback
from zswap_gym.kernel.jit import inline, njit
from zswap_gym.kernel.layout import F_REFERENCED, S_SHRINK_MEMCG
from zswap_gym.kernel.reclaim import MAX_RECLAIM_RETRIES
from zswap_gym.kernel.swapdev import settle
from zswap_gym.kernel.zswap import entries, oldest_entry, shrink_memcg

VISIT_US = 2
"""One shrink_memcg() call and the step of the iterator to it, whatever it finds. The runs of
spec/series.md 6.2 took 2 to 3: some 1440 calls while 310 stores were refused, or 90 per page."""
WORK_PER_STEP = 64
"""Visits and entries before others get their turn: where the device is the bottleneck, reclaim writes
the 64 pages of its batch meanwhile, and both get their share of the queue."""


@inline
def _will_write(st, c, p):
    """shrink_memcg() is about to write back entry p of c: only then is a folio charged."""
    return p >= 0 and st.cgs[c].writeback_effective == 1 and not st.pages[p].flags & F_REFERENCED


@njit
def _try_oldest(st, m, t):
    """One entry of m's LRU: (1 written, 0 tried in vain, -1 nothing there; time to go on)."""
    host = st.host[0]
    p = oldest_entry(st, m)
    if not _will_write(st, m, p):
        return shrink_memcg(st, m, t, False)
    queued = host.worker_queued
    charged, t = charge_writeback(st, st.owner[p], t)
    if oldest_entry(st, m) != p:  # that reclaim's shrinker took it, or the OOM killer
        return 0, t
    if charged:
        return shrink_memcg(st, m, t, False)
    host.worker_queued = queued  # what that reclaim could not store must not wake the worker for ever
    refuse_writeback(st, m, p)
    return 0, t


@inline
def _next_cgroup(st, j):
    """zswap_next_shrink: on in pre-order over the whole tree; False where a fruitless pass ends the run."""
    host = st.host[0]
    job = st.jobs[j]
    host.worker_iter += 1
    while host.worker_iter < len(st.cgs) and st.cgs[host.worker_iter].offline:
        host.worker_iter += 1
    if host.worker_iter < len(st.cgs):
        job.visit = host.worker_iter
        job.visit_total = min(host.shrink_scan, entries(st, job.visit))
        job.visit_scanned = 0
        job.visit_written = 0
        return True
    host.worker_iter = -1
    if job.attempts == 0:
        job.failures += 1
        if job.failures >= MAX_RECLAIM_RETRIES:
            return False
    job.attempts = 0
    return True


@inline
def _use_time(st, us):
    """Replays: the worker runs in the time that refused stores took."""
    if st.host[0].refusal_us > 0:
        st.host[0].worker_queued = max(st.host[0].worker_queued - us, 0)


@njit
def worker_step(st, j, t):
    """A stretch of shrink_worker(): (finished?, time to go on)."""
    host = st.host[0]
    job = st.jobs[j]
    settle(st, t)
    work = 0
    while work < WORK_PER_STEP:
        work += 1
        if job.visit < 0:
            if host.pool_pages <= host.accept_pages:
                host.worker_queued = 0  # it would find nothing to do
                return True, t
            if not _next_cgroup(st, j):
                return True, t
            if job.visit < 0:
                continue
            st.stat[0, S_SHRINK_MEMCG] += 1
            _use_time(st, host.visit_us)
            if not host.exact:
                t += VISIT_US
        m = job.visit
        while job.visit_scanned < job.visit_total:
            result, t = _try_oldest(st, m, t)
            work += 1
            if result == -1:
                break
            job.visit_scanned += host.scale
            job.visit_written += result
            if result > 0:
                _use_time(st, int(host.writeback_us))
        job.visit = -1
        if job.visit_scanned == 0:  # ENOENT: switched off, or nothing there
            continue
        job.attempts += 1
        if job.visit_written == 0:
            job.failures += 1
            if job.failures >= MAX_RECLAIM_RETRIES:
                return True, t
    return False, t
