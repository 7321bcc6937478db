"""Bringing a swapped page back: from zswap, the zeromap or the device (mm/page_io.c:swap_read_folio())."""

from __future__ import annotations

from zswap_gym.kernel.jit import njit, rare
from zswap_gym.kernel.layout import F_DIRTY, S_READ_WAIT_US, S_SWPIN_ZERO, S_ZSWPIN, ZERO, ZSWAP
from zswap_gym.kernel.memcg import account
from zswap_gym.kernel.swapdev import read
from zswap_gym.kernel.workingset import note_refault
from zswap_gym.kernel.zswap import charge_cpu, drop_entry


@njit
def swap_in(st, c, p, t):
    """Fill a folio already charged with page p's data; the caller maps it. Returns when it is there."""
    host = st.host[0]
    page = st.pages[p]
    k = host.scale
    note_refault(st, c, p, True)
    if page.state == ZSWAP:
        account(st, c, 1, 0, 1, -1, drop_entry(st, c, p))
        st.stat[c, S_ZSWPIN] += k
        page.flags |= F_DIRTY  # zswap_load(): the copy is gone
        if not rare(host.exact):
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
