"""zspages one by one (mm/zsmalloc.c): what a pool costs while its objects come and go.

A zspage is given back only when its last object is freed, so writeback that picks entries by age
leaves holes, and the pool stays near its limit with far fewer entries in it (05: 4700 pages held
6900 entries at the end, 11500 would fit). New objects go to the fullest zspage with room:
find_get_zspage() looks through the fullness groups from above, a tenth each, latest first. Nothing
compacts a pool while only cgroups are short of memory.

Used where the host's LRU is modelled in full or classic; else zsmalloc.py counts as if compacted.
"""

from __future__ import annotations

from zswap_gym.kernel.jit import inline, njit
from zswap_gym.kernel.layout import ZSPAGE_GROUPS


@inline
def _group(inuse, objects):
    """get_fullness_group(): 0 empty, 1 to 10 by tenths, 11 full."""
    if inuse == objects:
        return ZSPAGE_GROUPS - 1
    return 0 if inuse == 0 else 100 * inuse // objects // 10 + 1


@inline
def _leave(st, z):
    """remove_zspage(): off its group's list."""
    rec = st.zspages[z]
    if rec.before >= 0:
        st.zspages[rec.before].after = rec.after
    else:
        st.zgroups[rec.cls, rec.group] = rec.after
    if rec.after >= 0:
        st.zspages[rec.after].before = rec.before


@inline
def _enter(st, z, group):
    """insert_zspage(): at the head of a group's list."""
    rec = st.zspages[z]
    head = st.zgroups[rec.cls, group]
    rec.group = group
    rec.before = -1
    rec.after = head
    if head >= 0:
        st.zspages[head].before = z
    st.zgroups[rec.cls, group] = z


@inline
def _resize(st, z, delta):
    """One object more or less; fix_fullness_group()."""
    rec = st.zspages[z]
    rec.inuse += delta
    group = _group(rec.inuse, st.zclass[rec.cls].per_zspage)
    if group != rec.group:
        _leave(st, z)
        _enter(st, z, group)


@inline
def _roomiest(st, cls):
    """find_get_zspage(): the fullest zspage with room, or -1."""
    for group in range(ZSPAGE_GROUPS - 2, -1, -1):
        if st.zgroups[cls, group] >= 0:
            return st.zgroups[cls, group]
    return -1


@njit
def zs_malloc(st, p, length):
    """Give page p's object of ``length`` bytes a place."""
    host = st.host[0]
    cls = st.zclass_of[length]
    z = _roomiest(st, cls)
    if z < 0:
        z = host.zspage_free
        host.zspage_free = st.zspages[z].after
        st.zspages[z].cls = cls
        st.zspages[z].inuse = 0
        _enter(st, z, 0)
        host.pool_pages += st.zclass[cls].zspage_pages
    _resize(st, z, 1)
    st.zspage_of[p] = z
    st.zclass[cls].objects += 1
    host.stored_pages += 1


@njit
def zs_free(st, p):
    """Free page p's object, and its zspage if that was the last."""
    host = st.host[0]
    z = st.zspage_of[p]
    cls = st.zspages[z].cls
    _resize(st, z, -1)
    if st.zspages[z].inuse == 0:
        _leave(st, z)
        st.zspages[z].after = host.zspage_free
        host.zspage_free = z
        host.pool_pages -= st.zclass[cls].zspage_pages
    st.zclass[cls].objects -= 1
    host.stored_pages -= 1
