"""What a simulated machine is made of: host, swap device, cgroups, stage one. Plain data, no rules.

Sizes are bytes, ``None`` is ``max``; times are microseconds of simulated time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from zswap_gym.units import US_PER_S

MIB = 1 << 20


@dataclass(frozen=True)
class DeviceSpec:
    """A swap device: parallel channels behind one queue in which reads and writes compete.

    ``rotated_fraction`` is the share of written-back pages whose write ends while they sit on
    the LRU, so that they are freed before anonymous memory: about write latency divided by
    31 x the time per written page (spec/mglru.md 7).
    """

    read_us: float = 75.0
    write_us: float = 22.0
    channels: int = 16
    queue_depth: int = 256
    rotated_fraction: float = 0.1
    jitter: float = 0.25
    """Service times are drawn uniformly within +- this share of the mean."""
    latency_us: float = 0.0
    """From the end of a write's service to its completion."""
    in_ram: bool = False
    """zram: what is written is compressed again and stays in RAM, charged to no cgroup, until its slot is
    freed (drivers/block/zram: zram_slot_free_notify()). A page that does not compress takes all of 4 KiB."""


DEVICES: dict[str, DeviceSpec] = {
    "nvme": DeviceSpec(),
    "sata": DeviceSpec(read_us=152.0, write_us=60.0, channels=4, queue_depth=128, rotated_fraction=0.45),
    "iops400": DeviceSpec(read_us=2500.0, write_us=2500.0, channels=1, queue_depth=128, rotated_fraction=1.0),
    "hdd": DeviceSpec(read_us=7500.0, write_us=5400.0, channels=1, queue_depth=128, rotated_fraction=1.0),
    "zram": DeviceSpec(read_us=6.0, write_us=12.0, rotated_fraction=0.0, in_ram=True),
}
"""Named device classes; figures from spec/memcg-model.md 12. A zram write is a compression and over before
the page is on the LRU, so that none is rotated."""


@dataclass(frozen=True)
class CompressorSpec:
    """CPU time per 4 KiB page, microseconds."""

    compress_us: float
    decompress_us: float


COMPRESSORS: dict[str, CompressorSpec] = {
    "lz4": CompressorSpec(3.0, 1.5),
    "lzo": CompressorSpec(4.0, 2.0),
    "zstd": CompressorSpec(10.0, 5.0),
}
"""Modern-core costs of spec/memcg-model.md 12; zstd is level 3 as in the kernel's default."""


@dataclass(frozen=True)
class KernelSpec:
    """What differs between kernel versions (spec/zswap-model.md 0). Everything else is common."""

    stores_incompressible: bool
    """6.18 and later keep pages that do not compress raw in zswap; before, they go to disk."""
    shrink_scan: int
    """Entries shrink_worker() tries per cgroup and visit: 1, from 7.3 a batch."""
    counts_swap_per_cgroup: bool
    """memory.stat has pswpin and pswpout (6.13). Debian's 6.12 has swpin_zero and swpout_zero already."""
    counts_incompressible: bool
    """memory.stat has zswap_incomp (7.1)."""
    counts_proactive_reclaim: bool
    """memory.stat tells reclaim through memory.reclaim from direct reclaim (6.15)."""
    swappiness_max: bool
    """memory.reclaim takes swappiness=max, anonymous memory only (6.16)."""
    stores_large_folios: bool = True
    """zswap_store() splits a large folio into pages (6.13); before it refuses them."""
    same_filled_in_zswap: bool = False
    """6.11 and before keep same-filled pages in zswap; since 6.12 the swap zeromap takes zero pages."""


KERNELS: dict[str, KernelSpec] = {
    "6.12": KernelSpec(False, 1, False, False, False, False, stores_large_folios=False),
    "6.18": KernelSpec(True, 1, True, False, True, True),
    "7.3": KernelSpec(True, 64, True, True, True, True),
}


@dataclass(frozen=True)
class InterfaceSpec:
    """A user interface for proactive writeback: what is written where, and the rules behind it.

    The rules are those of spec/series.md 1 (v1), 2 (v2, v3), 3 (v4) and 4 (v5).
    """

    file: str = "memory.reclaim"
    key: str | None = None
    """The word after the size in memory.reclaim; None: the file has a grammar of its own (v1)."""
    compressed: bool = False
    """The size counts compressed bytes, not uncompressed pages."""
    whole_pages: bool = True
    """The size is cut to pages and each visit's bytes are rounded up to pages."""
    batch_pages: int = 128
    """Budget of one visit to a cgroup, pages; 0: the scan cap alone ends a visit."""
    walk: int = 128
    """Entries per walk of an LRU."""
    scan_ratio: int = 16
    """A visit scans at most this many entries per page of its budget; 0: at most one walk."""
    cursor_persists: bool = True
    """Between calls the cgroup remembers where the last one stopped; else each starts at the target."""
    second_chance: bool = True
    """A referenced entry is spared once; v1 spares none that is old enough."""
    whole_target: bool = True
    """EAGAIN unless all of the target was written; else one page is a success."""
    obeys_signals: bool = True
    empty_fails: bool = False
    """A visit to an empty LRU burns one of the 16 failures; else it does not count at all."""
    disabled_is_einval: bool = True
    """Writeback switched off on the target: EINVAL; else every cgroup is skipped, in the end EAGAIN."""
    stat: str = "zswpwb_proactive_b"
    """Its counter in memory.stat."""


_V3 = InterfaceSpec(
    key="zswap_writeback_only", empty_fails=True, disabled_is_einval=False, stat="zswpwb_proactive"
)
INTERFACES: dict[str, InterfaceSpec | None] = {
    "v1": replace(
        _V3,
        file="memory.zswap.proactive_writeback",
        key=None,
        second_chance=False,
        whole_target=False,
        disabled_is_einval=True,
    ),
    "v2": replace(_V3, whole_target=False),
    "v3": _V3,
    # The budget of one visit is not on record for v4; its walks are of 64 entries.
    "v4": InterfaceSpec(
        key="zswap_writeback_only",
        compressed=True,
        batch_pages=64,
        walk=64,
        cursor_persists=False,
        obeys_signals=False,
    ),
    "v5": InterfaceSpec(
        key="source=zswap",
        compressed=True,
        whole_pages=False,
        batch_pages=0,
        walk=64,
        scan_ratio=0,
        cursor_persists=False,
    ),
    "stock": None,
    "stock-pulse": None,
}
"""Posted versions of the series; ``stock`` is a kernel without it, ``stock-pulse`` the same
and a user space that writes back by pulses (pulse.py). None of the versions is in a released kernel."""


LRUS = ("mglru", "mglru-full", "classic")
"""``mglru`` leaves out what needs counts of single pages: look-around, walk filters, per-CPU batches
(spec/mglru.md 11, 3 % off). ``mglru-full`` has them and costs time; ``classic`` is active/inactive."""


@dataclass(frozen=True)
class StageOneSpec:
    """The user-space reclaimer that fills zswap: memory.reclaim on every leaf cgroup, periodically.

    ``kind`` is ``none`` (limits only), ``fixed`` (``bytes_per_s`` each) or ``senpai`` (TMO's law:
    memory.current x ratio x max(0, 1 - PSI some / threshold) every interval, at most 1 %).
    """

    kind: str = "none"
    interval_us: int = 6 * US_PER_S
    bytes_per_s: int = 2 * MIB
    ratio: float = 0.0005
    psi_threshold: float = 0.001


@dataclass(frozen=True)
class HostSpec:
    """RAM, swap, zswap parameters and the size of a simulated page."""

    ram_bytes: int
    swap_bytes: int
    kernel: str = "6.12"
    interface: str | InterfaceSpec = "v1"
    """Which proactive writeback interface the kernel has: a key of INTERFACES, or its rules."""
    zswap_enabled: bool = True
    max_pool_percent: int = 20
    accept_threshold_percent: int = 90
    shrinker_enabled: bool = False
    compressor: CompressorSpec = COMPRESSORS["zstd"]
    device: DeviceSpec = DeviceSpec()
    page_scale: int = 1
    """Real pages one simulated page stands for: a power of two up to 64."""
    boot_us: int = 2 * 86400 * US_PER_S
    """CLOCK_BOOTTIME at the start: at least twice the largest age a policy may ask for."""
    release_after_writeback: bool = True
    lru: str = "mglru"
    """One of LRUS."""
    swappiness: int = 60
    """Classic LRU only: anonymous memory is all there is, so MGLRU never weighs it (spec/mglru.md 6)."""
    charge_cpus: int = 0
    """CPUs that charge memory 64 pages at a time; 0: every page is charged as it is used. Cgroup files are
    written on the first; programs run on the second, or where they are moved (``charge_cpu``)."""
    page_cluster: int = 0
    """vm.page-cluster: a fault reads up to 2**page_cluster pages around it."""
    rotational: bool = False
    """The swap device rotates: what lies around a page is told by swap slot, not by address."""
    preempted: float = 0.0
    """MGLRU in full: the chance that a program reclaiming for itself is switched out and in again
    between two agings, so that the second one walks its page tables too (spec/mglru.md 4)."""
    refusal_us: int = 0
    """``exact`` only: how long a store refused at the pool limit takes. A batch of them takes no time
    there; what the shrink worker would have done meanwhile it does right after."""
    worker_visit_us: int = 0
    """... and how long one visit of the worker to a cgroup takes."""
    writeback_us: float = 0.0
    """CPU time per page of proactive writeback where all other operations cost nothing (``exact``)."""


@dataclass(frozen=True)
class CgroupSpec:
    """One cgroup. The root is implicit; ``parent`` is another name or None for the root."""

    name: str
    parent: str | None = None
    memory_max: int | None = None
    memory_high: int | None = None
    memory_min: int | None = 0
    memory_low: int | None = 0
    oom_group: bool = False
    oom_protected: bool = False
    """oom_score_adj -1000: the OOM killer spares its program."""
    swap_max: int | None = None
    swap_high: int | None = None
    zswap_max: int | None = None
    zswap_writeback: bool = True
    threads: int = 4
    base_bytes: int = 0
    """Charged memory that is never reclaimed: page tables, libc, kernel objects."""
    stage_one: bool = True
