"""Piecewise-constant multipliers m(t) over a plan: bursts, idle gaps, day and night.

A `Phases` is realised when it is built and never drawn again: the simulated kernel decides late
and in any order whether a page was accessed, which is exact only if m(t) is fixed by then. Lengths
and phases are random, so no learner can count on a period the program would not have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zswap_gym.units import US_PER_S


@dataclass(frozen=True)
class Phases:
    """m(t): ``mult[i]`` from ``time_us[i]`` (int64, increasing, first 0) to the next."""

    time_us: npt.NDArray[np.int64]
    mult: npt.NDArray[np.float64]

    def at(self, time_us: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The multiplier at the given times."""
        index = np.searchsorted(self.time_us, np.asarray(time_us, np.int64), side="right") - 1
        return self.mult[index]

    def __mul__(self, other: Phases) -> Phases:
        """The product of two step functions."""
        if len(other.time_us) == 1:
            return Phases(self.time_us, self.mult * other.mult[0])
        if len(self.time_us) == 1:
            return Phases(other.time_us, other.mult * self.mult[0])
        time = np.union1d(self.time_us, other.time_us)
        return Phases(time, self.at(time) * other.at(time))

    def __add__(self, other: Phases) -> Phases:
        """The sum of two step functions."""
        time = np.union1d(self.time_us, other.time_us)
        return Phases(time, self.at(time) + other.at(time))

    def boosted(self, start_us: int, end_us: int, factor: float) -> Phases:
        """m(t) times ``factor`` in [start_us, end_us)."""
        if end_us <= max(start_us, 0):
            return self
        return self * steps([0, start_us, end_us], [1.0, factor, 1.0])


def steps(time_us: npt.ArrayLike, mult: npt.ArrayLike) -> Phases:
    """Phases from breakpoints in any state of health: of equal times the last one counts, times
    before 0 are cut off, neighbours with equal multipliers are merged.
    """
    time = np.maximum(np.asarray(time_us, np.int64), 0)
    value = np.asarray(mult, np.float64)
    last = np.append(time[1:] != time[:-1], True)
    time, value = time[last], value[last]
    changed = np.append(True, value[1:] != value[:-1])
    return Phases(time[changed], value[changed])


def pulses(time_us: npt.ArrayLike, length_us: int, height: float) -> Phases:
    """0, and ``height`` for ``length_us`` from each of the given times; overlaps add up."""
    start = np.asarray(time_us, np.int64)
    time = np.concatenate([[0], start, start + length_us])
    rise = np.concatenate([[0.0], np.full(len(start), height), np.full(len(start), -height)])
    order = np.argsort(time, kind="stable")
    return steps(time[order], np.maximum(np.cumsum(rise[order]), 0.0))


CONSTANT = steps([0], [1.0])
"""m(t) = 1."""


def alternating(
    rng: np.random.Generator,
    span_us: int,
    *,
    on_s: float,
    off_s: float,
    on: float,
    off: float,
    exponential: bool = False,
) -> Phases:
    """``on`` for about on_s, ``off`` for about off_s, and so on, starting somewhere in a cycle.

    Lengths are uniform within half of the mean on either side; ``exponential`` quiet times have
    an exponential law instead (requests that arrive at random).
    """
    cycles = int(span_us / US_PER_S / (on_s + off_s) * 2.5) + 8
    unit = rng.uniform(0.5, 1.5, 2 * cycles)
    if exponential:
        unit[::2] = rng.exponential(size=cycles)
    length = unit * np.tile([off_s, on_s], cycles) * US_PER_S
    # The start lies in a uniformly chosen place of a few cycles: close to the stationary process.
    start = rng.uniform(0, length[:8].sum())
    time = np.cumsum(length) - length - start
    inside = time < span_us
    return steps(time[inside], np.tile([off, on], cycles)[inside])


def diurnal(rng: np.random.Generator, span_us: int, *, period_s: float, amplitude: float) -> Phases:
    """1 + amplitude x sine, as 24 steps a period, with a random phase (amplitude <= 1)."""
    step = period_s / 24
    count = int(span_us / US_PER_S / step) + 1
    angle = 2 * np.pi * ((np.arange(count) + 0.5) / 24 + rng.random())
    return steps((np.arange(count) * step * US_PER_S).astype(np.int64), 1 + amplitude * np.sin(angle))


def arrivals(rng: np.random.Generator, start_us: float, end_us: float, mean_gap_s: float) -> list[float]:
    """Times of a Poisson process in [start_us, end_us), microseconds, sorted."""
    expected = max(end_us - start_us, 0.0) / (mean_gap_s * US_PER_S)
    return sorted(rng.uniform(start_us, end_us, rng.poisson(expected)).tolist())
