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
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from zswap_gym.units import PAGE_SIZE

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

AGES_S: tuple[float, ...] = (30.0, 120.0, 600.0, 3600.0)
"""Ages at which the shares of older entries are told; each is an edge of a bin."""

EDGES_S: Array = np.unique(
    np.concatenate([
        [0.0],
        np.geomspace(5.0, 30.0, 6),
        np.geomspace(30.0, 120.0, 5),
        np.geomspace(120.0, 600.0, 6),
        np.geomspace(600.0, 3600.0, 6),
        np.geomspace(3600.0, 4 * 86400.0, 10),
    ]).round(6)
)
"""Lower edges of the age bins, seconds, about 1.4 apart; the last bin is open."""

BINS = len(EDGES_S)

# Chance that a load hits an entry falls with its age about as 1 / (age + 30 s): reuse distances are
# heavy-tailed. 30 s lets everything stored within one decision interval be equally likely.
_LOAD_WEIGHT = 1.0 / (EDGES_S + 30.0)
_OLDER_BINS = np.tril(np.ones((BINS, BINS)), -1)  # mass @ this = mass in strictly older bins
_OLDER_THAN = (EDGES_S[:, None] >= np.array((0.0, *AGES_S))).astype(np.float64)
_ALL = np.ones(BINS)  # mass @ this = the sum, faster than sum() on arrays this small


@lru_cache(maxsize=64)
def _ageing(dt_s: float) -> tuple[Array, Array]:
    """Where mass lies ``dt_s`` later: a matrix (BINS, BINS), and where stores since then lie, (BINS,).

    Inside a bin entries are taken as spread evenly; so are stores over the interval.
    """
    low, high = EDGES_S[:-1, None] + dt_s, EDGES_S[1:, None] + dt_s
    upper = np.append(EDGES_S[1:], np.inf)
    move = np.zeros((BINS, BINS))
    move[:-1] = np.maximum(np.minimum(upper, high) - np.maximum(EDGES_S, low), 0.0) / (high - low)
    move[-1, -1] = 1.0
    if dt_s <= 0:
        return move, np.eye(BINS)[0]
    return move, np.maximum(np.minimum(upper, dt_s) - EDGES_S, 0.0) / dt_s


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

    def copy(self) -> AgeEstimate:
        """An independent copy."""
        return copy.deepcopy(self)

    def update(self, dt_s: Array, stored: Array, loaded: Array, written: Array, population: Array) -> Array:
        """Advance by ``dt_s`` seconds with the flows of that time, in pages, all of ``shape``.

        Returns ``mass``; its sum is ``population``. What the flows do not explain is taken as
        stored just now if there is more than expected, as freed at any age if there is less.
        """
        mass = self._grow_older(np.maximum(dt_s, 0.0), stored)
        if loaded.any():
            chance = (loaded / np.maximum(mass @ _LOAD_WEIGHT, 1e-9))[..., None] * _LOAD_WEIGHT
            mass *= np.maximum(1.0 - chance, 0.0)
        if written.any():
            short = np.maximum(written[..., None] - mass @ _OLDER_BINS, 0.0)
            mass -= np.minimum(short, mass)
        total = mass @ _ALL
        mass *= np.minimum(population / np.maximum(total, 1e-9), 1.0)[..., None]
        mass[..., 0] += np.maximum(population - total, 0.0)
        self.mass = mass
        return mass

    def _grow_older(self, dt_s: Array, stored: Array) -> Array:
        flat = dt_s.ravel()
        first = float(flat[0]) if flat.size else 0.0
        if not (flat != first).any():  # the usual case: one interval for all
            move, young = _ageing(round(first, 3))
            return self.mass @ move + stored[..., None] * young
        old, mass = self.mass.reshape(-1, BINS), np.empty((flat.size, BINS))
        for dt in np.unique(flat):
            here = flat == dt
            move, young = _ageing(round(float(dt), 3))
            mass[here] = old[here] @ move + stored.ravel()[here, None] * young
        return mass.reshape(self.mass.shape)

    def shares(self) -> Array:
        """Share of the entries older than each of :data:`AGES_S`, (*shape, 4); 0 where there are none."""
        older = self.mass @ _OLDER_THAN
        return older[..., 1:] / np.maximum(older[..., :1], 1e-9)

    def _older(self, age_s: npt.ArrayLike) -> Array:
        """Pages at least ``age_s`` old, of ``shape``; even inside a bin, the open one counts whole."""
        age = np.asarray(age_s, np.float64)[..., None]
        inside = np.ones((*age.shape[:-1], BINS))
        inside[..., :-1] = np.clip((EDGES_S[1:] - age) / np.diff(EDGES_S), 0.0, 1.0)
        return (self.mass * inside).sum(-1)

    def older_than(self, age_s: npt.ArrayLike) -> Array:
        """Share of the entries at least ``age_s`` (a number or of ``shape``) old; 0 where there are none."""
        return self._older(age_s) / np.maximum(self.mass.sum(-1), 1e-9)

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
