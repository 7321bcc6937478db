"""An age as a size, for kernels whose interface takes none (versions 2 to 5 of the series).

Writeback takes the oldest entries first, so "up to S of what is at least A old" is "up to S, and no
more than there is of that age". How much that is follows from the samples: see policy/age.py. A
request whose age nothing has reached becomes a release only, as version 1 would have written nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from zswap_gym.host.types import Request, Sample, table
from zswap_gym.policy.features import FeatureExtractor
from zswap_gym.units import PAGE_SIZE


class Ages:
    """Follows the ages of each cgroup's entries, by inode. ``page_size`` is the kernel's."""

    def __init__(self, interval_s: float, page_size: int = PAGE_SIZE) -> None:
        self._interval_s = interval_s
        self._page_size = page_size
        self._watched: dict[int, FeatureExtractor] = {}

    def watch(self, samples: Sequence[Sample]) -> None:
        """Take a tick's samples; a cgroup that is gone is forgotten."""
        known = self._watched
        self._watched = {
            s.inode: known.get(s.inode) or FeatureExtractor(self._interval_s, (1,)) for s in samples
        }
        for sample in samples:
            self._watched[sample.inode].update(table([sample]))

    def as_size(self, inode: int, request: Request) -> Request:
        """The request with its age turned into a bound on its size; the release stays what it was."""
        if request.age_s is None or request.max_bytes <= 0:
            return request
        watched = self._watched.get(inode)
        older = 0.0 if watched is None else float(watched.age.bytes_older_than(request.age_s)[0])
        size = min(request.max_bytes, int(older) // self._page_size * self._page_size)
        return replace(
            request, age_s=request.age_s if size else None, max_bytes=size, release_bytes=request.release
        )
