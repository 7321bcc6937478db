"""Who touches which page when: the array layout of access sources.

Three kinds of source, all expressed on the cgroup's *work clock* (integer microseconds that
advance only while its threads run):

* **rates**: each page has a rate in Hz; its region multiplies it by a piecewise-constant
  m(t) (phases, bursts, diurnal). Accesses are a Poisson process of intensity rate * m(t).
* **sweeps**: a region may be swept once per period, sequentially or in shuffled blocks; the
  time a page is swept is a closed-form function of the page and the epoch.
* **traces**: a page may have an explicit sorted list of access times, each a read or a write.

``frees`` gives memory back: ranges of pages freed at a time (munmap, process exit); the next
access to a freed page is a fresh allocation. ``workloads`` fills these arrays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from zswap_gym.kernel.jit import inline, njit, prefetch, rare
from zswap_gym.kernel.rng import exponential, hashed_uniform, uniform

NEVER = np.int64(1 << 62)
"""The time of an event that never comes."""

SWEEP_NONE, SWEEP_SEQUENTIAL, SWEEP_SHUFFLED = 0, 1, 2
OP_READ, OP_WRITE, OP_READ_WRITE = 0, 1, 2
"""READ_WRITE loads, then stores: a read fault, so the swap slot stays (corrections.md, zswap 5)."""

REGION = np.dtype(
    [
        ("first_page", np.int32),  # of the plan (machine: of the machine)
        ("n_pages", np.int32),
        ("seg_start", np.int32),  # slice of the segment arrays
        ("seg_count", np.int32),
        ("write_share", np.float64),  # P(access is a write), for rates
        ("sweep_kind", np.int32),
        ("sweep_block", np.int32),  # pages per shuffled block
        ("sweep_fresh", np.int32),  # 1: a swept page is overwritten: freed and allocated anew
        ("huge", np.int32),  # 1: backed by transparent huge pages where 512 pages are free at once
        ("file", np.int32),  # 1: page cache, read from files, not anonymous memory
        ("traced", np.int32),  # 1: accesses come from the trace arrays, rates are ignored
        ("resume", np.int32),  # 1: what a sandbox touches when it is resumed; somebody waits for it
        ("sweep_share", np.float64),  # share of blocks that take part in an epoch
        ("sweep_write_share", np.float64),
        ("sweep_start", np.int64),  # us, start of epoch 0
        ("sweep_period", np.int64),  # us
        ("sweep_active", np.int64),  # us of each period during which the sweep moves
        ("seed", np.int64),  # of the shuffles
        ("seg_hint", np.int64),  # engine's cache: the segment last used
        ("asked", np.int64, (2,)),  # engine's cache: the times last asked for at the ends of looks,
        ("answer", np.float64, (2,)),  # and the integrals up to them
        ("waited", np.int64),  # machine: us that faults of its pages have stalled threads so far
    ],
    align=True,
)

FREE = np.dtype([("time", np.int64), ("first_page", np.int32), ("n_pages", np.int32)], align=True)


@dataclass
class AccessPlan:
    """All accesses of one cgroup over an episode. n = number of simulated pages.

    Attributes:
        rate: float32 (n,), Hz per page (0 = only sweeps, traces or nothing).
        region: uint16 (n,), index into ``regions``.
        clen: uint16 (n,), compressed bytes: 0 = all-zero page, >= 4096 = incompressible.
        regions: REGION records; pages of a region are contiguous.
        seg_time: int64 segment starts in us, first of each region 0; seg_mult: float64
            multipliers; seg_integral: float64 seconds of m(t) integrated up to the start.
        trace_offset: int64 (n+1,) slices of trace_time (int64, sorted per page) and trace_op.
            Empty arrays where no region is traced.
        frees: FREE records sorted by time.
        first_touch: int64 (n,), work time at which a page is first allocated (it then counts as
            accessed); NEVER = not before a sweep or trace reaches it.
        span_us: work time the plan covers; past it rates go on, traces end.
    """

    rate: npt.NDArray[np.float32]
    region: npt.NDArray[np.uint16]
    clen: npt.NDArray[np.uint16]
    regions: npt.NDArray[np.void]
    seg_time: npt.NDArray[np.int64]
    seg_mult: npt.NDArray[np.float64]
    seg_integral: npt.NDArray[np.float64]
    first_touch: npt.NDArray[np.int64]
    span_us: int
    trace_offset: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    trace_time: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    trace_op: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    frees: npt.NDArray[np.void] = field(default_factory=lambda: np.zeros(0, FREE))

    @property
    def n_pages(self) -> int:
        """Simulated pages."""
        return len(self.rate)


def segments(
    time_us: npt.ArrayLike, mult: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Segment arrays (time, mult, integral) of one region from breakpoints; first time must be 0."""
    t = np.asarray(time_us, np.int64)
    m = np.asarray(mult, np.float64)
    if len(t) == 0 or t[0] != 0 or (np.diff(t) <= 0).any() or len(t) != len(m) or (m < 0).any():
        raise ValueError("segments need increasing times from 0 and one non-negative multiplier each")
    integral = np.concatenate([[0.0], np.cumsum(np.diff(t) * 1e-6 * m[:-1])])
    return t, m, integral


# --- compiled: questions about one page ---------------------------------------------------------


@inline
def _segment(st, r, t):
    """Absolute index of the segment of region r that holds work time t."""
    rec = st.regions[r]
    lo = rec.seg_start
    hi = lo + rec.seg_count
    i = rec.seg_hint
    if st.seg_time[i] <= t and (i + 1 == hi or t < st.seg_time[i + 1]):
        return i
    a = lo
    b = hi
    while b - a > 1:
        mid = (a + b) >> 1
        if st.seg_time[mid] <= t:
            a = mid
        else:
            b = mid
    if a > i:
        rec.seg_hint = a
    return a


@inline
def _integral(st, r, t):
    """Seconds of m(t) integrated from 0 to t."""
    i = _segment(st, r, t)
    return st.seg_integral[i] + (t - st.seg_time[i]) * 1e-6 * st.seg_mult[i]


@inline
def _integral_again(st, r, t, end):
    """`_integral`, remembered: a walk or a batch asks for the same ends page after page."""
    rec = st.regions[r]
    if rec.asked[end] != t:
        rec.answer[end] = _integral(st, r, t)
        rec.asked[end] = t
    return rec.answer[end]


@njit
def _next_poisson(st, p, t):
    """First access by rate after t: invert the integrated rate at an exponential level."""
    page = st.pages[p]
    if page.rate <= 0.0:
        return NEVER
    r = page.region
    rec = st.regions[r]
    i = _segment(st, r, t)
    level = st.seg_integral[i] + (t - st.seg_time[i]) * 1e-6 * st.seg_mult[i] + exponential(st) / page.rate
    hi = rec.seg_start + rec.seg_count
    if i + 1 < hi and st.seg_integral[i + 1] <= level:
        a = i + 1
        b = hi
        while b - a > 1:
            mid = (a + b) >> 1
            if st.seg_integral[mid] <= level:
                a = mid
            else:
                b = mid
        i = a
    m = st.seg_mult[i]
    if m <= 0.0:
        return NEVER  # only the last segment can hold the level with m = 0
    wait = (level - st.seg_integral[i]) * 1e6 / m
    if wait > 1e17:
        return NEVER
    return max(t + 1, st.seg_time[i] + np.int64(math.ceil(wait)))


@njit
def _next_sweep(st, p, t):
    """First time after t at which the sweep of the page's region reaches it."""
    rec = st.regions[st.pages[p].region]
    if rec.sweep_kind == SWEEP_NONE or rec.sweep_share <= 0.0:
        return NEVER
    if rare(st.source_at[p] <= max(t, 0)):  # else the answer to an earlier t still holds: t never goes back
        st.source_at[p] = _sweep_after(st, p, t)
    return st.source_at[p]


@njit
def _sweep_after(st, p, t):
    """`_next_sweep` worked out: the page's place in the epoch that holds t, then in later ones."""
    rec = st.regions[st.pages[p].region]
    offset = p - rec.first_page
    block = offset // rec.sweep_block
    epoch = max((t - rec.sweep_start) // rec.sweep_period, 0)
    for _ in range(1000):
        if rec.sweep_share >= 1.0 or hashed_uniform(rec.seed + 1, epoch, block) < rec.sweep_share:
            if rec.sweep_kind == SWEEP_SEQUENTIAL:
                place = offset / rec.n_pages
            else:
                inside = (offset - block * rec.sweep_block) / rec.n_pages
                place = (
                    hashed_uniform(rec.seed, epoch, block) * (1.0 - rec.sweep_block / rec.n_pages) + inside
                )
            when = rec.sweep_start + epoch * rec.sweep_period + np.int64(place * rec.sweep_active)
            if when > t:
                return when
        epoch += 1
    return NEVER


@inline
def _next_traced(st, p, t):
    """Time of the first traced access of p after t; `_traced_at` is its index.

    Asked for later and later times it lies near the last one, and is found in strides that double.
    """
    if st.source_at[p] <= max(t, 0):  # else the answer to an earlier t still holds, as for a sweep
        start = st.trace_offset[p]
        end = st.trace_offset[p + 1]
        a = start + st.trace_at[p]
        stride = 1
        while a + stride <= end and st.trace_time[a + stride - 1] <= t:
            a += stride
            stride *= 2
        b = min(a + stride - 1, end)
        while a < b:
            mid = (a + b) >> 1
            if st.trace_time[mid] <= t:
                a = mid + 1
            else:
                b = mid
        _come_to(st, p, a)
    return st.source_at[p]


@inline
def _come_to(st, p, i):
    """Traced access i is the next of p; i may be the end of its list."""
    st.trace_at[p] = i - st.trace_offset[p]
    st.source_at[p] = st.trace_time[i] if i < st.trace_offset[p + 1] else NEVER


@inline
def _traced_at(st, p):
    """Index of the access that `_next_traced` has found."""
    return st.trace_offset[p] + st.trace_at[p]


@inline
def ask_ahead(st, p):
    """Have the memory bring what the next look at page p reads of its trace."""
    if len(st.trace_at) > 0:
        prefetch(st.trace_time, _traced_at(st, p))


@inline
def _look_traced(st, p, t0, t1, dirty):
    """`look` at a traced page."""
    if _next_traced(st, p, t0) > t1:
        return 0
    if dirty:
        return 1
    i = _traced_at(st, p)
    end = st.trace_offset[p + 1]
    result = 0
    while i < end and st.trace_time[i] <= t1:
        result |= 1 if st.trace_op[i] == OP_READ else 3
        if result == 3:
            return result
        i += 1
    _come_to(st, p, i)
    return result


@njit
def next_access(st, p, t):
    """(work time of p's first access after t, whether a sweep makes it)."""
    if st.regions[st.pages[p].region].traced:
        return _next_traced(st, p, t), False
    poisson = _next_poisson(st, p, t)
    sweep = _next_sweep(st, p, t)
    if sweep <= poisson and sweep < NEVER:
        return sweep, True
    return poisson, False


@njit
def first_access(st, p):
    """(work time at which p is first allocated, whether a sweep does it)."""
    if st.first_touch[p] < NEVER:
        return st.first_touch[p], False
    if st.regions[st.pages[p].region].traced:
        return next_access(st, p, -1)
    return _next_sweep(st, p, -1), True


@njit
def access_op(st, p, when, by_sweep):
    """OP_READ, OP_WRITE or OP_READ_WRITE: what the access of p at ``when`` does."""
    rec = st.regions[st.pages[p].region]
    if rec.traced:
        if _next_traced(st, p, when - 1) == NEVER:
            return np.int64(OP_READ)
        return np.int64(st.trace_op[_traced_at(st, p)])
    share = rec.sweep_write_share if by_sweep else rec.write_share
    return np.int64(OP_WRITE) if uniform(st) < share else np.int64(OP_READ)


@inline
def _below_exp(u, x):
    """U < 1 - exp(-x), asking for the exponential only between the first sums of its series."""
    if u >= x:
        return False
    two = x - 0.5 * x * x
    if (u < two) | (u * (1.0 + x) < x):
        return True
    return u < two + x * x * x * (1.0 / 6.0) and u < -math.expm1(-x)


@njit
def look(st, p, t0, t1, dirty):
    """What happened to mapped page p in (t0, t1]: bit 0 accessed, bit 1 written.

    Where the page is ``dirty`` anyhow, bit 1 may stay clear and a trace need not be read for it.
    One uniform draws both: the writes of a Poisson process are a thinning of it, so "written"
    is contained in "accessed". Disjoint intervals are independent, which makes lazy looks exact.
    """
    if t1 <= t0:
        return 0
    page = st.pages[p]
    r = page.region
    rec = st.regions[r]
    result = 0
    if rec.traced:
        return _look_traced(st, p, t0, t1, dirty)
    if page.rate > 0.0:
        x = page.rate * (_integral_again(st, r, t1, 1) - _integral_again(st, r, t0, 0))
        u = uniform(st)
        if _below_exp(u, x):
            plain = dirty and rec.sweep_kind == SWEEP_NONE
            result = 3 if not plain and _below_exp(u, x * rec.write_share) else 1
    if rec.sweep_kind != SWEEP_NONE and result != 3 and _next_sweep(st, p, t0) <= t1:
        result |= 3 if uniform(st) < rec.sweep_write_share else 1
    return result
