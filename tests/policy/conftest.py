"""Sample tables of made-up cgroups, and the strategies that draw nasty ones."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import numpy as np
import numpy.typing as npt
import pytest

from zswap_gym.host.types import COLUMN, COLUMNS, Table

MIB = float(1 << 20)

_USUAL = {
    "time_s": 1000.0,
    "time_of_day_s": 6 * 3600.0,
    "memory_current": 60 * MIB,
    "memory_max": 100 * MIB,
    "memory_high": inf,
    "swap_current": 70 * MIB,
    "swap_max": inf,
    "zswap_current": 10 * MIB,
    "zswap_max": inf,
    "zswap_writeback": 1.0,
    "anon": 50 * MIB,
    "swapcached": 5 * MIB,
    "zswap": 10 * MIB,
    "zswapped": 30 * MIB,
    "active_anon": 20 * MIB,
    "inactive_anon": 30 * MIB,
    "pgmajfault": 5000.0,
    "zswpin": 4000.0,
    "zswpout": 20000.0,
    "zswpwb": 1000.0,
    "pgsteal": 30000.0,
    "psi_some_total_us": 1e6,
    "host_mem_total": 1024 * MIB,
    "host_mem_free": 256 * MIB,
    "host_swap_total": 2048 * MIB,
    "host_swap_free": 1024 * MIB,
    "host_pool_bytes": 100 * MIB,
    "host_max_pool_percent": 20.0,
    "host_psi_some_total_us": 2e6,
    "hint_seconds_to_event": inf,
}


@pytest.fixture
def make_table() -> Callable[..., Table]:
    """``make_table(n, **columns)``: n cgroups alike, with columns (numbers or n of them) changed."""

    def make(n: int, **columns: npt.ArrayLike) -> Table:
        table = np.zeros((n, len(COLUMNS)))
        for name, value in {**_USUAL, **columns}.items():
            table[:, COLUMN[name]] = value
        return table

    return make


@pytest.fixture
def later() -> Callable[..., Table]:
    """``later(table, dt_s, **increases)``: the table dt_s later, with counters increased."""

    def make(table: Table, dt_s: float, **increases: float) -> Table:
        after = table.copy()
        after[..., COLUMN["time_s"]] += dt_s
        for name, more in increases.items():
            after[..., COLUMN[name]] += more
        return after

    return make
