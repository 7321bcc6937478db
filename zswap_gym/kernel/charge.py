"""Charging a page, and what happens at memory.max and memory.high (mm/memcontrol.c).

try_charge_memcg(): reclaim while the charge does not fit, 16 fruitless tries, then the OOM
killer, and again. mem_cgroup_handle_over_high(): every 64 charged pages above memory.high (or
memory.swap.high) the task reclaims and, if that does not help, sleeps up to 2 s.
"""

from __future__ import annotations

from zswap_gym.kernel.charge_stock import charge_ahead, consume, drain_stocks
from zswap_gym.kernel.jit import inline, njit, rare
from zswap_gym.kernel.layout import (
    S_EV_HIGH,
    S_EV_MAX,
    S_EV_OOM_KILL,
    S_REJECT_RECLAIM_FAIL,
    S_SWAP_HIGH,
)
from zswap_gym.kernel.memcg import over_limit, usage
from zswap_gym.kernel.oom import oom_kill
from zswap_gym.kernel.reclaim import MAX_RECLAIM_RETRIES, try_free
from zswap_gym.kernel.zswap import rotate

CHARGE_BATCH = 64  # MEMCG_CHARGE_BATCH
HIGH_DELAY_MAX_US = 2e6  # MEMCG_MAX_HIGH_DELAY_JIFFIES
HIGH_DELAY_MIN_US = 10_000.0  # HZ / 100: not worth a sleep


@njit
def charge(st, c, t):
    """try_charge_memcg() for one simulated page: (False if c itself was killed, time to go on)."""
    scale = st.host[0].scale
    tries = 0
    stocks = rare(len(st.stocks) > 0)
    if stocks and charge_ahead(st, c):
        return True, t
    while True:
        over = over_limit(st, c, scale)
        if over < 0:
            return True, t
        st.stat[over, S_EV_MAX] += 1
        freed, t = try_free(st, over, scale, t, True)
        if stocks and over_limit(st, c, scale) >= 0:
            drain_stocks(st, over)
        if stocks and consume(st, c):
            return True, t
        tries = 0 if freed > 0 else tries + 1
        if rare(tries > MAX_RECLAIM_RETRIES or (freed == 0 and usage(st, over) <= st.cgs[over].base)):
            kills = st.stat[c, S_EV_OOM_KILL]
            oom_kill(st, over, c)
            if st.stat[c, S_EV_OOM_KILL] != kills:
                return False, t
            tries = 0


@njit
def charge_writeback(st, c, t):
    """Charge the folio a zswap writeback outside reclaim decompresses into: (charged?, time to go on).

    GFP_KERNEL (mm/zswap.c:zswap_writeback_entry(), mm/swap_state.c:__read_swap_cache_async()): it
    may reclaim and, where that frees nothing, **kills**, as any other charge does. It fails with
    ENOMEM only if there is nobody to kill. In reclaim the charge is forced (PF_MEMALLOC).
    """
    scale = st.host[0].scale
    tries = 0
    if rare(len(st.stocks) > 0) and charge_ahead(st, c):
        return True, t
    over = over_limit(st, c, scale)
    while over >= 0:
        st.stat[over, S_EV_MAX] += 1
        freed, t = try_free(st, over, scale, t, False)
        drain_stocks(st, over)
        tries = 0 if freed > 0 else tries + 1
        over = over_limit(st, c, scale)
        if over >= 0 and tries > MAX_RECLAIM_RETRIES:
            if oom_kill(st, over, -1) < 0:
                return False, t
            tries = 0
            over = over_limit(st, c, scale)
    return True, t


@inline
def refuse_writeback(st, c, p):
    """The charge failed (ENOMEM): the entry stays, at the tail of its LRU."""
    rotate(st, c, p)
    st.stat[0, S_REJECT_RECLAIM_FAIL] += st.host[0].scale


# --- memory.high and memory.swap.high -------------------------------------------------------------


@njit
def _penalty(st, c):
    """Squared overages of memory and swap, the worst of c and its ancestors each: calculate_high_delay()."""
    memory = 0.0
    swap = 0.0
    while c > 0:
        cg = st.cgs[c]
        over = usage(st, c) - cg.high
        if over > 0:
            memory = max(memory, over / max(cg.high, 1))
        over = cg.slots - cg.swap_high
        if over > 0:
            swap = max(swap, over / max(cg.swap_high, 1))
        c = cg.parent
    return memory * memory + swap * swap


@njit
def _reclaim_high(st, c, nr, t):
    """reclaim_high(): every cgroup above its memory.high, from c upwards, is asked for ``nr`` pages."""
    total = 0
    while c > 0:
        if st.cgs[c].slots > st.cgs[c].swap_high:  # counted by swap_find_max_overage()
            st.stat[c, S_SWAP_HIGH] += 1
        if usage(st, c) > st.cgs[c].high:
            st.stat[c, S_EV_HIGH] += 1
            freed, t = try_free(st, c, nr, t, False)
            total += freed
        c = st.cgs[c].parent
    return total, t


@njit
def over_high(st, c, t):
    """mem_cgroup_handle_over_high() after one page was charged to c; returns the time to go on."""
    if _penalty(st, c) <= 0.0:
        return t
    cg = st.cgs[c]
    cg.over_high += st.host[0].scale
    if cg.over_high < CHARGE_BATCH:
        return t
    n = cg.over_high
    cg.over_high = 0
    nr = n
    retries = MAX_RECLAIM_RETRIES
    while True:
        freed, t = _reclaim_high(st, c, nr, t)
        delay = min(_penalty(st, c) * n * 1e6, HIGH_DELAY_MAX_US)
        if delay <= HIGH_DELAY_MIN_US:
            return t
        if freed == 0:
            if retries == 0:
                return t + int(delay)
            retries -= 1
        nr = 32
