"""A rule that knows the future: what foresight could save, as a bound on what there is to learn.

It reads from the simulated machine what no file shows: when each page that lies in zswap or on disk will next
be wanted, and what each resident page's program will do next. Written back are the oldest entries, as many as
cost no more broken minutes than the promise leaves; released is what will not be wanted for `AHEAD_S`. Not
optimal: it sees one decision at a time, and the kernel, not the rule, chooses which pages go.
"""

from __future__ import annotations

import numpy as np

from zswap_gym.host.simulated import SimulatedHost
from zswap_gym.host.types import COLUMN, Request, Table
from zswap_gym.kernel.access import AccessPlan
from zswap_gym.kernel.layout import DISK, RESIDENT, SWAPCACHE, ZSWAP
from zswap_gym.policy.promise import Promise
from zswap_gym.units import PAGE_SIZE, US_PER_S
from zswap_gym.workloads.instance import Realised

AHEAD_S = 900.0
LEAST_COLD = 0.1
CAREFUL = 0.15
"""Of the reads that are allowed: a page read back keeps its slot, and if clean goes to disk again unasked."""
MINUTE_US = 60 * US_PER_S
SHARES = np.array([0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.85, 1.0])


class Foresight:
    """One host's clairvoyant. ``eager``: the largest share of a cgroup released per decision;
    ``spend``: how much of the broken minutes that are allowed it plans with.
    """

    def __init__(
        self,
        host: SimulatedHost,
        parts: Realised,
        length_s: float,
        promise: Promise,
        eager: float,
        spend: float,
    ) -> None:
        self._host, self._promise, self._eager, self._spend = host, promise, eager, spend
        self._start_us = host.machine.now_us
        self._end_us = host.machine.now_us + length_s * US_PER_S
        self._minutes = length_s / 60.0
        self._plans = [parts.plans[name] for name in host.cgroups()]
        self.broken = np.zeros(len(self._plans))
        """Broken minutes so far."""

    def tell(self, minutes: np.ndarray, broken: np.ndarray) -> None:  # noqa: ARG002 - a rule's signature
        """What became of the last interval."""
        self.broken += broken

    def decide(self, table: Table) -> list[Request]:
        """One request per cgroup."""
        return [self._one(i, row) for i, row in enumerate(table)]

    def _one(self, i: int, row: np.ndarray) -> Request:
        machine = self._host.machine
        cg = machine.state.cgs[self._host.rows[i]]
        scale = machine.host.page_scale
        first, n = int(cg["first_page"]), int(cg["n_pages"])
        pages = machine.state.pages[first : first + n]
        work = machine.now_us - int(cg["lag"])
        left = max(1, int((self._end_us - machine.now_us) / MINUTE_US))
        cold = self._cold(i, pages, work)
        resident = row[COLUMN["anon"]] / PAGE_SIZE - cold * scale  # the promise gets narrower as it leaves
        limit = CAREFUL * self._promise.disk_reads_pct_min / 100 * max(resident, 1.0)

        begun = work - (machine.now_us - self._start_us) % MINUTE_US

        def per_minute(which: np.ndarray) -> np.ndarray:
            at = ((pages["when"][which] - begun) // MINUTE_US).clip(0, left)
            return np.bincount(at.astype(np.int64), minlength=left + 1)[:left] * scale

        out = np.flatnonzero(np.isin(pages["state"], (DISK, SWAPCACHE)))
        base = per_minute(out)
        stored = np.flatnonzero(pages["state"] == ZSWAP)
        stored = stored[np.argsort(pages["stamp"][stored], kind="stable")]
        may = self._promise.may_break_pct / 100 * self._minutes * self._spend - self.broken[i]
        reads_left = 0.0008 * left * 60e6 / machine.host.device.read_us * int(cg["threads"])
        want, age = 0, 1.0
        for share in SHARES:
            count = int(share * len(stored))
            if count == 0:
                continue
            reads = base + per_minute(stored[:count])
            if (reads > limit).sum() > max(may, 0.0) or reads.sum() > reads_left:
                break
            want = count
        if want:
            age = max(1.0, (machine.now_us - int(pages["stamp"][stored[want - 1]])) / US_PER_S)
        if cold < LEAST_COLD * n:
            cold = 0  # so few that reclaim would take others for them
        release = min(cold, self._eager * n) * scale * PAGE_SIZE + want * scale * PAGE_SIZE
        size = want * scale * PAGE_SIZE
        return Request(age if size else None, size, int(release))

    def _cold(self, i: int, pages: np.ndarray, work: int) -> int:
        """Resident pages that are unlikely to be touched within AHEAD_S."""
        plan, end = self._plans[i], work + int(AHEAD_S * US_PER_S)
        wanted = np.zeros(len(pages))
        for region in plan.regions:
            a = int(region["first_page"])
            b = a + int(region["n_pages"])
            if region["traced"]:
                lo, hi = int(plan.trace_offset[a]), int(plan.trace_offset[b])
                soon = (plan.trace_time[lo:hi] > work) & (plan.trace_time[lo:hi] <= end)
                total = np.concatenate([[0], np.cumsum(soon)])
                at = plan.trace_offset[a : b + 1] - lo
                wanted[a:b] = total[at[1:]] > total[at[:-1]]
                continue
            expected = plan.rate[a:b] * (_integral(plan, region, end) - _integral(plan, region, work))
            wanted[a:b] = -np.expm1(-expected)
            if region["sweep_kind"]:
                period, active = int(region["sweep_period"]), int(region["sweep_active"])
                since = (work - int(region["sweep_start"])) % period
                if since < active or since + AHEAD_S * US_PER_S > period:
                    wanted[a:b] = 1.0
        return int(((pages["state"] == RESIDENT) & (wanted < 0.2)).sum())


def _integral(plan: AccessPlan, region: np.void, time_us: int) -> float:
    """Seconds of a region's multiplier up to a work time."""
    lo, count = int(region["seg_start"]), int(region["seg_count"])
    time, mult = plan.seg_time[lo : lo + count], plan.seg_mult[lo : lo + count]
    k = max(int(np.searchsorted(time, time_us, side="right")) - 1, 0)
    return float(plan.seg_integral[lo + k] + mult[k] * (time_us - time[k]) / US_PER_S)
