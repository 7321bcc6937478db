"""shrink_worker(): the pool-limit worker (mm/zswap.c of 6.12).

Queued by a refused store once the pool is full, it goes round robin over all cgroups, one entry
a visit, until the pool is below the accept threshold or 16 visits have failed. In a pool of fresh
entries one run clears about 16 second chances and gives up (spec/series.md 6.2). With page_scale
k it is 16 simulated entries.
"""

from __future__ import annotations

from zswap_gym.kernel.jit import njit
from zswap_gym.kernel.memcg import over_limit
from zswap_gym.kernel.reclaim import MAX_RECLAIM_RETRIES, try_free
from zswap_gym.kernel.swapdev import queue_full, settle
from zswap_gym.kernel.zswap import oldest_entry, shrink_memcg

VISIT_US = 2  # one shrink_memcg() call that writes nothing
VISITS_PER_STEP = 32


@njit
def worker_step(st, j, t):
    """A stretch of shrink_worker(): (finished?, time to go on)."""
    host = st.host[0]
    job = st.jobs[j]
    settle(st, t)
    for _ in range(VISITS_PER_STEP):
        if host.pool_pages <= host.accept_pages:
            return True, t
        if queue_full(st):
            return False, max(t, st.ring[host.ring_head].done)
        host.worker_iter += 1
        if host.worker_iter >= len(st.cgs):  # end of one pass over the tree
            host.worker_iter = -1
            if job.attempts == 0:
                job.failures += 1
                if job.failures >= MAX_RECLAIM_RETRIES:
                    return True, t
            job.attempts = 0
            continue
        over = over_limit(st, host.worker_iter, host.scale)
        if over >= 0 and oldest_entry(st, host.worker_iter) >= 0:  # the new folio is charged, GFP_KERNEL
            _, t = try_free(st, over, host.scale, t, False)
        result, t = shrink_memcg(st, host.worker_iter, t, False)
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
