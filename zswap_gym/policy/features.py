"""Observations: what a policy sees of each cgroup and of the host, all from files a stock kernel has.

Every feature is a difference or a ratio, so that it is free of the machine's size, and lies in
declared bounds. The same code runs over a simulated host, a real one, and batches of either.

``workingset_refault_anon`` is not used for disk refaults: the kernel bumps it for every page a
zswap writeback reads (FINDINGS 2), so a controller watching it would see itself. Disk refaults
are ``pgmajfault - zswpin``; at page-cluster 0 refault_anon = pgmajfault + zswpwb.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zswap_gym.host.types import COLUMN, Table
from zswap_gym.policy.age import AgeEstimate

Array = npt.NDArray[np.float64]
Observation = npt.NDArray[np.float32]

FEATURES_VERSION = 1
_PAGE = 4096.0
_SLOW_S = 600.0  # time constant of the slow averages


@dataclass(frozen=True, slots=True)
class Feature:
    """One number a policy sees."""

    name: str
    unit: str
    low: float
    high: float
    origin: str
    """Kernel files it comes from."""


FEATURES: tuple[Feature, ...] = (
    Feature("present", "0/1", 0, 1, "cgroup exists"),
    Feature("limit_fill", "share", 0, 2, "memory.current / min(memory.max, memory.high, MemTotal)"),
    Feature("host_share", "share", 0, 1, "memory.current / MemTotal"),
    Feature("zswapped_share", "share", 0, 1, "memory.stat zswapped / footprint"),
    Feature("disk_share", "share", 0, 1, "memory.swap.current - zswapped - swapcached, / footprint"),
    Feature("swapcached_share", "share", 0, 1, "memory.stat swapcached / footprint"),
    Feature("pool_share", "share", 0, 1, "memory.stat zswap / memory.current"),
    Feature("compression", "ratio", 0, 1, "memory.stat zswap / zswapped"),
    Feature("active_share", "share", 0, 1, "memory.stat active_anon / anon"),
    Feature("load_rate", "log1p(%/min)", 0, 10, "memory.stat zswpin, of footprint"),
    Feature("store_rate", "log1p(%/min)", 0, 10, "memory.stat zswpout, of footprint"),
    Feature("disk_refault_rate", "log1p(100 %/min)", 0, 14, "memory.stat pgmajfault - zswpin, of footprint"),
    Feature("writeback_rate", "log1p(%/min)", 0, 10, "memory.stat zswpwb, of footprint"),
    Feature("load_rate_slow", "log1p(%/min)", 0, 10, "zswpin, 10 min average"),
    Feature("disk_refault_slow", "log1p(100 %/min)", 0, 14, "pgmajfault - zswpin, 10 min average"),
    Feature("writeback_slow", "log1p(%/min)", 0, 10, "zswpwb, 10 min average"),
    Feature("return_ratio", "share", 0, 2, "disk refaults / pages written, 10 min averages"),
    Feature("psi_some", "log1p(%)", 0, 5, "memory.pressure some total, since the last decision"),
    Feature("psi_some_avg60", "log1p(%)", 0, 5, "memory.pressure some avg60"),
    Feature("older_30s", "share", 0, 1, "estimated: zswpout, zswpin, zswpwb flows"),
    Feature("older_120s", "share", 0, 1, "estimated: zswpout, zswpin, zswpwb flows"),
    Feature("older_600s", "share", 0, 1, "estimated: zswpout, zswpin, zswpwb flows"),
    Feature("older_3600s", "share", 0, 1, "estimated: zswpout, zswpin, zswpwb flows"),
    Feature("reclaim_yield", "share", 0, 1, "memory.stat pgsteal / pgscan since the last decision"),
    Feature("hint_known", "0/1", 0, 1, "hints file"),
    Feature("hint_soon", "1/(1+min)", 0, 1, "hints file seconds_to_event"),
    Feature("hint_left", "log1p(min)", 0, 8, "hints file seconds_left"),
    Feature("hint_size", "share", 0, 4, "hints file expected_bytes / footprint"),
)
"""Per-cgroup features, in order. F = len(FEATURES)."""

HOST_FEATURES: tuple[Feature, ...] = (
    Feature("free_memory", "share", 0, 1, "/proc/meminfo MemFree / MemTotal"),
    Feature("free_swap", "share", 0, 1, "/proc/meminfo SwapFree / SwapTotal"),
    Feature("pool_fill", "share", 0, 2, "/proc/meminfo Zswap / (max_pool_percent of MemTotal)"),
    Feature("host_psi", "log1p(%)", 0, 5, "/proc/pressure/memory some avg10"),
    Feature("day_sin", "1", -1, 1, "local clock"),
    Feature("day_cos", "1", -1, 1, "local clock"),
    Feature("interval", "log1p(s)", 0, 10, "seconds since the last decision"),
)
"""Host features, in order. H = len(HOST_FEATURES)."""

LOW: Observation = np.array([f.low for f in FEATURES], np.float32)
HIGH: Observation = np.array([f.high for f in FEATURES], np.float32)
HOST_LOW: Observation = np.array([f.low for f in HOST_FEATURES], np.float32)
HOST_HIGH: Observation = np.array([f.high for f in HOST_FEATURES], np.float32)
INDEX = {f.name: i for i, f in enumerate(FEATURES)}

_COUNTERS = ("zswpin", "zswpout", "zswpwb", "pgmajfault", "pgscan", "pgsteal", "psi_some_total_us", "time_s")
_COUNTER_COLUMNS = [COLUMN[name] for name in _COUNTERS]


def _ratio(a: Array, b: Array) -> Array:
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b > 0)


class FeatureExtractor:
    """Turns successive sample tables into observations; keeps the last one and slow averages.

    Args:
        interval_s: the decision interval assumed before two samples exist.
        shape: batch shape of the cgroups, e.g. (N,) or (environments, N).
    """

    def __init__(self, interval_s: float, shape: tuple[int, ...]) -> None:
        self.interval_s = interval_s
        self.shape = shape
        self._last: Array = np.full((*shape, len(_COUNTERS)), np.nan)
        self._slow: Array = np.zeros((*shape, 3))
        self._dt: Array = np.full(shape, interval_s)
        self.age = AgeEstimate(shape)

    def reset(self, mask: npt.NDArray[np.bool_] | None = None) -> None:
        """Forget the past, everywhere or where ``mask`` (of ``shape``) is true."""
        where = slice(None) if mask is None else mask
        self._last[where] = np.nan
        self._slow[where] = 0.0
        self._dt[where] = self.interval_s
        self.age.reset(mask)

    def update(self, table: Table) -> Observation:
        """Observe a sample table (..., N, len(COLUMNS)); returns float32 (..., N, F).

        A row of NaN is an absent cgroup and gives zeros. A counter that went backwards means the
        cgroup was made anew: it starts over without rates.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            present = np.isfinite(table[..., COLUMN["time_s"]])
            data = np.where(present[..., None], table, 0.0)
            delta = self._differences(data, present)
            out = self._features(data, delta, present)
        return out

    def host(self, table: Table) -> Observation:
        """Host features, float32 (..., H), from the first present row of each table."""
        present = np.isfinite(table[..., COLUMN["time_s"]])
        first = np.argmax(present, axis=-1)
        row = np.take_along_axis(table, first[..., None, None], axis=-2)[..., 0, :]
        row = np.where(np.isfinite(row), row, 0.0)
        col = lambda name: row[..., COLUMN[name]]  # noqa: E731 - a local shorthand
        limit = col("host_mem_total") * col("host_max_pool_percent") / 100.0
        day = col("time_of_day_s") * (2 * np.pi / 86400.0)
        dt = np.take_along_axis(self._dt, first[..., None], axis=-1)[..., 0]
        values = (
            _ratio(col("host_mem_free"), col("host_mem_total")),
            _ratio(col("host_swap_free"), col("host_swap_total")),
            _ratio(col("host_pool_bytes"), limit),
            np.log1p(np.maximum(col("host_psi_some_avg10"), 0.0)),
            np.sin(day),
            np.cos(day),
            np.log1p(dt),
        )
        return np.clip(np.stack(values, axis=-1), HOST_LOW, HOST_HIGH).astype(np.float32)

    def _differences(self, data: Array, present: npt.NDArray[np.bool_]) -> Array:
        """Counter increases since the last table; 0 where there is no usable last one."""
        now = data[..., _COUNTER_COLUMNS]
        delta = now - self._last
        usable = present & np.isfinite(delta).all(-1) & (delta >= 0).all(-1) & (delta[..., -1] > 0)
        anew = present & ~usable
        if anew.any():
            self._slow[anew] = 0.0
            self.age.reset(anew)
        self._dt = np.where(usable, delta[..., -1], self.interval_s)
        self._last = np.where(present[..., None], now, np.nan)
        return np.where(usable[..., None], delta, 0.0)

    def _features(self, data: Array, delta: Array, present: npt.NDArray[np.bool_]) -> Observation:
        def col(name: str) -> Array:
            return data[..., COLUMN[name]]

        zswpin, zswpout, zswpwb, majfault, scan, steal, psi_us, _ = np.moveaxis(delta, -1, 0)
        dt = self._dt
        zswapped, swapcached = col("zswapped"), col("swapcached")
        disk = np.maximum(col("swap_current") - zswapped - swapcached, 0.0)
        footprint = np.maximum(col("anon") + zswapped + disk, _PAGE)
        per_min = 100.0 * 60.0 * _PAGE / (dt * footprint)  # pages of an interval to % of footprint per minute
        disk_refaults = np.maximum(majfault - zswpin, 0.0)
        keep = np.exp(-dt / _SLOW_S)[..., None]
        rates = np.stack([zswpin * per_min, disk_refaults * per_min, zswpwb * per_min], axis=-1)
        self._slow = np.where(present[..., None], keep * self._slow + (1.0 - keep) * rates, 0.0)
        self.age.update(dt, zswpout, zswpin, zswpwb, zswapped / _PAGE)
        limit = np.minimum(np.minimum(col("memory_max"), col("memory_high")), np.maximum(col("host_mem_total"), 1.0))
        columns = (
            np.ones_like(dt),
            _ratio(col("memory_current"), limit),
            _ratio(col("memory_current"), col("host_mem_total")),
            zswapped / footprint,
            disk / footprint,
            swapcached / footprint,
            _ratio(col("zswap"), col("memory_current")),
            _ratio(col("zswap"), zswapped),
            _ratio(col("active_anon"), col("anon")),
            np.log1p(rates[..., 0]),
            np.log1p(zswpout * per_min),
            np.log1p(100.0 * rates[..., 1]),
            np.log1p(rates[..., 2]),
            np.log1p(self._slow[..., 0]),
            np.log1p(100.0 * self._slow[..., 1]),
            np.log1p(self._slow[..., 2]),
            _ratio(self._slow[..., 1], self._slow[..., 2]),
            np.log1p(psi_us * 1e-4 / dt),
            np.log1p(np.maximum(col("psi_some_avg60"), 0.0)),
            self.age.older_than(30.0),
            self.age.older_than(120.0),
            self.age.older_than(600.0),
            self.age.older_than(3600.0),
            _ratio(steal, scan),
            col("hint_known"),
            np.where(col("hint_known") > 0, 1.0 / (1.0 + col("hint_seconds_to_event") / 60.0), 0.0),
            np.log1p(np.maximum(col("hint_seconds_left"), 0.0) / 60.0),
            col("hint_expected_bytes") / footprint,
        )
        out = np.clip(np.nan_to_num(np.stack(columns, axis=-1), posinf=1e9), LOW, HIGH)
        return np.where(present[..., None], out, 0.0).astype(np.float32)
