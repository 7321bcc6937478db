"""Actions: three numbers in [-1, 1] per cgroup become a Request, the same in training and on a host.

The first is the minimum age, on a log scale between the bounds. The second is how much to write back, the
third how much to release, each for itself: in the nothing zone nothing is done, above it the share of the
cgroup's footprint (policy/promise.py) grows with the square, fine where it is small. Shares are of the
footprint because that is what the best rules reckon by: what lies in zswap changes with every decision.

A call whose age nobody meets rotates the oldest entries and spoils the next small calls
(FINDINGS 7), and the kernel overshoots small budgets by up to a batch of 128 pages anyway, so a
writeback is of at least ``min_bytes`` (512 KiB) wherever the cgroup has that much in zswap, and of all it
has where it has less. Below one page nothing is left to ask for: version 1 says EINVAL.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from zswap_gym.host.types import COLUMN, NOTHING, Request, Table
from zswap_gym.policy import rowwise
from zswap_gym.units import PAGE_SIZE, is_finite

Array = npt.NDArray[np.float64]

_TAKE = np.array(
    [COLUMN[name] for name in ("anon", "zswapped", "swap_current", "swapcached", "memory_current")]
)
PER_CGROUP = 3
"""Numbers per cgroup: age, write, release."""


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """Bounds of what an action can mean; part of the contract."""

    age_min_s: float = 10.0
    age_max_s: float = 14400.0
    nothing_below: float = -0.6
    """Amounts up to this do nothing."""
    max_write_share: float = 0.16
    """Largest share of a cgroup's footprint one decision may write."""
    max_release_share: float = 0.16
    """Largest share of a cgroup's footprint one decision may release."""
    min_bytes: int = 512 * 1024
    """Least that is written where anything is."""

    @property
    def nothing(self) -> float:
        """The amount that says nothing: in the middle of its zone, where a little noise changes nothing."""
        return (self.nothing_below - 1.0) / 2.0

    def problem(self) -> str:
        """What is wrong with a bound, in words; empty where nothing is."""
        for f in fields(self):
            value = getattr(self, f.name)
            if not is_finite(value):
                return f"{f.name} = {value!r}; give a number"
        bounds = (
            ("age_min_s", self.age_min_s > 0, "above 0"),
            ("age_max_s", self.age_min_s < self.age_max_s, "above age_min_s"),
            ("nothing_below", -1 <= self.nothing_below < 1, "from -1 to below 1"),
            ("max_write_share", 0 < self.max_write_share <= 1, "above 0, at most 1"),
            ("max_release_share", 0 < self.max_release_share <= 1, "above 0, at most 1"),
            ("min_bytes", self.min_bytes >= 0, "of at least 0"),
        )
        return next(
            (f"{n} = {getattr(self, n)!r}; give a number {rule}" for n, ok, rule in bounds if not ok), ""
        )


def decode(action: npt.ArrayLike, table: Table, spec: ActionSpec) -> tuple[Array, Array, Array]:
    """Physical requests for actions (..., N, 3) on a sample table (..., N, K).

    Returns (age_s, max_bytes, release_bytes), float64 (..., N): age NaN = no writeback; bytes
    uncompressed, whole pages, 0 = nothing. Actions are clipped to [-1, 1] and a NaN counts as -1;
    an absent cgroup gets nothing.
    """
    age, size, release = (np.empty(table.shape[:-1]) for _ in range(3))
    flat = np.ascontiguousarray(action, np.float64).reshape(-1, PER_CGROUP)
    rows = np.ascontiguousarray(table).reshape(-1, table.shape[-1])
    rowwise.decode(flat, rows, _TAKE, _bounds(spec), age.reshape(-1), size.reshape(-1), release.reshape(-1))
    return age, size, release


@lru_cache
def _bounds(spec: ActionSpec) -> Array:
    """A spec as `rowwise.decode` takes it."""
    log_min, log_max = math.log(spec.age_min_s), math.log(spec.age_max_s)
    shares = (spec.nothing_below, spec.max_write_share, spec.max_release_share)
    return np.array([log_min, (log_max - log_min) / 2.0, *shares, spec.min_bytes])


def encode(
    age_s: npt.ArrayLike,
    write_bytes: npt.ArrayLike,
    release_bytes: npt.ArrayLike,
    footprint: npt.ArrayLike,
    spec: ActionSpec,
) -> Array:
    """Actions (..., 3) that decode to these requests, all (...,), at footprints (...,) in bytes.

    What is beyond the spec's bounds is cut to them. An age of NaN, or no bytes, is no writeback: the age in
    the middle, and the amount in the middle of the nothing zone, which is that of no release too.
    """
    age, write, release = (np.asarray(x, np.float64) for x in (age_s, write_bytes, release_bytes))
    writes = (write > 0) & ~np.isnan(age)
    log_min, slope, *_ = _bounds(spec).tolist()
    place = (np.log(np.clip(age, spec.age_min_s, spec.age_max_s)) - log_min) / slope - 1.0
    most = np.asarray(footprint, np.float64)
    return np.stack(
        np.broadcast_arrays(
            np.where(writes, np.clip(place, -1.0, 1.0), 0.0),
            np.where(writes, _amount(write, most * spec.max_write_share, spec), spec.nothing),
            np.where(release > 0, _amount(release, most * spec.max_release_share, spec), spec.nothing),
        ),
        axis=-1,
    )


def _amount(size: Array, most: Array, spec: ActionSpec) -> Array:
    """The action of so many whole pages, and half a page: what it decodes to is cut to whole ones."""
    place = np.sqrt(np.clip((size - size % PAGE_SIZE + PAGE_SIZE / 2) / most, 0.0, 1.0))
    action: Array = spec.nothing_below + place * (1.0 - spec.nothing_below)
    return action


def to_requests(age_s: Array, max_bytes: Array, release_bytes: Array) -> list[Request]:
    """Requests from decoded arrays of shape (N,)."""
    return [
        Request(None if math.isnan(age) else age, int(size), int(release))
        if max(size, release) > 0
        else NOTHING
        for age, size, release in zip(age_s.tolist(), max_bytes.tolist(), release_bytes.tolist(), strict=True)
    ]


def from_requests(requests: Sequence[Request]) -> tuple[Array, Array, Array]:
    """Arrays (age NaN = none, bytes, release) from Requests: the inverse of :func:`to_requests`."""
    age = np.array([math.nan if r.age_s is None else r.age_s for r in requests], np.float64)
    size = np.array([r.max_bytes for r in requests], np.float64)
    release = np.array([r.release for r in requests], np.float64)
    return age, size, release
