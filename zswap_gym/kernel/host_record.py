"""What is one for the whole host: clock, random stream, memory, zswap's parameters, device, options."""

from __future__ import annotations

import numpy as np

HOST = np.dtype(
    [
        ("now", np.int64),  # boot time, us
        ("rng", np.uint64),
        ("scale", np.int64),  # real pages per simulated page
        ("swap_pages", np.int64),
        ("slots_used", np.int64),
        ("ram_pages", np.int64),
        ("zswap_enabled", np.int32),
        ("shrinker", np.int32),
        ("counts_swap", np.int32),  # memory.stat has pswpin
        ("store_raw", np.int32),  # 6.18+: incompressible pages are stored raw
        ("restart_on_oom", np.int32),
        ("max_pool_pages", np.int64),
        ("accept_pages", np.int64),
        ("pool_pages", np.int64),
        ("stored_pages", np.int64),
        ("zram_bytes", np.int64),  # what lies on a device that is RAM: see swapdev.py
        ("reached_full", np.int32),
        ("worker_queued", np.int32),  # > 0: to be run; in replays the time refused stores gave it
        ("refusal_us", np.int32),  # replays: how long a refused store takes, during which the worker runs
        ("visit_us", np.int32),  # ... and what of it one visit uses up
        ("worker_iter", np.int64),  # zswap_next_shrink
        # proactive writeback: the rules of an interface, see spec.InterfaceSpec
        ("wb_exists", np.int32),
        ("wb_age", np.int32),  # takes an age
        ("wb_einval", np.int32),  # refuses where writeback is disabled
        ("wb_batch", np.int64),
        ("wb_walk", np.int64),
        ("wb_scan_ratio", np.int64),
        ("wb_compressed", np.int32),
        ("wb_round", np.int32),
        ("wb_cursor", np.int32),
        ("wb_second_chance", np.int32),
        ("wb_whole", np.int32),
        ("wb_signals", np.int32),
        ("wb_empty_fails", np.int32),
        ("wb_pulse", np.int32),  # user space writes back by pulses of the shrinker: see pulse.py
        ("pulsing", np.int32),  # one is under way
        ("pulse_until", np.int64),  # boot time at which it does so in any case
        ("pulse_left", np.int64),  # written after which its watcher turns the shrinker off
        ("stores_large", np.int32),  # zswap takes large folios
        ("shrink_scan", np.int64),  # entries shrink_worker() tries per visit
        # resident pages plus the pool's at which something happens: see kswapd.py
        ("wake_at", np.int64),
        ("stop_at", np.int64),
        ("direct_at", np.int64),
        ("exhausted_at", np.int64),
        ("kswapd_wanted", np.int32),
        ("kswapd_failures", np.int32),
        ("throttled", np.int32),  # 1: some cgroup has a memory.high or memory.swap.high
        ("protected", np.int32),  # 1: some cgroup has a memory.min or memory.low
        ("exact", np.int32),  # 1: the costs of operations are zero; only order matters
        ("compress_us", np.float64),
        ("decompress_us", np.float64),
        ("read_us", np.float64),
        ("write_us", np.float64),
        ("jitter", np.float64),
        ("rotated", np.float64),
        ("ring_head", np.int64),
        ("ring_len", np.int64),
        ("jobs_changed", np.int32),
        ("done_len", np.int32),
        ("stage_kind", np.int32),
        ("stage_interval", np.int64),
        ("stage_pages", np.int64),  # real pages per interval (fixed)
        ("stage_ratio", np.float64),
        ("stage_psi", np.float64),
        ("next_psi", np.int64),
        # the LRU in full
        ("lru", np.int32),
        ("swappiness", np.int32),
        ("page_cluster", np.int32),
        ("next_slot", np.int64),  # read-ahead by slot: where the search for a free one begins
        ("ra_slot", np.int64),  # ... prev_offset: slot of the last fault without hits
        ("ra_window", np.int64),
        ("ra_hits", np.int64),
        ("charge_cpu", np.int32),  # where programs run: whose charge stock they use
        ("task", np.int32),  # who runs: the program of this cgroup, 0 = a writer of cgroup files
        (
            "preempted",
            np.float64,
        ),  # chance that a reclaiming program is switched between agings
        ("walking", np.int32),  # reclaim holds a walk structure (memory.reclaim)
        ("reclaiming", np.int32),  # inside shrink_node()
        ("zspage_free", np.int32),  # first free record of ``zspages``
        ("uncharging", np.int64),  # pages freed by the batch but not yet uncharged
        ("latency_us", np.float64),  # of a write, besides the device's service time
        ("writeback_us", np.float64),  # CPU per page written back outside reclaim, where ``exact``
    ],
    align=True,
)
