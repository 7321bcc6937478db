"""Fixed settings: an age, what is offered and what is released, the same at every decision."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from zswap_gym.host.types import COLUMN, Table
from zswap_gym.policy.laws.watch import LEAST_BYTES
from zswap_gym.policy.promise import footprint
from zswap_gym.units import PAGE_SIZE

Floats = npt.NDArray[np.float64]
Asked = tuple[Floats, Floats, Floats]
"""age_s, max_bytes and release_bytes, as :func:`zswap_gym.policy.actions.decode` gives them."""

AGES_S = (600.0, 1200.0, 2400.0, 4800.0)
OFFERS = (0.02, 0.08)
"""Of the footprint, per minute: most that is written."""
RELEASES = (0.0, 0.004, 0.012, 0.03)
"""Of the footprint, per minute, beside what was written."""


def grid() -> Floats:
    """(3, G): age, offer and release of every setting that hindsight tries; the first does nothing."""
    nothing = [(np.nan, 0.0, 0.0)]
    release_only = [(np.nan, 0.0, release) for release in RELEASES if release]
    pairs = list(itertools.product(AGES_S, OFFERS, RELEASES))
    return np.array([*nothing, *release_only, *pairs]).T


class Follower:
    """Asks for what settings say, decision by decision, of E hosts with N cgroups.

    A release follows what was written since the last decision, as the trackers' does.

    Args:
        settings: (3, E, N): age in seconds, offer and release as shares of the footprint per minute.
        tables: (E, N, K): the samples before the first decision.
    """

    def __init__(self, settings: Floats, tables: Table) -> None:
        self._settings = settings
        self._written = tables[..., COLUMN["zswpwb"]].copy()

    def decide(self, tables: Table, minutes: float) -> Asked:
        """Requests (E, N), ``minutes`` after the last ones."""
        age, offer, release = self._settings
        size = footprint(tables)
        stored = tables[..., COLUMN["zswapped"]]
        written = np.maximum(tables[..., COLUMN["zswpwb"]] - self._written, 0.0) * PAGE_SIZE
        self._written = tables[..., COLUMN["zswpwb"]].copy()
        some = (offer > 0) & (stored >= PAGE_SIZE)
        most = np.where(some, np.minimum(np.maximum(offer * size * minutes, LEAST_BYTES), stored), 0.0)
        freed = np.minimum(release * size * minutes + written, tables[..., COLUMN["memory_current"]])
        return np.where(some, age, np.nan), _whole(most), _whole(freed)


def _whole(size: Floats) -> Floats:
    pages: Floats = np.floor(size / PAGE_SIZE) * PAGE_SIZE
    return pages
