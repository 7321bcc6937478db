"""The clock: always the earliest of page accesses, frees, timers and running operations.

``due`` holds when each source is next due, in boot time: page events of cgroup c at c, its
frees at C + c, its stage-one timer at 2C + c, job j at 3C + j, the PSI tick last. An operation
advances one batch and is due again when the CPU or the device lets it go on, so that writeback
and refaults compete for the device and a write blocks when the queue is full.
"""

from __future__ import annotations

import numpy as np

from zswap_gym.kernel.access import NEVER, first_access
from zswap_gym.kernel.calendar_queue import peek, pop, schedule_access
from zswap_gym.kernel.charge_stock import drain_stocks
from zswap_gym.kernel.classic_stats import flush_stats as flush_cgroup
from zswap_gym.kernel.earliest import earliest
from zswap_gym.kernel.fault import fault
from zswap_gym.kernel.jit import entry_for, inline, njit, rare
from zswap_gym.kernel.jobs import (
    DONE_LOG,
    HOST_JOBS,
    J_KSWAPD,
    J_NONE,
    J_RECLAIM,
    J_WORKER,
    J_WRITEBACK,
    REPORT_PAIR,
    SLOTS,
)
from zswap_gym.kernel.kswapd import kswapd_begin, kswapd_step
from zswap_gym.kernel.layout import S_WORKER_RUNS, ZSWAP
from zswap_gym.kernel.memcg import refresh_writeback, usage
from zswap_gym.kernel.mglru import work_now
from zswap_gym.kernel.oom import discard, oom_kill, renew
from zswap_gym.kernel.proactive import writeback_step
from zswap_gym.kernel.psi import PERIOD_US, tick
from zswap_gym.kernel.pulse import pulse_end, pulse_over
from zswap_gym.kernel.reclaim import MAX_RECLAIM_RETRIES, reclaim_begin, reclaim_step, try_free
from zswap_gym.kernel.shrink_worker import worker_step
from zswap_gym.kernel.stage_one import stage_one
from zswap_gym.kernel.stateref import state_ref
from zswap_gym.kernel.swapdev import settle


@inline
def _refresh(st, c, until):
    """When cgroup c's next access and its next free are due, in boot time."""
    n = len(st.cgs)
    cg = st.cgs[c]
    if rare(cg.dead):
        st.due[c] = NEVER
        st.due[n + c] = NEVER
        return
    when = peek(st, c, until - cg.lag)
    st.due[c] = when + cg.lag if when < NEVER else NEVER
    if cg.free_next < cg.free_end:
        st.due[n + c] = st.frees[cg.free_next].time + cg.lag
    else:
        st.due[n + c] = NEVER


@inline
def _access(st, c, t):
    p = pop(st, c)
    cg = st.cgs[c]
    cg.work = max(cg.work, st.pages[p].when)
    fault(st, c, p, t)


@njit
def _give_back(st, c):
    """A range of pages is freed by the program; each comes back at its next access."""
    cg = st.cgs[c]
    if cg.dead:  # killed by another's reclaim since this was entered
        return
    st.host[0].task = c
    rec = st.frees[cg.free_next]
    cg.free_next += 1
    work = max(work_now(st, c), rec.time)
    for p in range(rec.first_page, rec.first_page + rec.n_pages):
        discard(st, c, p)
        renew(st, c, p, work)


@njit
def log_done(st, c, kind, errno, release_errno, pages, released, duration_us):
    """Note in the done log that a request of c ended."""
    host = st.host[0]
    if host.done_len < DONE_LOG:
        rec = st.done[host.done_len]
        host.done_len += 1
        rec.cg = c
        rec.kind = kind
        rec.errno = errno
        rec.release_errno = release_errno
        rec.pages = pages
        rec.released = released
        rec.duration_us = duration_us


@njit
def _report(st, j, errno, t):
    job = st.jobs[j]
    job.errno = errno
    job.ended = t
    if job.report == REPORT_PAIR:
        log_done(st, job.cg, job.report, job.wb_errno, errno, job.written, job.reclaimed, t - job.start)
    elif job.report:
        log_done(st, job.cg, job.report, errno, 0, job.written, 0, t - job.start)
    job.kind = J_NONE
    st.host[0].jobs_changed = 1


@njit
def _run_job(st, j, t):
    """Advance job j by one batch; set when it is due again."""
    job = st.jobs[j]
    st.host[0].task = 0
    slot = 3 * len(st.cgs) + j
    done = False
    errno = 0
    if job.kind == J_RECLAIM:
        done, errno, t = reclaim_step(st, j, t)
        if rare(job.pulse) and (done or pulse_over(st, t)):
            done = not pulse_end(st, j, t)
            errno = job.wb_errno
    elif job.kind == J_WRITEBACK:
        done, errno, t = writeback_step(st, j, t)
        if done and job.release > 0:  # the pair: release follows whatever the writeback returned
            job.wb_errno = errno
            job.kind = J_RECLAIM
            job.report = REPORT_PAIR if job.report else 0
            reclaim_begin(st, j, job.cg, job.release)
            done = False
    elif job.kind == J_WORKER:
        done, t = worker_step(st, j, t)
    elif job.kind == J_KSWAPD:
        done, t = kswapd_step(st, t)
    st.due[slot] = NEVER if done else t
    if done:
        _report(st, j, errno, t)


@inline
def _start_worker(st, t):
    j = len(st.jobs) - 2
    if rare(st.host[0].worker_queued) and st.jobs[j].kind == J_NONE:
        if st.host[0].refusal_us == 0:
            st.host[0].worker_queued = 0
        st.jobs[j].kind = J_WORKER
        st.jobs[j].report = 0
        st.jobs[j].failures = 0
        st.jobs[j].attempts = 0
        st.jobs[j].visit = -1
        st.stat[0, S_WORKER_RUNS] += 1
        st.due[3 * len(st.cgs) + j] = max(t, st.jobs[j].ended)  # one work item: runs do not overlap


@inline
def _wake_kswapd(st, t):
    j = len(st.jobs) - HOST_JOBS
    if rare(st.host[0].kswapd_wanted) and st.jobs[j].kind == J_NONE:
        st.host[0].kswapd_wanted = 0
        st.jobs[j].kind = J_KSWAPD
        st.jobs[j].report = 0
        kswapd_begin(st)
        st.due[3 * len(st.cgs) + j] = max(t, st.jobs[j].ended)


@inline
def _earliest_job(st):
    return earliest(st.due, 3 * len(st.cgs), len(st.due) - 1)


@inline
def _earliest_timer(st):
    """The earliest free, stage-one timer or PSI tick."""
    n = len(st.cgs)
    best = earliest(st.due, n, 3 * n)
    last = len(st.due) - 1
    return last if st.due[last] < st.due[best] else best


@njit
def _serve(st, i, until):
    """Serve source i of ``due`` that is not a page access."""
    n = len(st.cgs)
    host = st.host[0]
    t = max(host.now, st.due[i])
    host.now = t
    settle(st, t)
    if i < 2 * n:
        _give_back(st, i - n)
        _refresh(st, i - n, until)
    elif i < 3 * n:
        c = i - 2 * n
        st.due[i] = t + host.stage_interval
        if stage_one(st, c, t):
            st.due[3 * n + c * SLOTS] = t
    elif i == len(st.due) - 1:
        tick(st)
        st.due[i] = t + PERIOD_US
    else:
        _run_job(st, i - 3 * n, t)


@entry_for("(uint64[:,::1], int64[::1], int64)")
def advance(blocks, until, stop_job):
    """Run machines (E, words) to boot times ``until`` (E,), or to the end of job ``stop_job`` (-1: none)."""
    for e in range(len(blocks)):
        _advance(state_ref(blocks[e]), until[e], stop_job)


@njit
def _advance(st, until, stop_job):
    host = st.host[0]
    n = len(st.cgs)
    for c in range(n):
        _refresh(st, c, until)
    timer = _earliest_timer(st)
    job = _earliest_job(st)
    while True:
        if host.jobs_changed:
            host.jobs_changed = 0
            _start_worker(st, host.now)
            _wake_kswapd(st, host.now)
            job = _earliest_job(st)
            if stop_job >= 0 and st.jobs[stop_job].kind == J_NONE:
                return
        c = earliest(st.due, 0, n)
        t = st.due[c]
        other = timer if st.due[timer] <= st.due[job] else job
        if st.due[other] <= t:
            if st.due[other] > until:
                break
            _serve(st, other, until)
            job = _earliest_job(st)
            if other == timer:
                timer = _earliest_timer(st)
            continue
        if t > until:
            break
        when = peek(st, c, until - st.cgs[c].lag)
        if when + st.cgs[c].lag > t:  # reclaim or a stall moved it since
            st.due[c] = when + st.cgs[c].lag if when < NEVER else NEVER
            continue
        t = max(t, host.now)
        host.now = t
        settle(st, t)
        _access(st, c, t)
        _refresh(st, c, until)
        timer = _timer_after_fault(st, timer, c)
    host.now = max(host.now, until)
    settle(st, host.now)
    for c in range(n):
        st.cgs[c].work = work_now(st, c)


@inline
def _timer_after_fault(st, timer, c):
    """A stall moved c's frees; nothing else that is not an access or a job changes with a fault."""
    n = len(st.cgs)
    if timer == n + c:  # they may be the earliest no longer
        return _earliest_timer(st)
    return n + c if st.due[n + c] < st.due[timer] else timer


@entry_for("(uint64[::1],)")
def boot(block):
    """Enter the first access of every page; start the timers."""
    st = state_ref(block)
    host = st.host[0]
    n = len(st.cgs)
    st.due[:] = NEVER
    refresh_writeback(st)
    for c in range(n):
        cg = st.cgs[c]
        cg.lag = host.now
        for p in range(cg.first_page, cg.first_page + cg.n_pages):
            when, by_sweep = first_access(st, p)
            schedule_access(st, c, p, when, by_sweep)
        if cg.stage_one and host.stage_kind > 0:
            st.due[2 * n + c] = host.now + host.stage_interval
    st.due[len(st.due) - 1] = host.now + PERIOD_US


@entry_for("(uint64[::1], int64, boolean)", seldom=True)
def limit_write(block, c, hard):
    """memory.max (``hard``) or memory.high was written: memory_max_write(), memory_high_write().

    Reclaim at once; memory.max then kills until usage is below it or nothing is left to kill.
    """
    st = state_ref(block)
    st.host[0].task = 0
    limit = st.cgs[c].max if hard else st.cgs[c].high
    tries = MAX_RECLAIM_RETRIES
    t = st.host[0].now
    if usage(st, c) > limit:
        drain_stocks(st, c)
    while usage(st, c) > limit:
        if tries > 0:
            freed, t = try_free(st, c, usage(st, c) - limit, t, False)
            if freed == 0:
                tries -= 1
        elif not hard or oom_kill(st, c, -1) < 0:
            return


@entry_for("(uint64[::1], int64, int64[::1], int64[::1])", seldom=True)
def zswap_ages(block, c, edges_us, out):
    """Real pages of c's subtree in zswap by age: out[i] counts edges[i] <= age < edges[i + 1]."""
    st = state_ref(block)
    for p in range(len(st.pages)):
        page = st.pages[p]
        if page.state == ZSWAP and c <= st.owner[p] < st.cgs[c].sub_end:
            age = st.host[0].now - page.stamp
            out[np.searchsorted(edges_us, age, side="right") - 1] += st.host[0].scale


@entry_for("(uint64[::1],)", seldom=True)
def flush_stats(block):
    """Somebody read memory.stat: what the classic LRU goes by is fresh."""
    st = state_ref(block)
    for c in range(len(st.cgs)):
        flush_cgroup(st, c)


@entry_for("(uint64[::1],)", seldom=True)
def writeback_switched(block):
    """memory.zswap.writeback of some cgroup was written."""
    refresh_writeback(state_ref(block))
