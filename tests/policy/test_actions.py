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
from zswap_gym.policy.promise import footprint

Make = Callable[..., Table]
SPEC = ActionSpec()
MIB = 1 << 20
GIB = 1 << 30
PAGE = 4096


def decoded(age: float, write: float, release: float, table: Table, spec: ActionSpec = SPEC) -> Request:
    """What an action asks of the only cgroup of a table."""
    (request,) = to_requests(*decode(np.array([[age, write, release]]), table, spec))
    return request


def share_of(amount: float, most: float, spec: ActionSpec = SPEC) -> float:
    """The formula, written once more."""
    place = (amount - spec.nothing_below) / (1.0 - spec.nothing_below)
    return place * place * most


def large(make_table: Make, n: int = 1) -> Table:
    """Cgroups of 2 GiB, half of it in zswap."""
    return make_table(n, anon=GIB, zswapped=GIB, swap_current=GIB, swapcached=0.0, memory_current=1.5 * GIB)


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """Where another test has imported the environments the first call compiles, for once longer than
    Hypothesis lets an example take."""
    decode(np.zeros((1, 3)), np.zeros((1, len(COLUMNS))), SPEC)


def test_the_ends_of_the_scale(make_table: Make) -> None:
    table = large(make_table)
    youngest = decoded(-1.0, 1.0, 1.0, table)
    assert youngest.age_s == pytest.approx(SPEC.age_min_s)
    assert youngest.max_bytes == 2 * GIB * SPEC.max_write_share // PAGE * PAGE
    assert youngest.release == 2 * GIB * SPEC.max_release_share // PAGE * PAGE
    assert decoded(0.0, 1.0, 1.0, table).age_s == pytest.approx(math.sqrt(SPEC.age_min_s * SPEC.age_max_s))
    assert decoded(1.0, 1.0, 1.0, table).age_s == pytest.approx(SPEC.age_max_s)
    assert decoded(7.0, 9.0, 9.0, table) == decoded(1.0, 1.0, 1.0, table)


@pytest.mark.parametrize("amount", [-9.0, -1.0, SPEC.nothing, SPEC.nothing_below])
def test_the_nothing_zone(make_table: Make, amount: float) -> None:
    table = large(make_table)
    assert decoded(0.0, amount, amount, table) is NOTHING
    above = float(np.nextafter(SPEC.nothing_below, 1.0))
    assert decoded(0.0, above, amount, table) == Request(pytest.approx(379.47, abs=0.01), SPEC.min_bytes, 0)
    assert decoded(0.0, amount, above, table) is NOTHING  # less than a page: a release has no least size


def test_write_and_release_are_independent(make_table: Make) -> None:
    table = large(make_table)
    both, write, release = (decoded(0.3, *x, table) for x in ((0.5, 0.2), (0.5, -1.0), (-1.0, 0.2)))
    assert (write.max_bytes, write.release) == (both.max_bytes, 0)
    assert (release.age_s, release.max_bytes, release.release) == (None, 0, both.release)
    assert both.release_bytes == both.release > 0


def test_a_writeback_is_of_at_least_min_bytes_or_all_there_is(make_table: Make) -> None:
    table = make_table(5, zswapped=[100 * MIB, SPEC.min_bytes, 40960, 4096, 4095])
    age, size, release = decode(np.tile([0.0, -0.55, -1.0], (5, 1)), table, SPEC)
    assert size.tolist() == [SPEC.min_bytes, SPEC.min_bytes, 40960, 4096, 0]
    assert np.isnan(age).tolist() == [False] * 4 + [True]
    assert not release.any()


def test_nothing_is_more_than_there_is(make_table: Make) -> None:
    table = make_table(1, anon=GIB, zswapped=MIB, swap_current=GIB, memory_current=2 * MIB + 17)
    assert decoded(0.0, 1.0, 1.0, table) == Request(pytest.approx(379.47, abs=0.01), MIB, 2 * MIB)


@given(st.floats(0, 1e15), st.floats(0, 1e15), st.floats(-1, 1), st.floats(-1, 1))
def test_sizes_are_whole_pages_of_the_footprint(
    zswapped: float, anon: float, write: float, release: float
) -> None:
    table = np.zeros((1, len(COLUMN)))
    table[0, [COLUMN[name] for name in ("zswapped", "swap_current", "anon")]] = zswapped, zswapped, anon
    table[0, COLUMN["memory_current"]] = anon
    _, (size,), (freed,) = decode(np.array([[0.0, write, release]]), table, SPEC)
    (whole,) = footprint(table)
    assert size % PAGE == freed % PAGE == 0
    assert 0 <= size <= zswapped
    assert 0 <= freed <= anon
    if write <= SPEC.nothing_below:
        assert size == 0
    else:
        wanted = min(max(share_of(write, SPEC.max_write_share) * whole, SPEC.min_bytes), zswapped)
        assert size == pytest.approx(wanted, abs=PAGE, rel=1e-12)
    if release > SPEC.nothing_below:
        wanted = min(share_of(release, SPEC.max_release_share) * whole, anon)
        assert freed == pytest.approx(wanted, abs=PAGE, rel=1e-12)


@given(
    arrays(np.float64, (2, 3, 3), elements=st.floats()),
    arrays(np.float64, (2, 3), elements=st.floats(0, 1e13)),
)
def test_any_action_means_something_inside_the_bounds(action: np.ndarray, zswapped: np.ndarray) -> None:
    table = np.zeros((2, 3, len(COLUMN)))
    table[..., COLUMN["zswapped"]] = zswapped
    table[..., COLUMN["memory_current"]] = zswapped / 2
    age, size, release = decode(action, table, SPEC)
    assert age.shape == size.shape == release.shape == (2, 3)
    told = age[~np.isnan(age)]
    assert ((told >= SPEC.age_min_s * (1 - 1e-9)) & (told <= SPEC.age_max_s * (1 + 1e-9))).all()
    assert (np.isnan(age) == (size == 0)).all()
    assert ((release >= 0) & (release <= zswapped / 2)).all()
    for row in range(2):
        alone = decode(action[row], table[row], SPEC)
        np.testing.assert_array_equal(alone, (age[row], size[row], release[row]))


def test_nan_does_nothing(make_table: Make) -> None:
    table = large(make_table)
    assert decoded(math.nan, math.nan, math.nan, table) is NOTHING
    assert decoded(0.0, math.nan, -1.0, table) is NOTHING
    assert decoded(math.nan, 1.0, -1.0, table).age_s == pytest.approx(SPEC.age_min_s)


def test_an_absent_cgroup_gets_nothing(make_table: Make) -> None:
    table = large(make_table, 3)
    table[1] = math.nan
    requests = to_requests(*decode(np.ones((3, 3)), table, SPEC))
    assert [request is NOTHING for request in requests] == [False, True, False]


def test_the_action_is_left_as_it_was(make_table: Make) -> None:
    action = np.array([[3.0, math.nan, -2.0]])
    decode(action, make_table(1), SPEC)
    assert action[0, 0] == 3.0
    assert math.isnan(action[0, 1])


pages = st.floats(0.0, 1.0)
"""Part of the most that may be asked for."""


@given(st.floats(SPEC.age_min_s, SPEC.age_max_s), pages, pages, st.integers(1, 1 << 22))
@example(SPEC.age_max_s, 1.0, 1.0, 1 << 22)
@example(SPEC.age_min_s, 0.0, 0.0, 1)
def test_requests_to_actions_and_back(age_s: float, write: float, release: float, footprint: int) -> None:
    """In single precision too, as actions travel: to the page where a page is no less than that can tell."""
    table = np.zeros((1, len(COLUMN)))
    table[0, COLUMN["zswapped"]] = table[0, COLUMN["swap_current"]] = footprint * PAGE
    table[0, COLUMN["memory_current"]] = footprint * PAGE
    wanted = np.floor(np.array([write, release]) * footprint * SPEC.max_write_share) * PAGE
    least = min(SPEC.min_bytes, footprint * PAGE)
    for kind in (np.float64, np.float32):
        action = encode([age_s], wanted[:1], wanted[1:], [footprint * PAGE], SPEC).astype(kind)
        assert action.shape == (1, 3)
        assert (np.abs(action) <= 1).all()
        (age,), (size,), (freed,) = decode(action, table, SPEC)
        within = 0.0 if kind is np.float64 else footprint * PAGE * 1e-7
        assert size == pytest.approx(max(wanted[0], least) if wanted[0] else 0.0, abs=within)
        assert freed == pytest.approx(wanted[1], abs=within)
        if wanted[0]:
            assert age == pytest.approx(age_s, rel=1e-5)
        else:
            assert math.isnan(age)


@given(st.floats(-1, 1), st.floats(-0.59, 1), st.floats(-0.59, 1))
def test_actions_to_requests_and_back(first: float, write: float, release: float) -> None:
    table = np.zeros((1, len(COLUMN)))
    table[0, [COLUMN[name] for name in ("zswapped", "swap_current", "memory_current")]] = 2.0**40
    asked = decode(np.array([[first, write, release]]), table, SPEC)
    assert encode(*asked, 2.0**40, SPEC)[0] == pytest.approx((first, write, release), abs=1e-3)


def test_encode_cuts_to_the_bounds_and_knows_nothing() -> None:
    assert encode(0.001, GIB, GIB, GIB, SPEC).tolist() == [-1.0, 1.0, 1.0]
    assert encode(1e9, GIB, 0.0, GIB, SPEC).tolist() == [1.0, 1.0, SPEC.nothing]
    nothing = [0.0, SPEC.nothing, SPEC.nothing]
    assert encode(math.nan, GIB, 0.0, GIB, SPEC).tolist() == nothing
    assert encode(60.0, 0.0, 0.0, GIB, SPEC).tolist() == nothing
    assert SPEC.nothing == pytest.approx(-0.8)
    assert encode(np.full((2, 4), 60.0), 0.0, 0.0, np.full(4, GIB), SPEC).shape == (2, 4, 3)


def test_bounds_come_from_the_spec(make_table: Make) -> None:
    spec = ActionSpec(1.0, 100.0, 0.0, 0.5, 0.25, 4096)
    table = large(make_table)
    assert decoded(-1.0, 0.0, 0.0, table, spec) is NOTHING
    young, old = decoded(-1.0, 1.0, 1.0, table, spec), decoded(1.0, 0.5, 0.5, table, spec)
    assert (young.age_s, old.age_s) == pytest.approx((1.0, 100.0))
    assert (young.max_bytes, old.max_bytes) == (GIB, GIB // 4)
    assert (young.release, old.release) == (GIB // 2, GIB // 8)


def test_requests_to_arrays_and_back() -> None:
    requests = [Request(60.0, 8192, 4096), Request(None, 0, 4096), Request(5.0, 4096, 0), NOTHING]
    age, size, release = from_requests(requests)
    assert np.isnan(age).tolist() == [False, True, False, True]
    assert size.tolist() == [8192, 0, 4096, 0]
    assert release.tolist() == [4096, 4096, 0, 0]
    assert to_requests(age, size, release) == requests
    assert from_requests([Request(60.0, 8192)])[2].tolist() == [8192]  # the default resolved
