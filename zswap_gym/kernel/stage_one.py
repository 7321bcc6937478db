"""Stage one: the user-space reclaimer that feeds zswap by memory.reclaim, run on its own timer.

Not kernel code: it stands for a daemon such as Meta's senpai (FIELD.md 1.3). It lives beside the
kernel's rules because it acts many times per decision and must cost no Python.
"""

from __future__ import annotations

from zswap_gym.kernel.jit import njit
from zswap_gym.kernel.jobs import J_NONE, J_RECLAIM, SLOT_STAGE, SLOTS
from zswap_gym.kernel.memcg import usage
from zswap_gym.kernel.reclaim import reclaim_begin

FIXED, SENPAI = 1, 2
SENPAI_PERIOD_US = 6_000_000  # the ratio is per six seconds
SENPAI_MAX = 0.01  # of memory.current per step


@njit
def stage_one(st, c, t):
    """Start this interval's memory.reclaim on cgroup c; True if one was started."""
    host = st.host[0]
    cg = st.cgs[c]
    j = c * SLOTS + SLOT_STAGE
    if host.stage_kind == SENPAI:
        psi = (cg.some_us - cg.stage_psi) / host.stage_interval
        cg.stage_psi = cg.some_us
        ratio = host.stage_ratio * max(0.0, 1.0 - psi / host.stage_psi)
        share = min(ratio * host.stage_interval / SENPAI_PERIOD_US, SENPAI_MAX)
        target = int(usage(st, c) * share)
    else:
        target = host.stage_pages
    job = st.jobs[j]
    if target <= 0 or job.kind != J_NONE:
        return False
    job.kind = J_RECLAIM
    job.start = t
    job.report = 0
    job.release = 0
    job.signal = 0
    reclaim_begin(st, j, c, target)
    return True
