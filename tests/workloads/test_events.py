from __future__ import annotations

import itertools

import numpy as np
import pytest

from zswap_gym.kernel.access import OP_WRITE
from zswap_gym.workloads.coldness import bitmaps
from zswap_gym.workloads.events import boosted, event_pages, event_parts, realise_events
from zswap_gym.workloads.phases import steps
from zswap_gym.workloads.plan import Part, assemble
from zswap_gym.workloads.schema import Event

S = 1_000_000
MIB = 1 << 20


def event(**given):
    return Event.model_validate({"kind": "critical", "at": 100.0, "duration": 20.0, **given})


def realise(*events, seed=0, length=600.0, factor=1.0):
    return realise_events(
        "kv", events, np.random.default_rng(seed), warmup_s=60.0, length_s=length, size_factor=factor
    )


def plan_of(events, scale=1):
    parts = event_parts(events, scale, 0.5, np.random.default_rng(1))
    n = sum(part.n_pages for part in parts)
    return assemble(parts, np.full(n, 1000, np.uint16), 700 * S, np.random.default_rng(0))


def test_times_count_the_warm_up():
    (only,) = realise(event(bytes=MIB, announced=False))
    assert (only.start_s, only.end_s) == (160.0, 180.0)
    assert (only.cgroup, only.kind, only.bytes, only.announced) == ("kv", "critical", MIB, False)


def test_repetition_jitter_and_the_end_of_the_episode():
    found = realise(event(every=100.0, jitter=30.0))
    starts = np.array([e.start_s - 60 for e in found])
    assert len(found) in {5, 6}
    assert (np.abs(starts - np.arange(100, 100 * len(found) + 1, 100)) <= 30).all()
    assert len(set(np.diff(starts).round(3))) > 1
    assert all(e.end_s <= 660 for e in found)
    assert realise(event(every=100.0, jitter=30.0), seed=1) != found
    assert realise(event(every=100.0, jitter=30.0)) == found
    assert realise(event(at=0.0, jitter=30.0))[0].start_s >= 60.0


def test_sleeping_pages_are_touched_in_events_only_and_in_order():
    events = realise(event(bytes=64 * 4096), event(at=300.0, bytes=32 * 4096))
    plan = plan_of(events)
    assert plan.n_pages == 64
    touched, there = bitmaps(plan, np.array([2, 159, 170, 180, 359, 385, 600]) * S, np.random.default_rng(0))
    assert there.all()
    assert touched.sum(1).tolist() == [64, 0, 32, 32, 0, 32, 0]
    first = plan.trace_time[plan.trace_offset[:-1]]
    assert (np.diff(first) > 0).all()
    assert 0.2 < (plan.trace_op == OP_WRITE).mean() < 0.8


def test_fresh_memory_comes_and_goes():
    plan = plan_of(realise(event(kind="arrival", bytes=50 * 4096, fresh=True, every=200.0)))
    _, there = bitmaps(plan, np.array([150, 170, 179, 181, 379, 390]) * S, np.random.default_rng(0))
    assert there.sum(1).tolist() == [0, 25, 48, 0, 48, 0]
    assert (plan.trace_op == OP_WRITE).all()


def test_pages_follow_scale_and_size():
    events = realise(event(bytes=MIB), event(bytes=2 * MIB, fresh=True), factor=2.0)
    assert event_pages(events, 1) == (512, 1024)
    assert event_pages(events, 8) == (64, 128)
    assert event_parts([], 1, 0.5, np.random.default_rng(0)) == []


def test_rates_are_multiplied_while_it_lasts():
    part = Part(np.ones(4), np.zeros(4, np.uint8), phases=steps([0, 170 * S], [1.0, 2.0]))
    traced = Part(np.ones(1), np.zeros(1, np.uint8), trace=(np.zeros(2), np.zeros(0), np.zeros(0)))
    out = boosted([part, traced], realise(event(multiplier=5.0)))
    assert out[0].phases.at(np.array([159, 160, 169, 170, 179, 180]) * S).tolist() == [1, 5, 5, 10, 10, 2]
    assert out[1] is traced
    assert boosted([part], realise(event()))[0] is part


def test_overlapping_events_keep_each_pages_times_sorted():
    plan = plan_of(realise(event(bytes=64 * 4096, duration=300.0), event(at=150.0, bytes=64 * 4096)))
    times = plan.trace_time.reshape(64, 2)
    assert (times[:, 0] < times[:, 1]).all()


def resume(**given):
    return event(**{"kind": "resume", "bytes": 64 * 4096, "duration": 3.0, **given})


def test_resumes_come_irregularly_and_rest_within_their_bounds():
    found = realise(resume(at=0.0, idle=[10.0, 100.0]), length=20000.0)
    rests = np.array([b.start_s - a.end_s for a, b in itertools.pairwise(found)])
    assert (rests >= 10).all()
    assert (rests <= 100).all()
    assert np.log10(rests).mean() == pytest.approx(1.5, abs=0.06)  # log-uniform
    assert realise(resume(at=0.0, idle=[10.0, 100.0]), length=20000.0) == found


def test_a_resume_touches_its_memory_at_once_and_the_same_each_time():
    events = realise(resume(idle=[100.0, 100.0], base=0.5), event(at=300.0, bytes=32 * 4096))
    sleeping, resumed = event_parts(events, 1, 0.5, np.random.default_rng(1))
    assert (sleeping.n_pages, resumed.n_pages) == (32, 64)
    assert (sleeping.resume, resumed.resume) == (False, True)
    starts = [e.start_s for e in events if e.kind == "resume"]
    times = resumed.trace[1].reshape(64, len(starts)) / S
    assert (times >= starts).all()
    assert (times <= np.array(starts) + 0.5).all()
    assert event_pages(events, 1) == (96, 0)
    assert plan_of(events).regions["resume"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"kind": "arrival"}, "touches something"),
        ({"kind": "resume"}, "memory that slept"),
        ({"kind": "resume", "bytes": 4096, "fresh": True}, "memory that slept"),
        ({"kind": "resume", "bytes": 4096, "base": 20.0}, "below duration"),
        ({"base": 1.0}, "base is the answer time of a resume"),
        ({"idle": [5.0, 1.0]}, "shortest, longest"),
        ({"idle": [1.0, 5.0], "every": 60.0}, "instead of every"),
        ({"every": 15.0}, "overlaps itself"),
        ({"duration": 0.0}, "greater than 0"),
        ({"multiplier": 0.0}, "greater than 0"),
    ],
)
def test_senseless_events_are_refused(given, word):
    with pytest.raises(ValueError, match=word):
        event(**given)
