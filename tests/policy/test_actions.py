"""Actions: where the zones end, whole pages, and back again."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from zswap_gym.host.types import COLUMN, COLUMNS, NOTHING, Request, Table
from zswap_gym.policy.actions import ActionSpec, decode, encode, from_requests, to_requests

Make = Callable[..., Table]
SPEC = ActionSpec()
MIB = 1 << 20
GIB = 1 << 30


def decoded(age: float, amount: float, table: Table, spec: ActionSpec = SPEC) -> Request:
    """What an action asks of the only cgroup of a table."""
    (request,) = to_requests(*decode(np.array([[age, amount]]), table, spec))
    return request


def share_of(amount: float, spec: ActionSpec = SPEC) -> float:
    """The formula, written once more."""
    place = (amount - spec.nothing_below) / (1.0 - spec.nothing_below)
    return place * place * spec.max_share


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """Where another test has imported the environments the first call compiles, for once longer than
    Hypothesis lets an example take."""
    decode(np.zeros((1, 2)), np.zeros((1, len(COLUMNS))), SPEC)


def test_the_ends_of_the_scale(make_table: Make) -> None:
    table = make_table(1, zswapped=GIB)
    youngest = decoded(-1.0, 1.0, table)
    assert youngest.age_s == pytest.approx(SPEC.age_min_s)
    assert youngest.max_bytes == GIB * SPEC.max_share
    assert youngest.release == youngest.max_bytes
    middle = decoded((SPEC.release_only_above - 1.0) / 2, 1.0, table)
    assert middle.age_s == pytest.approx(math.sqrt(SPEC.age_min_s * SPEC.age_max_s))


def test_the_top_tenth_means_release_only(make_table: Make) -> None:
    table = make_table(1, zswapped=GIB)
    edge = SPEC.release_only_above
    at = decoded(edge, 1.0, table)
    assert at.age_s == pytest.approx(SPEC.age_max_s)
    for above in (np.nextafter(edge, 1.0), 0.9, 1.0, 7.0):
        request = decoded(float(above), 1.0, table)
        assert request.age_s is None
        assert request.release == at.release == GIB * SPEC.max_share


@pytest.mark.parametrize("amount", [-9.0, -1.0, -0.75, SPEC.nothing_below])
def test_the_nothing_zone(make_table: Make, amount: float) -> None:
    table = make_table(1, zswapped=GIB)
    assert decoded(0.0, amount, table) is NOTHING
    assert decoded(1.0, amount, table) is NOTHING
    above = decoded(0.0, float(np.nextafter(SPEC.nothing_below, 1.0)), table)
    assert above.max_bytes == SPEC.min_bytes


def test_an_amount_is_at_least_min_bytes_or_all_there_is(make_table: Make) -> None:
    table = make_table(5, zswapped=[100 * MIB, SPEC.min_bytes, 40960, 4096, 4095])
    _, size, release = decode(np.tile([0.0, -0.4], (5, 1)), table, SPEC)
    assert size.tolist() == [SPEC.min_bytes, SPEC.min_bytes, 40960, 4096, 0]
    assert release.tolist() == size.tolist()


@given(st.floats(0, 1e15), st.floats(-1, 1))
def test_sizes_are_whole_pages_and_never_more_than_there_is(zswapped: float, amount: float) -> None:
    table = np.full((1, len(COLUMN)), 0.0)
    table[0, COLUMN["zswapped"]] = zswapped
    _, (size,), _ = decode(np.array([[0.0, amount]]), table, SPEC)
    assert size % 4096 == 0
    assert 0 <= size <= zswapped
    if amount <= SPEC.nothing_below:
        assert size == 0
    else:
        wanted = max(share_of(amount) * zswapped, min(SPEC.min_bytes, zswapped))
        assert size == pytest.approx(wanted, abs=4096, rel=1e-12)


@given(
    arrays(np.float64, (2, 3, 2), elements=st.floats()),
    arrays(np.float64, (2, 3), elements=st.floats(0, 1e13)),
)
def test_any_action_means_something_inside_the_bounds(action: np.ndarray, zswapped: np.ndarray) -> None:
    table = np.zeros((2, 3, len(COLUMN)))
    table[..., COLUMN["zswapped"]] = zswapped
    age, size, release = decode(action, table, SPEC)
    assert age.shape == size.shape == release.shape == (2, 3)
    told = age[~np.isnan(age)]
    assert ((told >= SPEC.age_min_s * (1 - 1e-9)) & (told <= SPEC.age_max_s * (1 + 1e-9))).all()
    assert (np.isnan(age) == (action[..., 0] > SPEC.release_only_above)).all()
    assert (size == release).all()
    for row in range(2):
        alone = decode(action[row], table[row], SPEC)
        np.testing.assert_array_equal(alone, (age[row], size[row], release[row]))


def test_nan_does_nothing(make_table: Make) -> None:
    table = make_table(1, zswapped=GIB)
    assert decoded(math.nan, math.nan, table) is NOTHING
    assert decoded(0.0, math.nan, table) is NOTHING
    assert decoded(math.nan, 1.0, table).age_s == pytest.approx(SPEC.age_min_s)


def test_an_absent_cgroup_gets_nothing(make_table: Make) -> None:
    table = make_table(3, zswapped=GIB)
    table[1] = math.nan
    requests = to_requests(*decode(np.ones((3, 2)), table, SPEC))
    assert [request is NOTHING for request in requests] == [False, True, False]


def test_the_action_is_left_as_it_was(make_table: Make) -> None:
    action = np.array([[3.0, math.nan]])
    decode(action, make_table(1), SPEC)
    assert action[0, 0] == 3.0
    assert math.isnan(action[0, 1])


@given(st.floats(SPEC.age_min_s, SPEC.age_max_s) | st.none(), st.floats(1e-6, SPEC.max_share))
@example(SPEC.age_max_s, SPEC.max_share)
@example(SPEC.age_min_s, 1e-6)
def test_encode_is_the_inverse_in_single_precision_too(age_s: float | None, share: float) -> None:
    """Actions are float32: what encode() gives must not fall over an edge when it is rounded."""
    table = np.zeros((1, len(COLUMN)))
    table[0, COLUMN["zswapped"]] = 2.0**50
    for kind in (np.float64, np.float32):
        action = np.array([encode(age_s, share, SPEC)], kind)
        assert (np.abs(action) <= 1).all()
        (age,), (size,), _ = decode(action, table, SPEC)
        assert size / 2.0**50 == pytest.approx(share, rel=1e-3)
        if age_s is None:
            assert math.isnan(age)
        else:
            assert age == pytest.approx(age_s, rel=1e-5)


@given(st.floats(-1, SPEC.release_only_above - 1e-6), st.floats(-0.49, 1))
def test_decode_is_the_inverse_of_encode(first: float, amount: float) -> None:
    table = np.zeros((1, len(COLUMN)))
    (age,), _, _ = decode(np.array([[first, amount]]), table, SPEC)
    assert encode(float(age), share_of(amount), SPEC) == pytest.approx((first, amount), abs=1e-6)


def test_encode_cuts_to_the_bounds_and_knows_nothing() -> None:
    assert encode(0.001, 1.0, SPEC) == (-1.0, 1.0)
    assert encode(1e9, 1.0, SPEC)[0] == pytest.approx(SPEC.release_only_above, abs=1e-6)
    assert encode(60.0, 0.0, SPEC)[1] == -1.0
    assert encode(None, 0.0, SPEC) == (1.0, -1.0)


def test_bounds_come_from_the_spec(make_table: Make) -> None:
    spec = ActionSpec(age_min_s=1.0, age_max_s=100.0, max_share=0.5, nothing_below=0.0, min_bytes=4096)
    table = make_table(1, zswapped=100 * MIB)
    assert decoded(-1.0, 0.0, table, spec) is NOTHING
    young, old = decoded(-1.0, 1.0, table, spec), decoded(0.8, 0.5, table, spec)
    assert (young.age_s, old.age_s) == pytest.approx((1.0, 100.0))
    assert (young.max_bytes, old.max_bytes) == (50 * MIB, 3200 * 4096)


def test_requests_to_arrays_and_back() -> None:
    requests = [Request(60.0, 8192, 4096), Request(None, 0, 4096), Request(5.0, 4096, 0), NOTHING]
    age, size, release = from_requests(requests)
    assert np.isnan(age).tolist() == [False, True, False, True]
    assert size.tolist() == [8192, 0, 4096, 0]
    assert release.tolist() == [4096, 4096, 0, 0]
    assert to_requests(age, size, release) == requests
    assert from_requests([Request(60.0, 8192)])[2].tolist() == [8192]  # the default resolved
