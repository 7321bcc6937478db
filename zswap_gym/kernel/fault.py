"""Page faults: first touch, swap cache, zswap, zero page, disk (mm/memory.c:do_swap_page()).

Every non-resident page's next access ends here. The page is charged first, which may reclaim,
throttle or kill; then it is filled, mapped and put at the head of the youngest generation.
"""

from __future__ import annotations

from zswap_gym.kernel.access import OP_READ, OP_WRITE, access_op, next_access
from zswap_gym.kernel.calendar_queue import cancel, schedule_access
from zswap_gym.kernel.jit import inline, njit
from zswap_gym.kernel.layout import (
    DISK,
    F_DIRTY,
    F_SLOT,
    F_SWEEP,
    F_WORKINGSET,
    F_YOUNG,
    INF_PAGES,
    NEW,
    NO_LIST,
    RESIDENT,
    S_EV_HIGH,
    S_EV_MAX,
    S_EV_OOM,
    S_EV_OOM_KILL,
    S_PGFAULT,
    S_PGMAJFAULT,
    S_READ_WAIT_US,
    S_SWPIN_ZERO,
    S_ZSWPIN,
    SWAPCACHE,
    UNMAPPED,
    ZERO,
    ZSWAP,
)
from zswap_gym.kernel.memcg import (
    account,
    drop_slot,
    over_limit,
    swap_half_full,
    usage,
)
from zswap_gym.kernel.mglru import add_youngest, remove, work_now
from zswap_gym.kernel.psi import stall
from zswap_gym.kernel.reclaim import MAX_RECLAIM_RETRIES, try_free
from zswap_gym.kernel.swapdev import read
from zswap_gym.kernel.zswap import charge_cpu, drop_entry, note_refault

FAULT_US = 1.0
RESTART_US = 5_000_000  # an OOM-killed program comes back after this, as a service manager does


@njit
def discard(st, c, p):
    """Free page p whatever its state, as munmap and exit do: no counter, entry and slot dropped."""
    cancel(st, c, p)
    page = st.pages[p]
    if page.state == RESIDENT or page.state == SWAPCACHE:
        if page.list != NO_LIST:
            remove(st, c, p)
        mapped = 1 if page.state == RESIDENT else 0
        account(st, c, -1, -mapped, -1 if page.flags & F_SLOT else 0, 0, 0)
    elif page.state == ZSWAP:
        account(st, c, 0, 0, 0, -1, drop_entry(st, c, p))
    if page.flags & F_SLOT:
        drop_slot(st, c, p)
    page.state = NEW
    st.gen[p] |= UNMAPPED
    st.sweep_at[p] = 0
    page.flags = 0
    page.shadow = -1


@njit
def renew(st, c, p, work):
    """Schedule the allocation of a discarded page: its next access after ``work``."""
    when, by_sweep = next_access(st, p, work)
    schedule_access(st, c, p, when, by_sweep)


@njit
def oom_kill(st, over, current):
    """mem_cgroup_out_of_memory(): the biggest leaf below ``over`` loses all its pages.

    Biggest by what a kill gives back: pages mapped or swapped (mm/oom_kill.c:oom_badness()). If
    no leaf has any the victim is ``current``, whose charge failed (-1: nobody). Returns the victim.
    """
    victim = current
    most = 0
    for c in range(over, st.cgs[over].sub_end):
        cg = st.cgs[c]
        owned = cg.resident + cg.slots - cg.swapcached
        if cg.n_pages > 0 and owned > most:
            most = owned
            victim = c
    st.stat[over, S_EV_OOM] += 1
    if victim < 0:
        return victim
    st.stat[victim, S_EV_OOM_KILL] += 1
    cg = st.cgs[victim]
    work = work_now(st, victim) + RESTART_US
    for p in range(cg.first_page, cg.first_page + cg.n_pages):
        discard(st, victim, p)
        if st.host[0].restart_on_oom:
            renew(st, victim, p, work)
    if not st.host[0].restart_on_oom:
        cg.dead = 1
    return victim


@njit
def _charge(st, c, t):
    """try_charge_memcg() for one simulated page: (False if c itself was killed, time to go on)."""
    scale = st.host[0].scale
    tries = 0
    while True:
        over = over_limit(st, c, scale)
        if over < 0:
            return True, t
        st.stat[over, S_EV_MAX] += 1
        freed, t = try_free(st, over, scale, t, True)
        tries = 0 if freed > 0 else tries + 1
        if tries > MAX_RECLAIM_RETRIES or (freed == 0 and usage(st, over) <= st.cgs[over].base):
            if oom_kill(st, over, c) == c:
                return False, t
            tries = 0


@njit
def _over_high(st, c, t):
    """mem_cgroup_handle_over_high(): after 64 charged pages, reclaim and perhaps sleep."""
    scale = st.host[0].scale
    worst = -1
    m = c
    while m >= 0:
        if st.cgs[m].high < INF_PAGES and usage(st, m) > st.cgs[m].high:
            worst = m
        m = st.cgs[m].parent
    if worst < 0:
        return t
    cg = st.cgs[c]
    cg.over_high += scale
    if cg.over_high < 64:
        return t
    n = cg.over_high
    cg.over_high = 0
    for attempt in range(MAX_RECLAIM_RETRIES):
        st.stat[worst, S_EV_HIGH] += 1
        freed, t = try_free(st, worst, n if attempt == 0 else 32, t, False)
        over = usage(st, worst) - st.cgs[worst].high
        if over <= 0:
            return t
        ratio = over / max(st.cgs[worst].high, 1)
        delay = min(ratio * ratio * n * 1e6, 2e6)
        if delay <= 10_000.0:
            return t
        if freed == 0 or attempt == MAX_RECLAIM_RETRIES - 1:
            return t + int(delay)
    return t


@inline
def _map(st, c, p, op):
    """The page enters the page tables with its accessed bit set by this very access."""
    page = st.pages[p]
    page.state = RESIDENT
    st.gen[p] &= ~UNMAPPED
    page.when = work_now(st, c)
    page.flags = (page.flags | F_YOUNG) & ~F_SWEEP
    if op != OP_READ:
        page.flags |= F_DIRTY
    # Only a write *fault* gives the slot up; a page read in is mapped writable and keeps it.
    if page.flags & F_SLOT and (op == OP_WRITE or swap_half_full(st, c)):
        account(st, c, 0, 1, -1, 0, 0)
        drop_slot(st, c, p)
        page.flags |= F_DIRTY
    else:
        account(st, c, 0, 1, 0, 0, 0)


@inline
def _swap_in(st, c, p, t):
    """Bring the data back: from zswap (exclusive load), the zeromap, or the device."""
    host = st.host[0]
    page = st.pages[p]
    k = host.scale
    st.stat[c, S_PGMAJFAULT] += k
    note_refault(st, c, p, True)
    if page.state == ZSWAP:
        account(st, c, 1, 0, 1, -1, drop_entry(st, c, p))
        st.stat[c, S_ZSWPIN] += k
        page.flags |= F_DIRTY  # zswap_load(): the copy is gone
        if not host.exact:
            charge_cpu(st, c, host.decompress_us)
            t += int(host.decompress_us)
    elif page.state == ZERO:
        account(st, c, 1, 0, 1, 0, 0)
        st.stat[c, S_SWPIN_ZERO] += k
        page.flags &= ~F_DIRTY
    else:
        account(st, c, 1, 0, 1, 0, 0)
        st.cgs[c].disk_swapins += k
        page.flags &= ~F_DIRTY
        end = read(st, c, t)
        st.stat[c, S_READ_WAIT_US] += end - t
        t = end
    return t


@njit
def fault(st, c, p, t):
    """Serve the access to non-resident page p of cgroup c at boot time t."""
    page = st.pages[p]
    work = work_now(st, c)
    by_sweep = page.flags & F_SWEEP != 0
    op = access_op(st, p, work, by_sweep)
    if by_sweep and page.state != NEW and st.regions[page.region].sweep_fresh:
        discard(st, c, p)
    st.stat[c, S_PGFAULT] += st.host[0].scale
    start = t
    pressed = start
    if page.state != SWAPCACHE:
        alive, t = _charge(st, c, t)
        if not alive:
            stall(st, c, start, t - start, True)
            return
        pressed = t
    if page.state != SWAPCACHE:  # reclaim may just have written this very entry back
        if page.state == NEW:
            account(st, c, 1, 0, 0, 0, 0)
            page.flags |= F_DIRTY
        elif page.state == ZSWAP or page.state == DISK or page.state == ZERO:
            t = _swap_in(st, c, p, t)
        add_youngest(st, c, p)
    # Only workingset folios' waits count as memory pressure, direct reclaim always does.
    counts = page.flags & F_WORKINGSET != 0
    _map(st, c, p, op)
    after = _over_high(st, c, t)
    us = 0 if st.host[0].exact else int(FAULT_US)
    # A batch of reclaim is real pages already; a coarse page's faults each wait for their own load.
    stall(st, c, start, pressed - start, True)
    stall(st, c, pressed, (t - pressed + us) * st.host[0].scale, counts)
    stall(st, c, t, after - t, True)
