from __future__ import annotations

import time

import numpy as np
import pytest

from zswap_gym.errors import UserError
from zswap_gym.kernel.access import NEVER, OP_WRITE
from zswap_gym.workloads.coldness import bitmaps, cold_share
from zswap_gym.workloads.plan import working_set
from zswap_gym.workloads.replay import BLOCK, replay_plan
from zswap_gym.workloads.traces import load_trace


def rng(seed=0):
    return np.random.default_rng(seed)


def page_of_access(plan):
    return np.repeat(np.arange(plan.n_pages), np.diff(plan.trace_offset))


def same_bitmaps(trace, plan):
    """A recorder watching the replay sees the recording again (its first interval holds start-up)."""
    touched, allocated = bitmaps(plan, trace.times_us[1:], rng())
    expected = trace.touched()[1:]
    assert np.array_equal(allocated, trace.allocated()[1:])
    # Pages that come back without having been seen accessed are accessed all the same.
    on = np.zeros_like(expected)
    page, scan, allocates = trace.flips()
    on[scan[allocates] - 1, page[allocates]] = True
    assert np.array_equal(touched[1:], (expected | on)[1:])
    assert (touched[0] | ~expected[0]).all()


def test_a_replay_shows_the_recording(arrays, save):
    trace = load_trace(save(arrays))
    same_bitmaps(trace, replay_plan(trace, rng()))


def test_a_replay_of_a_service_with_churn_shows_the_recording():
    trace = load_trace("node_svc")
    plan = replay_plan(trace, rng())
    assert len(plan.frees) > 100
    same_bitmaps(trace, plan)


def test_cold_shares_survive_a_sample_of_pages():
    trace = load_trace("redis_zipf")
    whole = cold_share(trace.touched()[1:], trace.allocated()[1:], trace.times_us[1:] / 1e6, [30, 60])
    part = replay_plan(trace, rng(), pages=8192)
    seen = cold_share(*bitmaps(part, trace.times_us[1:], rng()), trace.times_us[1:] / 1e6, [30, 60])
    assert seen == pytest.approx(whole, abs=0.03)


def test_accesses_lie_in_real_intervals_at_spread_out_times(arrays, save):
    trace = load_trace(save(arrays))
    plan = replay_plan(trace, rng())
    index = np.searchsorted(trace.times_us, plan.trace_time)
    share = (plan.trace_time - trace.times_us[index - 1]) / (
        trace.times_us[index] - trace.times_us[index - 1]
    )
    assert share.min() < 0.05
    assert share.max() > 0.95
    assert share.mean() == pytest.approx(0.5, abs=0.05)
    key = page_of_access(plan) * 10**10 + plan.trace_time
    assert (np.diff(key) > 0).all()
    assert len(np.unique(page_of_access(plan) * 1000 + index)) == len(index)  # one per page and interval


def test_what_exists_at_the_start_is_allocated_within_a_second_before_its_accesses(arrays, save):
    trace = load_trace(save(arrays))
    plan = replay_plan(trace, rng())
    first = plan.first_touch < NEVER
    assert np.array_equal(first, trace.allocated_first)
    assert plan.first_touch[first].max() < 1_000_000
    assert (plan.trace_time > np.where(first, plan.first_touch, -1)[page_of_access(plan)]).all()


def test_frees_are_ranges_and_what_returns_is_written(arrays, save):
    trace = load_trace(save(arrays))
    plan = replay_plan(trace, rng(), write_share=0.0)
    ranges = {(int(f["first_page"]), int(f["n_pages"])) for f in plan.frees}
    assert ranges == {(150, 50), (200, 20), (220, 10)}
    assert (np.diff(plan.frees["time"]) >= 0).all()
    writes = np.unique(page_of_access(plan)[plan.trace_op == OP_WRITE])
    assert set(writes) == set(range(100, 150)) | set(range(200, 230))
    freed = {int(f["first_page"]): int(f["time"]) for f in plan.frees}
    times = plan.trace_time[plan.trace_offset[205] : plan.trace_offset[206]]
    assert not ((times > freed[200]) & (times <= trace.times_us[7])).any()


def test_write_share_by_class(arrays, save):
    trace = load_trace(save(arrays))
    assert (replay_plan(trace, rng(), write_share=1.0).trace_op == OP_WRITE).all()
    plan = replay_plan(trace, rng(), write_share=(0.0, 0.0, 1.0))
    hot = trace.page_class()[page_of_access(plan)] == 2
    assert (plan.trace_op[hot] == OP_WRITE).all()
    assert plan.trace_op[~hot].mean() < 0.5
    with pytest.raises(UserError, match="between 0 and 1"):
        replay_plan(trace, rng(), write_share=1.5)


def test_a_sample_is_made_of_runs():
    trace = load_trace("sidecar")
    plan = replay_plan(trace, rng(), pages=1000)
    assert plan.n_pages == 1000
    # Identify the pages by what cannot be changed: compare with the whole trace's touch counts.
    counts = np.diff(trace.touch_offset)
    sample = np.diff(plan.trace_offset)
    blocks = [sample[i : i + BLOCK] for i in range(0, 1000 - BLOCK, BLOCK)]
    assert sum(block.any() for block in blocks) < len(blocks)  # 99 % of a sidecar is never touched
    assert sample.max() <= counts.max()


def test_a_sample_of_everything_is_everything(arrays, save):
    trace = load_trace(save(arrays))
    a, b = replay_plan(trace, rng(3)), replay_plan(trace, rng(3), pages=300)
    assert np.array_equal(a.trace_time, b.trace_time)


def test_start_and_length_cut_the_recording(arrays, save):
    trace = load_trace(save(arrays))
    plan = replay_plan(trace, rng(), start_s=trace.times_us[4] / 1e6 + 0.3, length_s=5.0)
    assert plan.span_us == 5_000_000
    assert np.array_equal(plan.first_touch < NEVER, trace.allocated()[4])
    end = trace.times_us[np.searchsorted(trace.times_us, trace.times_us[4] + plan.span_us)]
    assert plan.trace_time.max() <= end - trace.times_us[4]
    assert working_set(plan) <= 300


def test_nothing_is_looped_or_stretched(arrays, save):
    trace = load_trace(save(arrays))
    plan = replay_plan(trace, rng())
    assert plan.span_us == trace.times_us[-1]
    assert plan.trace_time.max() <= plan.span_us
    with pytest.raises(UserError, match="not looped"):
        replay_plan(trace, rng(), start_s=3600)
    with pytest.raises(UserError, match="not stretched"):
        replay_plan(trace, rng(), pages=301)


def test_same_seed_same_plan_other_seed_other_times(arrays, save):
    trace = load_trace(save(arrays))
    a, b, c = (replay_plan(trace, rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(a.trace_time, b.trace_time)
    assert np.array_equal(a.clen, b.clen)
    assert not np.array_equal(a.trace_time, c.trace_time)


def test_the_largest_recording_replays_in_well_under_a_second():
    trace = load_trace("pysvc")
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        replay_plan(trace, rng())
        best = min(best, time.perf_counter() - start)
    assert best < 1.0  # about 0.1 s on an idle core
