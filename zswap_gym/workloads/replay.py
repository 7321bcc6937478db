"""Replay a recording: every page's accesses at explicit times, once, within the recorded span.

A recording says that a page was accessed between two scans, not when or how often. Its first
access of the interval gets a random time in it, and that one access stands for the interval.
A recording is never looped: a loop makes every page come back after one length of the tape, and
a learner finds the period.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zswap_gym.errors import UserError
from zswap_gym.kernel.access import NEVER, OP_READ, OP_WRITE, AccessPlan
from zswap_gym.units import US_PER_S
from zswap_gym.workloads.compress import trace_sizes
from zswap_gym.workloads.plan import Part, assemble, at_start

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zswap_gym.workloads.traces import Trace

BLOCK = 64
"""A sub-sample takes contiguous runs of this many pages, so that neighbours stay neighbours."""

STRETCH = 1 << 15
"""Accesses worked on at a time."""

WRITE_SHARE: dict[str, tuple[float, float, float]] = {
    "gcc_cc1": (0.5, 0.4, 0.6),
    "jvm_cache": (0.3, 0.2, 0.4),
    "llm_infer": (0.0, 0.0, 0.0),
    "logagg": (0.0, 0.05, 0.05),
    "ml_sgd": (0.0, 0.02, 0.5),
    "node_svc": (0.3, 0.3, 0.5),
    "pysvc": (0.9, 0.8, 0.9),
    "redis_zipf": (0.05, 0.1, 0.3),
    "sidecar": (0.9, 0.8, 0.9),
    "sqlite_oltp": (0.05, 0.2, 0.6),
}
"""P(an access is a write) for never, middle and hot pages. Assumed, not recorded: the recorder does
not tell reads from writes. CPython writes reference counts on every read; weights and features
are read only; a key-value store writes its tables more than its values."""
DEFAULT_WRITE_SHARE = (0.3, 0.3, 0.5)


def replay_parts(
    trace: Trace,
    rng: np.random.Generator,
    *,
    start_s: float = 0.0,
    length_s: float | None = None,
    compressor: str = "zstd",
    pages: int | None = None,
    write_share: float | Sequence[float] | None = None,
) -> tuple[list[Part], npt.NDArray[np.uint16], int]:
    """The recording from ``start_s`` to its end: (one traced region, compressed bytes, span in us).

    Work time 0 is the last scan at or before start_s. Pages allocated there are first touched over
    the first second; a page allocated later is first touched when it is first seen; a page that
    goes away is freed at a random time of the interval in which it went.

    Args:
        trace: the recording.
        rng: the source of all randomness.
        start_s: seconds into the recording.
        length_s: leave out what comes more than this much later; None = up to the end.
        compressor: lzo, lz4 or zstd.
        pages: simulate a random sample of this many pages, in runs of BLOCK; None = all.
        write_share: P(an access is a write), one number or three (never, middle, hot pages); None =
            WRITE_SHARE of the recording. An allocation is always a write.

    Raises:
        UserError: start_s leaves no interval to replay, or pages is more than were recorded.
    """
    first = int(np.searchsorted(trace.times_us, round(start_s * US_PER_S), side="right")) - 1
    if start_s < 0 or first >= trace.n_scans - 1:
        raise UserError(
            f"trace {trace.name!r}: start {start_s:g} s is outside the recording of {trace.span_s:.0f} s; "
            "start earlier, recordings are not looped"
        )
    chosen = _choose(trace, rng, pages)
    span = int(trace.times_us[-1] - trace.times_us[first])
    if length_s is not None:
        span = min(span, round(length_s * US_PER_S))
    last = int(np.searchsorted(trace.times_us, trace.times_us[first] + span))
    offset, scan, fresh = _accesses(trace, chosen, first, last)
    present = _allocated_at(trace, first)[chosen]
    touch = np.full(len(chosen), NEVER)
    # Within the first half of the first interval, so that accesses in it can follow.
    spread = min(1.0, int(trace.times_us[first + 1] - trace.times_us[first]) / (2 * US_PER_S))
    touch[present] = (at_start(len(chosen), rng)[present] * spread).astype(np.int64)
    time = _times(trace, first, offset, scan, np.where(present, touch, 0), rng)
    page_class = trace.page_class()[chosen]
    write = _writes(page_class, np.diff(offset), write_shares(trace, write_share), rng)
    write |= fresh
    part = Part(
        rate=np.zeros(len(chosen)),
        page_class=page_class,
        first_touch=touch,
        frees=_frees(trace, chosen, (first, last), int(spread * US_PER_S), rng),
        trace=(offset, time, np.where(write, np.uint8(OP_WRITE), np.uint8(OP_READ))),
    )
    return [part], trace_sizes(trace, chosen, rng, compressor), span


def replay_plan(trace: Trace, rng: np.random.Generator, **options: Any) -> AccessPlan:
    """The access plan of a cgroup that replays the recording; options are those of `replay_parts`."""
    parts, clen, span = replay_parts(trace, rng, **options)
    return assemble(parts, clen, span, rng)


def _choose(trace: Trace, rng: np.random.Generator, pages: int | None) -> npt.NDArray[np.int64]:
    """Sorted page ids: all, or whole blocks drawn one from each stretch of memory, the last one cut to size.

    Neighbours behave alike (a heap's young end, a table, a stack of free pages), so a draw spread
    over the addresses is closer to the whole than blocks drawn anywhere.
    """
    if pages is None or pages == trace.n_pages:
        return np.arange(trace.n_pages)
    if not 0 < pages < trace.n_pages:
        raise UserError(
            f"trace {trace.name!r}: pages {pages} is not between 1 and the {trace.n_pages} recorded; "
            "ask for fewer, recordings are not stretched"
        )
    total = -(-trace.n_pages // BLOCK)
    wanted = min(-(-pages // BLOCK) + 1, total)
    edges = np.arange(wanted + 1) * total // wanted
    blocks = edges[:-1] + (rng.random(wanted) * np.diff(edges)).astype(np.int64)
    inside = (blocks[:, None] * BLOCK + np.arange(BLOCK)).ravel()
    inside = inside[inside < trace.n_pages]
    spare = len(inside) - pages
    # What is too much goes from one random place, not always from the top of the memory.
    cut = int(rng.integers(pages + 1))
    return np.concatenate([inside[:cut], inside[cut + spare :]])


def _accesses(
    trace: Trace, chosen: npt.NDArray[np.int64], first: int, last: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Accesses at scans (first, last]: (slices (n+1,) of the others by page, scan, whether it allocates).

    Sorted by page, then scan. A page that was allocated but not seen accessed (it was paged out
    between the two looks of one scan) is accessed all the same: something allocated it.
    """
    start, stop = trace.touch_offset[chosen], trace.touch_offset[chosen + 1]
    ends = np.flatnonzero(np.diff(chosen, append=-1) != 1)  # of runs of neighbours
    begins = np.append(0, ends[:-1] + 1)
    scan = np.concatenate(
        [trace.touch_scan[a:b] for a, b in zip(start[begins].tolist(), stop[ends].tolist(), strict=True)]
    )
    late = (scan > first) & (scan <= last)
    upto = np.append(0, np.cumsum(late, dtype=np.int32))
    offset = upto[np.append(0, np.cumsum(stop - start))].astype(np.int64)
    return _with_allocations(trace, chosen, (first, last), offset, scan[late])


def _with_allocations(
    trace: Trace,
    chosen: npt.NDArray[np.int64],
    scans: tuple[int, int],
    offset: npt.NDArray[np.int64],
    scan: npt.NDArray[np.int32],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Mark the accesses that allocate and add those that were not seen; returns as `_accesses`."""
    fresh = np.zeros(len(scan), bool)
    born, when = _flips(trace, chosen, *scans, allocates=True)
    pages = np.unique(born)
    count = np.diff(offset)[pages]
    base = np.cumsum(count) - count  # where each page's accesses begin among those looked at
    place = np.arange(int(count.sum())) + np.repeat(offset[pages] - base, count)
    key = np.repeat(pages, count) * trace.n_scans + scan[place]
    born_key = born * trace.n_scans + when
    at = np.searchsorted(key, born_key)
    seen = at < len(key)
    seen[seen] = key[at[seen]] == born_key[seen]
    fresh[place[at[seen]]] = True
    index = np.searchsorted(pages, born)
    at = (offset[born] + at - base[index])[~seen]
    offset = offset + np.searchsorted(born[~seen], np.arange(len(offset)))
    return offset, np.insert(scan, at, when[~seen]), np.insert(fresh, at, True)


def _times(
    trace: Trace,
    first: int,
    offset: npt.NDArray[np.int64],
    scan: npt.NDArray[np.int32],
    touch: npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """A random time in its interval for each access; in the first one after ``touch`` (n,), its page's first.

    Millions of them: a stretch at a time, or the time would go into getting memory.
    """
    begin = np.append(0, trace.times_us[:-1]) - trace.times_us[first] + 1
    length = np.diff(trace.times_us, prepend=0).astype(np.float64)
    time = np.empty(len(scan), np.int64)
    for part in _stretches(len(scan)):
        now = scan[part]
        early = np.flatnonzero(now == first + 1)
        wait = touch[np.searchsorted(offset, part.start + early, side="right") - 1]
        left = length[now]
        left[early] -= wait
        left *= rng.random(len(now))
        time[part] = left
        time[part] += begin[now]
        time[part.start + early] += wait
    return time


def _writes(
    page_class: npt.NDArray[np.uint8],
    count: npt.NDArray[np.int64],
    share: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> npt.NDArray[np.bool_]:
    """Whether each of the ``count`` (n,) accesses of pages (n,) is a write: P by class is ``share`` (3,)."""
    of_class = np.repeat(page_class, count)
    write = np.empty(len(of_class), bool)
    for part in _stretches(len(write)):
        write[part] = rng.random(part.stop - part.start) < share[of_class[part]]
    return write


def _stretches(n: int) -> list[slice]:
    """[0, n) in pieces that a cache holds."""
    return [slice(a, min(a + STRETCH, n)) for a in range(0, n, STRETCH)]


def _flips(
    trace: Trace, chosen: npt.NDArray[np.int64], first: int, last: int, *, allocates: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(page index in chosen, scan) of the allocations, or the frees, at scans (first, last]."""
    page, scan, on = trace.flips()
    wanted = (on == allocates) & (scan > first) & (scan <= last)
    index = np.full(trace.n_pages, -1, np.int64)
    index[chosen] = np.arange(len(chosen))
    index = index[page]
    wanted &= index >= 0
    return index[wanted], scan[wanted]


def _allocated_at(trace: Trace, scan: int) -> npt.NDArray[np.bool_]:
    """(n,) allocated at a scan."""
    page, when, _ = trace.flips()
    flips = np.bincount(page[when <= scan], minlength=trace.n_pages)
    return np.asarray(trace.allocated_first ^ (flips % 2 == 1))


def _frees(
    trace: Trace,
    chosen: npt.NDArray[np.int64],
    scans: tuple[int, int],
    settled_us: int,
    rng: np.random.Generator,
) -> list[tuple[int, int, int]]:
    """(time, first page, pages): neighbours freed in the same interval go together.

    Nothing is freed before ``settled_us``: what exists at the start is still being allocated.
    """
    first, last = scans
    page, scan = _flips(trace, chosen, first, last, allocates=False)
    if not len(page):
        return []
    order = np.lexsort((page, scan))
    page, scan = page[order], scan[order]
    joined = (np.diff(scan) == 0) & (np.diff(page) == 1) & (np.diff(trace.vpn[chosen[page]]) == 1)
    start = np.flatnonzero(np.append(True, ~joined))
    count = np.diff(np.append(start, len(page)))
    end = trace.times_us[scan[start]] - trace.times_us[first]
    begin = np.maximum(trace.times_us[scan[start] - 1] - trace.times_us[first], settled_us)
    time = begin + 1 + (rng.random(len(start)) * (end - begin)).astype(np.int64)
    return list(zip(time.tolist(), page[start].tolist(), count.tolist(), strict=True))


def write_shares(trace: Trace, given: float | Sequence[float] | None = None) -> npt.NDArray[np.float64]:
    """(3,) P(an access is a write) by page class. Raises :class:`UserError` outside 0 to 1."""
    share = WRITE_SHARE.get(trace.name, DEFAULT_WRITE_SHARE) if given is None else given
    out = np.broadcast_to(np.asarray(share, np.float64), 3)
    if not ((out >= 0) & (out <= 1)).all():
        raise UserError(f"trace {trace.name!r}: write_share {given!r}: give shares between 0 and 1")
    return out
