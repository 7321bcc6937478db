"""Increases of cumulative counters between two samples, and who may be compared with whom."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from zswap_gym.host.types import Table

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

    def __init__(self, counters: int, rows: int = 0) -> None:
        self._last: Array = np.zeros((counters, rows))
        self._seen: Mask = np.zeros(rows, bool)

    def reset(self, mask: Mask | None = None) -> None:
        """Forget all rows, or those where ``mask`` (rows,) is true."""
        self._seen[... if mask is None else mask] = False

    def adopt(self, rows: slice, other: Deltas) -> None:
        """Take the past of ``rows`` from another one that has as many."""
        self._last[:, rows], self._seen[rows] = other._last, other._seen

    def resize(self, rows: int) -> None:
        """Keep the first ``rows`` rows; further ones are new."""
        if rows != self._seen.size:
            self._last, self._seen = fitted(self._last, rows), fitted(self._seen, rows)

    def update(self, now: Array, here: Mask) -> tuple[Array, Mask]:
        """Increase (C, M), 0 where unknown, and where it is known (M,).

        ``now`` is (C, M); where ``here`` is false its values are not looked at.
        """
        delta = now - self._last
        known = here & self._seen
        fell = ~(delta >= 0)  # or is no number
        if np.count_nonzero(fell):
            known &= ~np.asarray(fell.any(axis=0))
        if np.count_nonzero(known) < known.size:
            delta = np.where(known, delta, 0.0)
        self._last, self._seen = now, here
        return delta, known
