"""What a rule remembers, as features: what was asked for last, what came of it, how the promise stands.

A rule keeps such numbers to itself; a policy has none but what it sees. Their memory begins with whoever
decides: with an episode, or with the controller's first look at a cgroup.

Fit for a compiler as policy/rowwise.py is, and for the same reason. A compiler's cache looks at this file
alone: nothing here calls a function of another one. M is the number of rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from zswap_gym.policy.promise import MINUTE_S
from zswap_gym.units import PAGE_SIZE

SLOW_S = 600.0
"""Time constant of the average of CPU: that of the other slow features."""
HOUR_S = 3600.0
"""Time constant of the average of broken minutes."""
LONGEST_S = 3600.0
"""A longer gap between two looks counts as an hour at its average rates, as laws/watch.py has it."""
STEADY_BROKEN = 0.03
"""Share of broken minutes at which caution stands still: the promise allows 5 % over a whole run, and
what steers to the edge is beyond it half of the time. The rule laws/trackers.py steers to the same."""
KEPT_STEP = 0.01
"""Caution lost in a kept minute: from all to none in 100 minutes without trouble."""
BROKEN_STEP = KEPT_STEP * (1.0 - STEADY_BROKEN) / STEADY_BROKEN
"""Caution gained in a broken one."""
CAUTION = 0.5
"""Caution to begin with."""
DEBT = 10.0
"""Most that caution adds up to. A policy sees 1 at most and leaves the cgroup alone (rows.CEILING), but what
lies above has to be worked off first: cut at 1, a cgroup whose every trial breaks ten minutes was tried again
after five kept ones, and 70 % of its minutes broke. This much takes 15 hours."""

FEATURES = 8
"""How many features there are: the last ones of features.FEATURES."""
START = np.array([0.0, 0.0, 0.0, 0.0, CAUTION, 0.0])
"""The state of a row without a past."""
_INTO_S, _READS, _LAST_READS, _BROKEN, _CAUTION, _CPU = range(len(START))

_GIB = float(1 << 30)
_SHORTEST_S = 0.01  # /proc/uptime counts hundredths
_KEEP_HOUR = math.exp(-MINUTE_S / HOUR_S)


def begin(state: Any, m: Any) -> None:
    """Row m of ``state`` (len(START), M) as :data:`START`."""
    state[:, m] = 0.0
    state[_CAUTION, m] = CAUTION


def end_minute(state: Any, m: Any, broken: Any) -> None:
    """A minute of row m is over."""
    state[_LAST_READS, m] = state[_READS, m]
    state[_INTO_S, m] = 0.0
    state[_READS, m] = 0.0
    if broken:
        state[_BROKEN, m] = state[_BROKEN, m] * _KEEP_HOUR + (1.0 - _KEEP_HOUR)
        state[_CAUTION, m] = min(state[_CAUTION, m] + BROKEN_STEP, DEBT)
    else:
        state[_BROKEN, m] = state[_BROKEN, m] * _KEEP_HOUR
        state[_CAUTION, m] = max(state[_CAUTION, m] - KEPT_STEP, 0.0)


def pass_minutes(state: Any, m: Any, seconds: Any, reads: Any, resident: Any, limit_pct: Any) -> None:
    """policy.promise.MinuteMeter.add of row m: reads are shared out evenly over the minutes they fall in."""
    to_pct = 100.0 * PAGE_SIZE
    room = MINUTE_S - state[_INTO_S, m]
    while seconds >= room - 1e-6:
        part = reads * min(room / max(seconds, 1e-9), 1.0)
        state[_READS, m] += part
        end_minute(state, m, state[_READS, m] * to_pct / max(resident, PAGE_SIZE) > limit_pct)
        seconds = max(seconds - room, 0.0)
        reads -= part
        room = MINUTE_S
    state[_INTO_S, m] += seconds
    state[_READS, m] += reads


def remember(
    elapsed: Any, stored: Any, loaded: Any, reads: Any, written: Any, resident: Any, footprint: Any,
    here: Any, known: Any, asked: Any, state: Any, limits: Any, scales: Any, out: Any, first: Any, end: Any,
) -> None:  # fmt: skip
    """The features of memory of rows ``first`` to before ``end`` into the last columns of ``out`` (M, F).

    Since the last look, all (M,): ``elapsed`` s, pages ``stored``, ``loaded``, ``reads`` (from disk) and
    ``written``; at this one ``resident`` and ``footprint`` bytes. ``known`` rows have a past, those not
    ``here`` are left out. ``asked`` (3, M) at the last decision: minimum age, bytes to write, bytes to
    release; it is used up. ``state`` (len(START), M) is brought up to date. ``limits``: a promise's disk
    reads, its CPU, microseconds to compress and to decompress a page. ``scales`` (5, 2): 1 / floor and
    1 / log1p(top / floor) of age, share asked, reads, broken minutes, CPU.
    """
    at = out.shape[1] - FEATURES
    for m in range(first, end):
        if not known[m]:
            begin(state, m)
            asked[:, m] = 0.0
        if here[m]:
            longest = min(elapsed[m], LONGEST_S)
            seen = reads[m] * (longest / max(elapsed[m], _SHORTEST_S))
            pass_minutes(state, m, longest, seen, resident[m], limits[0])
            spent_us = stored[m] * limits[2] + (loaded[m] + written[m]) * limits[3]
            spent = spent_us / max(elapsed[m], _SHORTEST_S) * 1e-4 / (footprint[m] / _GIB)
            state[_CPU, m] = (state[_CPU, m] - spent) * math.exp(elapsed[m] * (-1.0 / SLOW_S)) + spent
            most = max(state[_READS, m], state[_LAST_READS, m])
            reads_pct = most * (100.0 * PAGE_SIZE) / max(resident[m], PAGE_SIZE)
            out[m, at] = scaled(asked[0, m], scales[0])
            out[m, at + 1] = scaled(asked[1, m] / footprint[m], scales[1])
            out[m, at + 2] = scaled(asked[2, m] / footprint[m], scales[1])
            out[m, at + 3] = min(written[m] * PAGE_SIZE / asked[1, m], 1.0) if asked[1, m] > 0.0 else 0.0
            out[m, at + 4] = scaled(reads_pct / limits[0], scales[2])
            out[m, at + 5] = scaled(state[_BROKEN, m], scales[3])
            out[m, at + 6] = min(state[_CAUTION, m], 1.0)
            out[m, at + 7] = scaled(state[_CPU, m] / limits[1], scales[4])
        asked[:, m] = 0.0


def scaled(x: Any, scale: Any) -> Any:
    """A log scale from 0 to 1, as rowwise has it: 0 at 0 and where x is no number."""
    return min(math.log1p(x * scale[0]) * scale[1], 1.0) if x > 0.0 else 0.0


def use(inner: Callable[..., Any], called: Callable[..., Any]) -> None:
    """Replace the functions above by compiled ones, as :func:`zswap_gym.policy.rowwise.use` does."""
    mine = globals()
    for name in ("begin", "end_minute", "pass_minutes", "scaled"):
        mine[name] = inner(mine[name])
    mine["remember"] = called(mine["remember"])
