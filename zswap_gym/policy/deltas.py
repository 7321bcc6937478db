"""Increases of cumulative counters between two samples, and who may be compared with whom."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from zswap_gym.host.types import Table
from zswap_gym.policy import rowwise

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
_T = TypeVar("_T", bound=np.generic)


def present(table: Table) -> Mask:
    """Rows (...,) of a table (..., K) that hold a cgroup: those without NaN, whole or in part."""
    return ~np.asarray(np.isnan(table).any(axis=-1))


def fitted(array: npt.NDArray[_T], rows: int) -> npt.NDArray[_T]:
    """The array (..., M) with ``rows`` in place of M: cut, or filled up with zeros."""
    missing = max(rows - array.shape[-1], 0)
    filled = np.zeros((*array.shape[:-1], missing), array.dtype)
    return np.concatenate([array[..., :rows], filled], axis=-1)


class Deltas:
    """Remembers the last value of C counters of M cgroups.

    A row that was absent, or in which any counter went backwards (the cgroup was made anew under
    its old name), is new: it has no past and no increase.
    """

    def __init__(self, counters: int, n: int = 0) -> None:
        self.last: Array = np.zeros((counters, n))
        """(C, M): what they stood at."""
        self.seen: Mask = np.zeros(n, bool)
        """(M,): whether that is known."""

    def reset(self, mask: Mask | None = None) -> None:
        """Forget all rows, or those where ``mask`` (M,) is true."""
        self.seen[... if mask is None else mask] = False

    def adopt(self, where: slice, other: Deltas) -> None:
        """Take the past of the rows ``where`` from another one that has as many."""
        self.last[:, where], self.seen[where] = other.last, other.seen

    def resize(self, n: int) -> None:
        """Keep the first ``n`` rows; further ones are new."""
        if n != self.seen.size:
            self.last, self.seen = fitted(self.last, n), fitted(self.seen, n)

    def update(self, now: Array, here: Mask) -> tuple[Array, Mask]:
        """Increase (C, M), 0 where unknown, and where it is known (M,).

        ``now`` is (C or more, M): its first C rows; where ``here`` is false they are not looked at.
        """
        delta, known = np.empty_like(self.last), np.empty_like(self.seen)
        rowwise.increase(np.ascontiguousarray(now), here, self.last, self.seen, delta, known, 0, len(here))
        return delta, known
