"""The interquartile mean and its intervals against what they must be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zswap_gym.agents.statistics import bootstrap, iqm, paired_difference, share_better

runs = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)


def test_iqm_is_the_mean_of_the_middle_half() -> None:
    assert iqm([0, 1, 2, 3, 4, 5, 6, 1000]) == pytest.approx((2 + 3 + 4 + 5) / 4)
    # six runs: 1.5 cut at either end
    assert iqm([0, 10, 20, 30, 40, 99]) == pytest.approx((0.5 * 10 + 20 + 30 + 0.5 * 40) / 3)
    assert iqm([7.0]) == 7.0
    with pytest.raises(ValueError, match="no runs"):
        iqm([])


@given(runs, st.randoms())
def test_iqm_ignores_order_and_stays_inside(values: list[float], random) -> None:
    shuffled = random.sample(values, len(values))
    assert iqm(values) == pytest.approx(float(iqm(shuffled)), rel=1e-9, abs=1e-6)
    assert min(values) - 1e-6 <= iqm(values) <= max(values) + 1e-6


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for k in range(200):
        estimate = bootstrap(rng.normal(3.0, 1.0, size=30), seed=k)
        hits += estimate.low <= 3.0 <= estimate.high
    assert 0.86 <= hits / 200 <= 0.99


def test_pairing_removes_what_both_runs_share() -> None:
    rng = np.random.default_rng(1)
    workload = rng.normal(0.0, 100.0, size=(3, 10))
    ours = workload + 1.0 + rng.normal(0.0, 0.1, size=(3, 10))
    difference = paired_difference(ours, workload)
    assert difference.low > 0.9
    assert difference.high < 1.1
    assert difference.excludes_zero
    assert not bootstrap(ours).excludes_zero
    assert share_better(ours, workload) == 1.0
    assert share_better(workload, workload) == 0.5


def test_the_same_runs_give_the_same_interval() -> None:
    values = np.arange(12.0)
    assert bootstrap(values) == bootstrap(values)


def test_unpaired_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="same seeds"):
        paired_difference([1.0, 2.0], [1.0])
