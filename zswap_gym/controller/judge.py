"""Samples in, allowed requests out: the controller without its host, clock and log.

The running daemon and the replay of its log go through the same Judge, so a log can show that
every decision in it follows from what was seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from typing import Any

from zswap_gym.controller.backoff import Backoff
from zswap_gym.controller.decider import Decider
from zswap_gym.controller.decisions import Decision
from zswap_gym.controller.keeping import Keeping
from zswap_gym.controller.rails import Limits, check
from zswap_gym.controller.state import Breaker, CgroupState, Window, charge, day, observe, settle, spend
from zswap_gym.host.dialects import whole
from zswap_gym.host.names import above
from zswap_gym.host.types import NOTHING, Outcome, Request, Sample

FORGET_S = 86400.0
"""A cgroup not seen for this long is forgotten; shorter gaps keep its budgets and breaker."""


NO_WRITEBACK = "no writeback: this kernel has no interface for it, only the release is left"
"""The reason where a kernel that can only release is not asked for more."""


@dataclass(frozen=True)
class Offers:
    """What this kernel can do for a decision; see :mod:`zswap_gym.controller.survey`."""

    writeback: bool = True
    """It has an interface for proactive writeback. Without one only releases are asked for."""
    counters: bool = True
    """memory.stat has zswap's keys. Without them every cgroup looks as if it had nothing in zswap."""


@dataclass
class Judge:
    """Decides, then applies the rails. Nothing here blocks, reads a clock or touches a file.

    Attributes:
        decider: the policy or law.
        fallback: the law used at a tick where ``decider`` fails.
        limits: the rails' settings.
        interval_s: the time step assumed at the first tick.
        offers: what the kernel can do.
    """

    decider: Decider
    fallback: Decider
    limits: Limits
    interval_s: float
    offers: Offers = Offers()
    cgroups: dict[int, CgroupState] = field(default_factory=dict)
    """By inode."""
    host_day: Window = field(default_factory=day)
    """Written back by all cgroups."""
    last_s: float | None = None
    """Boot time of the tick before."""
    _above: dict[int, tuple[int, ...]] = field(default_factory=dict, repr=False)
    """By inode of a cgroup, those of the cgroups that contain it, at the newest tick."""

    def decide(
        self, samples: Sequence[Sample], sample_age_s: float = 0.0
    ) -> tuple[list[Decision], list[str]]:
        """One Decision per sample, in order, and notes about trouble.

        A decision that allows nothing has a reason.
        """
        now_s = max((s.time_s for s in samples if isfinite(s.time_s)), default=self.last_s)
        dt_s = self.interval_s if self.last_s is None or now_s is None else now_s - self.last_s
        notes: list[str] = []
        by = self.decider.name
        # A tick at which time stood still is stale; a decider's rates would divide by zero.
        requests = [NOTHING] * len(samples)
        if samples and dt_s > 0:
            requests, by = self._propose(samples, dt_s, notes)
        self._observe(samples, sample_age_s)
        decisions = []
        # Spent for this tick only: who is decided for together must not overdraw together.
        host_day, spent = self.host_day, dict(self.cgroups)
        for sample, request in zip(samples, requests, strict=True):
            inode = sample.inode
            allowed, reasons = check(
                sample.cgroup,
                sample,
                request,
                spent[inode],
                self.limits,
                host_written_today=host_day.used(spent[inode].now_s),
                above=[spent[i] for i in self._above[inode]],
            )
            if allowed.age_s is not None and allowed.max_bytes > 0 and not self.offers.writeback:
                allowed, reasons = Request(None, 0, allowed.release), (*reasons, NO_WRITEBACK)
            if allowed.is_nothing and not reasons:
                reasons = (self._wanted_nothing(sample, by, dt_s),)
            keeping = spent[inode].keeping
            minutes = keeping.ended, keeping.broken
            decisions.append(Decision(sample, request, allowed, reasons, by, minutes))
            if not allowed.is_nothing:
                self.decider.asked(inode, allowed)
                want = whole(allowed, self.limits.page_size)
                host_day = host_day.add(spent[inode].now_s, want.writeback_bytes)
                for i in (inode, *self._above[inode]):
                    spent[i] = spend(spent[i], spent[inode].now_s, want.writeback_bytes, want.release_bytes)
        self._forget(now_s)
        self.last_s = now_s
        return decisions, notes

    def _observe(self, samples: Sequence[Sample], sample_age_s: float) -> None:
        """Take in the samples, and who contains whom: what one writes is its containers' memory too."""
        for sample in samples:
            state = self.cgroups.get(sample.inode, CgroupState())
            self.cgroups[sample.inode] = observe(
                state, sample, sample_age_s, self.limits.breaker, self.limits.promise
            )
        inodes = {sample.cgroup: sample.inode for sample in samples}
        self._above = {
            inode: tuple(inodes[name] for name in above(cgroup) if name in inodes)
            for cgroup, inode in inodes.items()
        }

    def _wanted_nothing(self, sample: Sample, by: str, dt_s: float) -> str:
        """Why nothing was proposed, most fundamental first."""
        if dt_s <= 0:
            return "stale: no time has passed since the last round, nobody was asked"
        if not self.offers.counters:
            return f"no counters: memory.stat has no zswap keys, so {by} asked for nothing"
        if sample.zswapped == 0:
            return f"nothing in zswap: {by} asked for nothing"
        return f"not wanted: {by} asked for nothing"

    def _propose(self, samples: Sequence[Sample], dt_s: float, notes: list[str]) -> tuple[list[Request], str]:
        for decider in (self.decider, self.fallback):
            try:
                requests = list(decider.decide(samples, dt_s))
            except Exception as error:  # noqa: BLE001 - whatever is wrong with a policy, the daemon goes on
                notes.append(f"{decider.name} failed ({type(error).__name__}: {error})")
                continue
            if len(requests) == len(samples):
                return requests, decider.name
            notes.append(f"{decider.name} failed ({len(requests)} requests for {len(samples)} cgroups)")
        return [NOTHING] * len(samples), "nobody"

    def charge(self, inode: int, request: Request) -> None:
        """A request was handed over (or, observing, would have been): its budgets are spent."""
        want = whole(request, self.limits.page_size)
        state = self.cgroups[inode] = charge(self.cgroups[inode], want, acts=self.limits.acts)
        self._spend(self._above.get(inode, ()), state.now_s, want.writeback_bytes, want.release_bytes)
        self.host_day = self.host_day.add(state.now_s, want.writeback_bytes)

    def settle(self, inode: int, outcome: Outcome, asked: Request | None = None) -> None:
        """A request ended: correct the charge to what was really done; back off where nothing was.

        ``asked`` is what was handed over, where that is less than was charged: an age turned into a size.
        """
        state = self.cgroups.get(inode)
        if state is None or state.charged is None:
            return
        at_s, written, released = state.charged
        self.host_day = self.host_day.add(at_s, outcome.bytes - written)
        self._spend(
            self._above.get(inode, ()), at_s, outcome.bytes - written, outcome.released_bytes - released
        )
        pace = (self.interval_s, self.limits.backoff_max_s)
        size = written if asked is None else whole(asked, self.limits.page_size).writeback_bytes
        self.cgroups[inode] = replace(
            settle(state, outcome.bytes, outcome.released_bytes),
            writing=state.writing.after(at_s, size, outcome.bytes, outcome.errno, *pace),
            releasing=state.releasing.after(
                at_s, released, outcome.released_bytes, outcome.release_errno, *pace
            ),
        )

    def _spend(self, inodes: Sequence[int], at_s: float, written_bytes: int, released_bytes: int) -> None:
        for inode in inodes:
            if inode in self.cgroups:
                self.cgroups[inode] = spend(self.cgroups[inode], at_s, written_bytes, released_bytes)

    def _forget(self, now_s: float | None) -> None:
        if now_s is not None:
            self.cgroups = {i: s for i, s in self.cgroups.items() if now_s - s.now_s <= FORGET_S}

    # --- across restarts -------------------------------------------------------------------------

    def remember(self) -> dict[str, Any]:
        """Budgets and breakers as JSON values."""
        return {
            "time_s": max((state.now_s for state in self.cgroups.values()), default=None),
            "host_day": asdict(self.host_day),
            "cgroups": {str(inode): asdict(state) for inode, state in self.cgroups.items()},
        }

    def recall(self, saved: dict[str, Any], now_s: float) -> bool:
        """Take up what :meth:`remember` gave; False, changing nothing, if the host booted since.

        Counters are not taken up: what happened between the two runs is nobody's doing here.
        Raises KeyError, TypeError or ValueError where ``saved`` is something else.
        """
        if saved["time_s"] is None or saved["time_s"] > now_s:
            return False
        cgroups = {}
        for inode, state in saved["cgroups"].items():
            cgroups[int(inode)] = CgroupState(
                written_minute=_window(state["written_minute"]),
                written_day=_window(state["written_day"]),
                released_minute=_window(state["released_minute"]),
                breaker=Breaker(**state["breaker"]),
                writing=Backoff(**state.get("writing", {})),
                releasing=Backoff(**state.get("releasing", {})),
                keeping=Keeping.recalled(state.get("keeping", {})),
                now_s=float(state["now_s"]),
            )
        self.host_day = _window(saved["host_day"])
        self.cgroups = cgroups
        return True


def _window(saved: dict[str, Any]) -> Window:
    spent = tuple((int(grain), int(size)) for grain, size in saved["spent"])
    return replace(Window(float(saved["span_s"]), float(saved["grain_s"])), spent=spent)
