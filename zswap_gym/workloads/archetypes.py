"""Generators fitted to the recordings: a program of any size for an episode of any length.

Pages lie in runs of neighbours that share a rate; a run is never touched, always touched or has a
lognormal rate; over that go bursts and idle gaps, sweeps, churn, jobs and windows (`profiles`).
Phases are realised when a plan is built, with random lengths and a random start, and the period of
every sweep is drawn anew for each plan: nothing is looped and no two plans share a rhythm.
"""

from __future__ import annotations

import itertools
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zswap_gym.errors import UserError, nearest
from zswap_gym.units import US_PER_S
from zswap_gym.workloads.compress import archetype_sizes, draw_sizes
from zswap_gym.workloads.phases import CONSTANT, Phases, alternating, diurnal, steps
from zswap_gym.workloads.plan import Part, Sweep, assemble
from zswap_gym.workloads.profiles import ALWAYS_HZ, PROFILES, Profile, Scan
from zswap_gym.workloads.structures import churn_parts, cut, front_parts, ring_parts
from zswap_gym.workloads.traces import CLASS_HOT, CLASS_MIDDLE, CLASS_NEVER, HOT_SHARE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zswap_gym.kernel.access import AccessPlan

ARCHETYPES: tuple[str, ...] = tuple(sorted(PROFILES))
"""Names of the generators."""

MIN_PAGES = 64
CLASS_INTERVAL_S = 2.0
"""Interval of most recordings: a page is hot if it is touched in more than HOT_SHARE of them."""
DRIFT_GROUPS, DRIFT_SIGMA = 32, 0.8


def profile(name: str, overrides: Mapping[str, Any] | None = None, *, time_scale: float = 1.0) -> Profile:
    """The profile of an archetype, with some fields replaced and all times stretched.

    Args:
        name: one of ARCHETYPES.
        overrides: values of ``profiles.Profile`` fields (mu, sigma, never, ..., ring).
        time_scale: factor on every duration but not on the rates of single pages: the recordings'
            bursts, scans and lives last minutes where a server's last hours.

    Raises:
        UserError: no such archetype, or no such field.
    """
    if name not in PROFILES:
        raise UserError(
            f"archetype {name!r}: not known{nearest(name, PROFILES)}; use one of {', '.join(ARCHETYPES)}"
        )
    known = {field.name for field in fields(Profile)}
    for key in overrides or {}:
        if key not in known:
            raise UserError(
                f"archetype {name!r}: no parameter {key!r}{nearest(key, known)}; see profiles.Profile"
            )
    stretched: Profile = _stretch(replace(PROFILES[name], **(overrides or {})), time_scale)
    return stretched


def _stretch(part: Any, factor: float) -> Any:
    """Every field that ends in _s, in a profile and its parts, times ``factor``."""
    new = {}
    for field in fields(part):
        value = getattr(part, field.name)
        if field.name.endswith("_s"):
            new[field.name] = value * factor
        elif is_dataclass(value):
            new[field.name] = _stretch(value, factor)
    return replace(part, **new)


def archetype_parts(
    name: str,
    n_pages: int,
    span_us: int,
    rng: np.random.Generator,
    *,
    compressor: str = "zstd",
    load: float = 1.0,
    time_scale: float = 1.0,
    zero_never: float | None = None,
    contents: str | None = None,
    day: tuple[float, float] | None = None,
    drift_s: float | None = None,
    work: Sequence[tuple[int, int]] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> tuple[list[Part], npt.NDArray[np.uint16]]:
    """A program like the one the archetype was fitted to: its regions and its pages' compressed bytes.

    Args:
        name: one of ARCHETYPES.
        n_pages: simulated pages, at least MIN_PAGES.
        span_us: work time to cover, microseconds.
        rng: the source of all randomness.
        compressor: lzo, lz4 or zstd.
        load: factor on all rates and on the pace of sweeps and windows.
        time_scale: factor on all durations (bursts, scans, lives); see `profile`.
        zero_never: share of zero pages among the never touched; None = as recorded.
        contents: archetype whose compressed sizes to use; None = its own.
        day: (period in seconds, amplitude up to 1) of a sine on the load; None = no day.
        drift_s: groups of pages change their popularity after about this long; None = never.
        work: (start, end) in microseconds of its bursts, in order; None = drawn as they were recorded.
        overrides: values of ``profiles.Profile`` fields.

    Raises:
        UserError: an unknown name or parameter, or too few pages.
    """
    told = profile(name, overrides, time_scale=time_scale)
    if n_pages < MIN_PAGES:
        raise UserError(
            f"archetype {name!r}: pages {n_pages} is too few to have a pattern; give at least {MIN_PAGES}"
        )
    # Its own stream: how many phases fit the span does not change which page is hot.
    phases = _phases(told, day, span_us, np.random.default_rng(int(rng.integers(1 << 62))), work)
    if told.kind == "front":
        assert told.front is not None
        rate, page_class = _rates(told, n_pages, told.never, load, rng)
        parts = front_parts(rate, page_class, told.front, phases, span_us, rng, told.write_share)
    elif told.kind == "ring":
        assert told.ring is not None
        n_ring = round(n_pages * (1 - told.never - told.always))
        paced = replace(
            told.ring, period_s=told.ring.period_s / load, query_every_s=told.ring.query_every_s / load
        )
        rest = replace(told, never=told.never / max(told.never + told.always, 1e-9), always=1.0)
        rate, page_class = _rates(rest, n_pages - n_ring, rest.never, load, rng)
        parts = [Part(rate, page_class, told.write_share, phases)]
        parts += ring_parts(n_ring, paced, phases, span_us, rng, told.write_share)
    else:
        parts = _steady_parts(told, n_pages, phases, load, drift_s, span_us, rng)
    model = archetype_sizes(contents or name)
    classes = np.concatenate([part.page_class for part in parts])
    return parts, draw_sizes(model, classes, rng, compressor, zero_never=zero_never, whole_program=True)


def archetype_plan(
    name: str, n_pages: int, span_us: int, rng: np.random.Generator, **options: Any
) -> AccessPlan:
    """The access plan of a cgroup that runs the archetype; options are those of `archetype_parts`."""
    parts, clen = archetype_parts(name, n_pages, span_us, rng, **options)
    return assemble(parts, clen, span_us, rng)


def _phases(
    told: Profile,
    day: tuple[float, float] | None,
    span_us: int,
    rng: np.random.Generator,
    work: Sequence[tuple[int, int]] | None,
) -> Phases:
    """The cgroup's common multiplier: mean 1 over the bursts and the quiet of the recording."""
    phases = CONSTANT
    if told.busy is not None:
        busy = told.busy
        mean = (busy.on_s * busy.multiplier + busy.off_s * busy.idle) / (busy.on_s + busy.off_s)
        on, off = busy.multiplier / mean, busy.idle / mean
        if work is None:
            phases = alternating(
                rng, span_us, on_s=busy.on_s, off_s=busy.off_s, on=on, off=off, exponential=busy.exponential
            )
        else:
            ends = [time for burst in work for time in burst]
            phases = steps([0, *ends], [off, *([on, off] * len(work))])
    if day is not None:
        phases = phases * diurnal(rng, span_us, period_s=day[0], amplitude=day[1])
    return phases


def _rates(
    told: Profile, n: int, never: float, load: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
    """(n,) Hz and page class: runs of neighbours draw never, always or a lognormal rate."""
    # Runs of geometric length, shorter where the memory is small, so that shares hold.
    mean_run = max(1.0, min(told.run_pages, n / 256))
    count = int(n / mean_run * 1.3) + 64
    run = rng.geometric(1 / mean_run, count)
    while run.sum() < n:
        run = np.concatenate([run, rng.geometric(1 / mean_run, count)])
    # A stratified draw of the classes: a share of 0.01 is 0.01 of the pages of a small memory too.
    u = (rng.permutation(len(run)) + rng.random(len(run))) / len(run)
    rate = np.exp(rng.normal(told.mu, told.sigma, len(run))) * load
    rate[u < never + told.always] = ALWAYS_HZ
    rate[u < never] = 0.0
    rate = np.repeat(rate, run)[:n]
    page_class = np.full(n, CLASS_MIDDLE, np.uint8)
    page_class[-np.expm1(-rate * CLASS_INTERVAL_S) > HOT_SHARE] = CLASS_HOT
    page_class[rate == 0] = CLASS_NEVER
    return rate, page_class


def _steady_parts(
    told: Profile,
    n: int,
    phases: Phases,
    load: float,
    drift_s: float | None,
    span_us: int,
    rng: np.random.Generator,
) -> list[Part]:
    """Main memory, what a scan covers, what is still to grow and what churns: one part each or more."""
    n_churn = round(n * told.churn.share) if told.churn else 0
    n_grow = round(n * told.growth.share) if told.growth else 0
    n_scan = round((n - n_churn - n_grow) * (1 - told.never) * told.scan.share) if told.scan else 0
    n_main = n - n_churn - n_grow - n_scan
    never = min(1.0, told.never * (n_main + n_scan) / max(n_main, 1))
    parts = []
    for size, share in ((n_main, never), (n_scan, 0.0), (n_grow, 0.0)):
        rate, page_class = _rates(told, size, share, load, rng)
        parts.append(Part(rate, page_class, told.write_share, phases))
    if told.scan:
        parts[1].sweep = _sweep(told.scan, told.write_share, load, rng)
    if told.growth:
        over = told.growth.over_s * US_PER_S
        parts[2].first_touch = ((np.arange(n_grow) + rng.random(n_grow)) / max(n_grow, 1) * over).astype(
            np.int64
        )
    if drift_s is not None:
        parts = [piece for part in parts for piece in _drifting(part, drift_s, span_us, rng)]
    if told.churn:
        rate, page_class = _rates(told, n_churn, 0.0, load, rng)
        parts += churn_parts(rate, page_class, told.churn, phases, span_us, rng, told.write_share)
    return parts


def _sweep(scan: Scan, write_share: float, load: float, rng: np.random.Generator) -> Sweep:
    """A scan with a period of its own, up to a fifth off the archetype's, that has just been somewhere."""
    period = scan.every_s / load * US_PER_S * rng.uniform(0.8, 1.2)
    return Sweep(
        start_us=-int(rng.uniform(0, period)),
        period_us=int(period),
        active_us=int(period * scan.active_s / scan.every_s),
        seed=int(rng.integers(1 << 62)),
        shuffled_block=scan.shuffled_block,
        share=scan.part,
        write_share=write_share,
    )


def _drifting(part: Part, drift_s: float, span_us: int, rng: np.random.Generator) -> list[Part]:
    """The part cut into groups whose popularity changes at random times; a swept part stays whole."""
    if part.n_pages == 0 or part.sweep is not None:
        return [part]
    pieces = []
    bounds = cut(part.n_pages, DRIFT_GROUPS)
    for a, b in itertools.pairwise(bounds):
        count = int(span_us / US_PER_S / drift_s * 2) + 4
        time = np.concatenate([[0.0], np.cumsum(rng.exponential(drift_s, count))]) * US_PER_S
        mult = np.exp(rng.normal(-(DRIFT_SIGMA**2) / 2, DRIFT_SIGMA, count + 1))
        inside = time < span_us
        pieces.append(
            Part(
                part.rate[a:b],
                part.page_class[a:b],
                part.write_share,
                part.phases * steps(time[inside].astype(np.int64), mult[inside]),
                first_touch=None if part.first_touch is None else part.first_touch[a:b],
            )
        )
    return pieces
