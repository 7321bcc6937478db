"""Pressure stall information and the work clock (kernel/sched/psi.c).

A stall of d microseconds on one of T threads holds the cgroup's work clock back by d / T. SOME
is the time in which at least one thread stalls, FULL the time in which all of them do.
"""

from __future__ import annotations

from zswap_gym.kernel.access import NEVER
from zswap_gym.kernel.jit import below, choose, inline, njit
from zswap_gym.kernel.layout import MAX_THREADS, S_STALL_US

PERIOD_US = 2_000_000
_FIXED = 2048  # 11 bits
_EXP = (1677, 1981, 2034)  # 10 s, 60 s, 300 s


@inline
def _some(st, c, t, end):
    cg = st.cgs[c]
    start = max(t, cg.some_until)
    if end > start:
        cg.some_us += end - start
        cg.some_until = end


@njit
def _full(st, c, t, end):
    """Give the stall to the thread that is free first; all busy = full until the first returns."""
    cg = st.cgs[c]
    threads = min(cg.threads, MAX_THREADS)
    slot, first, second = 0, st.threads[c, 0], NEVER
    for i in range(1, threads):
        free = st.threads[c, i]
        sooner = below(free, first)
        second = choose(sooner, first, choose(below(free, second), free, second))
        slot = choose(sooner, i, slot)
        first = choose(sooner, free, first)
    st.threads[c, slot] = max(end, first)
    first = min(st.threads[c, slot], second)
    start = max(t, cg.full_until)
    if first > start:
        cg.full_us += first - start
        cg.full_until = first


@njit
def stall(st, c, t, us, memory):
    """One of c's threads waits ``us`` from boot time t; ``memory``: it counts as memory pressure."""
    if us <= 0:
        return
    cg = st.cgs[c]
    st.stat[c, S_STALL_US] += us
    owed = us + cg.lag_rem
    each = owed // cg.threads
    cg.lag += each
    cg.lag_rem = owed - each * cg.threads
    if not memory:
        return
    m = c
    while m >= 0:
        _some(st, m, t, t + us)
        _full(st, m, t, t + us)
        m = st.cgs[m].parent


@inline
def _average(old, percent, decay):
    """calc_load(): fixed point, rounded up while rising."""
    load = old * decay + percent * _FIXED * (_FIXED - decay)
    if percent * _FIXED >= old:
        load += _FIXED - 1
    return load // _FIXED


@njit
def tick(st):
    """update_averages(): every 2 s, for every cgroup. A sample is capped at the period."""
    for c in range(len(st.cgs)):
        cg = st.cgs[c]
        for kind in range(2):
            total = cg.some_us if kind == 0 else cg.full_us
            seen = cg.some_seen if kind == 0 else cg.full_seen
            sample = min(total - seen, PERIOD_US)
            if kind == 0:
                cg.some_seen = seen + sample
            else:
                cg.full_seen = seen + sample
            percent = 100 * sample // PERIOD_US
            for i in range(3):
                cg.avg[kind * 3 + i] = _average(cg.avg[kind * 3 + i], percent, _EXP[i])
