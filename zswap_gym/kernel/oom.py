"""Giving memory back whole: munmap, exit, and the OOM killer (mm/oom_kill.c, mm/memcontrol.c).

A process is a leaf cgroup here. mem_cgroup_out_of_memory() kills the one with most pages to give
back below the cgroup that is over its limit; without a cgroup (the host is out of memory) below
the root. With memory.oom.group set on the victim's cgroup or an ancestor up to the one over its
limit, the highest such cgroup loses every process that is not protected by oom_score_adj -1000
(mem_cgroup_get_oom_group(), oom_kill_memcg_member()). The victim then counts twice in
memory.events oom_kill, once as victim and once as member: the signal was sent, its memory is not
gone yet when the members are walked.
"""

from __future__ import annotations

from zswap_gym.kernel.access import next_access
from zswap_gym.kernel.calendar_queue import cancel, schedule_access
from zswap_gym.kernel.file_lru import drop_file
from zswap_gym.kernel.huge_page import split
from zswap_gym.kernel.jit import njit
from zswap_gym.kernel.layout import (
    F_SLOT,
    NEW,
    NO_LIST,
    RESIDENT,
    S_EV_OOM,
    S_EV_OOM_GROUP_KILL,
    S_EV_OOM_KILL,
    SWAPCACHE,
    UNMAPPED,
    ZSWAP,
)
from zswap_gym.kernel.memcg import account, drop_slot
from zswap_gym.kernel.mglru import remove, work_now
from zswap_gym.kernel.zswap import drop_entry

RESTART_US = 5_000_000  # an OOM-killed program comes back after this, as a service manager does


@njit
def discard(st, c, p):
    """Free page p whatever its state, as munmap and exit do: no counter, entry and slot dropped."""
    cancel(st, c, p)
    page = st.pages[p]
    if st.regions[page.region].file:
        drop_file(st, c, p)
        return
    if page.folio:
        split(st, c, p)
    if page.state == RESIDENT or page.state == SWAPCACHE:
        if st.on_list[p] != NO_LIST:
            remove(st, c, p)
        mapped = 1 if page.state == RESIDENT else 0
        account(st, c, -1, -mapped, -1 if page.flags & F_SLOT else 0, 0, 0)
    elif page.state == ZSWAP:
        account(st, c, 0, 0, 0, -1, drop_entry(st, c, p))
    if page.flags & F_SLOT:
        drop_slot(st, c, p)
    page.state = NEW
    st.gen[p] |= UNMAPPED
    st.source_at[p] = 0
    page.flags = 0
    page.shadow = -1


@njit
def renew(st, c, p, work):
    """Schedule the allocation of a discarded page: its next access after ``work``."""
    when, by_sweep = next_access(st, p, work)
    schedule_access(st, c, p, when, by_sweep)


@njit
def _kill(st, c):
    """__oom_kill_process(): the program of leaf c loses all its pages."""
    st.stat[c, S_EV_OOM_KILL] += 1
    cg = st.cgs[c]
    work = work_now(st, c) + RESTART_US
    for p in range(cg.first_page, cg.first_page + cg.n_pages):
        if st.regions[st.pages[p].region].file:  # the page cache outlives the program
            if not st.host[0].restart_on_oom:
                cancel(st, c, p)
            continue
        discard(st, c, p)
        if st.host[0].restart_on_oom:
            renew(st, c, p, work)
    if not st.host[0].restart_on_oom:
        cg.dead = 1


@njit
def _choose(st, over):
    """select_bad_process(): what a kill gives back is pages mapped or swapped (oom_badness()); or -1."""
    victim = -1
    most = 0
    for c in range(over, st.cgs[over].sub_end):
        cg = st.cgs[c]
        owned = cg.resident - cg.file + cg.slots - cg.swapcached
        if cg.n_pages > 0 and not cg.oom_protected and not cg.offline and owned > most:
            most = owned
            victim = c
    return victim


@njit
def oom_kill(st, over, current):
    """mem_cgroup_out_of_memory() of ``over`` (the root: the host has no memory left).

    If no leaf has pages the victim is ``current``, whose charge failed (-1: nobody). Returns the victim.
    """
    if over > 0:
        st.stat[over, S_EV_OOM] += 1
    victim = _choose(st, over)
    if victim < 0:
        victim = current
    if victim < 0:
        return victim
    group = -1
    m = victim
    while m > 0 and m >= over:
        if st.cgs[m].oom_group:
            group = m
        if m == over:
            break
        m = st.cgs[m].parent
    _kill(st, victim)
    if group >= 0:
        st.stat[group, S_EV_OOM_GROUP_KILL] += 1
        for c in range(group, st.cgs[group].sub_end):
            if st.cgs[c].n_pages > 0 and not st.cgs[c].oom_protected and not st.cgs[c].offline:
                _kill(st, c)
    return victim
