"""Sandboxes: how long whoever wakes one waits, and how many fit a GiB while that wait is promised.

The field counts pods per node against the median (Kubernetes, node swap, October 2026). Here the promise is a
tail: within ``resume_ms`` in ``share`` of the resumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zswap_gym.errors import UserError
from zswap_gym.units import is_finite

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class ResumePromise:
    """Resumes are answered within ``resume_ms`` milliseconds in ``share`` of all cases.

    One second is what providers of paused sandboxes tell their customers a resume takes.
    """

    resume_ms: float = 1000.0
    share: float = 0.99

    def __post_init__(self) -> None:
        if not is_finite(self.resume_ms) or self.resume_ms <= 0:
            raise UserError(f"resume promise: resume_ms = {self.resume_ms!r}; give a number above 0")
        if not is_finite(self.share) or not 0 < self.share <= 1:
            raise UserError(f"resume promise: share = {self.share!r}; give a number above 0, at most 1")


@dataclass(frozen=True, slots=True)
class Resumes:
    """What the resumes of some runs came to."""

    count: int
    p50_ms: float
    """NaN where nothing was resumed."""
    p99_ms: float
    kept: bool
    """Whether the promise was; true where nothing was resumed."""
    per_gib: float
    """Sandboxes per GiB that they held on average: 0 where the promise was broken."""


def resumes(
    latency_s: Sequence[float], sandboxes: int, held_bytes: float, promise: ResumePromise | None = None
) -> Resumes:
    """Sum up resumes.

    Args:
        latency_s: of every resume, seconds.
        sandboxes: how many there are.
        held_bytes: memory they hold together, compressed or not, on average.
        promise: what is promised; None = the usual one.
    """
    promise = promise or ResumePromise()
    ms = np.asarray(latency_s, float) * 1e3
    if not len(ms):
        return Resumes(0, np.nan, np.nan, True, sandboxes * GIB / max(held_bytes, 1.0))
    p50, p99 = np.quantile(ms, [0.5, 0.99], method="higher")
    kept = bool((ms <= promise.resume_ms).mean() >= promise.share)
    return Resumes(
        len(ms), float(p50), float(p99), kept, sandboxes * GIB / max(held_bytes, 1.0) if kept else 0.0
    )
