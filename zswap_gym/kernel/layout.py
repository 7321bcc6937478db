"""The state of a machine as flat arrays: what each page, cgroup, job and device remembers.

A page record is half a cache line; what list walks and aging walks read of pages they pass by
lies in arrays of its own. Lists are intrusive (int32 links), so moving a page costs no
allocation and a clone is a copy of a few arrays. Counters named as in
memory.stat hold real pages; everything called ``pages`` or ``length`` counts simulated ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# --- page states ------------------------------------------------------------------------------
NEW = 0
"""Never allocated, or freed: the next access allocates it."""
RESIDENT = 1
"""Mapped. Charged, on a generation list; whether it was accessed is decided when reclaim looks."""
SWAPCACHE = 2
"""Charged and on a generation list but unmapped; its next access is a minor fault."""
ZSWAP = 3
DISK = 4
ZERO = 5
"""Swapped out as an all-zero page: a bit in the swap zeromap, no pool bytes, no I/O."""

# --- page flags -------------------------------------------------------------------------------
F_YOUNG = 1  # accessed bit set by the fault that mapped it, valid until the next aging walk
F_DIRTY = 2  # contents differ from what swap holds
F_SLOT = 4  # owns a swap slot
F_REFERENCED = 8  # zswap entry: second chance not used yet
F_RECLAIM = 16  # PG_reclaim: rotate to the tail when its write ends
F_FULLREF = 32  # refs=3 and workingset: MGLRU grants one extra round (spec/mglru.md 6.3)
F_WORKINGSET = 64  # a refault that counts as memory pressure
F_QUEUED = 128  # its next access is in the calendar
F_HEAP = 256  # ... in the calendar's current bucket, ordered
F_SWEEP = 512  # ... and comes from the region's sweep
# Only where the host's LRU is modelled in full or classic (spec.LRUS):
F_ACTIVE = 1024  # PG_active
F_LRUREF = 2048  # PG_referenced
F_WRITEBACK = 4096  # PG_writeback: its write is running
F_READAHEAD = 8192  # PG_readahead: brought in beside a fault, not yet used
F_HUGE = 32768  # part of a 2 MiB folio
F_HELD = 16384  # waits in a lru_activate batch, which holds a reference

SINGLE, WHOLE, IN_PIECES = 0, 1, 2
"""Kinds of folio: a page of its own; part of a huge page that one entry maps, or that 512 map or none."""

NO_LIST = 255
UNMAPPED = 128
"""In ``gen``: the page is not in the page tables, so no aging walk sees it."""
ZSWAP_LIST = 4
FILE_INACTIVE = 5
FILE_ACTIVE = 6
LISTS_PER_CGROUP = 7  # generations seq & 3, the zswap LRU, the two lists of file pages

PAGE = np.dtype(
    [
        ("when", np.int64),  # RESIDENT: work time of the last look; others: of the next access
        ("stamp", np.int64),  # ZSWAP: boot time of the store; SWAPCACHE: boot time the write ends
        ("rate", np.float32),  # Hz of work time
        ("shadow", np.int32),  # min_seq when it was evicted, -1 = none
        ("clen", np.uint16),
        ("region", np.uint16),
        ("flags", np.uint16),
        ("state", np.uint8),
        ("folio", np.uint8),  # of which kind it is part: SINGLE, or a huge page
    ],
    align=True,
)
LINK = np.dtype([("older", np.int32), ("newer", np.int32)])
"""Neighbours on the list a page is on. Apart from the rest of the page, because moving a page
touches both neighbours' links and nothing else of theirs: eight links share a cache line."""
CALENDAR = np.dtype([("prev", np.int32), ("next", np.int32)])
"""Neighbours in the calendar's bucket; ``prev`` is the position in the heap while F_HEAP."""

INF_PAGES = np.int64(1 << 50)
"""A limit of ``max``, in pages."""

CGROUP = np.dtype(
    [
        ("parent", np.int32),
        ("sub_end", np.int32),  # descendants are cgroups [self, sub_end): pre-order
        ("first_page", np.int32),
        ("n_pages", np.int32),
        ("leaf", np.int32),
        ("threads", np.int32),
        # usage, hierarchical, real pages / bytes
        ("resident", np.int64),
        ("zbytes", np.int64),
        ("zpages", np.int64),
        ("slots", np.int64),
        ("swapcached", np.int64),
        ("mapped", np.int64),
        ("file", np.int64),
        ("base", np.int64),
        ("ahead", np.int64),  # pages charged beyond what is used: charge_stock.py
        ("loose_bytes", np.int64),  # objcg->nr_charged_bytes: left over from charges on any CPU
        ("peak", np.int64),
        ("swap_peak", np.int64),
        # limits, pages
        ("max", np.int64),
        ("high", np.int64),
        ("zswap_max", np.int64),
        ("swap_max", np.int64),
        ("swap_high", np.int64),
        ("min", np.int64),
        ("low", np.int64),
        ("oom_group", np.int32),
        ("oom_protected", np.int32),  # oom_score_adj -1000
        # protection, as last worked out on the way down from a reclaim target
        ("emin", np.int64),
        ("elow", np.int64),
        ("writeback", np.int32),
        ("writeback_effective", np.int32),
        # MGLRU
        ("max_seq", np.int64),
        ("min_seq", np.int64),
        ("last_walk", np.int64),  # work time
        # work clock: work = boot time - lag, never backwards
        ("lag", np.int64),
        ("lag_rem", np.int64),
        ("work", np.int64),
        # calendar
        ("bucket", np.int64),  # absolute index of the bucket in the heap
        ("heap_len", np.int64),
        ("queued", np.int64),  # events in the calendar altogether
        ("fetch", np.int32),  # page of the next bucket to ask the memory for, or -1
        ("fetched", np.int32),  # the one asked for before it
        # the actuator's cursors and credits
        ("wb_iter", np.int32),  # zswap_wb_iter: -1 = before the root of the subtree
        ("reclaim_iter", np.int32),
        ("wb_debt", np.int64),  # real pages written ahead of budget because a page stands for many
        ("wb_debt_bytes", np.int64),  # the same, compressed
        ("over_high", np.int64),  # real pages charged over memory.high since the last check
        ("disk_swapins", np.int64),  # nr_disk_swapins of the lruvec
        ("empty_passes", np.int32),  # pulses in a row that wrote nothing
        ("deferred", np.int64),  # nr_deferred of the zswap shrinker
        # no entry of the zswap LRU was stored before ``all_since``; how that is found: zswap.rotate()
        ("all_since", np.int64),
        ("round_since", np.int64),
        ("round_left", np.int64),
        ("owed", np.int64),  # entries to rotate before the zswap LRU is next touched
        # streams
        ("free_next", np.int64),
        ("free_end", np.int64),
        ("stage_one", np.int32),
        ("dead", np.int32),  # OOM-killed and not restarted
        ("offline", np.int32),  # removed: cursors pass it by
        ("zlru", np.int32),  # whose zswap LRU its entries are on: its own unless offline
        # PSI, microseconds
        ("some_us", np.int64),
        ("full_us", np.int64),
        ("some_until", np.int64),
        ("full_until", np.int64),
        ("some_seen", np.int64),
        ("full_seen", np.int64),
        ("avg", np.int64, (6,)),  # some avg10/60/300, full avg10/60/300: 11-bit fixed point
        ("stage_psi", np.int64),  # some_us at senpai's last step
        # MGLRU in full: page-table walks
        ("walked_at", np.int64),  # boot time of the last walk, -1 = never
        ("ran", np.int32),  # the program ran since, known because it reclaims itself
        ("filters", np.int32),  # which of the two filters exist: bits
        ("run_from", np.int64),  # boot time of the program's latest stretch of work
        ("run_until", np.int64),
        ("free_rate", np.float64),  # coarse pages: share of what reclaim looked at that it freed, lately
        ("free_carry", np.float64),
        ("file_cost", np.int64),
        ("file_age", np.int64),  # nonresident_age as file pages count it
        # classic LRU
        ("nonresident", np.int64),  # lruvec->nonresident_age
        ("anon_cost", np.int64),
        ("flushed_at", np.int64),  # when the four below were last taken: memory.stat as of the last flush
        ("seen_inactive", np.int64),
        ("seen_active", np.int64),
        ("seen_activations", np.int64),
        ("last_activations", np.int64),  # lruvec->refaults[]: at the end of the last reclaim
    ],
    align=True,
)

STAT: tuple[str, ...] = (
    "pgfault",
    "pgmajfault",
    "pgscan",
    "pgsteal",
    "pgscan_kswapd",
    "pgsteal_kswapd",
    "pgscan_proactive",
    "pgsteal_proactive",
    "pgrefill",
    "pgactivate",
    "pgdeactivate",
    "workingset_refault_anon",
    "workingset_activate_anon",
    "workingset_restore_anon",
    "workingset_refault_file",
    "workingset_activate_file",
    "workingset_restore_file",
    "zswpin",
    "zswpout",
    "zswpwb",
    "zswpwb_proactive",
    "pswpin",
    "pswpout",
    "swpin_zero",
    "swpout_zero",
    "events_high",
    "events_max",
    "events_oom",
    "events_oom_kill",
    "events_oom_group_kill",
    "events_low",
    "swap_event_high",
    "swap_event_max",
    "swap_fail",
    "pool_limit_hit",
    "reject_reclaim_fail",
    "reject_compress_fail",
    "reject_alloc_fail",
    "stores_refused",
    "shrink_worker_runs",
    "shrink_memcg_calls",
    "zswpwb_proactive_b",
    "walks",
    "looks",
    "stall_us",
    "read_wait_us",
    "cpu_us",
)
"""Cumulative counters, own (not hierarchical) while inside the core; real pages or us."""

(
    S_PGFAULT,
    S_PGMAJFAULT,
    S_PGSCAN,
    S_PGSTEAL,
    S_PGSCAN_KSWAPD,
    S_PGSTEAL_KSWAPD,
    S_PGSCAN_PROACTIVE,
    S_PGSTEAL_PROACTIVE,
    S_PGREFILL,
    S_PGACTIVATE,
    S_PGDEACTIVATE,
    S_REFAULT,
    S_ACTIVATE,
    S_RESTORE,
    S_REFAULT_FILE,
    S_ACTIVATE_FILE,
    S_RESTORE_FILE,
    S_ZSWPIN,
    S_ZSWPOUT,
    S_ZSWPWB,
    S_ZSWPWB_PROACTIVE,
    S_PSWPIN,
    S_PSWPOUT,
    S_SWPIN_ZERO,
    S_SWPOUT_ZERO,
    S_EV_HIGH,
    S_EV_MAX,
    S_EV_OOM,
    S_EV_OOM_KILL,
    S_EV_OOM_GROUP_KILL,
    S_EV_LOW,
    S_SWAP_HIGH,
    S_SWAP_MAX,
    S_SWAP_FAIL,
    S_POOL_LIMIT_HIT,
    S_REJECT_RECLAIM_FAIL,
    S_REJECT_COMPRESS_FAIL,
    S_REJECT_ALLOC_FAIL,
    S_STORES_REFUSED,
    S_WORKER_RUNS,
    S_SHRINK_MEMCG,
    S_ZSWPWB_PROACTIVE_B,
    S_WALKS,
    S_LOOKS,
    S_STALL_US,
    S_READ_WAIT_US,
    S_CPU_US,
) = range(len(STAT))

LIST = np.dtype([("oldest", np.int32), ("newest", np.int32), ("length", np.int64)], align=True)
ZCLASS = np.dtype(
    [
        ("objects", np.int64),
        ("per_zspage", np.int64),
        ("zspage_pages", np.int64),
        ("room", np.int64),
        # a simulated page is as many objects as it has real pages: zspages they fill, and what is over
        ("filled_pages", np.int64),
        ("rest", np.int64),
    ],
    align=True,
)
RING = np.dtype([("page", np.int32), ("cpu", np.int32), ("done", np.int64)], align=True)
VMA = np.dtype(  # per region: one mapping of one program
    [
        ("table", np.int32),  # index of its first page table in ``tables``
        ("ra_addr", np.int32),  # read-ahead: page of the last fault, relative to the region
        ("ra_window", np.int32),
        ("ra_hits", np.int32),
    ],
    align=True,
)
ZSPAGE = np.dtype(  # see zspage.py
    [
        ("before", np.int32),  # neighbours in its fullness group; ``after`` also links free records
        ("after", np.int32),
        ("inuse", np.uint16),
        ("cls", np.uint8),
        ("group", np.uint8),
    ],
    align=True,
)
ZSPAGE_GROUPS = 12
LRU_SIMPLE, LRU_FULL, LRU_CLASSIC = 0, 1, 2
BATCH = 31  # PAGEVEC_SIZE
B_ADD, B_ACTIVATE, B_ROTATE = 0, 1, 2  # kinds of per-CPU batches
CPUS = 2
TABLE = 512  # PTEs of a page table

MAX_THREADS = 32
WHEEL = 1024  # buckets per level
LANES = 4  # lists of a coarse bucket
BUCKET_SHIFT = 16  # a bucket is 65.5 ms of work time


assert PAGE.itemsize == 32
_LINE = 64


def page_array(n: int) -> np.ndarray:
    """N zeroed page records from a cache-line boundary on: none straddles two lines."""
    raw = np.zeros(n * PAGE.itemsize + _LINE, np.uint8)
    start = -raw.ctypes.data % _LINE
    return raw[start : start + n * PAGE.itemsize].view(PAGE)


class State(NamedTuple):
    """Everything a machine is. All arrays; copy them and you have a clone."""

    pages: np.ndarray  # PAGE (n,)
    links: np.ndarray  # LINK (n,)
    calendar: np.ndarray  # CALENDAR (n,)
    on_list: np.ndarray  # uint8 (n,): list it physically sits on, or NO_LIST
    gen: np.ndarray  # uint8 (n,): generation tag (seq & 3), maybe newer than the list; | UNMAPPED
    source_at: np.ndarray  # int64 (n,): when the page's sweep, or its trace, comes next, as last worked out
    trace_at: np.ndarray  # int32 (n,), none without traces: which of its traced accesses that is
    owner: np.ndarray  # uint16 (n,): cgroup
    cgs: np.ndarray  # CGROUP (c,)
    lists: np.ndarray  # LIST (c * 5,)
    gen_count: np.ndarray  # int64 (c, 4): pages by tag
    stat: np.ndarray  # int64 (c, len(STAT))
    regions: np.ndarray  # access.REGION
    seg_time: np.ndarray
    seg_mult: np.ndarray
    seg_integral: np.ndarray
    first_touch: np.ndarray
    trace_offset: np.ndarray
    trace_time: np.ndarray
    trace_op: np.ndarray
    frees: np.ndarray  # access.FREE
    wheel: np.ndarray  # int32 (c, 1 + LANES, WHEEL): heads of the calendar's buckets
    heap: np.ndarray  # int32 (n,): per cgroup, at first_page
    host: np.ndarray  # HOST (1,)
    jobs: np.ndarray  # JOB (c * 2 + 2,): the last two are the shrink worker and direct reclaim
    due: np.ndarray  # int64: when each source of events is next due, see engine.py
    zclass: np.ndarray  # ZCLASS
    zclass_of: np.ndarray  # uint8 (4097,): compressed length -> class
    ring: np.ndarray  # RING (queue depth,): writes in flight, oldest first
    channels: np.ndarray  # int64: when each device channel is free
    threads: np.ndarray  # int64 (c, MAX_THREADS): when each thread's stall ends
    done: np.ndarray  # DONE (DONE_LOG,)
    scratch: np.ndarray  # int32 (64,): the pages isolated by one eviction batch, or next in an aging walk
    stocks: np.ndarray  # int64 (CPUs, 4): each CPU's charge stock, see charge_stock.py; none where off
    batches: np.ndarray  # int32 (CPUS, 3, BATCH + 1): per-CPU folio batches, the length last
    vmas: np.ndarray  # VMA (regions,)
    zspages: np.ndarray  # ZSPAGE (n,): one object each at worst; none where the pool counts as compacted
    zspage_of: np.ndarray  # int32 (n,): where a stored page's object lies
    zgroups: np.ndarray  # int32 (classes, ZSPAGE_GROUPS): first zspage of each fullness group
    tables: np.ndarray  # uint8: per page table, bits of the walk's two filters
    slot_of: np.ndarray  # int32 (n,): number of a page's swap slot; none but for read-ahead by slot
    zram: np.ndarray  # uint16 (n,): bytes a page's slot takes on a device that is RAM; none on others
    slot_page: np.ndarray  # int32 (slots + 1,): whose each slot is, or -1; the first is the header's


CONSTANT = frozenset(
    {"seg_time", "seg_mult", "seg_integral", "first_touch", "trace_offset", "trace_time", "trace_op"}
    | {"frees", "zclass_of", "owner"}
)
"""Arrays no rule ever writes: clones share them."""
