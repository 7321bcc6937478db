from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zswap_gym.kernel.access import segments
from zswap_gym.workloads.phases import alternating, arrivals, diurnal, pulses, steps

HOUR = 3600 * 1_000_000

broken_steps = st.lists(st.tuples(st.integers(-50, 1000), st.floats(0, 9)), max_size=12).map(
    lambda rows: steps([0, *sorted(t for t, _ in rows)], [1.0, *(m for _, m in rows)])
)


def time_mean(phases, span_us):
    length = np.diff(np.append(phases.time_us, span_us))
    return float((phases.mult * length).sum() / span_us)


@given(broken_steps, broken_steps, st.integers(0, 2000))
@settings(max_examples=60)
def test_products_and_sums_are_pointwise(a, b, t):
    assert (a * b).at(t) == pytest.approx(a.at(t) * b.at(t))
    assert (a + b).at(t) == pytest.approx(a.at(t) + b.at(t))


@given(broken_steps)
@settings(max_examples=60)
def test_any_breakpoints_make_valid_segments(phases):
    time, mult, _ = segments(phases.time_us, phases.mult)
    assert time[0] == 0
    assert len(mult) == len(time)


def test_of_equal_times_the_last_counts():
    assert steps([0, 5, 5, 9], [1, 2, 3, 4]).at([4, 5, 8, 9]).tolist() == [1, 3, 3, 4]


def test_boost_covers_its_window_only():
    phases = steps([0, 10], [1.0, 2.0]).boosted(5, 15, 3.0)
    assert phases.at([0, 4, 5, 9, 10, 14, 15]).tolist() == [1, 1, 3, 3, 6, 6, 2]
    assert steps([0], [1.0]).boosted(5, 5, 3.0).mult.tolist() == [1]


def test_pulses_add_up():
    assert pulses([10, 12], 5, 2.0).at([9, 10, 12, 14, 15, 17]).tolist() == [0, 2, 4, 4, 2, 0]
    assert pulses([], 5, 2.0).mult.tolist() == [0]


@pytest.mark.parametrize("exponential", [False, True])
def test_alternating_has_the_asked_share_and_no_period(exponential):
    rng = np.random.default_rng(0)
    runs = [
        alternating(rng, 10 * HOUR, on_s=20, off_s=60, on=1.0, off=0.0, exponential=exponential)
        for _ in range(4)
    ]
    assert np.mean([time_mean(p, 10 * HOUR) for p in runs]) == pytest.approx(0.25, abs=0.01)
    starts = runs[0].time_us[1:][runs[0].mult[1:] > 0]
    gaps = np.diff(starts) / 1e6
    assert gaps.std() > 8
    assert len({tuple(p.time_us[:5]) for p in runs}) == 4
    assert runs[0].time_us[-1] > 9.9 * HOUR


def test_a_day_averages_to_one():
    phases = diurnal(np.random.default_rng(1), 4 * HOUR, period_s=3600, amplitude=0.6)
    assert time_mean(phases, 4 * HOUR) == pytest.approx(1.0, abs=1e-6)
    assert phases.mult.max() == pytest.approx(1.6, abs=0.01)
    assert phases.mult.min() >= 0


def test_arrivals_are_sorted_and_as_many_as_asked():
    times = arrivals(np.random.default_rng(0), 1e6, 1e6 + HOUR, 10.0)
    assert times == sorted(times)
    assert len(times) == pytest.approx(360, rel=0.2)
    assert min(times) >= 1e6
    assert arrivals(np.random.default_rng(0), 5.0, 5.0, 10.0) == []
