"""The pulse of host/pulse.py in the model: shrinker on, a memory.reclaim that takes no anonymous page, off.

What user space does is played here: its conditions, its watcher and its bounds. What the kernel does
goes through the simulated memory.reclaim and the simulated shrinker, file cache first, second chances
and all; and other cgroups that reclaim in the same moment meet a shrinker that is on.
"""

from __future__ import annotations

from zswap_gym.kernel.jit import entry_for, inline, njit
from zswap_gym.kernel.jobs import HOST_JOBS, J_KSWAPD, J_RECLAIM, REPORT_PAIR
from zswap_gym.kernel.layout import S_ZSWPWB
from zswap_gym.kernel.reclaim import reclaim_begin
from zswap_gym.kernel.shrinker import SHRINK_BATCH
from zswap_gym.kernel.stateref import state_ref

PULSE_MAX = 1024
FILE_MAX = 256
"""Pages of file cache above which there is no pulse."""
TIMEOUT_US = 5_000_000
PSI_MAX = 5 * 2048
"""avg10 in the kernel's fixed point."""
EMPTY_PASSES_MAX = 2
EAGAIN, ETIME, ECANCELED = 11, 62, 125


@njit
def pulse_refused(st, c):
    """Whether there can be no pulse in cgroup c now (host/pulse.py:Pulser.refusal())."""
    host = st.host[0]
    cg = st.cgs[c]
    kswapd = st.jobs[len(st.jobs) - HOST_JOBS].kind == J_KSWAPD
    return (
        host.shrinker or kswapd or cg.sub_end != c + 1 or not cg.writeback_effective or cg.zpages == 0
        or cg.file > FILE_MAX or cg.avg[0] >= PSI_MAX or st.cgs[0].avg[0] >= PSI_MAX
    )  # fmt: skip


@entry_for("(uint64[::1], int64)", seldom=True)
def refused(block, c):
    """`pulse_refused` of one machine."""
    return pulse_refused(state_ref(block), c)


@inline
def pulse_begin(st, j, c, pages):
    """Start a pulse of about ``pages`` real pages in job j: the shrinker is on from now."""
    host = st.host[0]
    job = st.jobs[j]
    job.kind = J_RECLAIM
    job.pulse = min(max(pages // SHRINK_BATCH, 1) * SHRINK_BATCH, PULSE_MAX)
    job.done = st.stat[c, S_ZSWPWB]
    host.shrinker = 1
    host.pulse_left = max(job.pulse - SHRINK_BATCH, 1)
    host.pulse_until = job.start + TIMEOUT_US
    host.pulsing = 1
    reclaim_begin(st, j, c, 1)


@njit
def pulse_over(st, t):
    """Whether the watcher has turned the shrinker off."""
    if t > st.host[0].pulse_until:
        st.host[0].shrinker = 0
    return not st.host[0].shrinker


@njit
def pulse_end(st, j, t):
    """The pulse is over, the shrinker off: True where the release of the pair goes on in the same job."""
    host = st.host[0]
    job = st.jobs[j]
    cg = st.cgs[job.cg]
    stopped = not host.shrinker
    host.shrinker = 0
    host.pulsing = 0
    job.written = st.stat[job.cg, S_ZSWPWB] - job.done
    job.wb_errno = 0 if job.written >= max(job.pulse - SHRINK_BATCH, 1) else EAGAIN
    if job.written == 0 and not stopped:  # second chances were taken away, or the shrinker spares the cgroup
        cg.empty_passes += 1
        job.wb_errno = 0 if cg.empty_passes <= EMPTY_PASSES_MAX else EAGAIN
    else:
        cg.empty_passes = 0
    if stopped and t > host.pulse_until:
        job.wb_errno = ETIME
    job.pulse = 0
    job.errno = job.wb_errno
    if job.release > 0:
        job.report = REPORT_PAIR if job.report else 0
        reclaim_begin(st, j, job.cg, job.release)
        return True
    return False
