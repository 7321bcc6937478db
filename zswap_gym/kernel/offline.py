"""Removing a cgroup (mm/memcontrol.c:mem_cgroup_css_offline()): what is left of it goes on without it.

Memory that outlives its programs, such as the files of a tmpfs, stays charged to the dead cgroup and
thereby to its ancestors. Its zswap LRU is spliced on to the oldest end of the next living ancestor's
(mm/list_lru.c:memcg_reparent_list_lrus()): from then on a walk of that ancestor, of whatever origin,
writes the entries back, and new stores of the dead cgroup's pages join it there. Cursors pass a dead
cgroup by (mm/zswap.c:zswap_memcg_offline_cleanup()); reclaim still visits its pages.

Simplified: a writeback of such an entry is charged to the dead cgroup, in the kernel to the writer's.
"""

from __future__ import annotations

from zswap_gym.kernel.access import NEVER
from zswap_gym.kernel.calendar_queue import cancel
from zswap_gym.kernel.charge_stock import drain_stocks
from zswap_gym.kernel.jit import entry_for, njit
from zswap_gym.kernel.layout import LISTS_PER_CGROUP, ZSWAP_LIST
from zswap_gym.kernel.stateref import state_ref
from zswap_gym.kernel.zswap import catch_up


@njit
def _splice(st, c, heir):
    """list_splice_init(): c's entries before all of the heir's."""
    catch_up(st, c)
    catch_up(st, heir)
    mine = st.lists[c * LISTS_PER_CGROUP + ZSWAP_LIST]
    theirs = st.lists[heir * LISTS_PER_CGROUP + ZSWAP_LIST]
    if mine.length == 0:
        return
    if theirs.length == 0:
        theirs.newest = mine.newest
    else:
        st.links[mine.newest].newer = theirs.oldest
        st.links[theirs.oldest].older = mine.newest
    theirs.oldest = mine.oldest
    theirs.length += mine.length
    mine.oldest = -1
    mine.newest = -1
    mine.length = 0
    cg = st.cgs[heir]  # nothing is known about the ages on the joined list until a round is over
    cg.all_since = 0
    cg.round_since = st.host[0].now
    cg.round_left = theirs.length


@entry_for("(uint64[::1], int64)", seldom=True)
def take_offline(block, c):
    """The programs of c are gone and its directory is removed."""
    st = state_ref(block)
    n = len(st.cgs)
    cg = st.cgs[c]
    cg.offline = 1
    cg.dead = 1
    for p in range(cg.first_page, cg.first_page + cg.n_pages):
        cancel(st, c, p)
    drain_stocks(st, c)
    st.due[c] = NEVER
    st.due[n + c] = NEVER
    st.due[2 * n + c] = NEVER
    heir = cg.parent
    while st.cgs[heir].offline:
        heir = st.cgs[heir].parent
    _splice(st, c, heir)
    for other in range(n):
        if st.cgs[other].zlru == c:
            st.cgs[other].zlru = heir
