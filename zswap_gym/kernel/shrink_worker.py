"""shrink_worker(): the pool-limit worker (mm/zswap.c of 6.12).

Queued by a refused store once the pool is full, it goes round robin over all cgroups, one entry
a visit, until the pool is below the accept threshold or 16 visits have failed. In a pool of fresh
entries one run clears about 16 second chances and gives up (spec/series.md 6.2). With page_scale
k it is 16 simulated entries.
"""

from __future__ import annotations

from zswap_gym.kernel.jit import inline, njit
from zswap_gym.kernel.layout import F_REFERENCED
from zswap_gym.kernel.reclaim import MAX_RECLAIM_RETRIES, charge_writeback, refuse_writeback
from zswap_gym.kernel.swapdev import queue_full, settle
from zswap_gym.kernel.zswap import oldest_entry, shrink_memcg

VISIT_US = 2  # one shrink_memcg() call that writes nothing
VISITS_PER_STEP = 32


@inline
def _will_write(st, c, p):
    """shrink_memcg() is about to write back entry p of c: only then is a folio charged."""
    return p >= 0 and st.cgs[c].writeback_effective == 1 and not st.pages[p].flags & F_REFERENCED


@njit
def worker_step(st, j, t):
    """A stretch of shrink_worker(): (finished?, time to go on)."""
    host = st.host[0]
    job = st.jobs[j]
    settle(st, t)
    for _ in range(VISITS_PER_STEP):
        if host.pool_pages <= host.accept_pages:
            return True, t
        host.worker_iter += 1
        if host.worker_iter >= len(st.cgs):  # end of one pass over the tree
            host.worker_iter = -1
            if job.attempts == 0:
                job.failures += 1
                if job.failures >= MAX_RECLAIM_RETRIES:
                    return True, t
            job.attempts = 0
            continue
        m = host.worker_iter
        p = oldest_entry(st, m)
        charged = True
        if _will_write(st, m, p):
            if queue_full(st):  # only a write waits for the device: come back to this cgroup
                host.worker_iter = m - 1
                return False, max(t, st.ring[host.ring_head].done)
            queued = host.worker_queued
            charged, t = charge_writeback(st, m, t)
            if not charged:  # what that reclaim could not store must not wake the worker for ever
                host.worker_queued = queued
        result = 0
        if charged:
            result, t = shrink_memcg(st, m, t, False)
        elif oldest_entry(st, m) == p:
            refuse_writeback(st, m, p)
        if result < 0:
            continue
        if not host.exact:
            t += VISIT_US
        job.attempts += 1
        if result == 0:
            job.failures += 1
            if job.failures >= MAX_RECLAIM_RETRIES:
                return True, t
    return False, t
