"""Estimated ages: pages are neither made nor lost, and go where time, loads and writebacks put them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from zswap_gym.policy.age import BINS, EDGES_S, AgeEstimate

pages = st.floats(0.0, 1e9)
seconds = st.sampled_from([0.0, 0.01, 1.0, 10.0, 30.0, 600.0, 1e5]) | st.floats(0.0, 1e4)
ages = st.floats(0.0, 1e6)


def one(**mass_at: float) -> AgeEstimate:
    """An estimate of one cgroup with ``at_60=5.0`` pages in the bin that starts at that age."""
    estimate = AgeEstimate((1,))
    for name, value in mass_at.items():
        estimate.mass[0, bin_of(float(name.removeprefix("at_")))] = value
    return estimate


def bin_of(age_s: float) -> int:
    return int(np.searchsorted(EDGES_S, age_s, side="right")) - 1


def step(
    estimate: AgeEstimate,
    dt_s: float,
    *,
    stored: float = 0.0,
    loaded: float = 0.0,
    written: float = 0.0,
    population: float | None = None,
) -> np.ndarray:
    """Advance an estimate of one cgroup; the population is what the flows leave unless given."""
    if population is None:
        population = float(estimate.mass.sum()) + stored - loaded - written
    dt, stores, loads, writes, total = np.array([dt_s, stored, loaded, written, population])[:, None]
    after: np.ndarray = estimate.update(dt, stores, loads, writes, total)[0]
    return after


@settings(max_examples=150)
@given(
    st.lists(arrays(np.float64, (5, 3), elements=pages), min_size=1, max_size=4),
    st.lists(seconds, min_size=3),
)
def test_the_sum_is_the_population_whatever_flows(flows: list[np.ndarray], times: list[float]) -> None:
    estimate = AgeEstimate((3,))
    for stored, loaded, written, population, _ in flows:
        estimate.update(np.array(times[:3]), stored, loaded, written, population)
        assert (estimate.mass >= 0).all()
        np.testing.assert_allclose(estimate.mass.sum(-1), population, rtol=1e-9, atol=1e-6)


@settings(max_examples=100)
@given(arrays(np.float64, (BINS,), elements=pages), seconds)
def test_time_alone_moves_pages_and_loses_none(mass: np.ndarray, dt_s: float) -> None:
    estimate = AgeEstimate((1,))
    estimate.mass[0] = mass
    after = step(estimate, dt_s)
    assert after.sum() == pytest.approx(mass.sum(), rel=1e-9)
    # nothing gets younger: at any edge at least as much lies beyond as before
    assert (np.cumsum(after) <= np.cumsum(mass) + 1e-9 * mass.sum() + 1e-6).all()


@pytest.mark.parametrize("age_s", [0.0, 30.0, 120.0, 600.0])
@pytest.mark.parametrize("dt_s", [10.0, 60.0, 300.0])
def test_pages_of_a_bin_lie_where_their_ages_are_later(age_s: float, dt_s: float) -> None:
    start = bin_of(age_s)
    estimate = AgeEstimate((1,))
    estimate.mass[0, start] = 100.0
    after = step(estimate, dt_s)
    low, high = EDGES_S[start] + dt_s, EDGES_S[start + 1] + dt_s
    where = np.flatnonzero(after)
    assert where[0] == bin_of(low)
    assert where[-1] == bin_of(np.nextafter(high, 0.0))
    # evenly spread: the part of the span that lies in its first bin
    inside = (min(EDGES_S[where[0] + 1], high) - low) / (high - low)
    assert after[where[0]] == pytest.approx(100.0 * inside)


def test_the_oldest_bin_is_open() -> None:
    estimate = one(at_1e9=7.0)
    assert step(estimate, 1e6)[-1] == 7.0


def test_stores_of_an_interval_are_as_old_as_it_is_long() -> None:
    after = step(AgeEstimate((1,)), 60.0, stored=60.0)
    assert after[bin_of(60.0) :].sum() == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(after[: bin_of(60.0)], np.diff(EDGES_S)[: bin_of(60.0)])


def test_what_was_there_first_counts_as_stored_just_now() -> None:
    after = step(AgeEstimate((1,)), 600.0, population=50.0)
    assert after[0] == 50.0


def test_loads_prefer_the_young() -> None:
    estimate = one(at_30=100.0, at_600=100.0, at_3600=100.0)
    after = step(estimate, 0.0, loaded=60.0)
    taken = [100.0 - after[bin_of(age)] for age in (30.0, 600.0, 3600.0)]
    assert taken[0] > 5 * taken[1] > 0
    assert taken[1] > 3 * taken[2] > 0
    assert sum(taken) == pytest.approx(60.0)


def test_writebacks_take_the_oldest() -> None:
    estimate = one(at_30=100.0, at_600=100.0, at_3600=100.0)
    after = step(estimate, 0.0, written=150.0)
    assert after[bin_of(3600.0)] == 0.0
    assert after[bin_of(600.0)] == pytest.approx(50.0)
    assert after[bin_of(30.0)] == 100.0


def test_frees_take_from_all_ages_alike() -> None:
    after = step(one(at_30=100.0, at_600=300.0), 0.0, population=200.0)
    assert after[bin_of(30.0)] == pytest.approx(50.0)
    assert after[bin_of(600.0)] == pytest.approx(150.0)


def test_rows_with_different_intervals_do_as_they_would_alone() -> None:
    rng = np.random.default_rng(1)
    mass = rng.uniform(0, 100, (4, BINS))
    dt = np.array([10.0, 30.0, 10.0, 0.0])
    stored, loaded, written = rng.uniform(0, 50, (3, 4))
    population = mass.sum(-1) * 0.9
    together = AgeEstimate((4,))
    together.mass[:] = mass
    together.update(dt, stored, loaded, written, population)
    for i in range(4):
        alone = AgeEstimate((1,))
        alone.mass[0] = mass[i]
        one = slice(i, i + 1)
        alone.update(dt[one], stored[one], loaded[one], written[one], population[one])
        np.testing.assert_allclose(together.mass[i], alone.mass[0], rtol=1e-12)


@settings(max_examples=100)
@given(arrays(np.float64, (2, BINS), elements=pages), ages, ages)
def test_older_than_falls_with_the_age(mass: np.ndarray, first: float, second: float) -> None:
    estimate = AgeEstimate((2,))
    estimate.mass[:] = mass
    young, old = sorted((first, second))
    assert (estimate.older_than(young) >= estimate.older_than(old) - 1e-12).all()
    assert (estimate.older_than(0.0) <= 1.0 + 1e-12).all()
    assert (estimate.older_than(old) >= 0.0).all()


def test_bytes_older_than_counts_whole_pages_of_older_bins_and_part_of_its_own() -> None:
    estimate = one(at_30=8.0, at_600=16.0)
    start = bin_of(600.0)
    middle = (EDGES_S[start] + EDGES_S[start + 1]) / 2
    assert estimate.bytes_older_than(0.0)[0] == 24 * 4096
    assert estimate.bytes_older_than(600.0)[0] == 16 * 4096
    assert estimate.bytes_older_than(middle)[0] == pytest.approx(8 * 4096)
    assert estimate.bytes_older_than(EDGES_S[start + 1])[0] == 0


@settings(max_examples=100)
@given(arrays(np.float64, (BINS,), elements=st.floats(1.0, 1e6)), st.floats(0.001, 0.999))
def test_age_for_bytes_is_the_inverse(mass: np.ndarray, share: float) -> None:
    estimate = AgeEstimate((1,))
    estimate.mass[0] = mass
    size = share * float(mass.sum()) * 4096
    age = estimate.age_for_bytes(size)
    assert 0 <= age[0] <= EDGES_S[-1]
    if age[0] < EDGES_S[-1]:
        assert estimate.bytes_older_than(age)[0] == pytest.approx(size, rel=1e-6)


def test_age_for_more_bytes_than_there_are_is_0() -> None:
    assert one(at_600=4.0).age_for_bytes(5 * 4096)[0] == 0.0


def test_reset_and_copy() -> None:
    estimate = AgeEstimate((3,))
    estimate.mass[:] = 1.0
    twin = estimate.copy()
    estimate.reset(np.array([True, False, True]))
    np.testing.assert_array_equal(estimate.mass.sum(-1), [0, BINS, 0])
    estimate.reset()
    assert not estimate.mass.any()
    assert (twin.mass == 1.0).all()
