"""What goes into a policy of rows: the formula, who counts, and nobody's neighbours."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from zswap_gym.policy.features import FEATURES, HIGH, HOST_FEATURES, HOST_HIGH, HOST_LOW, LOW, PRESENT
from zswap_gym.policy.rows import row_inputs

F, H = len(FEATURES), len(HOST_FEATURES)
Array = npt.NDArray[np.float32]


def hosts(count: int, n: int, seed: int = 0) -> tuple[Array, Array]:
    """Features within their bounds; a third of the rows absent, with rubbish in them but for presence."""
    draw = np.random.default_rng(seed)
    rows = draw.uniform(LOW, HIGH, (count, n, F)).astype(np.float32)
    rows[..., PRESENT] = draw.random((count, n)) < 2 / 3
    return rows, draw.uniform(HOST_LOW, HOST_HIGH, (count, H)).astype(np.float32)


@pytest.mark.parametrize("n", [1, 3, 40])
def test_it_is_the_formula(n: int) -> None:
    rows, host = hosts(5, n)
    rows[0, :, PRESENT] = 0.0
    got = row_inputs(rows, host)
    assert got.dtype == np.float32
    assert got.shape == (5, n, 3 * F + H)
    for e in range(5):
        here = rows[e][rows[e, :, PRESENT] > 0.5]
        mean = here.astype(float).mean(0) if len(here) else np.zeros(F)
        highest = here.max(0) if len(here) else np.zeros(F)
        for i in range(n):
            own = rows[e, i] if rows[e, i, PRESENT] > 0.5 else np.zeros(F)
            expected = np.concatenate([own, mean, highest, host[e]])
            np.testing.assert_allclose(got[e, i], expected, rtol=0, atol=1e-6)


def test_the_maximum_may_be_below_zero() -> None:
    rows, host = hosts(1, 4)
    rows[0, :, 11] = -0.5
    rows[0, :2, PRESENT] = 1.0
    assert (row_inputs(rows, host)[0, :, 2 * F + 11] == -0.5).all()


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_many_hosts_give_the_bits_of_each(n: int) -> None:
    rows, host = hosts(33, n)
    together = row_inputs(rows, host)
    nested = row_inputs(rows.reshape(3, 11, n, F), host.reshape(3, 11, H))
    np.testing.assert_array_equal(nested.reshape(together.shape), together)
    for e in range(33):
        np.testing.assert_array_equal(row_inputs(rows[e], host[e]), together[e])
        np.testing.assert_array_equal(row_inputs(rows[e : e + 1], host[e : e + 1])[0], together[e])


def test_further_absent_rows_change_no_bit() -> None:
    rows, host = hosts(9, 5)
    wide = np.concatenate([rows, np.zeros((9, 8, F), np.float32)], axis=1)
    np.testing.assert_array_equal(row_inputs(wide, host)[:, :5], row_inputs(rows, host))


def test_cgroups_may_change_places() -> None:
    rows, host = hosts(4, 6)
    order = np.random.default_rng(1).permutation(6)
    np.testing.assert_allclose(
        row_inputs(rows[:, order], host), row_inputs(rows, host)[:, order], rtol=0, atol=1e-6
    )


def test_nobody_at_all() -> None:
    assert row_inputs(np.zeros((2, 0, F), np.float32), np.zeros((2, H), np.float32)).shape == (
        2,
        0,
        3 * F + H,
    )


def test_what_is_given_stays_as_it_was() -> None:
    rows, host = hosts(2, 3)
    before = rows.copy(), host.copy()
    row_inputs(rows, host)[:] = 9.0
    np.testing.assert_array_equal(rows, before[0])
    np.testing.assert_array_equal(host, before[1])
