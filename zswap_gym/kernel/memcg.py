"""memcg: hierarchical charging, limits, swap slots (mm/memcontrol.c, mm/page_counter.c).

Usage of a cgroup = resident pages (mapped or in the swap cache) + what is never reclaimed +
zswap's compressed bytes rounded up to pages. The bytes are charged exactly
(mm/zswap.c:zswap_store() -> obj_cgroup_charge_zswap()); zsmalloc's own waste to nobody.
"""

from __future__ import annotations

from zswap_gym.kernel.jit import inline, njit, rare
from zswap_gym.kernel.layout import F_SLOT, INF_PAGES, S_SWAP_FAIL, S_SWAP_MAX


@inline
def usage(st, c):
    """memory.current of cgroup c in real pages."""
    cg = st.cgs[c]
    return cg.resident + cg.base + cg.ahead + ((cg.zbytes + 4095) >> 12)


@inline
def ram_used(st):
    """Real pages of RAM in use that nothing but the reserve is kept from: resident, zswap's pool, zram."""
    host = st.host[0]
    return st.cgs[0].resident + host.pool_pages + ((host.zram_bytes + 4095) >> 12)


@inline
def account(st, c, resident, mapped, swapcached, entries, length):
    """Add simulated pages to the usage of c and its ancestors, each argument a signed count.

    ``resident`` charged pages, ``mapped`` of them in page tables (memory.stat anon),
    ``swapcached`` of them owning a swap slot, ``entries`` of ``length`` bytes in zswap.
    """
    k = st.host[0].scale
    while c >= 0:
        cg = st.cgs[c]
        cg.resident += resident * k
        cg.mapped += mapped * k
        cg.swapcached += swapcached * k
        cg.zpages += entries * k
        cg.zbytes += entries * k * length
        if resident > 0:
            cg.peak = max(cg.peak, usage(st, c))
        c = cg.parent


@inline
def _number_slot(st, p):
    """Page p's slot is the next free one round the device (mm/swapfile.c:cluster_alloc_swap_entry()).

    So pages reclaimed together lie together. Left out: each CPU fills a cluster of its own.
    """
    at = st.host[0].next_slot
    while st.slot_page[at] >= 0:
        at = at % (len(st.slot_page) - 1) + 1
    st.slot_page[at] = p
    st.slot_of[p] = at
    st.host[0].next_slot = at % (len(st.slot_page) - 1) + 1


@njit
def take_slot(st, c, p):
    """Allocate a swap slot for page p (mm/swap_state.c:add_to_swap()); False if there is none."""
    host = st.host[0]
    k = host.scale
    if host.slots_used + k > host.swap_pages:
        st.stat[c, S_SWAP_FAIL] += k
        return False
    m = c
    while m >= 0:
        if st.cgs[m].slots + k > st.cgs[m].swap_max:  # __mem_cgroup_try_charge_swap()
            st.stat[c, S_SWAP_MAX] += k
            st.stat[c, S_SWAP_FAIL] += k
            return False
        m = st.cgs[m].parent
    m = c
    while m >= 0:
        cg = st.cgs[m]
        cg.slots += k
        cg.swap_peak = max(cg.swap_peak, cg.slots)
        m = cg.parent
    host.slots_used += k
    st.pages[p].flags |= F_SLOT
    if rare(len(st.slot_page) > 0):
        _number_slot(st, p)
    return True


@njit
def drop_slot(st, c, p):
    """Free page p's swap slot."""
    k = st.host[0].scale
    while c >= 0:
        st.cgs[c].slots -= k
        c = st.cgs[c].parent
    st.host[0].slots_used -= k
    st.pages[p].flags &= ~F_SLOT
    if rare(len(st.zram) > 0):
        st.host[0].zram_bytes -= int(st.zram[p]) * k
        st.zram[p] = 0
    if rare(len(st.slot_page) > 0):
        st.slot_page[st.slot_of[p]] = -1


@inline
def swap_room(st, c):
    """Free swap pages for c: the minimum over its ancestors (mem_cgroup_get_nr_swap_pages())."""
    room = st.host[0].swap_pages - st.host[0].slots_used
    while c >= 0:
        cg = st.cgs[c]
        if cg.swap_max < INF_PAGES:
            room = min(room, cg.swap_max - cg.slots)
        c = cg.parent
    return room


@inline
def swap_half_full(st, c):
    """vm_swap_full() or mem_cgroup_swap_full(): slots are then freed on swap-in."""
    host = st.host[0]
    if host.slots_used * 2 > host.swap_pages:
        return True
    while c >= 0:
        cg = st.cgs[c]
        if cg.slots * 2 >= cg.swap_max or cg.slots * 2 >= cg.swap_high:
            return True
        c = cg.parent
    return False


@inline
def over_limit(st, c, extra):
    """The first cgroup from c upwards whose memory.max ``extra`` more pages would exceed, or -1."""
    while c >= 0:
        if usage(st, c) + extra > st.cgs[c].max:
            return c
        c = st.cgs[c].parent
    return -1


@njit
def refresh_writeback(st):
    """mem_cgroup_zswap_writeback_enabled(): on unless the cgroup or an ancestor has it off.

    While zswap is disabled the switch is ignored.
    """
    for c in range(len(st.cgs)):
        cg = st.cgs[c]
        up = cg.parent < 0 or st.cgs[cg.parent].writeback_effective == 1
        cg.writeback_effective = 1 if (cg.writeback and up) or not st.host[0].zswap_enabled else 0
