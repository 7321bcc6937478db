"""What a recorder would have seen of a plan, and how cold it is.

`bitmaps` samples a plan access by access into the two bitmaps a recording consists of: plain,
independent of the simulated kernel, and the yardstick the generators are fitted with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from zswap_gym.kernel.access import NEVER, SWEEP_NONE, SWEEP_SEQUENTIAL, AccessPlan
from zswap_gym.units import US_PER_S

if TYPE_CHECKING:
    from collections.abc import Sequence

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)


def hashed_uniform(seed: int, epoch: int, block: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """kernel.rng.hashed_uniform over an array of blocks: same arguments, same uniforms in [0, 1)."""
    with np.errstate(over="ignore"):
        x = (np.uint64(seed) * _M1 + np.uint64(epoch)) * _GAMMA + block.astype(np.uint64) * _M2
        x = _mix64(_mix64(x + _GAMMA))
    return (x >> np.uint64(11)).astype(np.float64) / (1 << 53)


def _mix64(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * _M1
    z = (z ^ (z >> np.uint64(27))) * _M2
    return z ^ (z >> np.uint64(31))


def sweep_times(region: npt.NDArray[np.void], epoch: int) -> npt.NDArray[np.int64]:
    """(n_pages,) work time at which each page of the region is swept in an epoch; NEVER = left out.

    The closed form of kernel/access.py:_next_sweep.
    """
    n, size = int(region["n_pages"]), int(region["sweep_block"])
    page = np.arange(n)
    block = page // size
    seed = int(region["seed"])
    if region["sweep_kind"] == SWEEP_SEQUENTIAL:
        place = page / n
    else:
        place = hashed_uniform(seed, epoch, block) * (1.0 - size / n) + (page - block * size) / n
    when = int(region["sweep_start"]) + epoch * int(region["sweep_period"])
    times = when + (place * float(region["sweep_active"])).astype(np.int64)
    if region["sweep_share"] < 1.0:
        times[hashed_uniform(seed + 1, epoch, block) >= region["sweep_share"]] = NEVER
    return times


def bitmaps(
    plan: AccessPlan, times_us: npt.ArrayLike, rng: np.random.Generator
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """(touched, allocated), each bool (K, n): what scans at ``times_us`` (K,) would find.

    touched[k]: accessed in (times[k-1], times[k]] (from the start for k = 0) and not freed since;
    allocated[k]: allocated at times[k]. As in a recording, an access just before the page is
    freed leaves no sign.
    """
    scans = np.asarray(times_us, np.int64)
    touched = np.zeros((len(scans), plan.n_pages), bool)
    allocated = np.zeros_like(touched)
    begins = _begins(plan)
    now = np.zeros(plan.n_pages, bool)
    previous = -1
    for k, scan in enumerate(scans.tolist()):
        freed = np.full(plan.n_pages, -1, np.int64)
        for time, page, count in plan.frees[
            (plan.frees["time"] > previous) & (plan.frees["time"] <= scan)
        ].tolist():
            freed[page : page + count] = time  # records are sorted: the last one stays
        since = np.maximum(freed, previous)
        seen = (begins > since) & (begins <= scan)
        since = np.maximum(since, np.minimum(begins, scan))
        seen |= _accessed(plan, since, scan, rng)
        now = (now & (freed < 0)) | seen
        touched[k], allocated[k] = seen, now
        previous = scan
    return touched, allocated


def touched(plan: AccessPlan, times_us: npt.ArrayLike, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Bool (K, n): page accessed in (times[k-1], times[k]]; the first of `bitmaps`."""
    return bitmaps(plan, times_us, rng)[0]


def _begins(plan: AccessPlan) -> npt.NDArray[np.int64]:
    """(n,) work time from which a page can be accessed: kernel/access.py:first_access."""
    begins = plan.first_touch.copy()
    for region in plan.regions:
        pages = slice(region["first_page"], region["first_page"] + region["n_pages"])
        late = begins[pages] == NEVER
        if region["traced"]:
            begins[pages][late] = -1  # its trace says
        elif region["sweep_kind"] != SWEEP_NONE and late.any():
            epoch = 0
            while (late & (begins[pages] == NEVER)).any() and epoch < 1000:
                times = sweep_times(region, epoch)
                found = late & (begins[pages] == NEVER) & (times >= 0)
                begins[pages][found] = times[found]
                epoch += 1
    return begins


def _accessed(
    plan: AccessPlan, since: npt.NDArray[np.int64], until: int, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """(n,) whether each page is accessed in (since[page], until]."""
    hit = np.zeros(plan.n_pages, bool)
    for region in plan.regions:
        pages = slice(region["first_page"], region["first_page"] + region["n_pages"])
        a = since[pages]
        if region["traced"]:
            hit[pages] = _traced(plan, pages, a, until)
            continue
        rate = plan.rate[pages].astype(np.float64)
        if rate.any():
            expected = rate * (_integral(plan, region, np.int64(until)) - _integral(plan, region, a))
            hit[pages] = rng.random(len(rate)) < -np.expm1(-expected)
        if region["sweep_kind"] != SWEEP_NONE and region["sweep_share"] > 0:
            begin, period = int(region["sweep_start"]), int(region["sweep_period"])
            for epoch in range(max((int(a.min()) - begin) // period - 1, 0), (until - begin) // period + 1):
                times = sweep_times(region, epoch)
                hit[pages] |= (times > a) & (times <= until)
    return hit


def _traced(
    plan: AccessPlan, pages: slice, since: npt.NDArray[np.int64], until: int
) -> npt.NDArray[np.bool_]:
    offset = plan.trace_offset[pages.start : pages.stop + 1]
    times = plan.trace_time[offset[0] : offset[-1]]
    page = np.repeat(np.arange(len(since)), np.diff(offset))
    return np.asarray(np.bincount(page[(times > since[page]) & (times <= until)], minlength=len(since)) > 0)


def _integral(plan: AccessPlan, region: npt.NDArray[np.void], t: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Seconds of m(t) integrated from 0 to t."""
    part = slice(region["seg_start"], region["seg_start"] + region["seg_count"])
    at = np.searchsorted(plan.seg_time[part], np.maximum(t, 0), side="right") - 1
    rest = (np.maximum(t, 0) - plan.seg_time[part][at]) / US_PER_S
    return np.asarray(plan.seg_integral[part][at] + rest * plan.seg_mult[part][at])


def cold_share(
    touched: npt.NDArray[np.bool_],
    allocated: npt.NDArray[np.bool_],
    times_s: npt.ArrayLike,
    ages_s: Sequence[float],
) -> list[float]:
    """Time average of the share of allocated pages that were idle for at least each age.

    A page's idle time counts from the scan that last saw it accessed or first saw it allocated;
    scans before the age are left out, since nothing can be that old yet.

    Args:
        touched: bool (K, n), as `bitmaps` or a recording has it.
        allocated: bool (K, n), likewise.
        times_s: (K,) seconds since the recording began.
        ages_s: the ages to ask about.
    """
    times = np.asarray(times_s, np.float64)
    idle = np.zeros(touched.shape[1])
    shares: list[list[float]] = [[] for _ in ages_s]
    before = allocated[0]
    previous = times[0] - float(np.median(np.diff(times)))
    for k, now in enumerate(times):
        idle += now - previous
        idle[touched[k] | ~allocated[k] | (allocated[k] & ~before)] = 0.0
        present = idle[allocated[k]]
        for age, found in zip(ages_s, shares, strict=True):
            if now - times[0] >= age and len(present):
                found.append(float((present >= age).mean()))
        before, previous = allocated[k], now
    return [float(np.mean(found)) if found else float("nan") for found in shares]
