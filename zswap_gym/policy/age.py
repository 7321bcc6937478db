"""How old the pages in zswap are, estimated from flows.

No kernel interface tells the age of zswap entries, so the population is followed in age bins:
what was stored since the last sample enters at the young end, time moves it on, loads thin it out
(young bins more: what was used last is used next), writebacks take the oldest, as the zswap LRU
does. The total is tied to memory.stat ``zswapped``, which is exact.

Pages that were there before the first sample count as stored at that moment: the estimate says
what is *known* to be old. It takes an hour of watching before anything is an hour old.
"""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt

from zswap_gym.policy import rowwise
from zswap_gym.policy.deltas import fitted
from zswap_gym.units import PAGE_SIZE

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

AGES_S: tuple[float, ...] = (30.0, 120.0, 600.0, 3600.0)
"""Ages at which the shares of older entries are told; each is an edge of a bin."""

EDGES_S: Array = np.unique(
    np.concatenate(
        [
            [0.0],
            np.geomspace(5.0, 30.0, 6),
            np.geomspace(30.0, 120.0, 5),
            np.geomspace(120.0, 600.0, 6),
            np.geomspace(600.0, 3600.0, 6),
            np.geomspace(3600.0, 4 * 86400.0, 10),
        ]
    ).round(6)
)
"""Lower edges of the age bins, seconds, about 1.4 apart; the last bin is open."""

BINS = len(EDGES_S)

_OLDER_BINS = np.tril(np.ones((BINS, BINS)), -1)  # mass @ this = mass in strictly older bins
FROM_BIN: npt.NDArray[np.int64] = np.searchsorted(EDGES_S, AGES_S)
"""The first bin that is at least as old as each of AGES_S."""


class AgeEstimate:
    """Estimated pages in zswap per age bin, for any batch of cgroups.

    ``mass`` has shape (*shape, BINS), in real pages.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.mass: Array = np.zeros((*shape, BINS))

    def reset(self, mask: Mask | None = None) -> None:
        """Forget everything, or only where ``mask`` (of ``shape``) is true."""
        self.mass[... if mask is None else mask] = 0.0

    def resize(self, n: int) -> None:
        """For shape (N,): keep the first ``n`` rows; further ones are empty."""
        self.shape = (n,)
        self.mass = np.ascontiguousarray(fitted(self.mass.T, n).T)

    def copy(self) -> AgeEstimate:
        """An independent copy."""
        return copy.deepcopy(self)

    def update(self, dt_s: Array, stored: Array, loaded: Array, written: Array, population: Array) -> Array:
        """Advance by ``dt_s`` seconds with the flows of that time, in pages, all of ``shape``.

        Returns ``mass``; its sum is ``population``. What the flows do not explain is taken as
        stored just now if there is more than expected, as freed at any age if there is less.
        """
        flows = (dt_s, stored, loaded, written, population)
        rowwise.advance(self.mass.reshape(-1, BINS), EDGES_S, *(x.ravel() for x in flows))
        return self.mass

    def _older(self, age_s: npt.ArrayLike) -> Array:
        """Pages at least ``age_s`` old, of ``shape``; even inside a bin, the open one counts whole."""
        age = np.asarray(age_s, np.float64)[..., None]
        inside = np.ones((*age.shape[:-1], BINS))
        inside[..., :-1] = np.clip((EDGES_S[1:] - age) / np.diff(EDGES_S), 0.0, 1.0)
        return np.asarray((self.mass * inside).sum(-1))

    def older_than(self, age_s: npt.ArrayLike) -> Array:
        """Share of the entries at least ``age_s`` (a number or of ``shape``) old; 0 where there are none."""
        share: Array = self._older(age_s) / np.maximum(self.mass.sum(-1), 1e-9)
        return share

    def bytes_older_than(self, age_s: npt.ArrayLike) -> Array:
        """Uncompressed bytes at least ``age_s`` old: an age as a size, for dialects that have no age."""
        return self._older(age_s) * PAGE_SIZE

    def age_for_bytes(self, size: npt.ArrayLike) -> Array:
        """The largest age that ``size`` uncompressed bytes of entries have reached, of ``shape``.

        The inverse of :meth:`bytes_older_than`; 0 where less than that is in zswap at all, and at
        most the lower edge of the open bin.
        """
        pages = np.broadcast_to(np.asarray(size, np.float64) / PAGE_SIZE, self.shape)[..., None]
        older = self.mass @ _OLDER_BINS
        reached = older + self.mass >= np.maximum(pages, 1e-9)  # from the bin's lower edge on up
        last = np.where(reached.any(-1), BINS - 1 - np.argmax(reached[..., ::-1], axis=-1), 0)[..., None]
        here = np.take_along_axis(self.mass, last, -1)
        short = np.maximum(pages - np.take_along_axis(older, last, -1), 0.0)
        width = np.append(np.diff(EDGES_S), 0.0)[last]
        share = np.clip(1.0 - short / np.maximum(here, 1e-9), 0.0, 1.0)
        return np.where(reached.any(-1), (EDGES_S[last] + width * share)[..., 0], 0.0)
