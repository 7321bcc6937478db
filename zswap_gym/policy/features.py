"""Observations: what a policy sees of each cgroup and of the host, all from files a stock kernel has.

Every feature is a difference or a ratio, free of the machine's size and inside declared bounds.
Rates are shares of the cgroup's footprint per minute. They, pressure and times span decades, so
they are told on a log scale from 0 to 1: log1p(x / floor) / log1p(top / floor), with ``floor``
and ``top`` in the feature's unit; what is far below the floor is about 0. *Footprint* is the
cgroup's anonymous memory wherever it lies: anon + zswapped + on disk only. *On disk only* is
memory.swap.current - zswapped - swapcached, because a slot is kept for pages in zswap and in the
swap cache too.

The last features are what a rule remembers (policy/memory.py): what was asked for, what came of it, and how
the promise stands for the cgroup. :meth:`FeatureExtractor.asked` tells the extractor what was asked for.

**Disk refaults are pages read from the swap device**, as host/refaults.py counts them. Neither
``workingset_refault_anon`` nor ``pgmajfault`` will do: the kernel reads a page into the swap cache to
write it back and counts that as a refault, so that a controller that watches it sees itself, and
major faults are of files and of pages of zeros too.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zswap_gym.host.types import COLUMN, COLUMNS, Table
from zswap_gym.policy import memory, rowwise
from zswap_gym.policy.age import EDGES_S, FROM_BIN, AgeEstimate
from zswap_gym.policy.deltas import Deltas, Mask
from zswap_gym.policy.promise import CPU_US, Promise
from zswap_gym.units import US_PER_S

Array = npt.NDArray[np.float64]
Observation = npt.NDArray[np.float32]

FEATURES_VERSION = 4
"""Raised whenever a feature means something else under the same name."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One number a policy sees."""

    name: str
    unit: str
    low: float
    high: float
    origin: str
    """Kernel files (and keys) it comes from."""


_RATE = "log share of footprint/min, 1e-4..10"
_RATE_SCALE = (1e-4, 10.0)
_ASKED = "log share of footprint, 1e-5..1"

FEATURES: tuple[Feature, ...] = (
    Feature("present", "0/1", 0, 1, "the cgroup exists; everything else is 0 where it does not"),
    Feature("host_share", "share", 0, 1, "memory.current / MemTotal"),
    Feature("limit_fill", "share", 0, 1, "memory.current / min(memory.max, memory.high, MemTotal)"),
    Feature("zswapped_share", "share", 0, 1, "memory.stat zswapped / footprint"),
    Feature("disk_share", "share", 0, 1, "on disk only / footprint"),
    Feature(
        "swapcached_share", "share", 0, 1, "memory.stat swapcached / footprint: freed by a release at no cost"
    ),
    Feature("compression", "share", 0, 1, "memory.stat zswap / zswapped: what a page held takes"),
    Feature("active_share", "share", 0, 1, "memory.stat active_anon / (active_anon + inactive_anon)"),
    Feature("zswap_fill", "share", 0, 1, "memory.zswap.current / memory.zswap.max"),
    Feature("return_ratio", "share", 0, 1, "disk refaults / zswpwb, 10 min averages"),
    Feature("writeback_on", "0/1", 0, 1, "memory.zswap.writeback, of the cgroup and all above it"),
    Feature("growth", "share", -1, 1, "memory.current since the last decision, / footprint"),
    Feature("older_30s", "share", 0, 1, "of zswapped, estimated from zswpout, zswpin, zswpwb (age.py)"),
    Feature("older_120s", "share", 0, 1, "as older_30s"),
    Feature("older_600s", "share", 0, 1, "as older_30s"),
    Feature("older_3600s", "share", 0, 1, "as older_30s"),
    Feature("store_rate", _RATE, 0, 1, "memory.stat zswpout"),
    Feature("load_rate", _RATE, 0, 1, "memory.stat zswpin"),
    Feature("disk_refault_rate", _RATE, 0, 1, "disk_reads: memory.stat pswpin, host/refaults.py"),
    Feature("writeback_rate", _RATE, 0, 1, "memory.stat zswpwb"),
    Feature("reclaim_rate", _RATE, 0, 1, "memory.stat pgsteal"),
    Feature("load_rate_slow", _RATE, 0, 1, "zswpin, 10 min average"),
    Feature("disk_refault_slow", _RATE, 0, 1, "disk_reads, 10 min average"),
    Feature("writeback_slow", _RATE, 0, 1, "zswpwb, 10 min average"),
    Feature(
        "psi_some", "log share of time, 1e-4..1", 0, 1, "memory.pressure some total, since the last decision"
    ),
    Feature("psi_some_avg60", "log %, 0.01..100", 0, 1, "memory.pressure some avg60"),
    Feature("until_event", "log s, 1..86400", 0, 1, "hints file seconds_to_event; 1 = far off or unknown"),
    Feature("event_left", "log s, 1..86400", 0, 1, "hints file seconds_left"),
    Feature("event_size", "log share of footprint, 0.01..10", 0, 1, "hints file expected_bytes"),
    Feature("no_hint", "0/1", 0, 1, "hints file says nothing about the cgroup"),
    Feature("asked_age", "log s, 1..86400", 0, 1, "minimum age asked for last; 0 = no writeback"),
    Feature("asked_write", _ASKED, 0, 1, "bytes asked to write last"),
    Feature("asked_release", _ASKED, 0, 1, "bytes asked to release last"),
    Feature("outcome", "share", 0, 1, "memory.stat zswpwb since the last decision / pages asked to write"),
    Feature(
        "minute_reads", "log ratio, 0.01..100", 0, 1,
        "disk_reads of this minute or the last, the larger, % of anon / promise disk_reads_pct_min",
    ),
    Feature("broken_hour", "log share, 1e-3..1", 0, 1, "minutes over the promise's disk reads, 1 h average"),
    Feature("caution", "share", 0, 1, "grows with broken minutes, falls with kept ones: stands at 3 %"),
    Feature(
        "cpu_spent", "log ratio, 0.01..10", 0, 1,
        "of zswpout, zswpin, zswpwb with zstd, per GiB, 10 min average / promise cpu_pct_per_gib",
    ),
)  # fmt: skip
"""Per-cgroup features, in order. F = len(FEATURES)."""

HOST_FEATURES: tuple[Feature, ...] = (
    Feature("free_memory", "share", 0, 1, "/proc/meminfo MemFree / MemTotal"),
    Feature("free_swap", "share", 0, 1, "/proc/meminfo SwapFree / SwapTotal"),
    Feature("pool_fill", "share", 0, 1.5, "/proc/meminfo Zswap / (MemTotal x zswap max_pool_percent)"),
    Feature(
        "host_psi", "log share of time, 1e-4..1", 0, 1, "/proc/pressure/memory some total, since the last"
    ),
    Feature("interval", "log s, 1..3600", 0, 1, "/proc/uptime, since the last decision"),
    Feature("day_sin", "1", -1, 1, "local clock"),
    Feature("day_cos", "1", -1, 1, "local clock"),
)
"""Host features, in order. H = len(HOST_FEATURES)."""

INDEX = {f.name: i for i, f in enumerate(FEATURES)}
HOST_INDEX = {f.name: i for i, f in enumerate(HOST_FEATURES)}
PRESENT = INDEX["present"]
"""Index of the feature that is 1 where a row has a cgroup."""
MEMORY = len(FEATURES) - memory.FEATURES
"""Index of the first feature that is remembered."""

LOW: Observation = np.array([f.low for f in FEATURES], np.float32)
HIGH: Observation = np.array([f.high for f in FEATURES], np.float32)
HOST_LOW: Observation = np.array([f.low for f in HOST_FEATURES], np.float32)
HOST_HIGH: Observation = np.array([f.high for f in HOST_FEATURES], np.float32)

_LOW, _HIGH = LOW[:MEMORY].astype(np.float64), HIGH[:MEMORY].astype(np.float64)
_HOST_LOW, _HOST_HIGH = HOST_LOW.astype(np.float64), HOST_HIGH.astype(np.float64)


def _scales(*bounds: tuple[float, float]) -> Array:
    """(n, 2): 1 / floor and 1 / log1p(top / floor) of log scales from (floor, top) in their units."""
    return np.array([(1.0 / floor, 1.0 / np.log1p(top / floor)) for floor, top in bounds])


# In the order of the features on a log scale, from store_rate on.
_SCALES = _scales(
    *[_RATE_SCALE] * 8, (1e-4, 1.0), (0.01, 100.0), (1.0, 86400.0), (1.0, 86400.0), (0.01, 10.0)
)
CPU_SPENT_SCALE = (0.01, 10.0)
"""Floor and top of the log scale of ``cpu_spent``, in the promised CPU."""
_MEMORY_SCALES = _scales((1.0, 86400.0), (1e-5, 1.0), (0.01, 100.0), (1e-3, 1.0), CPU_SPENT_SCALE)
_MEMORY_START = np.array([memory.CAUTION * (f.name == "caution") for f in FEATURES[MEMORY:]], np.float32)
_DEAREST = max(CPU_US.values())  # a budget met at the dearest compressor is met at all
_HOST_SCALES = _scales((1e-4 * US_PER_S, US_PER_S), (1.0, 3600.0))
_TAKE = np.array([COLUMN[name] for name in rowwise.COLUMNS])
_HOST_TAKE = np.array([COLUMN[name] for name in rowwise.HOST_COLUMNS])


class FeatureExtractor:
    """Turns successive sample tables into observations; keeps counters, slow averages and ages.

    A row of the table without a cgroup (NaN) gives zeros and forgets what was there. A row whose
    counters went backwards is a new cgroup. A cgroup that is *replaced* by one with larger counters
    looks like itself: reset its row.

    Args:
        interval_s: the decision interval, assumed where there is no earlier sample.
        shape: of the cgroups: (N,), or any batch (..., N).
        promise: what minutes and CPU are counted by; None = the usual one.
    """

    def __init__(self, interval_s: float, shape: tuple[int, ...], promise: Promise | None = None) -> None:
        self.interval_s = float(interval_s)
        self.shape = tuple(shape)
        promise = promise or Promise()
        self._limits = np.array([promise.disk_reads_pct_min, promise.cpu_pct_per_gib, *_DEAREST])
        rows = int(np.prod(shape))
        hosts = int(np.prod(shape[:-1]))
        self.age = AgeEstimate((rows,))
        self._counters = Deltas(rowwise.COUNTERS, rows)
        self._host_counters = Deltas(rowwise.HOST_COUNTERS, hosts)
        self._scratch = _scratch(len(_TAKE), rowwise.COUNTERS, rows, (rows, MEMORY))
        self._sizes: Array = np.empty(
            (2, rows)
        )  # resident, footprint: from one set of functions to the other
        self._host_scratch = _scratch(len(_HOST_TAKE), rowwise.HOST_COUNTERS, hosts, (len(HOST_FEATURES),))
        self._current: Array = np.zeros(rows)  # memory.current at the last sample
        self._slow: Array = np.zeros((3, rows))  # loads, disk refaults, writebacks: share of footprint/min
        self._asked: Array = np.zeros((3, rows))  # age, bytes to write, bytes to release
        self._memory: Array = np.repeat(memory.START[:, None], rows, axis=1)

    def reset(self, mask: Mask | None = None) -> None:
        """Forget the past, everywhere or where ``mask`` is true.

        ``mask`` has ``shape``, or ``shape[:-1]`` to mean all cgroups of an environment. The host's
        past goes where all cgroups of an environment are reset.
        """
        if mask is not None:
            mask = self._every(mask)
            self._host_counters.reset(mask.all(-1).ravel())
            mask = mask.ravel()
        else:
            self._host_counters.reset()
        # the rest (slow averages, ages, memory) is cleared by update() where a row has no past
        self._counters.reset(mask)
        self.age.reset(mask)

    def forget(self, mask: Mask | None = None, rows: Observation | None = None) -> None:
        """Begin the memory anew, everywhere or where ``mask`` is true as in :meth:`reset`; the rest goes on.

        Memory begins with whoever decides, not with what was observed before. ``rows`` (..., N, F), features
        of the last sample, are put right in place.
        """
        which = np.ones(self.shape, bool) if mask is None else self._every(mask)
        self._memory[:, which.ravel()] = memory.START[:, None]
        self._asked[:, which.ravel()] = 0.0
        if rows is not None:
            rows[which, MEMORY:] = rows[which, PRESENT : PRESENT + 1] * _MEMORY_START

    def _every(self, mask: Mask) -> Mask:
        """The mask of all cgroups."""
        mask = np.asarray(mask, bool)
        return np.broadcast_to(mask[..., None], self.shape) if mask.shape == self.shape[:-1] else mask

    def copy(self) -> FeatureExtractor:
        """An independent copy."""
        return copy.deepcopy(self)

    def adopt(self, index: int, other: FeatureExtractor) -> None:
        """Go on with the past of ``other`` in environment ``index`` of the first batch dimension.

        ``other`` has the remaining dimensions as its shape, or is a batch of one. ValueError if it is not.
        """
        if other.shape not in (self.shape[1:], (1, *self.shape[1:])):
            raise ValueError(f"an extractor of shape {other.shape} does not fit into one of {self.shape}")
        rows, hosts = int(np.prod(other.shape)), int(np.prod(other.shape[:-1]))
        mine, host = slice(index * rows, (index + 1) * rows), slice(index * hosts, (index + 1) * hosts)
        self._counters.adopt(mine, other._counters)
        self._host_counters.adopt(host, other._host_counters)
        self.age.mass[mine] = other.age.mass
        self._current[mine], self._slow[:, mine] = other._current, other._slow
        self._asked[:, mine], self._memory[:, mine] = other._asked, other._memory

    def observe(self, table: Table) -> Observation:
        """The flat observation (..., N * F + H) of a table: :meth:`update`, then :meth:`host`."""
        rows = self.update(table)
        return np.concatenate([rows.reshape(*rows.shape[:-2], -1), self.host(table)], axis=-1)

    def asked(self, age_s: Array, max_bytes: Array, release_bytes: Array) -> None:
        """Say what is asked for now: arrays of ``shape``, as :func:`zswap_gym.policy.actions.decode` gives.

        The next :meth:`update` uses it up; what nobody says was nothing.
        """
        writes = (max_bytes > 0) & ~np.isnan(age_s)
        asked = self._asked.reshape(3, *self.shape)
        asked[0], asked[1] = np.where(writes, age_s, 0.0), np.where(writes, max_bytes, 0.0)
        asked[2] = release_bytes

    def update(self, table: Table) -> Observation:
        """Observe a sample table (..., N, K); returns float32 (..., N, F) inside LOW and HIGH, no NaN."""
        out: Observation = np.empty((*self.shape, len(FEATURES)), np.float32)
        rows = out.reshape(-1, len(FEATURES))
        self.update_rows(np.ascontiguousarray(table).reshape(-1, len(COLUMNS)), rows, 0, len(rows))
        return out

    def update_rows(self, table: Table, out: Observation, first: int, end: int) -> None:
        """The same for rows ``first`` to before ``end`` of a contiguous table (M, K), into ``out`` (M, F).

        Rows have nothing to do with each other: several threads may each observe some.
        """
        past = self._counters
        _, here, delta, known, _ = self._scratch
        elapsed, _, stored, loaded, reads, written, _ = delta  # as rowwise.COLUMNS has them
        resident, footprint = self._sizes
        with _quiet():
            rowwise.observe(
                table, _TAKE, past.last, past.seen, self._current, self._slow, self.age.mass, EDGES_S,
                FROM_BIN, _SCALES, _LOW, _HIGH, *self._scratch, self._sizes, out, first, end,
            )  # fmt: skip
            memory.remember(
                elapsed, stored, loaded, reads, written, resident, footprint, here, known, self._asked,
                self._memory, self._limits, _MEMORY_SCALES, out, first, end,
            )  # fmt: skip

    def host(self, table: Table) -> Observation:
        """Host features of a table, float32 (..., H), from its first present row; zeros if there is none."""
        cube = np.ascontiguousarray(table).reshape(-1, self.shape[-1], len(COLUMNS))
        past = self._host_counters
        out: Observation = np.empty((*self.shape[:-1], len(HOST_FEATURES)), np.float32)
        with _quiet():
            rowwise.observe_hosts(
                cube, _HOST_TAKE, past.last, past.seen, self.interval_s, _HOST_SCALES, _HOST_LOW, _HOST_HIGH,
                *self._host_scratch, out.reshape(-1, len(HOST_FEATURES)),
            )  # fmt: skip
        return out


def _scratch(
    columns: int, counters: int, rows: int, values: tuple[int, ...]
) -> tuple[Array, Mask, Array, Mask, Array]:
    """Room for what `rowwise.observe` works out on the way: its arguments from ``x`` on, but the last."""
    return (
        np.empty((columns, rows)), np.empty(rows, bool), np.empty((counters, rows)), np.empty(rows, bool),
        np.empty(values),
    )  # fmt: skip


def _quiet() -> AbstractContextManager[object]:
    """Without numpy's warnings, whatever the files say."""
    return nullcontext() if rowwise.compiled else np.errstate(all="ignore")
