"""Sample, Request and Outcome: all that crosses the seam.

A :class:`Sample` is what the files of one cgroup said at one instant, with the operator's
hints. A :class:`Request` is what a policy wants done to that cgroup. An :class:`Outcome` is
what came of it. Nothing here knows whether the kernel behind it is real.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import inf
from typing import Protocol

import numpy as np
import numpy.typing as npt


def _file(origin: str, unit: str, default: float = 0.0) -> float:
    """Declare one numeric field of a Sample with its unit and the file (and key) it comes from."""
    return field(default=default, metadata={"file": origin, "unit": unit})


@dataclass(frozen=True, slots=True)
class Sample:
    """One cgroup at one instant. Every number is a float; counters are cumulative.

    ``inf`` stands for ``max`` in a limit. Limits and ``zswap_writeback`` are the effective ones: the
    tightest from the cgroup up to the root (host/effective.py). Pages are of 4 KiB, whatever the
    kernel counts in. Each field's metadata names its unit and file.
    """

    cgroup: str
    inode: int = 0
    # when
    time_s: float = _file("/proc/uptime", "s")
    time_of_day_s: float = _file("local clock", "s")
    # sizes, bytes
    memory_current: float = _file("memory.current", "B")
    memory_max: float = _file("memory.max", "B", inf)
    memory_high: float = _file("memory.high", "B", inf)
    swap_current: float = _file("memory.swap.current", "B")
    swap_max: float = _file("memory.swap.max", "B", inf)
    zswap_current: float = _file("memory.zswap.current", "B")
    zswap_max: float = _file("memory.zswap.max", "B", inf)
    zswap_writeback: float = _file("memory.zswap.writeback", "0/1", 1.0)
    anon: float = _file("memory.stat anon", "B")
    swapcached: float = _file("memory.stat swapcached", "B")
    zswap: float = _file("memory.stat zswap", "B")
    zswapped: float = _file("memory.stat zswapped", "B")
    inactive_anon: float = _file("memory.stat inactive_anon", "B")
    active_anon: float = _file("memory.stat active_anon", "B")
    # counters, pages or events
    pgfault: float = _file("memory.stat pgfault", "faults")
    pgmajfault: float = _file("memory.stat pgmajfault", "faults")
    disk_reads: float = _file("memory.stat pswpin, or as host/refaults.py says", "pages")
    pgscan: float = _file("memory.stat pgscan", "pages")
    pgsteal: float = _file("memory.stat pgsteal", "pages")
    workingset_refault_anon: float = _file("memory.stat workingset_refault_anon", "pages")
    workingset_activate_anon: float = _file("memory.stat workingset_activate_anon", "pages")
    workingset_restore_anon: float = _file("memory.stat workingset_restore_anon", "pages")
    zswpin: float = _file("memory.stat zswpin", "pages")
    zswpout: float = _file("memory.stat zswpout", "pages")
    zswpwb: float = _file("memory.stat zswpwb", "pages")
    zswpwb_proactive: float = _file("memory.stat zswpwb_proactive", "pages")
    events_high: float = _file("memory.events high", "events")
    events_max: float = _file("memory.events max", "events")
    events_oom: float = _file("memory.events oom", "events")
    events_oom_kill: float = _file("memory.events oom_kill", "events")
    # pressure
    psi_some_avg10: float = _file("memory.pressure some avg10", "%")
    psi_some_avg60: float = _file("memory.pressure some avg60", "%")
    psi_some_total_us: float = _file("memory.pressure some total", "us")
    psi_full_avg10: float = _file("memory.pressure full avg10", "%")
    psi_full_total_us: float = _file("memory.pressure full total", "us")
    # the host
    host_mem_total: float = _file("/proc/meminfo MemTotal", "B")
    host_mem_free: float = _file("/proc/meminfo MemFree", "B")
    host_swap_total: float = _file("/proc/meminfo SwapTotal", "B")
    host_swap_free: float = _file("/proc/meminfo SwapFree", "B")
    host_pool_bytes: float = _file("/proc/meminfo Zswap", "B")
    host_zswapped: float = _file("/proc/meminfo Zswapped", "B")
    host_max_pool_percent: float = _file("/sys/module/zswap/parameters/max_pool_percent", "%", 20.0)
    host_psi_some_avg10: float = _file("/proc/pressure/memory some avg10", "%")
    host_psi_some_total_us: float = _file("/proc/pressure/memory some total", "us")
    # the operator's hints for this cgroup; see host/hints.py
    hint_known: float = _file("hints file", "0/1")
    hint_seconds_to_event: float = _file("hints file seconds_to_event", "s", inf)
    hint_seconds_left: float = _file("hints file seconds_left", "s")
    hint_expected_bytes: float = _file("hints file expected_bytes", "B")
    psi_unknown: float = _file("neither memory.pressure nor /proc/pressure/memory", "0/1")

    def row(self) -> npt.NDArray[np.float64]:
        """The numeric fields as a float64 vector in the order of :data:`COLUMNS`."""
        return np.array([getattr(self, name) for name in COLUMNS], dtype=np.float64)


COLUMNS: tuple[str, ...] = tuple(f.name for f in fields(Sample) if f.name not in ("cgroup", "inode"))
"""Names of the numeric fields: the columns of a sample table."""

COLUMN: Mapping[str, int] = {name: i for i, name in enumerate(COLUMNS)}
"""Column index by name."""

Table = npt.NDArray[np.float64]
"""A sample table: float64, shape (..., N cgroups, len(COLUMNS)). Features and laws read this."""


def table(samples: Sequence[Sample]) -> Table:
    """Stack samples into a table of shape (N, len(COLUMNS))."""
    return np.stack([sample.row() for sample in samples]) if samples else np.zeros((0, len(COLUMNS)))


@dataclass(frozen=True, slots=True)
class Request:
    """Write back, then release. The unit of action (DESIGN 7).

    Up to ``max_bytes`` (uncompressed, as v1 counts) of zswap entries stored at least ``age_s``
    seconds ago are written to swap; then memory.reclaim is asked for ``release_bytes``.
    ``age_s=None`` means no writeback. ``release_bytes=None`` means the same as ``max_bytes``.
    """

    age_s: float | None = None
    max_bytes: int = 0
    release_bytes: int | None = None

    @property
    def release(self) -> int:
        """Bytes to ask memory.reclaim for, the default resolved."""
        return self.max_bytes if self.release_bytes is None else self.release_bytes

    @property
    def is_nothing(self) -> bool:
        """True where nothing would be written to any file."""
        return (self.age_s is None or self.max_bytes <= 0) and self.release <= 0


NOTHING = Request()
"""The request that leaves a cgroup alone."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a Request."""

    errno: int = 0
    """Of the writeback write; 0 where none was asked for or it succeeded."""
    pages: int = 0
    """Real pages written back (from zswpwb_proactive or zswpwb)."""
    bytes: int = 0
    """The same, uncompressed bytes."""
    duration_s: float = 0.0
    """Both writes together."""
    release_errno: int = 0
    """Of the memory.reclaim write; EAGAIN means less than asked could be freed."""
    released_bytes: int = 0
    """Reclaimed from the cgroup while the memory.reclaim write ran: the growth of memory.stat's
    pgsteal_proactive, or where the kernel has none (before 6.15) of pgsteal, which counts what kswapd and
    limits took from it meanwhile too. Not the fall of memory.current: what the programs allocate
    in the same moment would be taken off it. Anonymous pages count whole, though zswap keeps them compressed.
    """
    notes: tuple[str, ...] = ()
    """What could not be honoured, in words (e.g. an age on a dialect that has none)."""


class Host(Protocol):
    """The small protocol both hosts implement. Requests run beside the caller."""

    page_size: int
    """What the kernel counts pages in, bytes."""
    boot_id: str
    """What tells this boot from all others; "" where that is not known."""

    def cgroups(self) -> list[str]:
        """Names of the cgroups present now, in a stable order."""

    def sample(self) -> list[Sample]:
        """One Sample per cgroup present, read now."""

    def submit(self, cgroup: str, request: Request) -> bool:
        """Start a request; False if the cgroup's previous one still runs (nothing was done)."""

    def has_age(self, cgroup: str) -> bool:
        """False where the kernel cannot select entries by age: a request had better bound its size."""

    def outcomes(self) -> list[tuple[str, Outcome]]:
        """Requests finished since the last call, oldest first."""

    def now(self) -> float:
        """Seconds on the clock that :meth:`sleep` lets pass; it never goes back."""

    def sleep(self, seconds: float) -> None:
        """Let time pass: wall clock on a real host, simulated time on a simulated one."""

    def notes(self) -> list[str]:
        """Troubles since the last call that stopped nothing, in words: an unreadable cgroup, a bad hint."""
