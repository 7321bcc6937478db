"""The classic LRU: an inactive and an active list (mm/vmscan.c: shrink_lruvec() without lru_gen).

Pages start inactive; one found accessed at the end of the inactive list goes round once more, and
is activated if that happens twice in a row. Everything taken off the active list is deactivated,
accessed or not. Replayed in spec/corrections.md (memcg-model 6) against 02 and p10; there are no
file pages, so nothing competes for the scan but swappiness and the cost of what was swapped out.
"""

from __future__ import annotations

from zswap_gym.kernel.classic_stats import (
    ACTIVE,
    INACTIVE,
    add_cost,
    inactive_is_low,
    list_length,
    seen_activations,
)
from zswap_gym.kernel.folio_batch import cpu, drain, lru_add
from zswap_gym.kernel.jit import inline, njit
from zswap_gym.kernel.layout import (
    F_ACTIVE,
    F_WORKINGSET,
    LISTS_PER_CGROUP,
    RESIDENT,
    S_PGDEACTIVATE,
    S_PGREFILL,
    S_PGSCAN,
)
from zswap_gym.kernel.mglru import examine, remove
from zswap_gym.kernel.shrink_list import finish_writes, shrink_list

CHUNK = 32  # SWAP_CLUSTER_MAX


@njit
def _isolate(st, c, which, n):
    """isolate_lru_folios(): up to n pages off the tail of a list, into ``scratch``."""
    taken = 0
    while taken < n:
        p = st.lists[c * LISTS_PER_CGROUP + which].oldest
        if p < 0:
            break
        remove(st, c, p)
        st.scratch[taken] = p
        taken += 1
    return taken


@njit
def _shrink_active(st, c, n):
    """shrink_active_list(): n pages become inactive, their accessed bits cleared on the way."""
    drain(st, cpu(st))
    taken = _isolate(st, c, ACTIVE, n)
    st.stat[c, S_PGREFILL] += taken
    st.stat[c, S_PGDEACTIVATE] += taken
    for i in range(taken):
        page = st.pages[st.scratch[i]]
        if page.state == RESIDENT:
            examine(st, c, st.scratch[i])
        page.flags = (page.flags & ~F_ACTIVE) | F_WORKINGSET
        lru_add(st, c, st.scratch[i], False)


@njit
def _shrink_inactive(st, c, n, t, in_fault):
    """shrink_inactive_list(): (pages freed, time to go on)."""
    drain(st, cpu(st))
    taken = _isolate(st, c, INACTIVE, n)
    st.stat[c, S_PGSCAN] += taken
    if taken == 0:
        return 0, t
    kept, freed, sent, t = shrink_list(st, c, taken, t, in_fault, False)
    for i in range(kept):
        lru_add(st, c, st.scratch[i], False)
    finish_writes(st)
    add_cost(st, c, sent * CHUNK + taken - freed)
    return freed, t


@inline
def _share(st, c, size, prio):
    """get_scan_count(): what of a list to scan; anon's share of the cost against file's, which has none."""
    if prio == 0:
        return size
    cost = st.cgs[c].anon_cost
    total = 3 * cost
    anon = st.host[0].swappiness * (total + 1) // (2 * cost + 1)
    file = (200 - st.host[0].swappiness) * (total + 1) // (cost + 1)
    return (size >> prio) * anon // max(anon + file, 1)


@njit
def classic_begin(st, j, c):
    """Targets of one priority."""
    job = st.jobs[j]
    job.todo_inactive = _share(st, c, list_length(st, c, INACTIVE), job.prio)
    job.todo_active = _share(st, c, list_length(st, c, ACTIVE), job.prio)
    moved = seen_activations(st, c) != st.cgs[c].last_activations
    job.may_deactivate = 1 if job.force_deactivate or moved or inactive_is_low(st, c) else 0


@njit
def classic_step(st, j, c, t, in_fault):
    """One chunk of 32 of each list: (this priority is over?, time to go on)."""
    job = st.jobs[j]
    over = job.todo_inactive == 0
    if not over:
        n = min(job.todo_inactive, CHUNK)
        job.todo_inactive -= n
        freed, t = _shrink_inactive(st, c, n, t, in_fault)
        job.freed += freed
        if job.todo_active > 0:
            n = min(job.todo_active, CHUNK)
            job.todo_active -= n
            if job.may_deactivate:
                _shrink_active(st, c, n)
            else:
                job.skipped_active = 1
        over = job.todo_inactive == 0 or job.freed >= job.goal
    if over and inactive_is_low(st, c):
        _shrink_active(st, c, CHUNK)
    return over, t


@njit
def remember_activations(st, root):
    """snapshot_refaults() at the end of a pass over all priorities."""
    for c in range(root, st.cgs[root].sub_end):
        st.cgs[c].last_activations = seen_activations(st, c)
