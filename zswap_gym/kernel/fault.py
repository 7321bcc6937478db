"""Page faults: first touch, swap cache, zswap, zero page, disk (mm/memory.c:do_swap_page()).

Every non-resident page's next access ends here. The page is charged first, which may reclaim,
throttle or kill; then it is filled, mapped and put at the head of the youngest generation.
"""

from __future__ import annotations

from zswap_gym.kernel.access import OP_READ, OP_WRITE, access_op
from zswap_gym.kernel.charge import charge, over_high
from zswap_gym.kernel.jit import inline, njit
from zswap_gym.kernel.layout import (
    DISK,
    F_DIRTY,
    F_SLOT,
    F_SWEEP,
    F_WORKINGSET,
    F_YOUNG,
    NEW,
    RESIDENT,
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
    swap_half_full,
)
from zswap_gym.kernel.mglru import add_youngest, work_now
from zswap_gym.kernel.oom import discard
from zswap_gym.kernel.psi import stall
from zswap_gym.kernel.swapdev import read
from zswap_gym.kernel.zswap import charge_cpu, drop_entry, note_refault

FAULT_US = 1.0


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
        alive, t = charge(st, c, t)
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
    after = over_high(st, c, t) if st.host[0].throttled else t
    us = 0 if st.host[0].exact else int(FAULT_US)
    # A batch of reclaim is real pages already; a coarse page's faults each wait for their own load.
    stall(st, c, start, pressed - start, True)
    stall(st, c, pressed, (t - pressed + us) * st.host[0].scale, counts)
    stall(st, c, t, after - t, True)
