"""What laws with feedback see of each cgroup since they last looked, and how they ask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zswap_gym.host.types import COLUMN, NOTHING, Request, Table
from zswap_gym.policy.age import AgeEstimate
from zswap_gym.policy.deltas import Deltas, Mask, fitted, present
from zswap_gym.policy.promise import footprint
from zswap_gym.units import PAGE_SIZE

Array = npt.NDArray[np.float64]

LEAST_BYTES = 512 * 1024
"""Smaller writebacks spoil the LRU order (FINDINGS 7)."""
LONGEST_S = 3600.0
"""A longer gap between two looks counts as an hour at its average rates."""

_COUNTERS = ("time_s", "disk_reads", "zswpin", "zswpout", "zswpwb", "psi_some_total_us")
_COLUMNS = [COLUMN[name] for name in _COUNTERS]


@dataclass(frozen=True, slots=True)
class Look:
    """One look; all arrays are (N,), and 0 where a row has no cgroup or no past."""

    here: Mask
    """Rows that hold a cgroup."""
    known: Mask
    """Rows whose past is known: the flows below are of ``seconds``."""
    seconds: Array
    reads: Array
    """Pages read from the swap device, see host/refaults.py."""
    loads: Array
    """Pages, zswpin."""
    stores: Array
    """Pages, zswpout."""
    written: Array
    """Pages, zswpwb: whoever wrote them."""
    followed: Array
    """Bytes written of what was asked for last: what a release may follow. What the kernel writes because
    its pool is full is not, or every release would call for the next."""
    stalled_us: Array
    current: Array
    """Bytes, memory.current."""
    resident: Array
    """Bytes, memory.stat anon."""
    zswapped: Array
    """Bytes in zswap, uncompressed."""
    footprint: Array
    """Bytes, :func:`zswap_gym.policy.promise.footprint`."""

    @property
    def minutes(self) -> Array:
        """The same time in minutes."""
        return self.seconds / 60.0

    @property
    def psi_pct(self) -> Array:
        """Percent of the time that was stalled (some)."""
        return self.stalled_us / np.maximum(self.seconds, 1e-9) * 1e-4

    def release(self, share: Array | float, dt_s: float) -> Array:
        """Bytes to release: a share of the footprint per minute, and what was written as asked."""
        size: Array = self.footprint * share * (dt_s / 60.0) + self.followed
        return size

    def average(self, old: Array, new: Array, time_s: float) -> Array:
        """Exponential average with time constant ``time_s``; rows without a past keep the old value."""
        keep = np.exp(-self.seconds / time_s)
        mixed: Array = keep * old + (1.0 - keep) * new
        return mixed


class Watch:
    """Looks at sample tables and remembers the last one's counters."""

    def __init__(self) -> None:
        self._past = Deltas(len(_COLUMNS))
        self._asked: Array = np.zeros(0)

    def reset(self, n: int) -> None:
        """Forget the past; ``n`` rows follow."""
        self._past = Deltas(len(_COLUMNS), n)
        self._asked = np.zeros(n)

    def look(self, table: Table) -> Look:
        """Take in a table (N, K); N may have changed: rows keep their past by position."""
        here = present(table)
        self._past.resize(len(table))
        delta, known = self._past.update(table[:, _COLUMNS].T, here)
        elapsed = delta[0]
        seconds = np.minimum(elapsed, LONGEST_S)
        reads, loads, stores, written, stalled_us = delta[1:] * (seconds / np.maximum(elapsed, 1e-9))

        def size(values: Array) -> Array:
            return np.where(here, values, 0.0)

        return Look(
            here=here,
            known=known,
            seconds=seconds,
            reads=reads,
            loads=loads,
            stores=stores,
            written=written,
            followed=np.minimum(written * PAGE_SIZE, np.where(known, fitted(self._asked, len(table)), 0.0)),
            stalled_us=stalled_us,
            current=size(table[:, COLUMN["memory_current"]]),
            resident=size(table[:, COLUMN["anon"]]),
            zswapped=size(table[:, COLUMN["zswapped"]]),
            footprint=size(footprint(table)),
        )

    def ask(self, look: Look, age_s: Array, write: Array, release: Array) -> list[Request]:
        """Requests for writebacks and releases (N,) in bytes: whole pages, and no more than there is.

        A writeback is at least :data:`LEAST_BYTES` where it is asked for at all, or all that zswap holds.
        """
        some = (write > 0) & (look.zswapped >= PAGE_SIZE)
        self._asked = np.where(some, np.minimum(np.maximum(write, LEAST_BYTES), look.zswapped), 0.0)
        released = np.minimum(np.maximum(release, 0.0), look.current)
        sizes = zip(age_s.tolist(), whole_pages(self._asked), whole_pages(released), strict=True)
        return [
            Request(age if size else None, size, freed) if size or freed else NOTHING
            for age, size, freed in sizes
        ]


def carried(state: Array, known: Mask, start: Array) -> Array:
    """The state (C, M) of N rows: as it was where a row's past is known, ``start`` (C,) elsewhere."""
    kept: Array = np.where(known, fitted(state, known.size), np.asarray(start, float)[:, None])
    return kept


def follow(ages: AgeEstimate, look: Look) -> None:
    """Let the estimated ages of what is in zswap, of shape (M,), go on to a look.

    What a row without a past has in zswap counts as old until flows say otherwise, so that a law can begin
    at once.
    """
    ages.resize(look.known.size)
    population = look.zswapped / PAGE_SIZE
    ages.mass *= look.known[:, None]
    ages.mass[~look.known, -1] = population[~look.known]
    ages.update(look.seconds, look.stores, look.loads, look.written, population)


def whole_pages(size: Array) -> list[int]:
    """Sizes (N,) cut down to whole pages."""
    return [int(x) for x in (np.floor(size / PAGE_SIZE) * PAGE_SIZE).tolist()]
