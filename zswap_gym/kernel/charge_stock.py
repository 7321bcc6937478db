"""Per-CPU charge batching, an option (mm/memcontrol.c: consume_stock(), refill_stock(), drain_all_stock()).

A charge takes 64 pages at a time where they fit and keeps the rest for the next ones on the same CPU, so
memory.current runs ahead of what is used by up to 64 pages per CPU. A CPU keeps a stock for one cgroup;
another's charge there, or a limit that reclaim cannot meet, gives it back. Off by default: it is noise
of a few pages, and nothing a policy does depends on it.
"""

from __future__ import annotations

from zswap_gym.kernel.jit import inline, njit
from zswap_gym.kernel.memcg import over_limit, usage

STOCK = 64  # MEMCG_CHARGE_BATCH


@inline
def _add_ahead(st, c, pages):
    while c >= 0:
        cg = st.cgs[c]
        cg.ahead += pages
        if pages > 0:
            cg.peak = max(cg.peak, usage(st, c))
        c = cg.parent


@inline
def _give_back(st, at):
    """drain_stock()."""
    if st.stocks[at, 1] > 0:
        _add_ahead(st, st.stocks[at, 0], -st.stocks[at, 1])
        st.stocks[at, 1] = 0


@njit
def drain_stocks(st, root):
    """drain_all_stock(): what CPUs keep for cgroups of root's subtree."""
    for at in range(len(st.stocks)):
        if root <= st.stocks[at, 0] < st.cgs[root].sub_end:
            _give_back(st, at)


@njit
def consume(st, c):
    """Charge one simulated page of c from the running CPU's stock, filling that first; True if it did.

    Programs take the CPUs in turn: one step per charge.
    """
    host = st.host[0]
    at = host.charge_cpu
    host.charge_cpu = (at + 1) % len(st.stocks)
    if st.stocks[at, 0] != c or st.stocks[at, 1] < host.scale:
        if over_limit(st, c, max(STOCK, host.scale)) >= 0:
            return False
        _give_back(st, at)
        st.stocks[at, 0] = c
        st.stocks[at, 1] = max(STOCK, host.scale)
        _add_ahead(st, c, st.stocks[at, 1])
    st.stocks[at, 1] -= host.scale
    _add_ahead(st, c, -host.scale)
    return True
