"""Per-CPU charge batching, an option (mm/memcontrol.c: consume_stock(), refill_stock(), drain_all_stock()).

A charge takes 64 pages at a time where they fit and keeps the rest for the next ones on the same CPU, so
memory.current runs ahead of what is used by up to 64 pages per CPU. A CPU keeps a stock for one cgroup;
another's charge there, or a limit that reclaim cannot meet, gives it back.

zswap charges bytes: obj_cgroup_charge() takes a page for what the CPU's leftover bytes cannot hold, from
the same stock, and refill_obj_stock() returns whole pages to it once loads and writebacks left them over.
Reclaimed pages are uncharged past all this. So an unlimited cgroup's memory.current is a multiple of 64
less the pages freed, to the page (03, 13, 14, p1).

Off by default: nothing a policy does depends on it. Cgroup files are written on the first CPU, programs
run on the second unless who drives the machine moves them (``charge_cpu``).
"""

from __future__ import annotations

from zswap_gym.kernel.jit import entry, inline, njit
from zswap_gym.kernel.memcg import over_limit, usage
from zswap_gym.kernel.stateref import state_ref

STOCK = 64  # MEMCG_CHARGE_BATCH
OWNER, PAGES, OBJECT_OWNER, BYTES = 0, 1, 2, 3  # columns of ``stocks``


@inline
def _cpu(st):
    """The CPU of who charges now."""
    return st.host[0].charge_cpu if st.host[0].task > 0 else 0


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
    if st.stocks[at, PAGES] > 0:
        _add_ahead(st, st.stocks[at, OWNER], -st.stocks[at, PAGES])
        st.stocks[at, PAGES] = 0


@inline
def _refill(st, c, at, pages):
    """__refill_stock(): what is more than a batch is given back, all of it."""
    if st.stocks[at, OWNER] != c:
        _give_back(st, at)
        st.stocks[at, OWNER] = c
    st.stocks[at, PAGES] += pages
    _add_ahead(st, c, pages)
    if st.stocks[at, PAGES] > max(STOCK, st.host[0].scale):
        _give_back(st, at)


@inline
def _drain_bytes(st, at):
    """drain_obj_stock(): what is less than a page waits with the cgroup."""
    c = st.stocks[at, OBJECT_OWNER]
    if st.stocks[at, BYTES] > 0:
        pages = st.stocks[at, BYTES] // 4096
        if pages > 0:
            _add_ahead(st, c, -pages)
            _refill(st, c, at, pages)
        st.cgs[c].loose_bytes += st.stocks[at, BYTES] % 4096
        st.stocks[at, BYTES] = 0


@njit
def drain_stocks(st, root):
    """drain_all_stock(): what CPUs keep for cgroups of root's subtree."""
    for at in range(len(st.stocks)):
        if root <= st.stocks[at, OBJECT_OWNER] < st.cgs[root].sub_end:
            _drain_bytes(st, at)
        if root <= st.stocks[at, OWNER] < st.cgs[root].sub_end:
            _give_back(st, at)


@inline
def _take(st, c, pages):
    """consume_stock(): True where the running CPU's stock had them."""
    at = _cpu(st)
    if st.stocks[at, OWNER] != c or st.stocks[at, PAGES] < pages:
        return False
    st.stocks[at, PAGES] -= pages
    _add_ahead(st, c, -pages)
    return True


@inline
def _batch(st, c, pages):
    """try_charge_memcg() for at least 64 pages, the rest goes to the CPU's stock; True if they fit."""
    batch = max(STOCK, pages)
    if over_limit(st, c, batch + st.host[0].uncharging) >= 0:
        return False
    _refill(st, c, _cpu(st), batch - pages)
    return True


@inline
def consume(st, c):
    """Charge one simulated page of c from the running CPU's stock; True if it had one."""
    return _take(st, c, st.host[0].scale)


@njit
def charge_ahead(st, c):
    """... or from a new stock; True if that fitted below every limit."""
    return consume(st, c) or _batch(st, c, st.host[0].scale)


@inline
def _hold(st, c, pages, size):
    """``pages`` are charged for what zswap keeps, which grows by ``size`` bytes; both may be negative."""
    while c >= 0:
        cg = st.cgs[c]
        cg.ahead += pages - ((cg.zbytes + size + 4095) // 4096 - (cg.zbytes + 4095) // 4096)
        c = cg.parent


@inline
def _add_bytes(st, c, size, allow):
    """refill_obj_stock(): leftover bytes of the running CPU; returns the whole pages to be given back."""
    at = _cpu(st)
    if st.stocks[at, OBJECT_OWNER] != c:
        _drain_bytes(st, at)
        st.stocks[at, OBJECT_OWNER] = c
        st.stocks[at, BYTES] = st.cgs[c].loose_bytes
        st.cgs[c].loose_bytes = 0
        allow = True
    st.stocks[at, BYTES] += size
    if not allow or st.stocks[at, BYTES] <= 4096:
        return 0
    pages = st.stocks[at, BYTES] // 4096
    st.stocks[at, BYTES] %= 4096
    return pages


@njit
def charge_object(st, c, length):
    """obj_cgroup_charge() of an object about to be accounted. Never refused: reclaim's charges are forced."""
    size = length * st.host[0].scale
    at = _cpu(st)
    if st.stocks[at, OBJECT_OWNER] == c and st.stocks[at, BYTES] >= size:
        st.stocks[at, BYTES] -= size
        _hold(st, c, 0, size)
        return
    pages = (size + 4095) // 4096
    if not _take(st, c, pages):
        _batch(st, c, pages)
    _hold(st, c, pages, size)
    if size % 4096 > 0:
        back = _add_bytes(st, c, 4096 - size % 4096, False)
        if back > 0:
            _add_ahead(st, c, -back)
            _refill(st, c, at, back)


@njit
def uncharge_object(st, c, length):
    """obj_cgroup_uncharge() of an object about to leave the account."""
    size = length * st.host[0].scale
    pages = _add_bytes(st, c, size, True)
    _hold(st, c, -pages, -size)
    if pages > 0:
        _refill(st, c, _cpu(st), pages)


@entry
def charge_kernel_memory(block, c, pages, by_program):
    """Charge c pages that are never reclaimed: by its program, or by who starts it on the first CPU."""
    st = state_ref(block)
    st.host[0].task = c if by_program else 0
    for _ in range(pages):
        charge_ahead(st, c)
    m = c
    while m >= 0:
        st.cgs[m].base += pages
        m = st.cgs[m].parent
