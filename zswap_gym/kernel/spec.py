"""What a simulated machine is made of: host, swap device, cgroups, stage one. Plain data, no rules.

Sizes are bytes, ``None`` is ``max``; times are microseconds of simulated time.
"""

from __future__ import annotations

from dataclasses import dataclass

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


DEVICES: dict[str, DeviceSpec] = {
    "nvme": DeviceSpec(),
    "sata": DeviceSpec(read_us=152.0, write_us=60.0, channels=4, queue_depth=128, rotated_fraction=0.45),
    "iops400": DeviceSpec(read_us=2500.0, write_us=2500.0, channels=1, queue_depth=128, rotated_fraction=1.0),
    "hdd": DeviceSpec(read_us=7500.0, write_us=5400.0, channels=1, queue_depth=128, rotated_fraction=1.0),
}
"""Named device classes; figures from spec/memcg-model.md 12."""


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
    """What differs between kernel versions (spec/zswap-model.md 0)."""

    stores_incompressible: bool
    """6.18 and later keep pages that do not compress raw in zswap; before, they go to disk."""


KERNELS: dict[str, KernelSpec] = {"6.12": KernelSpec(False), "6.18": KernelSpec(True)}


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


@dataclass(frozen=True)
class CgroupSpec:
    """One cgroup. The root is implicit; ``parent`` is another name or None for the root."""

    name: str
    parent: str | None = None
    memory_max: int | None = None
    memory_high: int | None = None
    swap_max: int | None = None
    zswap_max: int | None = None
    zswap_writeback: bool = True
    threads: int = 4
    base_bytes: int = 0
    """Charged memory that is never reclaimed: page tables, libc, kernel objects."""
    stage_one: bool = True
