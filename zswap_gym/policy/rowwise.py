"""The arithmetic of observations and actions, one cgroup after the other, fit for a compiler.

A controller has numpy and nothing else and runs these functions as they stand: a few dozen numbers
for each of a few dozen cgroups. Training needs millions of rows, so the environments, which have
numba anyway, replace the functions by compiled ones (:func:`use`): one source, the same results to
the last bit. Only loops, scalars and arrays that the caller owns; what a Sample looks like comes
in as arrays of column numbers, so that a compiler's cache does not depend on it.

M is the number of rows (cgroups of any number of hosts), E of hosts, B of age bins.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from zswap_gym.units import PAGE_SIZE, US_PER_S

SLOW_S = 600.0
"""Time constant of the slow averages."""
TICK_S = 0.01
"""/proc/uptime counts hundredths."""
_DAY_S = 86400.0
_TINY = 1e-9

COLUMNS = (
    # counters, in the order of `increase`
    "time_s", "psi_some_total_us", "zswpout", "zswpin", "disk_reads", "zswpwb", "pgsteal",
    "memory_current", "memory_max", "memory_high", "host_mem_total",
    "anon", "zswapped", "zswap", "swap_current", "swapcached", "active_anon", "inactive_anon",
    "zswap_current", "zswap_max", "zswap_writeback",
    "psi_some_avg60", "hint_seconds_to_event", "hint_seconds_left", "hint_expected_bytes", "hint_known",
)  # fmt: skip
"""What :func:`describe` reads of a sample."""
COUNTERS = 7
"""How many of them, from the first, are cumulative."""
_ELAPSED, _STALLED, _STORED, _LOADED, _READS, _WRITTEN, _STOLEN = range(COUNTERS)
(
    _CURRENT, _MAX, _HIGH, _MEM_TOTAL,
    _ANON, _ZSWAPPED, _ZSWAP, _SWAP, _SWAPCACHED, _ACTIVE, _INACTIVE,
    _ZSWAP_CURRENT, _ZSWAP_MAX, _WRITEBACK,
    _AVG60, _TO_EVENT, _LEFT, _EXPECTED, _KNOWN,
) = range(COUNTERS, len(COLUMNS))  # fmt: skip

HOST_COLUMNS = (
    "time_s", "host_psi_some_total_us",
    "host_mem_free", "host_mem_total", "host_swap_free", "host_swap_total", "host_pool_bytes",
    "host_max_pool_percent", "time_of_day_s",
)  # fmt: skip
"""What :func:`describe_hosts` reads of a host's first sample."""
HOST_COUNTERS = 2
(
    _FREE, _TOTAL, _SWAP_FREE, _SWAP_TOTAL, _POOL, _POOL_PERCENT, _TIME_OF_DAY,
) = range(HOST_COUNTERS, len(HOST_COLUMNS))  # fmt: skip


def gather(table: Any, take: Any, x: Any, here: Any, first: Any, end: Any) -> None:
    """Columns ``take`` of a table (M, K) into ``x`` (len(take), M); ``here`` (M,): rows without NaN.

    A row with a NaN in it is absent and becomes zeros. Rows from ``first`` to before ``end``, here and below.
    """
    for m in range(first, end):
        here[m] = True
        for k in range(len(take)):
            x[k, m] = table[m, take[k]]
            if x[k, m] != x[k, m]:
                here[m] = False
        if not here[m]:
            x[:, m] = 0.0


def increase(now: Any, here: Any, last: Any, seen: Any, delta: Any, known: Any, first: Any, end: Any) -> None:
    """Increases (C, M) of the first C rows of ``now`` over ``last``, which is brought up to date.

    ``known`` (M,): there was a value before and no counter of the row fell; else its increases are 0.
    """
    for m in range(first, end):
        known[m] = here[m] and seen[m]
        for k in range(len(last)):
            delta[k, m] = now[k, m] - last[k, m]
            if not delta[k, m] >= 0.0:  # fell, or is no number
                known[m] = False
            last[k, m] = now[k, m]
        seen[m] = here[m]
        if not known[m]:
            delta[:, m] = 0.0


# --- ages ----------------------------------------------------------------------------------------


def advance(
    mass: Any, edges: Any, dt_s: Any, stored: Any, loaded: Any, written: Any, population: Any
) -> None:
    """One interval of ``dt_s`` seconds of age bins ``mass`` (M, B), in place; flows and times are (M,).

    ``edges`` (B,) are the lower ends of the bins, the last of which is open. Inside a bin entries are
    spread evenly.
    """
    for m in range(len(mass)):
        _grow_older(mass[m], edges, dt_s[m], stored[m], loaded[m], written[m], population[m])


def _grow_older(
    bins: Any, edges: Any, dt: Any, stored: Any, loaded: Any, written: Any, population: Any
) -> None:
    _move(bins, edges, dt)
    _store_and_load(bins, edges, dt, stored, loaded)
    _write(bins, written)
    _tie(bins, population)


def _move(bins: Any, edges: Any, dt: Any) -> None:
    """Time passes. Entries only grow older, so from the old end on no bin is in another's way."""
    last = len(bins) - 1
    j = last
    for i in range(last - 1, -1, -1):
        pages = bins[i]
        bins[i] = 0.0
        low, high = edges[i] + dt, edges[i + 1] + dt
        while edges[j] > low:
            j -= 1
        k = j
        while k <= last and edges[k] < high:
            upper = min(edges[k + 1], high) if k < last else high
            bins[k] += pages * (upper - max(edges[k], low)) / (high - low)
            k += 1


def _store_and_load(bins: Any, edges: Any, dt: Any, stored: Any, loaded: Any) -> None:
    """Stores of the interval are spread evenly over it; loads thin out what is there.

    The chance that a load took an entry falls as 1 / (age + 30 s), as reuse does, and grows with the
    time the entry was there to be taken. Both were chosen against the true ages of the simulated
    kernel (ten archetypes, with and without writeback): the shares older than 30, 120 and 600 s err
    by about 0.1 each on average.
    """
    last = len(bins) - 1
    weight = 0.0
    for j in range(last + 1):
        if dt > 0.0 and edges[j] < dt:
            bins[j] += stored * ((min(edges[j + 1], dt) if j < last else dt) - edges[j]) / dt
        elif j == 0:
            bins[j] += stored
        weight += bins[j] * _chance(edges, j, dt)
    if loaded > 0.0:
        factor = loaded / max(weight, _TINY)
        for j in range(last + 1):
            bins[j] *= max(1.0 - factor * _chance(edges, j, dt), 0.0)


def _chance(edges: Any, j: Any, dt: Any) -> Any:
    middle = (edges[j] + edges[j + 1]) / 2.0 if j < len(edges) - 1 else edges[j]
    return (1.0 if middle >= dt else middle / dt) / (middle + 30.0)


def _write(bins: Any, written: Any) -> None:
    """The oldest entries go."""
    for j in range(len(bins) - 1, -1, -1):
        if written <= 0.0:
            break
        gone = min(written, bins[j])
        bins[j] -= gone
        written -= gone


def _tie(bins: Any, population: Any) -> None:
    """The sum is known: what is missing was freed at any age, what is too much was stored just now."""
    total = 0.0
    for j in range(len(bins)):
        total += bins[j]
    if total > population:
        for j in range(len(bins)):
            bins[j] *= population / total
    else:
        bins[0] += population - total


# --- features ------------------------------------------------------------------------------------


def _log(x: Any, scale: Any) -> Any:
    """0 at 0, 1 at the top of the scale; ``scale`` holds 1 / floor and 1 / log1p(top / floor)."""
    return math.log1p(x * scale[0]) * scale[1] if x > 0.0 else 0.0


def _bounded(values: Any, low: Any, high: Any, out: Any) -> None:
    """Cut to the bounds; what is no number becomes the lower one."""
    for k in range(len(values)):
        out[k] = min(values[k], high[k]) if values[k] > low[k] else low[k]


def _flows(x: Any, delta: Any, m: Any, footprint: Any, slow: Any, scales: Any, values: Any) -> None:
    """Rates and their slow averages: ``values[16:24]``, of which 16 stores and 20 pages reclaimed."""
    per_page = 60.0 * PAGE_SIZE / (footprint * max(delta[_ELAPSED, m], TICK_S))
    loads = delta[_LOADED, m] * per_page
    refaults = delta[_READS, m] * per_page
    writebacks = delta[_WRITTEN, m] * per_page
    keep = math.exp(delta[_ELAPSED, m] * (-1.0 / SLOW_S))
    slow[0, m] = (slow[0, m] - loads) * keep + loads
    slow[1, m] = (slow[1, m] - refaults) * keep + refaults
    slow[2, m] = (slow[2, m] - writebacks) * keep + writebacks
    values[16] = _log(delta[_STORED, m] * per_page, scales[0])
    values[17] = _log(loads, scales[1])
    values[18] = _log(refaults, scales[2])
    values[19] = _log(writebacks, scales[3])
    values[20] = _log(delta[_STOLEN, m] * per_page, scales[4])
    for k in range(3):
        values[21 + k] = _log(slow[k, m], scales[5 + k])
    values[24] = _log(delta[_STALLED, m] / (max(delta[_ELAPSED, m], TICK_S) * US_PER_S), scales[8])
    values[25] = _log(x[_AVG60, m], scales[9])
    values[26] = _log(x[_TO_EVENT, m], scales[10])
    values[27] = _log(x[_LEFT, m], scales[11])
    values[28] = _log(x[_EXPECTED, m] / footprint, scales[12])


def _shares(x: Any, m: Any, footprint: Any, on_disk: Any, values: Any) -> None:
    """``values[1:9]``: what part of a whole something is."""
    limit = min(x[_MEM_TOTAL, m], x[_MAX, m], x[_HIGH, m])
    values[1] = x[_CURRENT, m] / max(x[_MEM_TOTAL, m], 1.0)
    values[2] = x[_CURRENT, m] / max(limit, 1.0)
    values[3] = x[_ZSWAPPED, m] / footprint
    values[4] = on_disk / footprint
    values[5] = x[_SWAPCACHED, m] / footprint
    values[6] = x[_ZSWAP, m] / max(x[_ZSWAPPED, m], 1.0)
    values[7] = x[_ACTIVE, m] / max(x[_ACTIVE, m] + x[_INACTIVE, m], 1.0)
    values[8] = x[_ZSWAP_CURRENT, m] / max(x[_ZSWAP_MAX, m], 1.0)


def _older(bins: Any, from_bin: Any, values: Any) -> None:
    """``values[12:]``: share of the entries in bins from each of ``from_bin`` (A,), ascending, on."""
    older = 0.0
    a = len(from_bin)
    for j in range(len(bins) - 1, -1, -1):
        older += bins[j]
        while a > 0 and from_bin[a - 1] == j:
            a -= 1
            values[12 + a] = older
    for a in range(len(from_bin)):
        values[12 + a] /= max(older, _TINY)


def describe(
    x: Any, here: Any, delta: Any, known: Any, current: Any, slow: Any, mass: Any, from_bin: Any,
    scales: Any, low: Any, high: Any, values: Any, sizes: Any, out: Any, first: Any, end: Any,
) -> None:  # fmt: skip
    """The first V of features.FEATURES, in their order, into ``out`` (M, F); absent rows get zeros.

    ``x`` and ``here`` are from :func:`gather`, ``delta`` and ``known`` from :func:`increase`, ``mass``
    (M, B) is up to date. ``current`` (M,) and ``slow`` (3, M) remember the last sample's memory.current
    and the slow averages. ``scales`` (13, 2) are those of :func:`_log`; ``values`` (M, V) is scratch.
    ``sizes`` (2, M) become bytes resident and footprints: what policy/memory.py goes on with.
    """
    for m in range(first, end):
        before = current[m]
        current[m] = x[_CURRENT, m]
        if not known[m]:
            before = current[m]
            slow[:, m] = 0.0
        if not here[m]:
            out[m, :] = 0.0
            continue
        on_disk = max(x[_SWAP, m] - x[_ZSWAPPED, m] - x[_SWAPCACHED, m], 0.0)
        footprint = max(x[_ANON, m] + x[_ZSWAPPED, m] + on_disk, PAGE_SIZE)
        sizes[0, m] = x[_ANON, m]
        sizes[1, m] = footprint
        row = values[m]
        row[0] = 1.0
        _shares(x, m, footprint, on_disk, row)
        _flows(x, delta, m, footprint, slow, scales, row)
        row[9] = slow[1, m] / max(slow[2, m], _TINY)
        row[10] = x[_WRITEBACK, m]
        row[11] = (current[m] - before) / footprint
        _older(mass[m], from_bin, row)
        row[29] = 0.0 if x[_KNOWN, m] > 0.0 else 1.0
        _bounded(row, low, high, out[m])


def observe(
    table: Any, take: Any, last: Any, seen: Any, current: Any, slow: Any, mass: Any, edges: Any,
    from_bin: Any, scales: Any, low: Any, high: Any, x: Any, here: Any, delta: Any, known: Any, values: Any,
    sizes: Any, out: Any, first: Any, end: Any,
) -> None:  # fmt: skip
    """A table (M, K) becomes features ``out`` (M, F); from ``x`` on arguments are scratch, then ``out``."""
    gather(table, take, x, here, first, end)
    increase(x, here, last, seen, delta, known, first, end)
    for m in range(first, end):
        if not known[m]:
            mass[m, :] = 0.0
        _grow_older(
            mass[m], edges, delta[_ELAPSED, m], delta[_STORED, m], delta[_LOADED, m], delta[_WRITTEN, m],
            x[_ZSWAPPED, m] / PAGE_SIZE,
        )  # fmt: skip
    describe(
        x,
        here,
        delta,
        known,
        current,
        slow,
        mass,
        from_bin,
        scales,
        low,
        high,
        values,
        sizes,
        out,
        first,
        end,
    )


def first_complete(table: Any, take: Any, x: Any, found: Any) -> None:
    """Columns ``take`` of the first row without NaN there of each table (E, N, K): ``x`` (len(take), E)."""
    for e in range(len(table)):
        found[e] = False
        for i in range(table.shape[1]):
            if not found[e]:
                found[e] = True
                for k in range(len(take)):
                    x[k, e] = table[e, i, take[k]]
                    if x[k, e] != x[k, e]:
                        found[e] = False
        if not found[e]:
            x[:, e] = 0.0


def describe_hosts(
    x: Any, found: Any, delta: Any, interval_s: Any, scales: Any, low: Any, high: Any, values: Any, out: Any
) -> None:
    """All features of features.HOST_FEATURES, in their order, into ``out`` (E, H).

    ``scales`` (2, 2) are those of :func:`_log` for stalled share and interval, ``values`` (H,) scratch.
    """
    for e in range(len(found)):
        elapsed = delta[0, e] if delta[0, e] > 0.0 else interval_s
        pool = x[_TOTAL, e] * x[_POOL_PERCENT, e] * 0.01
        clock = x[_TIME_OF_DAY, e] if abs(x[_TIME_OF_DAY, e]) < math.inf else 0.0
        angle = clock * (2.0 * math.pi / _DAY_S)
        values[0] = x[_FREE, e] / max(x[_TOTAL, e], 1.0)
        values[1] = x[_SWAP_FREE, e] / max(x[_SWAP_TOTAL, e], 1.0)
        values[2] = x[_POOL, e] / max(pool, 1.0)
        values[3] = _log(delta[1, e] / elapsed, scales[0])
        values[4] = _log(elapsed, scales[1])
        values[5] = math.sin(angle)
        values[6] = math.cos(angle)
        if found[e]:
            _bounded(values, low, high, out[e])
        else:
            out[e, :] = 0.0


def observe_hosts(
    table: Any, take: Any, last: Any, seen: Any, interval_s: Any, scales: Any, low: Any, high: Any,
    x: Any, found: Any, delta: Any, known: Any, values: Any, out: Any,
) -> None:  # fmt: skip
    """Tables (E, N, K) become host features ``out`` (E, H); from ``x`` on as in :func:`observe`."""
    first_complete(table, take, x, found)
    increase(x, found, last, seen, delta, known, 0, len(found))
    describe_hosts(x, found, delta, interval_s, scales, low, high, values, out)


# --- actions -------------------------------------------------------------------------------------


def decode(action: Any, table: Any, take: Any, bounds: Any, age: Any, size: Any, release: Any) -> None:
    """What actions (M, 3) mean on a sample table (M, K): ``age`` s, ``size`` and ``release`` bytes, all (M,).

    ``take`` are the columns anon, zswapped, swap_current, swapcached and memory_current. ``bounds``: log of
    the least age, its slope over the action, the amount up to which nothing is done, the largest shares of
    the footprint to write and to release, the least bytes to write.
    """
    for m in range(len(action)):
        row = table[m]
        there = max(0.0, row[take[1]])  # an absent one has nothing
        held = max(0.0, row[take[4]])
        on_disk = row[take[2]] - row[take[1]] - row[take[3]]
        footprint = row[take[0]] + row[take[1]] + max(0.0, on_disk)
        footprint = max(float(PAGE_SIZE), footprint)
        want = _amount(action[m, 1], bounds[2]) * bounds[3] * footprint
        want = min(max(want, bounds[5]), there) if want > 0.0 else 0.0
        size[m] = want - want % PAGE_SIZE
        freed = min(_amount(action[m, 2], bounds[2]) * bounds[4] * footprint, held)
        release[m] = freed - freed % PAGE_SIZE
        first = min(max(action[m, 0], -1.0), 1.0) if action[m, 0] == action[m, 0] else -1.0
        age[m] = math.exp((first + 1.0) * bounds[1] + bounds[0]) if size[m] > 0.0 else math.nan


def _amount(action: Any, nothing_below: Any) -> Any:
    """What part of the largest share an action asks for: the square of its place above the nothing zone."""
    place = (min(action, 1.0) - nothing_below) / (1.0 - nothing_below) if action > nothing_below else 0.0
    return place * place


# --- compiling -----------------------------------------------------------------------------------

_IN_ORDER = (
    "gather", "increase", "_move", "_chance", "_store_and_load", "_write", "_tie", "_grow_older",
    "advance", "_log",
    "_bounded", "_flows", "_shares", "_older", "describe", "observe", "first_complete", "describe_hosts",
    "observe_hosts", "_amount", "decode",
)  # fmt: skip
_CALLED = ("increase", "advance", "observe", "observe_hosts", "decode")


compiled = False
"""Whether the functions above have been replaced: such code warns of nothing."""


def use(inner: Callable[..., Any], called: Callable[..., Any]) -> None:
    """Replace all functions above by compiled ones: by ``called`` where Python calls, else by ``inner``."""
    mine = globals()
    mine["compiled"] = True
    for name in _IN_ORDER:
        mine[name] = (called if name in _CALLED else inner)(mine[name])
