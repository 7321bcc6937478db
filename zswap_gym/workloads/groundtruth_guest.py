"""The guest of the ground truth as a HostSpec: what its boot line says, and what was measured of it.

A QEMU guest without hardware virtualisation: 1 GiB of RAM and of swap. What it charges to a
cgroup besides data: about 105 pages of libc and stacks for each worker, one kernel page, page tables
(106 in p12 and p14, where another cgroup's charge gave the stock back and nothing else is left).
"""

from __future__ import annotations

import math

import numpy as np

from zswap_gym.errors import UserError
from zswap_gym.kernel.spec import DeviceSpec, HostSpec
from zswap_gym.units import US_PER_S
from zswap_gym.workloads.groundtruth import Recording

RAM = {"gen": 988460 * 1024, "zswp": 1015380 * 1024}
"""MemTotal by kernel: the distribution's takes more for itself."""
SWAP = 1048572 * 1024
LIBRARY_PAGES = 105
"""Of libc and stacks, locked."""
KERNEL_PAGES = 1
"""Besides page tables."""
REFUSAL_US, REFUSAL_RANGE_US = 50, (40, 80)
"""A store refused at the pool limit and written to the device instead: 05 fills B in 1.10 s, of which 20480
faults take 0.54 (12: 26.5 us each) and 2336 stores 0.18, which leaves 0.38 for 7633 refusals."""
VISIT_US = 6
"""One visit of the shrink worker to a cgroup: 05 refuses 3750 stores while the worker, 16 in 48 visits, takes
11519 second chances."""
WORKER_US, WORKER_RANGE_US = 110.0, (75.0, 145.0)
"""CPU time per page the worker writes back on the distribution's kernel: more than on the small one,
and 1169 took less than 0.17 s (05)."""
CPUS = 2
FIRST_FAULTS = 120
"""Page faults of a worker before its first phase."""
LATENCY_US, LATENCY_RANGE_US = 1100.0, (700.0, 1700.0)
"""From submitting a write to its completion, 0.7 to 1.7 ms (spec/mglru.md 7)."""
PREEMPTED = 0.1
"""Chance per aging that the reclaiming worker was switched: in 10 once in about ten, both runs."""
WRITEBACK_US = 75.0
"""The same on the small kernel with the interface: 4096 pages took 0.3 s (p9)."""
_UPTIME = {"gen": 5.8, "zswp": 2.25}


def uptime_s(recording: Recording) -> float:
    """The guest's uptime when the runner started: what an age is compared with before it is used.

    Not recorded. It is bounded by the writes themselves: an age beyond the uptime is a success
    within a millisecond, an age below it that nobody meets is EAGAIN.
    """
    low, high = 0.0, math.inf
    for event in recording.of("write"):
        if not event["path"].endswith("memory.zswap.proactive_writeback"):
            continue
        ages = [word for word in event["val"].split() if word.isdigit() and int(word) > 0]
        if len(ages) != 1:
            continue
        bound = int(ages[0]) - event["t"]
        if event["errno"] == 11:
            low = max(low, bound)
        elif event["errno"] == 0 and event["ms"] < 1.0:
            high = min(high, bound)
    usual = _UPTIME.get(recording.options["kernel"], 3.3)
    return min(max(usual, low + 0.01), high - 0.01) if low < high else usual


def _number(recording: Recording, key: str, default: int) -> int:
    text = recording.options.get(key, "") or str(default)
    try:
        return int(text)
    except ValueError as error:
        raise UserError(
            f"{recording.folder / 'scenario.txt'}: boot line: {key}={text}: is not a number"
        ) from error


def _device(recording: Recording, latency_us: float) -> DeviceSpec:
    """The virtio disk; QEMU's ``throttle`` limits it to 400 I/O operations per second, any name of it.

    Adjacent writes merge: 5120 pages took 5.5 s (p13).
    """
    if recording.options.get("throttle"):
        return DeviceSpec(
            read_us=2500.0, write_us=1130.0, channels=1, queue_depth=256, jitter=0.0, latency_us=latency_us
        )
    return DeviceSpec(read_us=0.0, write_us=0.0, queue_depth=256, jitter=0.0, latency_us=latency_us)


def guest(recording: Recording, seed: int = 0) -> HostSpec:
    """The machine the boot line describes.

    What the recording does not hold is at its mean for seed 0 and drawn for others: the latency of
    writes, the times of a refused store and of the worker's writeback, whether the scheduler comes
    between two page-table walks; in the replay, on which CPU a phase runs.
    """
    opt = recording.options
    rng = np.random.default_rng(seed)
    latency = LATENCY_US if seed == 0 else float(rng.uniform(*LATENCY_RANGE_US))
    refusal = REFUSAL_US if seed == 0 else int(rng.uniform(*REFUSAL_RANGE_US))
    worker = WORKER_US if seed == 0 else float(rng.uniform(*WORKER_RANGE_US))
    return HostSpec(
        ram_bytes=RAM.get(opt["kernel"], RAM["gen"]),
        swap_bytes=SWAP,
        max_pool_percent=_number(recording, "maxpool", 20),
        accept_threshold_percent=_number(recording, "accept", 90),
        shrinker_enabled=opt.get("shrinker", "N") in ("Y", "y", "1"),
        device=_device(recording, latency),
        lru="classic" if opt.get("lru", "y") in ("n", "N", "0") else "mglru-full",
        swappiness=_number(recording, "swappiness", 60),
        page_cluster=_number(recording, "pc", 0),
        rotational=_number(recording, "rot", 0) != 0,
        writeback_us=WRITEBACK_US if opt["kernel"] == "zswp" else worker,
        refusal_us=refusal,
        preempted=0.0 if seed == 0 else PREEMPTED,
        worker_visit_us=VISIT_US,
        boot_us=int(uptime_s(recording) * US_PER_S),
        charge_cpus=CPUS,
    )
