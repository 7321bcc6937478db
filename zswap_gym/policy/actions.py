"""Actions: two numbers in [-1, 1] per cgroup become a Request, the same in training and on a host.

The first is the minimum age, on a log scale between the bounds; its top tenth means *no
writeback, release only*. The second is the amount: in the nothing zone nothing is done, above it
the share of the cgroup's zswapped bytes grows with the square, fine where it is small. What is
written back is also released: the release has the size of the amount (DESIGN 7).

A call whose age nobody meets rotates the oldest entries and spoils the next small calls
(FINDINGS 7), and the kernel overshoots small budgets by up to a batch of 128 pages anyway, so an
amount is at least ``min_bytes`` (512 KiB) wherever the cgroup has that much in zswap, and all it
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
from zswap_gym.units import is_finite

Array = npt.NDArray[np.float64]

_FLOAT32_STEP = 1e-7  # actions travel as float32: 0.8 becomes 0.80000001, which is release only

_ZSWAPPED = COLUMN["zswapped"]
PER_CGROUP = 2
"""Numbers per cgroup: age and amount."""


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """Bounds of what an action can mean; part of the contract."""

    age_min_s: float = 5.0
    age_max_s: float = 7200.0
    max_share: float = 0.125
    """Largest share of a cgroup's zswapped bytes one decision may write."""
    nothing_below: float = -0.5
    """Amounts up to this do nothing."""
    min_bytes: int = 512 * 1024
    release_only_above: float = 0.8
    """Ages above this mean: no writeback."""

    def problem(self) -> str:
        """What is wrong with a bound, in words; empty where nothing is."""
        for f in fields(self):
            value = getattr(self, f.name)
            if not is_finite(value):
                return f"{f.name} = {value!r}; give a number"
        bounds = (
            ("age_min_s", self.age_min_s > 0, "above 0"),
            ("age_max_s", self.age_min_s < self.age_max_s, "above age_min_s"),
            ("max_share", 0 < self.max_share <= 1, "above 0, at most 1"),
            ("nothing_below", -1 <= self.nothing_below < 1, "from -1 to below 1"),
            ("min_bytes", self.min_bytes >= 0, "of at least 0"),
            ("release_only_above", -1 < self.release_only_above <= 1, "above -1, at most 1"),
        )
        return next(
            (f"{n} = {getattr(self, n)!r}; give a number {rule}" for n, ok, rule in bounds if not ok), ""
        )


def decode(action: npt.ArrayLike, table: Table, spec: ActionSpec) -> tuple[Array, Array, Array]:
    """Physical requests for actions (..., N, 2) on a sample table (..., N, K).

    Returns (age_s, max_bytes, release_bytes), float64 (..., N): age NaN = no writeback; bytes
    uncompressed, whole pages, 0 = nothing. Actions are clipped to [-1, 1] and a NaN counts as -1;
    an absent cgroup gets nothing.
    """
    age, size = np.empty(table.shape[:-1]), np.empty(table.shape[:-1])
    flat = np.ascontiguousarray(action, np.float64).reshape(-1, PER_CGROUP)
    rows = np.ascontiguousarray(table).reshape(-1, table.shape[-1])
    rowwise.decode(flat, rows, _ZSWAPPED, _bounds(spec), age.reshape(-1), size.reshape(-1))
    return age, size, size


@lru_cache
def _bounds(spec: ActionSpec) -> Array:
    """A spec as `rowwise.decode` takes it."""
    log_min, log_max = math.log(spec.age_min_s), math.log(spec.age_max_s)
    slope = (log_max - log_min) / (spec.release_only_above + 1.0)
    return np.array(
        [log_min, slope, spec.release_only_above, spec.nothing_below, spec.max_share, spec.min_bytes]
    )


def encode(age_s: float | None, share: float, spec: ActionSpec) -> tuple[float, float]:
    """The action that decodes to this age (None = release only) and share of zswapped bytes.

    Both are cut to the spec's bounds; a share of 0 is nothing.
    """
    if age_s is None:
        first = 1.0
    else:
        log_min, log_max = math.log(spec.age_min_s), math.log(spec.age_max_s)
        place = min(max((math.log(age_s) - log_min) / (log_max - log_min), 0.0), 1.0)
        first = place * (spec.release_only_above + 1.0) - 1.0
        first = min(first, spec.release_only_above - _FLOAT32_STEP)
    if share <= 0:
        return first, -1.0
    amount = math.sqrt(min(share / spec.max_share, 1.0))
    return first, spec.nothing_below + amount * (1.0 - spec.nothing_below)


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
