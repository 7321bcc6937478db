"""What the controller remembers of each cgroup: budgets spent, the breaker, the last counters.

Values are frozen; every change makes a new one. They are keyed by inode, so a cgroup that is
removed and made again under its old name starts afresh.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import exp, floor, isfinite
from typing import Any, Literal

import numpy as np

from zswap_gym.controller.backoff import Backoff
from zswap_gym.controller.keeping import Keeping, Seen
from zswap_gym.host.dialects import Whole
from zswap_gym.host.types import Sample
from zswap_gym.policy.promise import Promise, footprint
from zswap_gym.units import PAGE_SIZE

MINUTE_S, DAY_S = 60.0, 86400.0

SAVED_WITHIN_S = 600.0
"""A state file that does not name its boot was saved at most this long after its newest sample."""


@dataclass(frozen=True)
class Window:
    """Bytes spent in the last ``span_s`` seconds, kept in grains of ``grain_s``.

    A grain counts until all of it is older than the span, so what is left is never overstated:
    at no moment do the last ``span_s`` seconds hold more than :meth:`used` admits.
    """

    span_s: float
    grain_s: float
    spent: tuple[tuple[int, int], ...] = ()
    """(grain, bytes), oldest first."""

    def used(self, now_s: float) -> int:
        """Bytes spent in the span that ends now."""
        oldest = floor((now_s - self.span_s) / self.grain_s)
        return sum(size for grain, size in self.spent if grain >= oldest)

    def add(self, at_s: float, size: int) -> Window:
        """With ``size`` more bytes spent at ``at_s``; negative gives back what was not used after all."""
        grain = floor(at_s / self.grain_s)
        grains = dict(self.spent)
        grains[grain] = max(0, grains.get(grain, 0) + size)
        oldest = max(grains) - floor(self.span_s / self.grain_s) - 1
        return replace(self, spent=tuple(sorted((g, b) for g, b in grains.items() if g >= oldest and b)))


def minute() -> Window:
    """Nothing spent in the last minute."""
    return Window(MINUTE_S, 1.0)


def day() -> Window:
    """Nothing spent in the last day."""
    return Window(DAY_S, 600.0)


@dataclass(frozen=True)
class BreakerLimits:
    """When pages that come back stop further writeback.

    ``share``: most disk refaults per page written back that are accepted, both counted over about
    ``window_s`` (older ones fade exponentially). What is promised anyway, as many refaults as a kept minute
    may have in every minute of the window, never trips it. A trip
    freezes writeback for ``freeze_s``, doubled at each trip in a row up to ``max_freeze_s``.
    After that writes of at most ``probe_bytes`` try whether it is over.
    """

    share: float = 0.5
    window_s: float = 300.0
    freeze_s: float = 600.0
    max_freeze_s: float = 4800.0
    probe_bytes: int = 1 << 20


Phase = Literal["closed", "open", "half-open"]


@dataclass(frozen=True)
class Breaker:
    """The refault breaker of one cgroup. Closed lets through, as in electricity."""

    phase: Phase = "closed"
    since_s: float = 0.0
    """Open: when it tripped. Half-open: since when there is a probe to judge by."""
    freeze_s: float = 0.0
    """How long this freeze lasts, or the last one did."""
    written: float = 0.0
    """Pages written back, fading."""
    refaulted: float = 0.0
    """Pages read back from disk, fading."""

    def step(
        self,
        now_s: float,
        dt_s: float,
        written: float,
        refaulted: float,
        limits: BreakerLimits,
        promised: float,
    ) -> Breaker:
        """The breaker after ``dt_s`` more seconds with so many pages written and read back.

        ``promised``: pages that may be read back within the window.
        """
        keep = exp(-dt_s / limits.window_s)
        seen = replace(
            self, written=self.written * keep + written, refaulted=self.refaulted * keep + refaulted
        )
        if self.phase == "open":
            if now_s - self.since_s < self.freeze_s:
                return seen
            return replace(self, phase="half-open", since_s=now_s, written=0.0, refaulted=0.0)
        enough = promised if self.phase == "closed" else promised / 4  # a probe is small
        if seen.refaulted > enough and seen.refaulted > limits.share * seen.written:
            freeze_s = limits.freeze_s
            if self.phase == "half-open":
                freeze_s = min(2 * self.freeze_s, limits.max_freeze_s)
            return replace(seen, phase="open", since_s=now_s, freeze_s=freeze_s)
        if self.phase == "half-open":
            if seen.written == 0.0:
                return replace(seen, since_s=now_s)  # nothing tried yet
            if now_s - self.since_s >= limits.window_s:
                return replace(seen, phase="closed", since_s=now_s)
        return seen


@dataclass(frozen=True)
class CgroupState:
    """All that is remembered of one cgroup."""

    written_minute: Window = field(default_factory=minute)
    written_day: Window = field(default_factory=day)
    released_minute: Window = field(default_factory=minute)
    breaker: Breaker = Breaker()
    now_s: float = 0.0
    """Boot time of the newest sample."""
    fresh: bool = True
    """The newest sample is newer than the one before."""
    sample_age_s: float = 0.0
    """How old the newest sample was when the decision was made."""
    counters: tuple[float, float, float, float] | None = None
    """:data:`COUNTERS` of the newest sample."""
    keeping: Keeping = field(default_factory=Keeping)
    charged: tuple[float, int, int] | None = None
    """When, and how many bytes of writeback and of release, were charged for the request that runs now."""
    writing: Backoff = field(default_factory=Backoff)
    releasing: Backoff = field(default_factory=Backoff)


def observe(
    state: CgroupState, sample: Sample, sample_age_s: float, limits: BreakerLimits, promise: Promise
) -> CgroupState:
    """Take in a new sample; disk refaults are told as host/refaults.py says."""
    counters = (sample.disk_reads, sample.zswpin, sample.zswpout, sample.zswpwb)
    if not all(map(isfinite, (sample.time_s, sample.anon, *counters))):
        return replace(state, fresh=False, sample_age_s=sample_age_s)  # one nan would stay in the breaker
    if state.counters is None:
        return replace(state, now_s=sample.time_s, counters=counters, fresh=True, sample_age_s=sample_age_s)
    dt_s = sample.time_s - state.now_s
    if not dt_s > 0:
        return replace(state, fresh=False, sample_age_s=sample_age_s)
    refaulted, loaded, stored, written = (
        max(new - old, 0.0) for new, old in zip(counters, state.counters, strict=True)
    )
    promised = promise.disk_reads_pct_min / 100.0 * sample.anon / PAGE_SIZE * limits.window_s / MINUTE_S
    breaker = state.breaker.step(sample.time_s, dt_s, written, refaulted, limits, promised)
    size = float(footprint(np.asarray(sample.row())))
    seen = Seen(sample.time_s, dt_s, refaulted, stored, loaded, written, sample.anon, size)
    return replace(
        state,
        breaker=breaker,
        keeping=state.keeping.after(seen, promise),
        now_s=sample.time_s,
        counters=counters,
        fresh=True,
        sample_age_s=sample_age_s,
    )


def spend(state: CgroupState, at_s: float, written_bytes: int, released_bytes: int) -> CgroupState:
    """With so many bytes more spent at ``at_s``; negative gives back what was not used after all."""
    return replace(
        state,
        written_minute=state.written_minute.add(at_s, written_bytes),
        written_day=state.written_day.add(at_s, written_bytes),
        released_minute=state.released_minute.add(at_s, released_bytes),
    )


def charge(state: CgroupState, want: Whole, *, acts: bool = True) -> CgroupState:
    """Charge a request as if it did all it asks for, before it runs; ``acts``: it does run."""
    spent = spend(state, state.now_s, want.writeback_bytes, want.release_bytes)
    charged = (state.now_s, want.writeback_bytes, want.release_bytes)
    keeping = state.keeping.asked(state.now_s) if acts else state.keeping
    return replace(spent, charged=charged, keeping=keeping)


def settle(state: CgroupState, written_bytes: int, released_bytes: int) -> CgroupState:
    """Correct the charge to what was done: less, or more by the kernel's overshoot of a batch."""
    if state.charged is None:
        return state
    at_s, written, released = state.charged
    return replace(spend(state, at_s, written_bytes - written, released_bytes - released), charged=None)


def other_boot(saved: Mapping[str, Any], boot_id: str, now_s: float, saved_ago_s: float) -> str | None:
    """Why what was saved is of another boot, in words; None where it is of this one.

    Inode numbers and boot times start again at every boot, so that what was remembered of one cgroup
    would be taken for another's.

    Args:
        saved: as written by the controller: ``time_s``, the boot time of its newest sample, and
            ``boot_id``, which the first versions did not write.
        boot_id: of this boot, "" where that is not known.
        now_s: boot time now.
        saved_ago_s: age of the file on the wall clock. Where either boot is not named it must agree.
    """
    then_s = float(saved["time_s"])
    if then_s > now_s:
        return "the machine booted since"
    there = saved.get("boot_id", "")
    if there and boot_id:
        return None if there == boot_id else "it was saved in another boot"
    if -SAVED_WITHIN_S <= now_s - then_s - saved_ago_s <= SAVED_WITHIN_S:
        return None
    return "it does not say in which boot it was saved, and its age does not fit this one"
