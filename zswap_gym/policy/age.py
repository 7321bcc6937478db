"""How old the pages in zswap are, estimated from flows.

No kernel interface tells the age of zswap entries, so the population is followed by cohorts:
what was stored since the last sample enters at age 0, time moves mass to older bins, loads take
it away in proportion (younger bins more: what was used last comes back first), writebacks take
the oldest. The total is tied to memory.stat ``zswapped``, which is exact.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

EDGES_S: Array = np.concatenate([[0.0], np.geomspace(4.0, 4 * 86400.0, 24)])
"""Lower edges of the age bins, seconds; the last bin is open."""

_WIDTH_S = np.diff(EDGES_S)
_LOAD_WEIGHT = 1.0 / np.sqrt(EDGES_S + 8.0)  # hazard of being used again falls with idle time


@lru_cache(maxsize=512)
def _shift(dt_s: float) -> Array:
    """Matrix (bins, bins): where the mass of each bin lies ``dt_s`` later."""
    upper = np.append(EDGES_S[1:], np.inf)
    move = np.zeros((len(EDGES_S), len(EDGES_S)))
    for i, width in enumerate(_WIDTH_S):
        low, high = EDGES_S[i] + dt_s, EDGES_S[i] + width + dt_s
        move[i] = np.clip(np.minimum(upper, high) - np.maximum(EDGES_S, low), 0.0, None) / width
    move[-1, -1] = 1.0
    return move


class AgeEstimate:
    """Estimated pages per age bin, for any batch of cgroups.

    ``mass`` has shape (..., len(EDGES_S)), in pages.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.mass: Array = np.zeros((*shape, len(EDGES_S)))

    def reset(self, mask: npt.NDArray[np.bool_] | None = None) -> None:
        """Forget everything, or only where ``mask`` (shape of the batch) is true."""
        if mask is None:
            self.mass[...] = 0.0
        else:
            self.mass[mask] = 0.0

    def update(self, dt_s: Array, stored: Array, loaded: Array, written: Array, population: Array) -> Array:
        """Advance by ``dt_s`` with the flows of the interval, all in pages, shape (...).

        Returns ``mass``, whose sum is ``population``.
        """
        mass = self._grow_older(np.broadcast_to(np.maximum(dt_s, 0.0), stored.shape))
        mass[..., 0] += stored
        weighted = mass * _LOAD_WEIGHT
        total = weighted.sum(-1)
        taken = np.divide(loaded, total, out=np.zeros_like(total), where=total > 0)
        mass = np.maximum(mass - weighted * taken[..., None], 0.0)
        older = np.cumsum(mass[..., ::-1], axis=-1)[..., ::-1] - mass  # pages in strictly older bins
        mass = np.clip(mass - np.maximum(written[..., None] - older, 0.0), 0.0, None)
        total = mass.sum(-1)
        scale = np.divide(population, total, out=np.zeros_like(total), where=total > 0)
        mass *= scale[..., None]
        mass[..., 0] += np.where((total <= 0) & (population > 0), population, 0.0)
        self.mass = mass
        return mass

    def _grow_older(self, dt_s: Array) -> Array:
        """Shift every bin by the interval; entries are taken as spread evenly inside their bin."""
        flat = np.round(np.ravel(dt_s), 3)
        if flat.size and (flat == flat[0]).all():
            return self.mass @ _shift(float(flat[0]))
        moves = np.stack([_shift(float(dt)) for dt in flat]).reshape(*dt_s.shape, len(EDGES_S), len(EDGES_S))
        return np.einsum("...i,...ij->...j", self.mass, moves)

    def older_than(self, age_s: float) -> Array:
        """Estimated share of the entries that are at least ``age_s`` old, shape (...), 0 if empty."""
        upper = np.append(EDGES_S[1:], np.inf)
        inside = np.clip((upper - age_s) / (np.append(_WIDTH_S, np.inf)), 0.0, 1.0)
        inside[-1] = 1.0 if age_s <= EDGES_S[-1] else 0.5
        total = self.mass.sum(-1)
        old = (self.mass * inside).sum(-1)
        return np.divide(old, total, out=np.zeros_like(total), where=total > 0)

    def bytes_older_than(self, age_s: float) -> Array:
        """Uncompressed bytes at least ``age_s`` old: how an age maps to a size where a dialect has none."""
        return self.older_than(age_s) * self.mass.sum(-1) * 4096.0
