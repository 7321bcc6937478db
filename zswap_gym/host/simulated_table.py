"""The fast way from a simulated machine to a sample table: straight from its arrays, no text.

It must say exactly what reading the files says, the kernel's rounding included: uptime and
pressure averages are cut to hundredths, sizes of limits and usage are whole pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np

from zswap_gym.host.files import psi_percent
from zswap_gym.host.reading import MEMINFO_FIELDS
from zswap_gym.host.simulated_files import max_pool_percent, meminfo
from zswap_gym.host.types import COLUMN, COLUMNS, Table
from zswap_gym.kernel.layout import INF_PAGES, STAT
from zswap_gym.kernel.machine import GAUGES, Machine
from zswap_gym.units import PAGE_SIZE

_LIMITS = {"memory_max": "max", "memory_high": "high", "swap_max": "swap_max", "zswap_max": "zswap_max"}


class TableReader:
    """Fills tables of the cgroups at indices ``rows`` of ``machine``.

    The columns for the hints and the time of day are the caller's; they come out as 0.
    """

    def __init__(self, machine: Machine, rows: Sequence[int]) -> None:
        self.machine = machine
        self.rows = np.asarray(rows, np.intp)
        counted = [name for name in STAT if name in COLUMN]
        self._stat_from = [STAT.index(name) for name in counted]
        self._stat_to = [COLUMN[name] for name in counted]
        sized = [name for name in GAUGES if name in COLUMN]
        self._gauge_from = [*(GAUGES.index(name) for name in sized), GAUGES.index("zswap")]
        self._gauge_to = [*(COLUMN[name] for name in sized), COLUMN["zswap_current"]]

    def read(self) -> Table:
        """The table now: float64, (len(rows), len(COLUMNS))."""
        state, rows = self.machine.state, self.rows
        out = np.zeros((len(rows), len(COLUMNS)))
        out[:, self._stat_to] = self.machine.counters()[rows][:, self._stat_from]
        out[:, self._gauge_to] = self.machine.gauges()[rows][:, self._gauge_from]
        cgs = state.cgs[rows]
        for name, field in _LIMITS.items():
            pages = cgs[field]
            out[:, COLUMN[name]] = np.where(pages >= INF_PAGES, inf, pages * float(PAGE_SIZE))
        out[:, COLUMN["zswap_writeback"]] = cgs["writeback"]
        average = psi_percent(cgs["avg"])
        out[:, COLUMN["psi_some_avg10"]] = average[:, 0]
        out[:, COLUMN["psi_some_avg60"]] = average[:, 1]
        out[:, COLUMN["psi_full_avg10"]] = average[:, 3]
        out[:, COLUMN["psi_some_total_us"]] = cgs["some_us"]
        out[:, COLUMN["psi_full_total_us"]] = cgs["full_us"]
        self._machine_columns(out)
        return out

    def _machine_columns(self, out: Table) -> None:
        root = self.machine.state.cgs[0]
        out[:, COLUMN["time_s"]] = self.machine.now_us // 10_000 / 100
        sizes = meminfo(self.machine)
        for name, key in MEMINFO_FIELDS.items():
            out[:, COLUMN[name]] = sizes[key]
        out[:, COLUMN["host_max_pool_percent"]] = max_pool_percent(self.machine)
        out[:, COLUMN["host_psi_some_avg10"]] = psi_percent(int(root["avg"][0]))
        out[:, COLUMN["host_psi_some_total_us"]] = root["some_us"]
