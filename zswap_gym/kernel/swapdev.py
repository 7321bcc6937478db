"""The swap device: parallel channels behind one queue in which writes and refault reads compete.

Writes in flight are bounded by the queue depth (block layer tags): a writer blocks until the
oldest ends (FINDINGS 9, p13). At the end of a write the page is rotated to the oldest end of
the oldest generation if PG_reclaim is still set (mm/filemap.c:folio_end_writeback(),
mm/swap.c:folio_rotate_reclaimable()).
"""

from __future__ import annotations

import numpy as np

from zswap_gym.kernel.earliest import earliest
from zswap_gym.kernel.folio_batch import batch_push, charged, cpu
from zswap_gym.kernel.jit import inline, njit, rare
from zswap_gym.kernel.layout import (
    B_ROTATE,
    F_DIRTY,
    F_RECLAIM,
    F_WRITEBACK,
    NO_LIST,
    S_PSWPIN,
    S_PSWPOUT,
    SWAPCACHE,
    UNMAPPED,
)
from zswap_gym.kernel.lists import push_oldest, unlink
from zswap_gym.kernel.rng import uniform


@inline
def _slot(st, i):
    """Place in the ring of the i-th write in flight, the oldest being 0."""
    at = st.host[0].ring_head + i
    return at - len(st.ring) if at >= len(st.ring) else at


@inline
def _service(st, t, mean):
    """Give the operation to the channel that is free first; return when it ends."""
    host = st.host[0]
    channel = earliest(st.channels, 0, len(st.channels))
    us = mean
    if host.jitter > 0.0:
        us *= 1.0 + host.jitter * (2.0 * uniform(st) - 1.0)
    start = max(t, st.channels[channel])
    st.channels[channel] = start + np.int64(us * host.scale + 0.5)
    return start + np.int64(us + 0.5)


@njit
def read(st, c, t):
    """Submit a read at boot time t; return when the page is there.

    With page_scale k one simulated page is k reads: the device is busy for k service times, the
    faulting thread waits for one.
    """
    st.stat[c, S_PSWPIN] += st.host[0].scale
    if rare(st.host[0].exact):
        return t
    return _service(st, t, st.host[0].read_us)


@inline
def _end_writeback(st, p, at):
    """folio_end_writeback(): a page already on the LRU is rotated, by a batch of the CPU that sent it."""
    page = st.pages[p]
    page.flags &= ~F_WRITEBACK
    if page.flags & F_RECLAIM:
        page.flags &= ~F_RECLAIM
        if charged(st, p) and st.on_list[p] != NO_LIST and not page.flags & F_DIRTY:
            batch_push(st, at, B_ROTATE, p)


@njit
def read_file(st, t):
    """As :func:`read`, of a file: files lie on the same disk as swap, and nobody counts pswpin."""
    return t if st.host[0].exact else _service(st, t, st.host[0].read_us)


@njit
def write_ended(st):
    """Take the oldest write off the ring and rotate its page."""
    host = st.host[0]
    slot = host.ring_head
    p = st.ring[slot].page
    host.ring_head = _slot(st, 1)
    host.ring_len -= 1
    page = st.pages[p]
    if rare(host.lru):
        _end_writeback(st, p, st.ring[slot].cpu)
    elif page.state == SWAPCACHE and page.flags & F_RECLAIM and st.on_list[p] != NO_LIST:
        page.flags &= ~F_RECLAIM
        c = st.owner[p]
        unlink(st, c, p)
        gen = st.cgs[c].min_seq & 3
        st.gen_count[c, st.gen[p] & 3] -= 1
        st.gen_count[c, gen] += 1
        st.gen[p] = UNMAPPED | gen
        push_oldest(st, c, gen, p)


@inline
def settle(st, t):
    """Finish all writes that ended by t."""
    host = st.host[0]
    while host.ring_len > 0 and st.ring[host.ring_head].done <= t:
        write_ended(st)


@inline
def queue_full(st):
    """True where the next write must wait for the oldest one."""
    return st.host[0].ring_len >= len(st.ring)


@inline
def keep_in_ram(st, p):
    """A device that is RAM holds page p's contents from now on, in place of what its slot held before."""
    length = min(int(st.pages[p].clen), 4096)
    st.host[0].zram_bytes += (length - int(st.zram[p])) * st.host[0].scale
    st.zram[p] = length


@njit
def write(st, c, p, t):
    """Submit the write of page p at t, waiting for the queue; return (when submitted, when it ends)."""
    host = st.host[0]
    st.stat[c, S_PSWPOUT] += host.scale
    if rare(len(st.zram) > 0):
        keep_in_ram(st, p)
    while rare(queue_full(st)):
        t = max(t, st.ring[host.ring_head].done)
        write_ended(st)
    end = t
    if not rare(host.exact):
        end = _service(st, t, host.write_us)
    elif rare(host.lru) and not host.reclaiming:  # a replay: only proactive writeback has times
        end = _service(st, t, host.write_us) + int(host.latency_us)
    # Completions are taken in submission order: a channel that overtakes waits for its elders.
    if host.ring_len > 0:
        end = max(end, st.ring[_slot(st, host.ring_len - 1)].done)
    slot = _slot(st, host.ring_len)
    st.ring[slot].page = p
    st.ring[slot].done = end
    st.ring[slot].cpu = cpu(st)
    host.ring_len += 1
    st.pages[p].stamp = end
    if rare(host.lru):
        st.pages[p].flags |= F_WRITEBACK
    return t, end
