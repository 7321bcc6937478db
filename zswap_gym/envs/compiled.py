"""Compiled: what every decision of many hosts needs, requests in the kernel's units, terms and costs.

A handful of numbers each, on which numpy would spend its time being called.
"""

from __future__ import annotations

import numpy as np

from zswap_gym.envs.reward import COSTS, GIB, TERMS
from zswap_gym.kernel.jit import entry, inline
from zswap_gym.kernel.layout import INF_PAGES, STAT
from zswap_gym.kernel.requests import bytes_held, read_counters
from zswap_gym.kernel.stateref import state_ref
from zswap_gym.units import PAGE_SIZE, US_PER_S

_PSWPIN, _ZSWPIN, _PSWPOUT, _REFUSED, _OOM, STALL = (
    STAT.index(name)
    for name in ("pswpin", "zswpin", "pswpout", "stores_refused", "events_oom_kill", "stall_us")
)
_ALL = float(INF_PAGES)  # what is more would not fit an int64
assert TERMS == (
    "dram_held", "stall_s", "disk_refaults", "zswap_loads", "bytes_written", "rejects", "oom_kills"
)  # fmt: skip
assert COSTS == ("refault_pct_wss_min", "psi_some_pct", "violations")


@entry
def whole_requests(age_s, max_bytes, release_bytes, limit_s, age_us, pages, release):
    """Requests (E, N) as :func:`zswap_gym.host.dialects.whole` rounds them, sizes in pages.

    ``age_us`` is -1 where nothing is written back; an age is at least a second and at most ``limit_s``.
    """
    for e in range(len(age_s)):
        for i in range(age_s.shape[1]):
            age_us[e, i] = -1
            pages[e, i] = 0
            if age_s[e, i] == age_s[e, i] and max_bytes[e, i] > 0:  # an age of NaN is none
                age_us[e, i] = np.int64(min(max(np.ceil(age_s[e, i]), 1.0), limit_s) * US_PER_S)
                pages[e, i] = max(np.int64(min(max_bytes[e, i] / PAGE_SIZE, _ALL)), 1)
            release[e, i] = 0
            if release_bytes[e, i] > 0:
                release[e, i] = max(np.int64(min(release_bytes[e, i] / PAGE_SIZE, _ALL)), 1)


@inline
def _charge_terms(st, stat, seconds, held, terms):
    """Fill ``terms`` (len(TERMS),): ``held`` bytes on average, own counters since ``stat`` (c, STAT)."""
    terms[:] = 0.0
    terms[0] = held / GIB * seconds / 3600.0
    for c in range(len(stat)):
        terms[1] += (st.stat[c, STALL] - stat[c, STALL]) / US_PER_S
        terms[2] += st.stat[c, _PSWPIN] - stat[c, _PSWPIN]
        terms[3] += st.stat[c, _ZSWPIN] - stat[c, _ZSWPIN]
        terms[4] += (st.stat[c, _PSWPOUT] - stat[c, _PSWPOUT]) * PAGE_SIZE
        terms[5] += st.stat[c, _REFUSED] - stat[c, _REFUSED]
        terms[6] += st.stat[c, _OOM] - stat[c, _OOM]


@inline
def _charge_costs(st, stat, seconds, rows, level, psi, table, at, reads, psi_pct, costs):
    """Fill ``costs`` (len(COSTS),); ``psi`` (N,), the last some-totals in us, is brought up to date."""
    costs[:] = 0.0
    for i in range(len(rows)):
        reads[i] = st.stat[rows[i], _PSWPIN] - stat[rows[i], _PSWPIN]
        rate = reads[i] / max(table[i, at[1]] / PAGE_SIZE, 1.0) * (100.0 * 60.0 / seconds)
        psi_pct[i] = (table[i, at[0]] - psi[i]) * (100.0 / (seconds * US_PER_S))
        psi[i] = table[i, at[0]]
        costs[0] = max(costs[0], rate)
        costs[1] = max(costs[1], psi_pct[i])
        costs[2] += rate > level[0] or psi_pct[i] > level[1]


@entry
def charge(blocks, rows, level, tables, at, now_us, held, stat, psi, reads, psi_pct, terms, costs):
    """Charge E machines for the time since the last reading, and read them.

    ``rows`` (N,) are the machine's indices of the sampled cgroups, ``level`` the two bounds of a
    ServiceLevel, ``tables`` (E, N, K) the sample tables of now, ``at`` the columns of the some-total of
    pressure and of resident bytes. The last reading is brought up to date: ``now_us`` and ``held`` (E,),
    own counters ``stat`` (E, c, len(STAT)), ``psi`` (E, N). Filled are pages read and pressure in percent
    per row (E, N), ``terms`` (E, len(TERMS)) and ``costs`` (E, len(COSTS)). A parent's row shows its own
    counts only; rows are leaves unless somebody chose otherwise.
    """
    for e in range(len(blocks)):
        st = state_ref(blocks[e])
        seconds = (st.host[0].now - now_us[e]) / US_PER_S
        now_us[e] = st.host[0].now
        before = held[e]
        held[e] = bytes_held(st)
        _charge_terms(st, stat[e], seconds, 0.5 * (before + held[e]), terms[e])
        _charge_costs(
            st, stat[e], seconds, rows, level, psi[e], tables[e], at, reads[e], psi_pct[e], costs[e]
        )
        read_counters(st, stat[e])
