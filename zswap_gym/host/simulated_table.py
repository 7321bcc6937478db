"""The fast way from a simulated machine to a sample table: straight from its arrays, no text.

It must say exactly what reading the files says, the kernel's rounding included: uptime and
pressure averages are cut to hundredths, sizes of limits and usage are whole pages. Compiled,
because it runs at every decision and has three dozen columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from zswap_gym.host.types import COLUMN, COLUMNS, Table
from zswap_gym.kernel.jit import entry_for, inline
from zswap_gym.kernel.layout import (
    INF_PAGES,
    S_PSWPIN,
    S_REFAULT,
    S_SWPIN_ZERO,
    S_ZSWPIN,
    S_ZSWPWB,
    STAT,
)
from zswap_gym.kernel.machine import Machine
from zswap_gym.kernel.memcg import ram_used, usage
from zswap_gym.kernel.stateref import state_ref
from zswap_gym.units import US_PER_S

# Columns in the order in which the compiled code fills them; their places come in as an array,
# so that its cache does not depend on the layout of a Sample.
_OWN = (
    "memory_current",
    "memory_max",
    "memory_high",
    "swap_max",
    "zswap_max",
    "swap_current",
    "zswap_current",
    "zswap",
    "zswapped",
    "anon",
    "swapcached",
    "active_anon",
    "inactive_anon",
    "zswap_writeback",
    "psi_some_avg10",
    "psi_some_avg60",
    "psi_full_avg10",
    "psi_some_total_us",
    "psi_full_total_us",
)
_MACHINE = (
    "time_s",
    "host_mem_total",
    "host_mem_free",
    "host_swap_total",
    "host_swap_free",
    "host_pool_bytes",
    "host_zswapped",
    "host_psi_some_avg10",
    "host_psi_some_total_us",
    "host_max_pool_percent",
)
_COUNTED = tuple(name for name in STAT if name in COLUMN)
_CLOCK = ("time_of_day_s", "hint_seconds_to_event", "disk_reads")
_PAGE = 4096.0
DAY_S = 86400.0
_PSI_ONE = 2048  # 11 bits of fraction


@inline
def _percent(average):
    """As printed: LOAD_INT and LOAD_FRAC cut, they do not round."""
    return (average // _PSI_ONE * 100 + average % _PSI_ONE * 100 // _PSI_ONE) / 100.0


@inline
def _limit(pages):
    return np.inf if pages >= INF_PAGES else pages * _PAGE


@inline
def _fill_own(st, c, row, at):
    """The columns of _OWN for cgroup c."""
    cg = st.cgs[c]
    active = 0
    every = 0
    for d in range(c, cg.sub_end):
        newest = st.cgs[d].max_seq
        active += st.gen_count[d, newest & 3] + st.gen_count[d, (newest - 1) & 3]
        every += st.gen_count[d, 0] + st.gen_count[d, 1] + st.gen_count[d, 2] + st.gen_count[d, 3]
    scale = st.host[0].scale
    row[at[0]] = usage(st, c) * _PAGE
    row[at[5]] = cg.slots * _PAGE
    row[at[6]] = cg.zbytes
    row[at[7]] = cg.zbytes
    row[at[8]] = cg.zpages * _PAGE
    row[at[9]] = cg.mapped * _PAGE
    row[at[10]] = cg.swapcached * _PAGE
    row[at[11]] = active * scale * _PAGE
    row[at[12]] = (every - active) * scale * _PAGE
    row[at[14]] = _percent(cg.avg[0])
    row[at[15]] = _percent(cg.avg[1])
    row[at[16]] = _percent(cg.avg[3])
    row[at[17]] = cg.some_us
    row[at[18]] = cg.full_us


@inline
def _fill_settings(st, c, row, at):
    """The columns of _OWN that are effective: the tightest from cgroup c up to the root."""
    most, high, swap, zswap, writeback = INF_PAGES, INF_PAGES, INF_PAGES, INF_PAGES, 1
    while c >= 0:
        cg = st.cgs[c]
        most, high = min(most, cg.max), min(high, cg.high)
        swap, zswap = min(swap, cg.swap_max), min(zswap, cg.zswap_max)
        writeback = min(writeback, cg.writeback)
        c = cg.parent
    row[at[1]] = _limit(most)
    row[at[2]] = _limit(high)
    row[at[3]] = _limit(swap)
    row[at[4]] = _limit(zswap)
    row[at[13]] = writeback


@inline
def _fill_machine(st, row, at):
    """The columns of _MACHINE, the same in every row."""
    host = st.host[0]
    root = st.cgs[0]
    row[at[0]] = host.now // 10_000 / 100.0
    row[at[1]] = host.ram_pages * _PAGE
    row[at[2]] = max(host.ram_pages - root.base - ram_used(st), 0) * _PAGE
    row[at[3]] = host.swap_pages * _PAGE
    row[at[4]] = (host.swap_pages - host.slots_used) * _PAGE
    row[at[5]] = host.pool_pages * _PAGE
    row[at[6]] = root.zpages * _PAGE
    row[at[7]] = _percent(root.avg[0])
    row[at[8]] = root.some_us
    row[at[9]] = -(-host.max_pool_pages * 100 // host.ram_pages)  # the limit is a floor of the parameter


@inline
def _disk_reads(st, c):
    """As host/refaults.py:disk_reads() has it from this kernel's memory.stat."""
    total = 0
    for d in range(c, st.cgs[c].sub_end):
        if st.host[0].counts_swap:
            total += st.stat[d, S_PSWPIN]
        else:
            total += st.stat[d, S_REFAULT] - st.stat[d, S_ZSWPWB] - st.stat[d, S_ZSWPIN]
            total -= st.stat[d, S_SWPIN_ZERO]
    return max(total, 0)


@entry_for(
    "(uint64[:,::1], int64[::1], float64[:,::1], int64[::1], int64[::1], int64[::1], "
    "int64[::1], int64[::1], float64[:,:,::1], int64, int64)"
)
def _fill(blocks, cgroups, clocks, own, machine, counted, counters, clock, out, first, end):
    """Fill one row of ``out[e]`` per entry of ``cgroups``; counters are sums over the subtree."""
    for e in range(first, end):
        st = state_ref(blocks[e])
        time_of_day = (clocks[e, 1] + (st.host[0].now - clocks[e, 0]) / US_PER_S) % DAY_S
        for i in range(len(cgroups)):
            out[e, i, clock[0]] = time_of_day
            out[e, i, clock[1]] = np.inf
            c = cgroups[i]
            _fill_own(st, c, out[e, i], own)
            _fill_settings(st, c, out[e, i], own)
            _fill_machine(st, out[e, i], machine)
            for k in range(len(counted)):
                total = 0
                for d in range(c, st.cgs[c].sub_end):
                    total += st.stat[d, counters[k]]
                out[e, i, counted[k]] = total
            out[e, i, clock[2]] = _disk_reads(st, c)


_OWN_AT = np.array([COLUMN[name] for name in _OWN])
_MACHINE_AT = np.array([COLUMN[name] for name in _MACHINE])
_COUNTED_AT = np.array([COLUMN[name] for name in _COUNTED])
_CLOCK_AT = np.array([COLUMN[name] for name in _CLOCK])
_COUNTERS = np.array([STAT.index(name) for name in _COUNTED])


def fill_tables(
    blocks: npt.NDArray[np.uint64],
    rows: npt.NDArray[np.int64],
    clocks: npt.NDArray[np.float64],
    out: Table,
    first: int,
    end: int,
) -> None:
    """Tables of machines ``first`` to before ``end`` into ``out`` (E, len(rows), len(COLUMNS)), all zeros.

    ``blocks`` (E, words) are the machines', ``clocks`` (E, 2) those of the hosts. The columns of the hints
    say that nothing is known; what is known is the caller's.
    """
    _fill(blocks, rows, clocks, _OWN_AT, _MACHINE_AT, _COUNTED_AT, _COUNTERS, _CLOCK_AT, out, first, end)


class TableReader:
    """Reads tables of the cgroups at indices ``rows`` of one machine."""

    def __init__(self, machine: Machine, rows: Sequence[int]) -> None:
        self.machine = machine
        self.rows = np.asarray(rows, np.int64)

    def read(self, clock: npt.NDArray[np.float64]) -> Table:
        """The table now: float64, (len(rows), len(COLUMNS)). ``clock`` is the host's."""
        out = np.zeros((1, len(self.rows), len(COLUMNS)))
        fill_tables(self.machine.block[None], self.rows, clock[None], out, 0, 1)
        return np.asarray(out[0])
