"""Pages that came back from the swap device, told from a cgroup's own counters: the one place that says how.

Disk refaults are ``pgmajfault - zswpin``: every page read for a fault is a major fault, and those that
zswap had are counted apart. ``workingset_refault_anon`` will not do: the kernel reads a page into the
swap cache to write it back and counts that as a refault, so that a controller that watches it sees
itself (measured: refault_anon = pgmajfault + zswpwb within 2 pages at page-cluster 0).

What it does not know: with readahead (page-cluster > 0) one major fault reads several pages and zswpin
may exceed it, the difference is cut at 0 then and says less; and a file's pages read by a fault are
major faults too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

COUNTERS = ("pgmajfault", "zswpin")
"""Columns of a sample whose growth is needed."""


def disk_refaults(majfault: Array, zswpin: Array) -> Array:
    """Pages (...,) read from the swap device, from the growth of :data:`COUNTERS` over the same time."""
    pages: Array = np.maximum(majfault - zswpin, 0.0)
    return pages
