"""The controller without host, clock and log: who decides, what is remembered."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import nan
from typing import Any

import pytest

from zswap_gym.controller.judge import FORGET_S, Judge, Offers
from zswap_gym.controller.rails import Limits
from zswap_gym.host.types import NOTHING, Outcome, Request, Sample

Make = Callable[..., Sample]
MIB = 1 << 20
ASK = Request(300.0, 4 * MIB)
LIMITS = Limits(allow=("*",), bytes_per_write=8 * MIB, bytes_per_minute=8 * MIB, host_bytes_per_day=10 * MIB)


class Always:
    """Proposes the same for everybody and keeps what it was asked and told."""

    def __init__(self, request: Request = ASK, name: str = "always") -> None:
        self.name = name
        self.request = request
        self.rounds: list[tuple[list[str], float]] = []
        self.told: list[tuple[int, Request]] = []

    def decide(self, samples: Sequence[Sample], dt_s: float) -> list[Request]:
        self.rounds.append(([sample.cgroup for sample in samples], dt_s))
        return [self.request] * len(samples)

    def asked(self, inode: int, request: Request) -> None:
        self.told.append((inode, request))

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}


class Broken(Always):
    def __init__(self, error: Exception | None) -> None:
        super().__init__(name="broken")
        self.error = error

    def decide(self, samples: Sequence[Sample], dt_s: float) -> list[Request]:  # noqa: ARG002
        if self.error is not None:
            raise self.error
        return [self.request] * (len(samples) + 1)


def judge_of(decider: Always, fallback: Always | None = None, limits: Limits = LIMITS) -> Judge:
    return Judge(decider, fallback or Always(NOTHING, "never"), limits, 30.0)


def test_the_time_step_is_the_samples_own(sample: Make) -> None:
    always = Always()
    judge = judge_of(always)
    judge.decide([sample()])
    judge.decide([])
    judge.decide([sample(time_s=1047.5), sample(cgroup="db", inode=8, time_s=1047.5)])
    assert always.rounds == [(["web"], 30.0), (["web", "db"], 47.5)]


def test_time_that_stands_still_asks_nobody(sample: Make) -> None:
    always = Always()
    judge = judge_of(always)
    judge.decide([sample()])
    (decision,), notes = judge.decide([sample()])
    assert (decision.proposed, decision.allowed, notes, len(always.rounds)) == (NOTHING, NOTHING, [], 1)


@pytest.mark.parametrize("name", ["time_s", "zswpwb", "disk_reads", "anon"])
def test_a_nan_is_survived_and_leaves_nothing_behind(sample: Make, name: str) -> None:
    judge = judge_of(Always())
    for time_s in (1000.0, 1010.0):
        (decision,), _ = judge.decide([replace(sample(time_s=time_s), **{name: nan})])
        assert decision.allowed == NOTHING
        assert decision.reasons in ((f"sample: {name} is nan",), ())
    (decision,), _ = judge.decide([sample(time_s=1020.0)])
    assert (decision.allowed, decision.reasons) == (ASK, ())
    (decision,), _ = judge.decide([sample(time_s=1030.0, disk_reads=1e5)])
    assert decision.reasons[0].startswith("breaker")


@pytest.mark.parametrize("error", [ValueError("no"), ZeroDivisionError(), None])
def test_when_the_policy_fails_the_law_decides(sample: Make, error: Exception | None) -> None:
    law = Always(Request(None, MIB), "law")
    judge = judge_of(Broken(error), law)
    (decision,), notes = judge.decide([sample()])
    assert (decision.by, decision.allowed) == ("law", Request(None, MIB))
    assert len(notes) == 1
    assert notes[0].startswith("broken failed")


def test_when_both_fail_nothing_is_done(sample: Make) -> None:
    (decision,), notes = judge_of(Broken(ValueError()), Broken(ValueError())).decide([sample()])
    assert (decision.by, decision.allowed, len(notes)) == ("nobody", NOTHING, 2)


def test_cgroups_decided_together_cannot_overdraw_together(sample: Make) -> None:
    judge = judge_of(Always())
    samples = [sample(cgroup=name, inode=i) for i, name in enumerate("abcd", start=1)]
    decisions, _ = judge.decide(samples)
    assert [d.allowed.max_bytes for d in decisions] == [4 * MIB, 4 * MIB, 2 * MIB, 0]
    assert judge.host_day.used(1000.0) == 0  # nothing was handed over yet
    for decision in decisions:
        if not decision.allowed.is_nothing:
            judge.charge(decision.sample.inode, decision.allowed)
    assert judge.host_day.used(1000.0) == 10 * MIB
    judge.settle(1, Outcome())
    assert judge.host_day.used(1000.0) == 6 * MIB
    judge.settle(1, Outcome())
    judge.settle(99, Outcome(bytes=MIB))  # nobody knows it
    assert judge.host_day.used(1000.0) == 6 * MIB


def test_budgets_belong_to_the_inode(sample: Make) -> None:
    judge = judge_of(Always(Request(300.0, 8 * MIB)))
    judge.decide([sample()])
    judge.charge(7, Request(300.0, 8 * MIB))
    later = sample(time_s=1010.0)
    decisions, _ = judge.decide([later, replace(later, inode=8), replace(later, cgroup="renamed")])
    assert [d.allowed.max_bytes for d in decisions] == [0, 2 * MIB, 0]


def test_a_gap_keeps_the_budgets_and_a_day_forgets_them(sample: Make) -> None:
    judge = judge_of(Always())
    judge.decide([sample()])
    judge.decide([sample(cgroup="db", inode=8, time_s=1000.0 + FORGET_S)])
    assert set(judge.cgroups) == {7, 8}
    judge.decide([sample(cgroup="db", inode=8, time_s=1001.0 + FORGET_S)])
    assert set(judge.cgroups) == {8}


def test_what_is_remembered_goes_round(sample: Make) -> None:
    judge = judge_of(Always())
    judge.decide([sample()])
    judge.charge(7, Request(300.0, 4 * MIB))
    saved = json.loads(json.dumps(judge.remember()))
    again = judge_of(Always())
    assert again.recall(saved, now_s=1020.0)
    (decision,), _ = again.decide([sample(time_s=1020.0)])
    assert decision.reasons == ()
    assert again.cgroups[7].written_minute.used(1020.0) == again.host_day.used(1020.0) == 4 * MIB
    booted = judge_of(Always())
    assert not booted.recall(saved, now_s=50.0)
    assert booted.cgroups == {}
    assert not booted.recall(judge_of(Always()).remember(), now_s=50.0)  # stopped before its first tick


@pytest.mark.parametrize("saved", [{}, {"time_s": 5.0}, {"time_s": 1.0, "cgroups": {"a": 1}, "host_day": {}}])
def test_what_is_no_memory_raises(saved: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        judge_of(Always()).recall(saved, now_s=10.0)


# --- why nothing is done --------------------------------------------------------------------------


def reasons_of(judge: Judge, *samples: Sample) -> list[tuple[str, ...]]:
    decisions, _ = judge.decide(samples)
    assert all(decision.allowed.is_nothing for decision in decisions)
    return [decision.reasons for decision in decisions]


def test_who_wants_nothing_is_named(sample: Make) -> None:
    judge = judge_of(Always(NOTHING, "never"))
    assert reasons_of(judge, sample(), sample(cgroup="db", inode=8, zswapped=0.0)) == [
        ("not wanted: never asked for nothing",),
        ("nothing in zswap: never asked for nothing",),
    ]
    assert reasons_of(judge, sample()) == [
        ("stale: no time has passed since the last round, nobody was asked",)
    ]


def test_without_counters_nothing_can_be_seen(sample: Make) -> None:
    judge = judge_of(Always(NOTHING, "never"))
    judge.offers = Offers(counters=False)
    assert reasons_of(judge, sample(zswapped=0.0)) == [
        ("no counters: memory.stat has no zswap keys, so never asked for nothing",)
    ]


def test_who_decides_is_told_what_is_really_asked(sample: Make) -> None:
    """After the rails: less than was proposed, and nothing where nothing is allowed."""
    always = Always(Request(300.0, 64 * MIB))
    judge = judge_of(always)
    decisions, _ = judge.decide([sample(), sample(cgroup="db", inode=8, zswapped=0.0)])
    told = [(d.sample.inode, d.allowed) for d in decisions if not d.allowed.is_nothing]
    assert always.told == told
    assert 0 < told[0][1].max_bytes < 64 * MIB


def test_a_kernel_without_writeback_is_asked_for_releases_only(sample: Make) -> None:
    judge = judge_of(Always())
    judge.offers = Offers(writeback=False)
    (decision,), _ = judge.decide([sample()])
    assert decision.proposed == ASK
    assert decision.allowed == Request(None, 0, 4 * MIB)
    assert decision.reasons == (
        "no writeback: this kernel has no interface for it, only the release is left",
    )
    judge.decider.request = Request(300.0, 4 * MIB, 0)
    (reasons,) = reasons_of(judge, sample(time_s=1030.0))
    assert reasons[0].startswith("no writeback")
    judge.decider.request = Request(None, 4 * MIB)
    (decision,), _ = judge.decide([sample(time_s=1060.0)])
    assert (decision.allowed, decision.reasons) == (Request(None, 4 * MIB), ())


# --- backing off ----------------------------------------------------------------------------------


def failed(judge: Judge, outcome: Outcome, sample: Sample) -> tuple[Request, list[str]]:
    """One round, handed over, with that outcome: what was allowed and by which rails it was cut."""
    (decision,), _ = judge.decide([sample])
    if not decision.allowed.is_nothing:
        judge.charge(sample.inode, decision.allowed)
        judge.settle(sample.inode, outcome)
    return decision.allowed, [reason.split(":")[0] for reason in decision.reasons]


def test_a_writeback_that_came_to_nothing_is_left_out_with_its_release(sample: Make) -> None:
    judge = judge_of(Always())
    outcome = Outcome(errno.EAGAIN, released_bytes=4 * MIB)
    rounds = [failed(judge, outcome, sample(time_s=1000.0 + 30.0 * n)) for n in range(4)]
    assert rounds == [(ASK, []), (NOTHING, ["backing off"]), (ASK, []), (NOTHING, ["backing off"])]
    assert judge.cgroups[7].written_day.used(1090.0) == judge.host_day.used(1090.0) == 0


def test_a_release_that_came_to_nothing_backs_off_by_itself(sample: Make) -> None:
    """The 61 KB cgroup that was asked for 2 MiB in every round."""
    judge = judge_of(Always(Request(None, 2 * MIB)))
    outcome = Outcome(release_errno=errno.EAGAIN, released_bytes=4096)
    allowed = [failed(judge, outcome, sample(time_s=1000.0 + 30.0 * n))[0].release for n in range(15)]
    assert [n for n, size in enumerate(allowed) if size] == [0, 2, 6, 14]
    assert judge.cgroups[7].released_minute.used(1000.0 + 30.0 * 14) == 4096
    partly = Outcome(release_errno=errno.EAGAIN, released_bytes=MIB)
    for n in range(30, 34):
        assert failed(judge, partly, sample(time_s=1000.0 + 30.0 * n))[0].release == 2 * MIB


def test_what_was_done_is_measured_by_what_was_handed_over(sample: Make) -> None:
    """Where an age became a size of 64 KiB, 60 KiB written are no failure."""
    judge = judge_of(Always())
    judge.decide([sample()])
    judge.charge(7, ASK)
    outcome = Outcome(errno.EAGAIN, bytes=60 << 10, released_bytes=4 * MIB)
    judge.settle(7, outcome, Request(300.0, 64 << 10, 4 * MIB))
    assert judge.decide([sample(time_s=1030.0)])[0][0].allowed == ASK


def test_backing_off_survives_a_restart(sample: Make) -> None:
    judge = judge_of(Always())
    for n in (0, 2):
        failed(judge, Outcome(errno.EAGAIN), sample(time_s=1000.0 + 30.0 * n))
    saved = json.loads(json.dumps(judge.remember()))
    again = judge_of(Always())
    assert again.recall(saved, now_s=1070.0)
    for time_s, allowed in ((1070.0, NOTHING), (1164.0, NOTHING), (1165.0, ASK)):
        assert again.decide([sample(time_s=time_s)])[0][0].allowed == allowed
    for state in saved["cgroups"].values():  # a state file of before
        del state["writing"], state["releasing"]
    assert judge_of(Always()).recall(saved, now_s=1070.0)
