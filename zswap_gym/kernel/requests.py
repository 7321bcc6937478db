"""Requests: operations that user space starts and does not wait for, of one machine or of many.

A request is a pair: a proactive writeback, then a ``memory.reclaim`` that releases what it left in
the swap cache (DESIGN 7). A cgroup has one request at a time; the engine advances it beside the
workload and notes its end in the done log.
"""

from __future__ import annotations

from zswap_gym.kernel.engine import log_done
from zswap_gym.kernel.jit import entry_for, inline, njit
from zswap_gym.kernel.jobs import (
    J_NONE,
    J_PULSE,
    J_RECLAIM,
    J_WRITEBACK,
    REPORT_PAIR,
    REPORT_WRITEBACK,
    SLOT_REQUEST,
    SLOTS,
)
from zswap_gym.kernel.proactive import NO_CUTOFF, writeback_begin
from zswap_gym.kernel.pulse import ECANCELED, pulse_begin, pulse_refused
from zswap_gym.kernel.reclaim import reclaim_begin
from zswap_gym.kernel.stateref import state_ref

EINVAL = 22


@njit
def _submit(st, c, kind, amount, age_us, release, report):
    """Start an operation in c's request slot: its job, or -1 where one still runs.

    ``amount`` counts as the interface does, pages for a reclaim; a negative age is none.
    """
    host = st.host[0]
    j = c * SLOTS + SLOT_REQUEST
    job = st.jobs[j]
    if job.kind != J_NONE:
        return -1
    job.start = host.now
    job.report = report
    job.signal = 0
    job.release = release
    job.written = 0
    job.wb_errno = 0
    if kind == J_WRITEBACK:
        job.kind = J_WRITEBACK
        writeback_begin(st, j, c, amount, host.now - age_us if age_us >= 0 else NO_CUTOFF)
    elif kind == J_PULSE:
        pulse_begin(st, j, c, amount)
    else:
        job.kind = J_RECLAIM
        reclaim_begin(st, j, c, amount)
    st.due[3 * len(st.cgs) + j] = host.now
    host.jobs_changed = 1
    return j


@entry_for("(uint64[::1], int64, int64, int64, int64, int64, int64)", seldom=True)
def submit(block, c, kind, amount, age_us, release, report):
    """Start an operation in c's request slot: True, or False where one still runs. See `_submit`."""
    return _submit(state_ref(block), c, kind, amount, age_us, release, report) >= 0


@njit
def _request(st, c, age_us, amount, release):
    """Start a pair, writeback then release; see Machine.request(). False: still busy."""
    host = st.host[0]
    errno = 0
    if host.wb_exists and amount > 0 and (age_us >= 0 or not host.wb_age):
        age = age_us if host.wb_age else -1
        if host.wb_einval and not st.cgs[c].writeback_effective:
            errno = EINVAL
        elif age < host.now:  # an age beyond uptime is a success that does nothing
            return _submit(st, c, J_WRITEBACK, amount, age, release, REPORT_WRITEBACK) >= 0
    j = c * SLOTS + SLOT_REQUEST
    if st.jobs[j].kind != J_NONE:
        return False
    if host.wb_pulse and amount > 0:
        if not pulse_refused(st, c):
            return _submit(st, c, J_PULSE, amount, 0, release, REPORT_WRITEBACK) >= 0
        errno = ECANCELED
    if release > 0:
        _submit(st, c, J_RECLAIM, release, 0, 0, REPORT_PAIR)
        st.jobs[j].wb_errno = errno
    else:
        log_done(st, c, REPORT_WRITEBACK, errno, 0, 0, 0, 0)
    return True


@entry_for("(uint64[::1], int64, int64, int64, int64)")
def request(block, c, age_us, amount, release):
    """`_request` of one cgroup; ``release`` in real pages."""
    return _request(state_ref(block), c, age_us, amount, release)


@entry_for("(uint64[:,::1], int64[::1], int64[:,::1], int64[:,::1], int64[:,::1], int64[::1], int64[::1])")
def request_all(blocks, cgroups, age_us, amount, release, busy, now_us):
    """One decision of many machines: a request per cgroup; forgets the requests that ended before.

    ``blocks`` is (E, words), requests are (E, N) for ``cgroups`` (N,). How many were refused, because the
    cgroup's last one still runs, goes to ``busy`` (E,), boot times to ``now_us`` (E,). A request without
    an amount and without a release is none.
    """
    for e in range(len(blocks)):
        st = state_ref(blocks[e])
        st.host[0].done_len = 0
        now_us[e] = st.host[0].now
        busy[e] = 0
        for i in range(len(cgroups)):
            if amount[e, i] > 0 or release[e, i] > 0:
                busy[e] += not _request(st, cgroups[i], age_us[e, i], amount[e, i], release[e, i])


@inline
def read_counters(st, stat):
    """All own counters into ``stat`` (c, len(STAT))."""
    for c in range(len(st.cgs)):
        for k in range(stat.shape[1]):
            stat[c, k] = st.stat[c, k]
