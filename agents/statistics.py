"""Interquartile means, bootstrap intervals, paired differences.

Few seeds and long tails: the interquartile mean uses the middle half of the runs, so that one
lucky or unlucky seed does not make the result (Agarwal et al., "Deep RL at the Edge of the
Statistical Precipice", 2021). Comparisons are paired: both policies meet the same workloads on
the same seeds, and the interval is that of the differences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

REPETITIONS = 5000
CONFIDENCE = 0.95

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic and its 95 % bootstrap interval, over ``n`` runs."""

    value: float
    low: float
    high: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        """True where the whole interval lies on one side of zero."""
        return self.low > 0.0 or self.high < 0.0


def iqm(values: npt.ArrayLike, axis: int = -1) -> Floats:
    """Interquartile mean along ``axis``: the mean of the middle half, runs on the edge counted in part.

    With n runs, n/4 are cut at either end; where that is not whole the runs at the edges get the
    remaining fraction as weight, so that the estimate moves smoothly with n.
    """
    x = np.sort(np.moveaxis(np.asarray(values, np.float64), axis, -1), axis=-1)
    n = x.shape[-1]
    if n == 0:
        raise ValueError("the interquartile mean of no runs")
    position = np.arange(n)
    inside = np.minimum(position + 1, 0.75 * n) - np.maximum(position, 0.25 * n)
    weight = np.clip(inside, 0.0, 1.0)
    return np.asarray((x * weight).sum(axis=-1) / weight.sum())


def bootstrap(
    strata: npt.ArrayLike, *, seed: int = 0, statistic: Callable[[Floats], Floats] = iqm
) -> Estimate:
    """``statistic`` of runs with its interval by the percentile bootstrap, 5,000 repetitions.

    Args:
        strata: float (n,), or (groups, n): runs in groups (scenarios) that are resampled within
            each group; the statistic is that of all of them together.
        seed: of the resampling; the same runs give the same interval.
        statistic: reduces the last axis.
    """
    x = np.atleast_2d(np.asarray(strata, np.float64))
    groups, n = x.shape
    rng = np.random.default_rng(seed)
    pick = rng.integers(0, n, size=(REPETITIONS, groups, n))
    resampled = x[np.arange(groups)[None, :, None], pick].reshape(REPETITIONS, groups * n)
    tail = 100.0 * (1.0 - CONFIDENCE) / 2.0
    low, high = np.percentile(statistic(resampled), [tail, 100.0 - tail])
    return Estimate(float(statistic(x.reshape(-1))), float(low), float(high), groups * n)


def paired_difference(ours: npt.ArrayLike, theirs: npt.ArrayLike, *, seed: int = 0) -> Estimate:
    """IQM of ours - theirs, run by run, with its interval; shapes (n,) or (groups, n), seeds in order."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"paired runs need the same seeds: shapes {a.shape} and {b.shape}")
    return bootstrap(a - b, seed=seed)


def share_better(ours: npt.ArrayLike, theirs: npt.ArrayLike) -> float:
    """Share of paired runs in which ours is the greater; ties count half."""
    d = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    return float(((d > 0) + 0.5 * (d == 0)).mean())
