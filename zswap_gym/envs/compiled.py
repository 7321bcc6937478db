"""Compiled: what every decision of many hosts needs, requests in the kernel's units, terms and costs.

A handful of numbers each, on which numpy would spend its time being called.
"""

from __future__ import annotations

import numpy as np

from zswap_gym.envs.reward import COSTS, GIB, TERMS
from zswap_gym.kernel.jit import entry
from zswap_gym.kernel.layout import STAT
from zswap_gym.units import PAGE_SIZE, US_PER_S

_PSWPIN, _ZSWPIN, _PSWPOUT, _REFUSED, _OOM, STALL = (
    STAT.index(name)
    for name in ("pswpin", "zswpin", "pswpout", "stores_refused", "events_oom_kill", "stall_us")
)
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
                pages[e, i] = max(np.int64(max_bytes[e, i] / PAGE_SIZE), 1)
            release[e, i] = 0
            if release_bytes[e, i] > 0:
                release[e, i] = max(np.int64(release_bytes[e, i] / PAGE_SIZE), 1)


@entry
def charge_terms(seconds, held_before, held, stat_before, stat, terms):
    """Fill ``terms`` (E, len(TERMS)) from bytes held (E,) and own counters (E, c, len(STAT))."""
    for e in range(len(seconds)):
        terms[e, :] = 0.0
        terms[e, 0] = 0.5 * (held_before[e] + held[e]) / GIB * seconds[e] / 3600.0
        for c in range(stat.shape[1]):
            terms[e, 1] += (stat[e, c, STALL] - stat_before[e, c, STALL]) / US_PER_S
            terms[e, 2] += stat[e, c, _PSWPIN] - stat_before[e, c, _PSWPIN]
            terms[e, 3] += stat[e, c, _ZSWPIN] - stat_before[e, c, _ZSWPIN]
            terms[e, 4] += (stat[e, c, _PSWPOUT] - stat_before[e, c, _PSWPOUT]) * PAGE_SIZE
            terms[e, 5] += stat[e, c, _REFUSED] - stat_before[e, c, _REFUSED]
            terms[e, 6] += stat[e, c, _OOM] - stat_before[e, c, _OOM]


@entry
def charge_costs(seconds, stat_before, stat, rows, psi_before, psi, anon, level, reads, psi_pct, costs):
    """Fill ``costs`` (E, len(COSTS)); pages read and pressure in percent per row (E, N) beside them.

    ``rows`` (N,) are the machine's indices of the sampled cgroups, ``psi`` their some-totals in us,
    ``anon`` their resident bytes (E, N), ``level`` the two bounds of a ServiceLevel. A parent's row
    shows its own counts only; rows are leaves unless somebody chose otherwise.
    """
    for e in range(len(seconds)):
        costs[e, :] = 0.0
        for i in range(len(rows)):
            reads[e, i] = stat[e, rows[i], _PSWPIN] - stat_before[e, rows[i], _PSWPIN]
            rate = reads[e, i] / max(anon[e, i] / PAGE_SIZE, 1.0) * (100.0 * 60.0 / seconds[e])
            psi_pct[e, i] = (psi[e, i] - psi_before[e, i]) * (100.0 / (seconds[e] * US_PER_S))
            costs[e, 0] = max(costs[e, 0], rate)
            costs[e, 1] = max(costs[e, 1], psi_pct[e, i])
            costs[e, 2] += rate > level[0] or psi_pct[e, i] > level[1]
