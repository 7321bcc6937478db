"""Observations: what a policy sees of each cgroup and of the host, all from files a stock kernel has.

Every feature is a difference or a ratio, free of the machine's size and inside declared bounds.
Rates are shares of the cgroup's footprint per minute. They, pressure and times span decades, so
they are told on a log scale from 0 to 1: log1p(x / floor) / log1p(top / floor), with ``floor``
and ``top`` in the feature's unit; what is far below the floor is about 0. *Footprint* is the
cgroup's anonymous memory wherever it lies: anon + zswapped + on disk only. *On disk only* is
memory.swap.current - zswapped - swapcached, because a slot is kept for pages in zswap and in the
swap cache too.

**Disk refaults are pgmajfault - zswpin.** ``workingset_refault_anon`` will not do: the kernel
reads a page into the swap cache to write it back and counts that as a refault, so that at
page-cluster 0 refault_anon = pgmajfault + zswpwb (measured within 2 pages), and a controller that
watches it sees itself. With readahead (page-cluster > 0) one major fault reads several pages and
zswpin may exceed it; the difference is cut at 0 then and says less.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zswap_gym.host.types import COLUMN, COLUMNS, Table
from zswap_gym.policy.age import AGES_S, AgeEstimate
from zswap_gym.policy.deltas import Deltas, Mask
from zswap_gym.units import PAGE_SIZE, US_PER_S

Array = npt.NDArray[np.float64]
Observation = npt.NDArray[np.float32]

FEATURES_VERSION = 2
"""Raised whenever a feature means something else under the same name."""

SLOW_S = 600.0
"""Time constant of the slow averages."""


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
    Feature("writeback_on", "0/1", 0, 1, "memory.zswap.writeback"),
    Feature("growth", "share", -1, 1, "memory.current since the last decision, / footprint"),
    Feature("older_30s", "share", 0, 1, "of zswapped, estimated from zswpout, zswpin, zswpwb (age.py)"),
    Feature("older_120s", "share", 0, 1, "as older_30s"),
    Feature("older_600s", "share", 0, 1, "as older_30s"),
    Feature("older_3600s", "share", 0, 1, "as older_30s"),
    Feature("store_rate", _RATE, 0, 1, "memory.stat zswpout"),
    Feature("load_rate", _RATE, 0, 1, "memory.stat zswpin"),
    Feature("disk_refault_rate", _RATE, 0, 1, "memory.stat pgmajfault - zswpin"),
    Feature("writeback_rate", _RATE, 0, 1, "memory.stat zswpwb"),
    Feature("reclaim_rate", _RATE, 0, 1, "memory.stat pgsteal"),
    Feature("load_rate_slow", _RATE, 0, 1, "zswpin, 10 min average"),
    Feature("disk_refault_slow", _RATE, 0, 1, "pgmajfault - zswpin, 10 min average"),
    Feature("writeback_slow", _RATE, 0, 1, "zswpwb, 10 min average"),
    Feature(
        "psi_some", "log share of time, 1e-4..1", 0, 1, "memory.pressure some total, since the last decision"
    ),
    Feature("psi_some_avg60", "log %, 0.01..100", 0, 1, "memory.pressure some avg60"),
    Feature("until_event", "log s, 1..86400", 0, 1, "hints file seconds_to_event; 1 = far off or unknown"),
    Feature("event_left", "log s, 1..86400", 0, 1, "hints file seconds_left"),
    Feature("event_size", "log share of footprint, 0.01..10", 0, 1, "hints file expected_bytes"),
    Feature("no_hint", "0/1", 0, 1, "hints file says nothing about the cgroup"),
)
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

LOW: Observation = np.array([f.low for f in FEATURES], np.float32)
HIGH: Observation = np.array([f.high for f in FEATURES], np.float32)
HOST_LOW: Observation = np.array([f.low for f in HOST_FEATURES], np.float32)
HOST_HIGH: Observation = np.array([f.high for f in HOST_FEATURES], np.float32)

_LOW, _HIGH = LOW.astype(np.float64)[:, None], HIGH.astype(np.float64)[:, None]
_HOST_LOW, _HOST_HIGH = HOST_LOW.astype(np.float64)[:, None], HOST_HIGH.astype(np.float64)[:, None]

# Features on a log scale lie side by side, in this order, with (floor, top) in their unit.
_LOG_FROM = INDEX["store_rate"]
_LOG_SCALES = np.array(
    [_RATE_SCALE] * 8 + [(1e-4, 1.0), (0.01, 100.0), (1.0, 86400.0), (1.0, 86400.0), (0.01, 10.0)]
)
_LOG = slice(_LOG_FROM, _LOG_FROM + len(_LOG_SCALES))
_LOG_IN = 1.0 / _LOG_SCALES[:, :1]
_LOG_OUT = 1.0 / np.log1p(_LOG_SCALES[:, 1:] / _LOG_SCALES[:, :1])

# Columns of the table in the order in which update() and host() take them, some of them twice, so
# that what is treated alike lies side by side: a few numpy calls on blocks instead of one per feature.
_COUNTERS = ("time_s", "psi_some_total_us", "zswpout", "zswpin", "pgmajfault", "zswpwb", "pgsteal")
_PARTS = (
    "memory_current", "memory_current", "zswapped", "swap_current", "swapcached", "zswap", "active_anon",
    "zswap_current",
)  # fmt: skip
_WHOLES = (
    "host_mem_total", "host_mem_total", "anon", "anon", "anon", "zswapped", "active_anon", "zswap_max",
)  # fmt: skip
_TOLD = ("psi_some_avg60", "hint_seconds_to_event", "hint_seconds_left", "hint_expected_bytes")
_OTHERS = ("memory_max", "memory_high", "inactive_anon", "zswap_writeback", "hint_known")
_TAKE = np.array([COLUMN[name] for name in (*_COUNTERS, *_PARTS, *_WHOLES, *_TOLD, *_OTHERS)])
_FROM_PARTS = len(_COUNTERS)
_FROM_WHOLES = _FROM_PARTS + len(_PARTS)
_FROM_TOLD = _FROM_WHOLES + len(_WHOLES)
_FROM_OTHERS = _FROM_TOLD + len(_TOLD)
_MEMORY_MAX, _MEMORY_HIGH, _INACTIVE_ANON, _WRITEBACK, _HINT_KNOWN = range(_FROM_OTHERS, len(_TAKE))
_ONES = np.ones(len(_TAKE))

_HOST_COUNTERS = ("time_s", "host_psi_some_total_us")
_HOST_PARTS = ("host_mem_free", "host_swap_free", "host_pool_bytes")
_HOST_WHOLES = ("host_mem_total", "host_swap_total", "host_mem_total")
_HOST_OTHERS = ("host_max_pool_percent", "time_of_day_s")
_HOST_TAKE = np.array(
    [COLUMN[name] for name in (*_HOST_COUNTERS, *_HOST_PARTS, *_HOST_WHOLES, *_HOST_OTHERS)]
)
_HOST_ONES = np.ones(len(_HOST_TAKE))
_DAY_S = 86400.0
_TICK_S = 0.01  # /proc/uptime counts hundredths
_HOST_PSI_FLOOR = 1e-4
_HOST_LOG_IN = np.array([[1.0 / (US_PER_S * _HOST_PSI_FLOOR)], [1.0]])
_HOST_LOG_OUT = 1.0 / np.log1p([[1.0 / _HOST_PSI_FLOOR], [3600.0]])


class FeatureExtractor:
    """Turns successive sample tables into observations; keeps counters, slow averages and ages.

    A row of the table without a cgroup (NaN) gives zeros and forgets what was there. A row whose
    counters went backwards is a new cgroup. A cgroup that is *replaced* by one with larger counters
    looks like itself: reset its row.

    Args:
        interval_s: the decision interval, assumed where there is no earlier sample.
        shape: of the cgroups: (N,), or any batch (..., N).
    """

    def __init__(self, interval_s: float, shape: tuple[int, ...]) -> None:
        self.interval_s = float(interval_s)
        self.shape = tuple(shape)
        rows = int(np.prod(shape))
        hosts = int(np.prod(shape[:-1]))
        self.age = AgeEstimate((rows,))
        self._counters = Deltas(len(_COUNTERS), rows)
        self._host_counters = Deltas(len(_HOST_COUNTERS), hosts)
        self._current: Array = np.zeros(rows)  # memory.current at the last sample
        self._slow: Array = np.zeros((3, rows))  # loads, disk refaults, writebacks: share of footprint/min

    def reset(self, mask: Mask | None = None) -> None:
        """Forget the past, everywhere or where ``mask`` is true.

        ``mask`` has ``shape``, or ``shape[:-1]`` to mean all cgroups of an environment. The host's
        past goes where all cgroups of an environment are reset.
        """
        if mask is not None:
            mask = np.asarray(mask, bool)
            if mask.shape == self.shape[:-1]:
                mask = np.broadcast_to(mask[..., None], self.shape)
            self._host_counters.reset(mask.all(-1).ravel())
            mask = mask.ravel()
        else:
            self._host_counters.reset()
        # the rest (slow averages, ages) is cleared by update() where a row has no past
        self._counters.reset(mask)
        self.age.reset(mask)

    def copy(self) -> FeatureExtractor:
        """An independent copy."""
        return copy.deepcopy(self)

    def adopt(self, index: int, other: FeatureExtractor) -> None:
        """Go on with the past of ``other`` in environment ``index`` of the first batch dimension.

        ``other`` has the remaining dimensions as its shape. ValueError if it has not.
        """
        if other.shape != self.shape[1:]:
            raise ValueError(f"an extractor of shape {other.shape} does not fit into one of {self.shape}")
        rows, hosts = int(np.prod(other.shape)), int(np.prod(other.shape[:-1]))
        mine, host = slice(index * rows, (index + 1) * rows), slice(index * hosts, (index + 1) * hosts)
        self._counters.adopt(mine, other._counters)
        self._host_counters.adopt(host, other._host_counters)
        self.age.mass[mine] = other.age.mass
        self._current[mine], self._slow[:, mine] = other._current, other._slow

    def observe(self, table: Table) -> Observation:
        """The flat observation (..., N * F + H) of a table: :meth:`update`, then :meth:`host`."""
        rows = self.update(table)
        return np.concatenate([rows.reshape(*rows.shape[:-2], -1), self.host(table)], axis=-1)

    def update(self, table: Table) -> Observation:
        """Observe a sample table (..., N, K); returns float32 (..., N, F) inside LOW and HIGH, no NaN."""
        x = table.reshape(-1, len(COLUMNS)).T[_TAKE]  # (columns, rows), a copy
        out = np.empty((len(FEATURES), x.shape[1]))
        with np.errstate(all="ignore"):
            total = _ONES.dot(x)
            here = total == total  # noqa: PLR0124 - false for NaN, in one pass
            complete = np.count_nonzero(here) == here.size
            if not complete:
                x[:, ~here] = 0.0
            self._fill(out, x, *self._counters.update(x[: len(_COUNTERS)], here))
        np.fmin(np.fmax(out, _LOW, out=out), _HIGH, out=out)  # unlike clip(), NaN becomes LOW
        if not complete:
            out *= here
        # the cast makes the one copy
        return out.T.astype(np.float32, order="C").reshape(*self.shape, len(FEATURES))

    def _fill(self, out: Array, x: Array, delta: Array, known: Mask) -> None:
        """Write all features (F, M) into ``out``; bounds and absent rows are the caller's."""
        parts, wholes = x[_FROM_PARTS:_FROM_WHOLES], x[_FROM_WHOLES:_FROM_TOLD]
        current, zswapped, on_disk, swapcached = parts[0], parts[2], parts[3], parts[4]
        on_disk -= zswapped  # was swap.current
        on_disk -= swapcached
        np.maximum(on_disk, 0.0, out=on_disk)
        footprint = wholes[2] + zswapped  # was anon
        footprint += on_disk
        np.maximum(footprint, PAGE_SIZE, out=footprint)

        elapsed = delta[0]
        dt = np.maximum(elapsed, _TICK_S)  # where nothing elapsed nothing happened either
        logs = out[_LOG]
        rates = logs[:5]
        np.multiply(delta[2:], 60.0 * PAGE_SIZE / (footprint * dt), out=rates)
        rates[2] -= rates[1]  # major faults that no load from zswap explains
        np.maximum(rates, 0.0, out=rates)

        # the past
        growth = current - self._current
        self._current = current
        if np.count_nonzero(known) < known.size:
            growth *= known
            self._slow *= known
            self.age.mass *= known[:, None]
            # rows without a past have nothing to age: let them share the others' interval
            elapsed = np.where(known, elapsed, elapsed.max(initial=0.0))
        self._slow -= rates[1:4]
        self._slow *= np.exp(elapsed * (-1.0 / SLOW_S))
        self._slow += rates[1:4]
        self.age.update(elapsed, delta[2], delta[3], delta[5], zswapped / PAGE_SIZE)

        # log scales
        logs[5:8] = self._slow
        np.divide(delta[1], dt * US_PER_S, out=logs[8])
        logs[9:] = x[_FROM_TOLD:_FROM_OTHERS]
        logs[12] /= footprint
        logs *= _LOG_IN
        np.log1p(logs, out=logs)
        logs *= _LOG_OUT

        # shares
        out[0] = 1.0
        limit = wholes[1]
        np.minimum(limit, x[_MEMORY_MAX], out=limit)
        np.minimum(limit, x[_MEMORY_HIGH], out=limit)
        wholes[2:5] = footprint
        wholes[6] += x[_INACTIVE_ANON]
        np.divide(parts, np.maximum(wholes, 1.0, out=wholes), out=out[1:9])
        np.divide(self._slow[1], np.maximum(self._slow[2], 1e-9), out=out[9])
        out[10] = x[_WRITEBACK]
        np.divide(growth, footprint, out=out[11])
        out[12 : 12 + len(AGES_S)] = self.age.shares().T
        np.less_equal(x[_HINT_KNOWN], 0, out=out[-1])

    def host(self, table: Table) -> Observation:
        """Host features of a table, float32 (..., H), from its first present row; zeros if there is none."""
        x, found = _host_columns(table.reshape(-1, self.shape[-1], len(COLUMNS)))
        out = np.empty((len(HOST_FEATURES), len(found)))
        with np.errstate(all="ignore"):
            self._fill_host(out, x, found)
        np.fmin(np.fmax(out, _HOST_LOW, out=out), _HOST_HIGH, out=out)
        if np.count_nonzero(found) < found.size:
            out *= found
        return out.T.astype(np.float32, order="C").reshape(*self.shape[:-1], len(HOST_FEATURES))

    def _fill_host(self, out: Array, x: Array, found: Mask) -> None:
        """Write all host features (H, E) into ``out``."""
        delta, _ = self._host_counters.update(x[:2], found)
        elapsed, stalled_us = delta[0], delta[1]
        if np.count_nonzero(elapsed) < elapsed.size:
            elapsed[elapsed == 0] = self.interval_s
        parts, wholes, percent, day = x[2:5], x[5:8], x[8], x[9]
        wholes[2] *= percent
        wholes[2] *= 0.01
        np.divide(parts, np.maximum(wholes, 1.0, out=wholes), out=out[:3])
        np.divide(stalled_us, elapsed, out=out[3])
        out[4] = elapsed
        logs = out[3:5]
        logs *= _HOST_LOG_IN
        np.log1p(logs, out=logs)
        logs *= _HOST_LOG_OUT
        day *= 2.0 * np.pi / _DAY_S
        np.sin(day, out=out[5])
        np.cos(day, out=out[6])


def _host_columns(table: Table) -> tuple[Array, Mask]:
    """Columns of the first complete row per table (E, N, K): (columns, E), and where there is one (E,)."""
    x = table[:, 0, :].T[_HOST_TAKE]
    total = _HOST_ONES.dot(x)
    found = total == total  # noqa: PLR0124 - false for NaN, in one pass
    if np.count_nonzero(found) < found.size:
        cube = table[:, :, _HOST_TAKE]
        here = ~np.isnan(cube).any(axis=-1)
        found = here.any(axis=-1)
        x = cube[np.arange(len(cube)), here.argmax(axis=-1)].T.copy()
        x[:, ~found] = 0.0
    return x, found
