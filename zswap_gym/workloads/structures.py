"""Memory that comes and goes: jobs that grow and exit, buffers that churn, windows that roll.

One region has one m(t), so what ages page by page is cut into groups of neighbouring pages, one
region each. A group's m(t) is 0 while it does not exist; the accesses of the first half second of
a life are boosted, since a program writes what it has just allocated.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from zswap_gym.kernel.access import NEVER
from zswap_gym.units import US_PER_S
from zswap_gym.workloads.phases import Phases, alternating, arrivals, pulses, steps
from zswap_gym.workloads.plan import Part, Sweep, at_start
from zswap_gym.workloads.traces import CLASS_HOT

if TYPE_CHECKING:
    from zswap_gym.workloads.profiles import Churn, Front, Ring

LONG_AGO = -(1 << 60)
"""Before anything began; `steps` cuts it off at 0."""
GROUPS = 64
BORN_US = US_PER_S // 2
BORN_BOOST = 300.0
"""A page of 0.02 Hz is allocated within BORN_US with probability 0.95."""
PULSE_US = US_PER_S
QUERY_HZ = 6.0
"""Over PULSE_US: a query reads all but 1 page in 400."""


def cut(n: int, groups: int) -> list[int]:
    """Bounds of about equal groups of n pages, none empty."""
    groups = max(1, min(groups, n // 8))
    return [n * g // groups for g in range(groups + 1)]


def churn_parts(
    rate: npt.NDArray[np.float64],
    page_class: npt.NDArray[np.uint8],
    churn: Churn,
    phases: Phases,
    span_us: int,
    rng: np.random.Generator,
    write_share: float,
) -> list[Part]:
    """Groups that live, are freed and return on their own, each page at its rate while it lives."""
    parts = []
    for a, b in pairwise(cut(len(rate), churn.groups)):
        alive = alternating(rng, span_us, on_s=churn.alive_s, off_s=churn.gap_s, on=1.0, off=0.0)
        births = alive.time_us[alive.mult > 0]
        deaths = alive.time_us[alive.mult == 0]
        first = births[births > 0][:1] if alive.mult[0] == 0 else births[:1]
        touch = at_start(b - a, rng) // 2 + (first[0] if len(first) else span_us + 1)
        born = np.concatenate([births, births + BORN_US])
        boost = np.concatenate([np.full(len(births), BORN_BOOST), np.ones(len(births))])
        order = np.argsort(born, kind="stable")
        newborn = steps(np.append(0, born[order]), np.append(1.0, boost[order]))
        parts.append(
            Part(
                rate[a:b],
                page_class[a:b],
                write_share,
                phases * alive * newborn,
                first_touch=touch,
                frees=[(int(time), 0, b - a) for time in deaths[deaths > 0]],
            )
        )
    return parts


def front_parts(
    rate: npt.NDArray[np.float64],
    page_class: npt.NDArray[np.uint8],
    front: Front,
    phases: Phases,
    span_us: int,
    rng: np.random.Generator,
    write_share: float,
) -> list[Part]:
    """One job after the other on the same pages; the first one started before time 0."""
    jobs = _jobs(front, span_us, rng)
    share = np.array(front.curve)
    parts = []
    bounds = cut(len(rate), GROUPS)
    for a, b in pairwise(bounds):
        place = np.interp((a + b) / 2 / len(rate), share[:, 1], share[:, 0])
        time, mult = [LONG_AGO], [0.0]
        touch = None
        frees = []
        for start, end, passes in jobs:
            born = int(start + place * (end - start))
            grown = born + int(front.young_s * US_PER_S)
            time += [born, min(born + BORN_US, end), min(grown, end)]
            mult += [BORN_BOOST, front.young, 1.0]
            for when in passes:
                # A pass takes a few seconds from one end of the memory to the other.
                at = int(when + a / len(rate) * 4 * PULSE_US)
                if grown < at < end and rng.random() < front.pass_share:
                    time += [at, min(at + PULSE_US, end)]
                    mult += [BORN_BOOST, 1.0]
            time.append(end)
            mult.append(0.0)
            if 0 < end <= span_us:
                frees.append((end, 0, b - a))
            if touch is None and end > 0:
                touch = at_start(b - a, rng) // 2 + max(born, 0)
        order = np.argsort(np.array(time), kind="stable")
        alive = _within(np.array(time)[order], np.array(mult)[order], span_us)
        parts.append(
            Part(rate[a:b], page_class[a:b], write_share, phases * alive, first_touch=touch, frees=frees)
        )
    return parts


def _jobs(front: Front, span_us: int, rng: np.random.Generator) -> list[tuple[int, int, list[float]]]:
    """(start, end, times of passes) of the jobs that run within the span, microseconds."""
    jobs: list[tuple[int, int, list[float]]] = []
    begun = rng.uniform(0, 1 + front.idle_s / front.life_s) if front.begun is None else front.begun
    start = -begun * front.life_s * US_PER_S
    while start < span_us:
        end = start + rng.uniform(0.75, 1.25) * front.life_s * US_PER_S
        if end > 0:
            jobs.append((int(start), int(end), arrivals(rng, start, end, front.pass_every_s)))
        start = end + rng.exponential(front.idle_s) * US_PER_S + 1
    return jobs


def _within(time: npt.NDArray[np.int64], mult: npt.NDArray[np.float64], span_us: int) -> Phases:
    """Steps up to the span: what comes later is nobody's business."""
    keep = time <= span_us
    return steps(time[keep], mult[keep])


def ring_parts(
    n: int, ring: Ring, phases: Phases, span_us: int, rng: np.random.Generator, write_share: float
) -> list[Part]:
    """The window as arcs of neighbouring pages; the head overwrites one arc after the other."""
    bounds = cut(n, GROUPS)
    arcs = len(bounds) - 1
    period = ring.period_s * US_PER_S
    head = round(ring.fill * arcs) % arcs if ring.fill < 1 else int(rng.integers(arcs))
    queries = np.array(arrivals(rng, 0, span_us, ring.query_every_s))
    parts = []
    for g, (a, b) in enumerate(pairwise(bounds)):
        next_us = int((g - head) % arcs / arcs * period)  # when the head first comes to this arc
        width = int(period / arcs)
        exists = ring.fill >= 1 or g < head
        done = next_us + width + period * np.arange(-1 if exists else 0, span_us / period + 1)
        time = np.concatenate([[LONG_AGO], done, done + ring.recent_s * US_PER_S])
        mult = np.concatenate([[0.0], np.full(len(done), ring.recent_hz), np.zeros(len(done))])
        order = np.argsort(time, kind="stable")
        reading = _within(time[order].astype(np.int64), mult[order], span_us)
        age = queries - np.append(done, np.inf)[np.searchsorted(done, queries, side="right") - 1]
        newer = queries[(age >= 0) & (age < ring.query_share * period)]
        reading = reading + pulses(newer.astype(np.int64), PULSE_US, QUERY_HZ)
        parts.append(
            Part(
                np.ones(b - a),
                np.full(b - a, CLASS_HOT, np.uint8),  # as 78 % of logagg's touched pages are
                write_share,
                phases * reading,
                sweep=Sweep(
                    next_us, int(period), width, int(rng.integers(1 << 62)), write_share=1.0, fresh=True
                ),
                first_touch=None if exists else np.full(b - a, NEVER),
            )
        )
    return parts
