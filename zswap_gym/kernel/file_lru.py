"""Page cache: the inactive and active lists of file pages, their refaults and their share of the scan.

A page read from a file enters the inactive list; found accessed twice at its end it is activated
(mm/vmscan.c:folio_check_references()), and freed if not accessed. A page that comes back after no
more evictions than the active list is long is activated at once (mm/workingset.c). How much of a
priority's scan falls on file pages follows get_scan_count(): all of it without swap or while there
is plenty of inactive cache (cache_trim_mode), else by what refaults of either kind have cost.

Kept simple: file pages have these two lists also beside MGLRU, which in the kernel ages them in
generations of their own; a dirty page counts as cleaned by the flusher before reclaim meets it;
swappiness is 60. Files lie on the disk that holds swap.
"""

from __future__ import annotations

from zswap_gym.kernel.access import look, next_access
from zswap_gym.kernel.calendar_queue import schedule_access
from zswap_gym.kernel.jit import inline, njit, rare
from zswap_gym.kernel.layout import (
    F_LRUREF,
    F_WORKINGSET,
    F_YOUNG,
    FILE_ACTIVE,
    FILE_INACTIVE,
    LISTS_PER_CGROUP,
    NEW,
    NO_LIST,
    RESIDENT,
    S_ACTIVATE_FILE,
    S_PGACTIVATE,
    S_PGDEACTIVATE,
    S_PGREFILL,
    S_PGSCAN,
    S_PGSTEAL,
    S_REFAULT_FILE,
    S_RESTORE_FILE,
)
from zswap_gym.kernel.lists import push_newest, unlink
from zswap_gym.kernel.memcg import account
from zswap_gym.kernel.mglru import work_now

FILE_CHUNK = 32  # SWAP_CLUSTER_MAX
REFAULT_COST = 32
SWAPPINESS = 60


@inline
def _length(st, c, which):
    """Real pages on one of c's own two lists."""
    return st.lists[c * LISTS_PER_CGROUP + which].length * st.host[0].scale


@inline
def _count(st, c, n):
    """Page cache of c and its ancestors grows by n simulated pages (memory.stat file)."""
    account(st, c, n, 0, 0, 0, 0)
    while c >= 0:
        st.cgs[c].file += n * st.host[0].scale
        c = st.cgs[c].parent


@inline
def drop_file(st, c, p):
    """The page is truncated, its file deleted: no shadow. Its next access must have been cancelled."""
    page = st.pages[p]
    if page.state == RESIDENT:
        unlink(st, c, p)
        _count(st, c, -1)
    page.state = NEW
    page.flags = 0
    page.shadow = -1


@njit
def _note_cost(st, c, pages):
    """lru_note_cost(): halved with anon's once their sum exceeds a quarter of the lists."""
    cg = st.cgs[c]
    cg.file_cost += pages
    size = cg.resident
    while cg.file_cost + cg.anon_cost > max(size // 4, 1):
        cg.file_cost //= 2
        cg.anon_cost //= 2


@njit
def _refault(st, c, p):
    """workingset_refault(): True if the page belongs on the active list at once."""
    page = st.pages[p]
    k = st.host[0].scale
    st.stat[c, S_REFAULT_FILE] += k
    cg = st.cgs[c]
    distance = ((cg.file_age - (page.shadow >> 1)) & 0x3FFFFFFF) * k
    was_active = page.shadow & 1
    page.shadow = -1
    if distance > _length(st, c, FILE_ACTIVE) + cg.mapped:  # anon counts while there is swap to use
        return False
    st.stat[c, S_ACTIVATE_FILE] += k
    cg.file_age += 1
    if was_active:
        page.flags |= F_WORKINGSET
        st.stat[c, S_RESTORE_FILE] += k
        _note_cost(st, c, REFAULT_COST * k)
    return True


@njit
def add_file(st, c, p, work):
    """filemap_add_folio(): page p, charged and read, enters the cache. True: its wait was thrashing."""
    page = st.pages[p]
    active = page.shadow >= 0 and _refault(st, c, p)
    page.state = RESIDENT
    page.when = work
    page.flags = page.flags & F_WORKINGSET
    _count(st, c, 1)
    push_newest(st, c, FILE_ACTIVE if active else FILE_INACTIVE, p)
    return page.flags & F_WORKINGSET != 0


@inline
def _accessed(st, c, p):
    """Accessed since the last look, or since it was read in?"""
    page = st.pages[p]
    now = work_now(st, c)
    seen = look(st, p, page.when, now, True)
    page.when = now
    return seen & 1 != 0


@njit
def _evict(st, c, p):
    """The page is freed; its shadow remembers the age, and whether it had been active."""
    page = st.pages[p]
    cg = st.cgs[c]
    page.state = NEW
    page.shadow = (cg.file_age << 1 | (1 if page.flags & F_WORKINGSET else 0)) & 0x7FFFFFFF
    page.flags &= ~(F_WORKINGSET | F_LRUREF | F_YOUNG)
    cg.file_age += 1
    _count(st, c, -1)
    st.stat[c, S_PGSTEAL] += st.host[0].scale
    if not cg.dead:
        when, by_sweep = next_access(st, p, work_now(st, c))
        schedule_access(st, c, p, when, by_sweep)


@njit
def _shrink_inactive(st, j, c):
    """shrink_inactive_list() over one chunk; what is freed counts towards the job's goal."""
    k = st.host[0].scale
    for _ in range(max(1, min(FILE_CHUNK, st.jobs[j].todo_file) // k)):
        p = st.lists[c * LISTS_PER_CGROUP + FILE_INACTIVE].oldest
        if p < 0:
            return
        st.stat[c, S_PGSCAN] += k
        unlink(st, c, p)
        page = st.pages[p]
        if not _accessed(st, c, p):
            st.on_list[p] = NO_LIST
            _evict(st, c, p)
            st.jobs[j].freed += k
        elif page.flags & F_LRUREF:
            page.flags = (page.flags & ~F_LRUREF) | F_WORKINGSET
            st.stat[c, S_PGACTIVATE] += k
            st.cgs[c].file_age += 1
            push_newest(st, c, FILE_ACTIVE, p)
        else:
            page.flags |= F_LRUREF
            push_newest(st, c, FILE_INACTIVE, p)


@njit
def _shrink_active(st, c):
    """shrink_active_list(): a chunk becomes inactive, accessed or not."""
    k = st.host[0].scale
    for _ in range(max(1, FILE_CHUNK // k)):
        p = st.lists[c * LISTS_PER_CGROUP + FILE_ACTIVE].oldest
        if p < 0:
            return
        _accessed(st, c, p)
        unlink(st, c, p)
        st.pages[p].flags |= F_WORKINGSET
        push_newest(st, c, FILE_INACTIVE, p)
        st.stat[c, S_PGREFILL] += k
        st.stat[c, S_PGDEACTIVATE] += k


@inline
def _inactive_is_low(st, c):
    """inactive_is_low(): the ratio grows with the root of the size in GiB, 1 below that."""
    inactive = _length(st, c, FILE_INACTIVE)
    active = _length(st, c, FILE_ACTIVE)
    gib = (inactive + active) >> 18
    ratio = 1
    while gib > 0 and (ratio + 1) * (ratio + 1) <= 10 * gib:
        ratio += 1
    return inactive * ratio < active


@njit
def file_begin(st, j, c):
    """get_scan_count() for the file lists of c at this priority."""
    job = st.jobs[j]
    job.todo_file = 0
    job.todo_file_active = 0
    inactive = _length(st, c, FILE_INACTIVE)
    active = _length(st, c, FILE_ACTIVE)
    if not rare(inactive + active):
        return
    numerator, denominator = 1, 1
    if job.anon_too and job.prio > 0 and ((inactive >> job.prio) == 0 or _inactive_is_low(st, c)):
        cg = st.cgs[c]
        total = cg.anon_cost + cg.file_cost
        anon = SWAPPINESS * (2 * total + 1) // (total + cg.anon_cost + 1)
        numerator = (200 - SWAPPINESS) * (2 * total + 1) // (total + cg.file_cost + 1)
        denominator = max(anon + numerator, 1)
    job.todo_file = (inactive >> job.prio) * numerator // denominator
    if _inactive_is_low(st, c):
        job.todo_file_active = max((active >> job.prio) * numerator // denominator, FILE_CHUNK)


@njit
def file_step(st, j, c):
    """One chunk of each list of c: True where this priority is over for c."""
    job = st.jobs[j]
    if job.todo_file_active > 0:
        job.todo_file_active -= FILE_CHUNK
        _shrink_active(st, c)
    if job.todo_file > 0:
        _shrink_inactive(st, j, c)
        job.todo_file -= FILE_CHUNK
    if job.freed >= job.goal:  # the rest of the priority, anonymous memory included, is spared
        job.todo_file = 0
        job.todo_file_active = 0
        return True
    if job.todo_file > 0 or job.todo_file_active > 0:
        return False
    trimmed = (_length(st, c, FILE_INACTIVE) >> job.prio) > 0 and not _inactive_is_low(st, c)
    return not job.anon_too or trimmed  # cache_trim_mode: file pages only
