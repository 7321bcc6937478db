"""Controller: sample, decide, keep within the rails, log, and in mode ``act`` hand over; then wait.

The same loop runs over a real and a simulated host. It never waits for a write: requests run
beside it, and their outcomes are collected at the next tick.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from math import ceil
from pathlib import Path
from typing import Any

from zswap_gym.controller.ages import Ages
from zswap_gym.controller.config import ControllerConfig
from zswap_gym.controller.decider import Decider, LawDecider
from zswap_gym.controller.decisions import Decision, DecisionLog, decision_record, outcome_record
from zswap_gym.controller.gaps import findings, refuse_blind_rails, survey_record
from zswap_gym.controller.judge import Judge, Offers
from zswap_gym.controller.lock import alone
from zswap_gym.controller.state import other_boot
from zswap_gym.controller.survey import Survey
from zswap_gym.errors import UserError
from zswap_gym.host.types import Host, Request

NAP_S = 1.0
"""Longest sleep in one go: how long SIGTERM may have to wait."""

END_NAP_S = 0.05
"""Between two looks at the last writes of a run."""


def _complain(message: str) -> None:
    print(f"zswap-gym: {message}", file=sys.stderr, flush=True)


class Controller:
    """The daemon over one host.

    Args:
        host: real or simulated.
        decider: the policy or law that proposes; see :func:`zswap_gym.controller.decider.from_config`.
        config: the settings; ``mode`` observe (the default) logs what would be done and does nothing.
        own: the controller's own cgroup, never touched; see :mod:`zswap_gym.controller.preconditions`.
        survey: what the host offers; see :func:`zswap_gym.controller.survey.take_survey`. What it lacks is
            said at the start of :meth:`run`. None: everything is taken to be there.
        complain: where troubles are told besides the log.
        listen: given the records of every batch that is logged, or would be if there were a log.
    """

    def __init__(
        self,
        host: Host,
        decider: Decider,
        config: ControllerConfig,
        *,
        own: str | None = None,
        survey: Survey | None = None,
        complain: Callable[[str], None] = _complain,
        listen: Callable[[Sequence[dict[str, Any]]], None] = lambda _: None,
    ) -> None:
        self.host = host
        self.config = config = replace(config, page_size=config.page_size or host.page_size)
        fallback = LawDecider(config.law_spec)
        offers = Offers() if survey is None else survey.offers
        self.judge = Judge(decider, fallback, config.limits(own), config.interval_s, offers)
        self.ages = Ages(config.interval_s, self.judge.limits.page_size)
        self.ticks = 0
        self._log = DecisionLog(config.log) if config.log is not None else None
        self._complain = complain
        self._listen = listen
        self._own = own
        self._survey = survey
        self._findings = [] if survey is None else findings(survey, config)
        self._stopping = False
        self._running: dict[str, tuple[int, Request]] = {}
        """Requests handed over and not ended, with the cgroup's inode, by its name."""

    # --- one tick --------------------------------------------------------------------------------

    def tick(self) -> list[Decision]:
        """Collect outcomes, look, decide, log, act. Trouble is noted and means no action."""
        self.ticks += 1
        records = self._collect()
        started_s = self.host.now()
        try:
            samples = self.host.sample()
        except (UserError, OSError) as error:
            self._note(records, f"nothing was read: {error}")
            self._append(records)
            return []
        age_s = self.host.now() - started_s
        self.ages.watch(samples)
        decisions, notes = self.judge.decide(samples, age_s)
        for note in (*self.host.notes(), *notes):
            self._note(records, note)
        records += [decision_record(self.ticks, decision, age_s) for decision in decisions]
        # Logged before anything is done: what cannot be logged is not done.
        if self._append(records):
            self._append(self._hand_over(decisions))
        return decisions

    def _collect(self) -> list[dict[str, Any]]:
        records = []
        for cgroup, outcome in self.host.outcomes():
            inode, asked = self._running.get(cgroup, (None, None))
            if outcome.errno == errno.ETIMEDOUT:
                inode = None  # it ends twice: its charge stands until the kernel lets go
            elif inode is not None:
                del self._running[cgroup]
                self.judge.settle(inode, outcome, asked)
            records.append(outcome_record(self.ticks, cgroup, inode, asked, outcome))
        return records

    def _hand_over(self, decisions: list[Decision]) -> list[dict[str, Any]]:
        """Start what is allowed; a record of each request that was not started after all."""
        records: list[dict[str, Any]] = []
        for decision in decisions:
            if decision.allowed.is_nothing:
                continue
            cgroup, inode, asked = decision.sample.cgroup, decision.sample.inode, decision.allowed
            about = {"tick": self.ticks, "cgroup": cgroup, "inode": inode}
            if self.config.mode == "act":
                if asked.age_s is not None and not self.host.has_age(cgroup):
                    asked = self.ages.as_size(inode, asked)
                if asked.is_nothing:
                    age = f"too young: nothing in zswap is {decision.allowed.age_s:g} s old"
                    records.append({"kind": "unasked", **about, "reason": age})
                    continue
                if not self.host.submit(cgroup, asked):
                    records.append({"kind": "busy", **about})
                    continue
                self._running[cgroup] = (inode, asked)
            self.judge.charge(inode, decision.allowed)
        return records

    def _note(self, records: list[dict[str, Any]], words: str) -> None:
        records.append({"kind": "note", "tick": self.ticks, "words": words})
        if not any(finding.what in words for finding in self._findings):  # said at the start
            self._complain(words)

    def _append(self, records: list[dict[str, Any]]) -> bool:
        try:
            if self._log is not None:
                self._log.append(records)
        except OSError as error:
            self._complain(
                f"{self.config.log}: {os.strerror(error.errno or 0).lower()}; nothing is done this tick"
            )
            return False
        self._listen(records)
        return True

    # --- many ticks ------------------------------------------------------------------------------

    def run(self, ticks: int | None = None) -> None:
        """Tick every ``interval_s`` until :meth:`stop`, SIGTERM or SIGINT, or for so many ``ticks``.

        The n-th tick is due at start + n x interval whatever the ones before took. A tick that
        overruns skips what it missed; nothing is made up for.

        Raises:
            UserError: mode act, and a rail would be blind on this host; another controller has the same log
                or state file; the log cannot be written, or the state file cannot be read. All before
                the first tick.
        """
        refuse_blind_rails(self._findings, self.config)
        with alone([file for file in (self.config.log, self.config.state) if file is not None]):
            self._run(ticks)

    def _run(self, ticks: int | None) -> None:
        self._begin()
        with self._signals():
            start_s, interval_s = self.host.now(), self.config.interval_s
            done, due = 0, 0
            while not self._stopping:
                self.tick()
                self._remember()
                done += 1
                if done == ticks:
                    break
                due = max(due + 1, ceil((self.host.now() - start_s) / interval_s))
                self._wait(start_s + due * interval_s)
            self._end()

    def _wait(self, due_s: float) -> None:
        while not self._stopping:
            left_s = due_s - self.host.now()
            if left_s <= 0:
                return
            self.host.sleep(min(left_s, NAP_S))

    def stop(self) -> None:
        """End :meth:`run` after the present tick; safe from a signal handler or another thread."""
        self._stopping = True

    @contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = [signal.signal(number, lambda *_: self.stop()) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def _begin(self) -> None:
        forgotten = self._recall()
        decider = self.judge.decider.describe()
        start = {
            "kind": "start",
            "decider": decider,
            "own_cgroup": self._own,
            "offers": asdict(self.judge.offers),
            "config": self.config.to_mapping(),
            "state": self.judge.remember(),
        }
        records = [start]
        if self._survey is not None:
            records.append(survey_record(self._survey, self._findings))
        if forgotten is not None:
            self._note(records, forgotten)
        trained_s, asked_s = decider.get("interval_s", self.config.interval_s), self.config.interval_s
        if trained_s != asked_s:
            self._note(
                records,
                f"{decider['name']} was trained to decide every {trained_s:g} s and is asked every "
                f"{asked_s:g} s; set interval to {trained_s:g}s",
            )
        if self._log is not None:
            try:
                self._log.check()
                self._log.append(records)
            except OSError as error:
                raise UserError(
                    f"{self._log.path}: {os.strerror(error.errno or 0).lower()}; name another file under log"
                ) from error
        self._listen(records)
        for finding in self._findings:
            self._complain(finding.short)
        if self._findings:
            self._complain("control --check says what to do about it")

    def _end(self) -> None:
        """Settle the last writes and save the budgets.

        A run that was told to stop does not wait for them. One that comes to its end by itself does,
        as long as a write may take. What runs even then is said: its outcome will not be seen.
        """
        records = self._collect()
        until_s = self.host.now() + self.config.deadline_s
        while self._running and not self._stopping and self.host.now() < until_s:
            self.host.sleep(END_NAP_S)
            records += self._collect()
        if self._running:
            self._note(records, f"stopped while writes were running in {', '.join(sorted(self._running))}")
        self._append(records)
        self._remember()

    # --- budgets across restarts -----------------------------------------------------------------

    def _recall(self) -> str | None:
        """Take up what an earlier run saved; where that is of another boot, say so instead."""
        path = self.config.state
        if path is None:
            return None
        try:
            saved = json.loads(Path(path).read_text(encoding="utf-8"))
            if None in (
                saved["time_s"],
                saved["host_day"],
                saved["cgroups"],
            ):  # it ended before its first sample
                return None
            saved_ago_s = time.time() - Path(path).stat().st_mtime
            why = other_boot(saved, self.host.boot_id, self.host.now(), saved_ago_s)
            if why is None:
                self.judge.recall(saved, self.host.now())
                return None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: not a state file of the controller ({error}); remove it") from error
        return f"{path}: {why}; budgets and breakers start afresh"

    def _remember(self) -> None:
        path = self.config.state
        if path is None:
            return
        target = Path(path)
        temporary = target.with_name(f".{target.name}.new")
        try:
            saved = {"boot_id": self.host.boot_id, **self.judge.remember()}
            temporary.write_text(json.dumps(saved), encoding="utf-8")
            temporary.replace(target)
        except OSError as error:
            self._complain(
                f"{path}: {os.strerror(error.errno or 0).lower()}; budgets start at zero next time"
            )
