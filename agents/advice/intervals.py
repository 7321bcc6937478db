"""Means over seeds, how far they can be trusted, and what the next run may do."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
COUNTED_FROM, MAY_BREAK = 30, 0.04
"""From so many seeds on, the share of runs beyond a bound is counted instead of predicted."""
ADJUSTED_FROM = 12
"""From so many seeds on, it is estimated how far doing nothing goes up and down with a setting."""


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95 % confidence interval, and the bound of the next single run."""

    mean: float
    low: float
    high: float
    next_run: float
    n: int = 1

    @property
    def most(self) -> float:
        """The mean is at most this, with 95 % confidence: the one-sided bound."""
        if self.n < 2:
            return self.mean
        both = student(self.n - 1, 0.5 + CONFIDENCE / 2)
        return self.mean + (self.high - self.mean) * student(self.n - 1, CONFIDENCE) / both

    def beyond(self, limit: float) -> Interval:
        """The same of what lies above a limit."""
        mean, low, high, following = (
            part - limit for part in (self.mean, self.low, self.high, self.next_run)
        )
        return Interval(mean, low, high, following, self.n)


def student(df: int, p: float) -> float:
    """The p quantile of Student's t, by Cornish-Fisher (Abramowitz and Stegun 26.7.5); df >= 3: to 1 %."""
    z = NormalDist().inv_cdf(p)
    g1 = (z**3 + z) / 4
    g2 = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    g3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + g1 / df + g2 / df**2 + g3 / df**3


def interval(values: Floats, *, lower: bool = False) -> Interval:
    """Of the values (S,) of S seeds; ``lower`` bounds the next run from below instead of from above."""
    n = len(values)
    mean = float(values.mean())
    if n < 2:
        return Interval(mean, mean, mean, mean)
    sd = float(values.std(ddof=1))
    half = student(n - 1, 0.5 + CONFIDENCE / 2) * sd / sqrt(n)
    reach = student(n - 1, CONFIDENCE) * sd * sqrt(1 + 1 / n)
    if n >= COUNTED_FROM:
        ordered = np.sort(values)
        allowed = int(MAY_BREAK * n)
        bound = float(ordered[allowed] if lower else ordered[n - 1 - allowed])
    else:
        bound = min(float(values.min()), mean - reach) if lower else max(float(values.max()), mean + reach)
    return Interval(mean, mean - half, mean + half, bound, n)


def shift(mine: Floats, never: Floats, all_never: Floats, *, lower: bool = False) -> Interval:
    """How much ``mine`` (S,) lies above ``never`` (S,) of the same seeds, ``all_never`` (T >= S,) known.

    The difference by seed, where a seed makes both go up and down together; where it does not (a program
    that sweeps its memory is chaotic) that doubles the noise, and the mean over all seeds is better. Between
    the two decides regression, as in analysis of covariance; ``next_run`` is of the difference by seed.
    """
    by_seed = interval(mine - never, lower=lower)
    n, spread = len(mine), float(never.var())
    if n < ADJUSTED_FROM or spread == 0.0:
        return by_seed
    slope = min(max(float(np.mean((mine - mine.mean()) * (never - never.mean()))) / spread, 0.0), 1.0)
    rest = mine - slope * never
    mean = float(rest.mean() - (1 - slope) * all_never.mean())
    error = sqrt(rest.var(ddof=1) / n + (1 - slope) ** 2 * all_never.var(ddof=1) / len(all_never))
    half = student(n - 1, 0.5 + CONFIDENCE / 2) * float(error)
    return Interval(mean, mean - half, mean + half, by_seed.next_run, n)
