"""What no decision can pass, whoever made it: pure functions from a request to an allowed one.

Rails only ever take away: bytes shrink, ages grow, requests become nothing. Each change comes
with a reason, ``rail: words``. A release tied to its writeback (``release_bytes=None``) goes with
it; one the policy asked for by itself stands on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from math import inf, isfinite, isnan
from typing import Literal

from zswap_gym.controller.backoff import Backoff
from zswap_gym.controller.state import BreakerLimits, CgroupState, Window
from zswap_gym.host.dialects import whole
from zswap_gym.host.types import COLUMNS, NOTHING, Request, Sample
from zswap_gym.policy.promise import Promise
from zswap_gym.units import PAGE_SIZE, format_size

MIB, GIB = 1 << 20, 1 << 30

PsiRule = Literal["needed", "ignore"]

_MAY_BE_INFINITE = ("memory_max", "memory_high", "swap_max", "zswap_max", "hint_seconds_to_event")


@dataclass(frozen=True)
class Limits:
    """The rails' settings. Bytes are uncompressed; percentages 0 to 100; shares 0 to 1."""

    allow: tuple[str, ...] = ()
    """Shell patterns over cgroup names; ``*`` matches ``/`` too. None allowed: nothing is done."""
    own_cgroup: str | None = None
    """The controller's own: it and what contains it are never touched. "" and None protect nothing: it
    lies outside of the root, or is not known, which mode act refuses (controller/preconditions.py)."""
    psi: PsiRule = "needed"
    """What to do where neither the cgroup nor the machine tells its pressure: nothing, or ignore that."""
    page_size: int = PAGE_SIZE
    """Of the machine: what is asked of the kernel is whole pages of it."""
    age_floor_s: float = 120.0
    """No entry younger than this is written back. 120 s is the field's floor for "cold" (Google, DAMON)."""
    bytes_per_write: int = 32 * MIB
    """Of one request, for its writeback and for its release. A bigger write blocks for longer.

    Caps bound what is asked for. Version 1 may write up to 127 pages more (spec/series.md 1.8);
    they are charged when the outcome is known.
    """
    bytes_per_minute: int = 64 * MIB
    """Per cgroup with all that is decided for below it, in any 60 s, for writeback and for release."""
    bytes_per_day: int = 8 * GIB
    """Written back per cgroup, likewise, in any 24 h."""
    host_bytes_per_day: int = 32 * GIB
    """Written back by all cgroups together in any 24 h: the swap device's endurance."""
    psi_max_percent: float = 5.0
    """Memory pressure (some, the higher of avg10 and avg60) from which a cgroup is left alone."""
    swap_free_min: float = 0.05
    """Least free share of the host's swap, and of the cgroup's memory.swap.max."""
    sample_age_max_s: float = 10.0
    """Oldest sample a decision may rest on."""
    backoff_max_s: float = 3600.0
    """Longest time for which a cgroup is not asked again after writes of which nothing came."""
    breaker: BreakerLimits = field(default_factory=BreakerLimits)
    promise: Promise = field(default_factory=Promise)
    """What is promised to each cgroup: over it nothing more is written back, or released; see keeping.py."""
    acts: bool = True
    """What is allowed is done: what happens to a cgroup is partly the controller's doing."""


Verdict = tuple[Request, tuple[str, ...]]


def check(
    cgroup: str,
    sample: Sample,
    request: Request,
    state: CgroupState,
    limits: Limits,
    *,
    host_written_today: int = 0,
    above: Sequence[CgroupState] = (),
) -> Verdict:
    """What may be done of ``request``, and why not more.

    Args:
        cgroup: its name below the cgroup root.
        sample: what the decision rests on, already taken in by :func:`state.observe`.
        request: what the policy proposes; anything, nan included.
        state: what is remembered of this cgroup.
        limits: the settings.
        host_written_today: bytes written back by all cgroups in the last 24 h.
        above: what is remembered of the cgroups that contain it: theirs are the same bytes.

    Returns:
        The allowed request, and one reason per rail that changed it: empty where it is unchanged.
    """
    if _makes_no_sense(request):
        return NOTHING, (f"request: {request} makes no sense",)
    if request.is_nothing:
        return request, ()
    refusal = next(_refusals(cgroup, sample, state, limits), None)
    if refusal is not None:
        return NOTHING, (refusal,)
    reasons: list[str] = []
    age_s = _allowed_age(request, limits, reasons)
    path = (state, *above)
    want = whole(request, limits.page_size)
    rooms = _writeback_rooms(sample, path, limits, host_written_today)
    writeback = _cap(want.writeback_bytes, rooms, limits.page_size, reasons)
    tied = request.release_bytes is None and request.age_s is not None
    release = min(want.release_bytes, writeback) if tied else want.release_bytes
    release = _cap(release, _release_rooms(path, limits), limits.page_size, reasons)
    if not reasons:
        return request, ()
    if not writeback and not release:
        return NOTHING, tuple(reasons)
    return Request(age_s if writeback else None, writeback, release), tuple(reasons)


def _makes_no_sense(request: Request) -> bool:
    numbers = [request.max_bytes, request.release]
    if request.age_s is not None:
        numbers.append(request.age_s)  # type: ignore[arg-type]
    return not all(isfinite(number) and number >= 0 for number in numbers)


# --- rails that refuse the whole request ----------------------------------------------------------


def _refusals(cgroup: str, sample: Sample, state: CgroupState, limits: Limits) -> Iterator[str]:
    """Reasons to do nothing at all, most fundamental first."""
    if cgroup.strip("/") in ("", "."):
        yield "allow-list: the root cgroup is never touched"
    own = limits.own_cgroup
    if own is not None and (own == cgroup or own.startswith(f"{cgroup}/")):
        yield "own-cgroup: the controller itself lives there"
    if not any(fnmatchcase(cgroup, pattern) for pattern in limits.allow):
        yield "allow-list: no pattern matches this cgroup"
    for name in COLUMNS:
        value = getattr(sample, name)
        if isnan(value) or value == -inf or (value == inf and name not in _MAY_BE_INFINITE):
            yield f"sample: {name} is {value}"
    if not state.fresh:
        yield f"stale: the sample is no newer than the last one ({sample.time_s:.2f} s)"
    if not state.sample_age_s <= limits.sample_age_max_s:
        yield f"stale: the sample is {state.sample_age_s:.1f} s old"
    pressure = max(sample.psi_some_avg10, sample.psi_some_avg60)
    if sample.psi_unknown and limits.psi == "needed":
        yield "psi: this kernel does not tell memory pressure; psi: ignore goes on without"
    if pressure >= limits.psi_max_percent:
        yield f"psi: memory pressure {pressure:.2f} % is not below {limits.psi_max_percent:g} %"
    if sample.host_swap_free <= limits.swap_free_min * sample.host_swap_total:
        yield f"swap: {format_size(sample.host_swap_free)} of {format_size(sample.host_swap_total)} swap free"
    if (
        sample.swap_max < inf
        and sample.swap_max - sample.swap_current <= limits.swap_free_min * sample.swap_max
    ):
        left = max(sample.swap_max - sample.swap_current, 0.0)
        yield f"swap: {format_size(left)} left below memory.swap.max"


# --- rails that shrink it -------------------------------------------------------------------------


def _allowed_age(request: Request, limits: Limits, reasons: list[str]) -> float | None:
    if request.age_s is None or request.max_bytes <= 0 or request.age_s >= limits.age_floor_s:
        return request.age_s
    reasons.append(f"age-floor: {request.age_s:g} s raised to {limits.age_floor_s:g} s")
    return limits.age_floor_s


def _used(path: Sequence[CgroupState], window: Callable[[CgroupState], Window]) -> int:
    """The most that was spent by a cgroup of ``path``, whose first is the one decided for."""
    return max(window(state).used(path[0].now_s) for state in path)


def _writeback_rooms(
    sample: Sample, path: Sequence[CgroupState], limits: Limits, host_written_today: int
) -> Iterator[tuple[int, str]]:
    """(bytes at most, the rail's words), for the writeback."""
    if sample.zswap_writeback == 0:
        yield 0, "writeback-disabled: memory.zswap.writeback is 0 here or in a cgroup above"
    state = path[0]
    breaker = state.breaker
    if breaker.phase == "open":
        left_s = max(breaker.since_s + breaker.freeze_s - state.now_s, 0.0)
        yield 0, f"breaker: pages came back from disk, frozen for {left_s:.0f} s more"
    elif breaker.phase == "half-open":
        yield limits.breaker.probe_bytes, "breaker: half-open, only a probe"
    if over := state.keeping.reads_over(limits.promise):
        yield 0, over
    yield from _backoff_rooms(state.writing, state.now_s)
    yield limits.bytes_per_write, "bytes-per-write: the most for one write"
    used = _used(path, lambda state: state.written_minute)
    yield limits.bytes_per_minute - used, f"bytes-per-minute: {format_size(used)} in the last 60 s"
    used = _used(path, lambda state: state.written_day)
    yield limits.bytes_per_day - used, f"bytes-per-day: {format_size(used)} in the last 24 h"
    used = host_written_today
    yield limits.host_bytes_per_day - used, f"host-bytes-per-day: {format_size(used)} in the last 24 h"


def _release_rooms(path: Sequence[CgroupState], limits: Limits) -> Iterator[tuple[int, str]]:
    """(bytes at most, the rail's words), for the release."""
    if over := path[0].keeping.cpu_over(limits.promise):
        yield 0, over
    yield from _backoff_rooms(path[0].releasing, path[0].now_s)
    yield limits.bytes_per_write, "release-per-write: the most for one write"
    used = _used(path, lambda state: state.released_minute)
    yield limits.bytes_per_minute - used, f"release-per-minute: {format_size(used)} in the last 60 s"


def _backoff_rooms(backoff: Backoff, now_s: float) -> Iterator[tuple[int, str]]:
    left_s = backoff.left_s(now_s)
    if left_s > 0:
        yield 0, f"backing off: nothing came of {backoff.failures} writes in a row, {left_s:.0f} s more"


def _cap(size: int, rooms: Iterator[tuple[int, str]], page_size: int, reasons: list[str]) -> int:
    """``size`` (whole pages) cut to the least room, down to whole pages; a reason for each cut."""
    for room, words in rooms:
        if size > max(room, 0):
            size = max(room, 0) // page_size * page_size
            reasons.append(f"{words}; {format_size(size)} allowed")
    return size
