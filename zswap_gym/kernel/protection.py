"""memory.min and memory.low: what reclaim leaves alone (mm/page_counter.c, mm/vmscan.c).

Before a cgroup is shrunk its effective protection is worked out top-down from the reclaim target
(page_counter_calculate_protection(), with the mount option memory_recursiveprot as every
distribution has it). Usage within memory.min is never reclaimed; usage within memory.low only once
a whole pass without it freed nothing, which memory.events counts as ``low``. The target's own
protection does not count. Under MGLRU there is no more to it: a cgroup is skipped or it is not.
"""

from __future__ import annotations

from zswap_gym.kernel.jit import njit
from zswap_gym.kernel.layout import S_EV_LOW
from zswap_gym.kernel.memcg import usage

RECLAIM, SKIP = 0, 1


@njit
def _effective(use, parent_use, setting, parent_effective, siblings):
    """effective_protection(): what a child really gets of what its parent was given."""
    protected = min(use, setting)
    if siblings > parent_effective:  # more claimed than there is: shares by what is claimed and used
        return protected * parent_effective // siblings
    result = protected
    if parent_effective > siblings and parent_use > siblings and use > protected:
        result += (parent_effective - siblings) * (use - protected) // (parent_use - siblings)
    return result


@njit
def _calculate(st, root, c):
    """page_counter_calculate_protection() of one cgroup; its parent's must be up to date."""
    cg = st.cgs[c]
    use = usage(st, c)
    if c == root or use == 0:
        return
    if cg.parent == root:
        cg.emin = cg.min
        cg.elow = cg.low
        return
    children_min = 0
    children_low = 0
    sibling = cg.parent + 1
    while sibling < st.cgs[cg.parent].sub_end:
        used = usage(st, sibling)
        children_min += min(used, st.cgs[sibling].min)
        children_low += min(used, st.cgs[sibling].low)
        sibling = st.cgs[sibling].sub_end
    parent = st.cgs[cg.parent]
    parent_use = usage(st, cg.parent)
    cg.emin = _effective(use, parent_use, cg.min, parent.emin, children_min)
    cg.elow = _effective(use, parent_use, cg.low, parent.elow, children_low)


@njit
def protects(st, j, root, c, low_too):
    """shrink_node_memcgs(): SKIP c in this pass of job j's reclaim of ``root``, or RECLAIM it.

    ``low_too``: the pass that breaks memory.low. The walk may start in mid-tree, so the whole way
    down to c is calculated.
    """
    at = root + 1
    while at <= c:
        if c < st.cgs[at].sub_end:
            _calculate(st, root, at)
            at += 1
        else:
            at = st.cgs[at].sub_end
    use = usage(st, c)
    if c == root or use == 0:
        return RECLAIM
    if st.cgs[c].emin >= use:
        return SKIP
    if st.cgs[c].elow >= use:
        if not low_too:
            st.jobs[j].low_skipped = 1
            return SKIP
        st.stat[c, S_EV_LOW] += 1
    return RECLAIM
