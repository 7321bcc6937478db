"""What goes into a policy of rows: the formula, who counts, and nobody's neighbours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from zswap_gym.host.types import Table
from zswap_gym.policy.features import (
    FEATURES,
    HIGH,
    HOST_FEATURES,
    HOST_HIGH,
    HOST_INDEX,
    HOST_LOW,
    INDEX,
    LOW,
    PRESENT,
    FeatureExtractor,
)  # fmt: skip
from zswap_gym.policy.promise import CPU_US, GIB, Promise, footprint
from zswap_gym.policy.rows import CEILING, FULL, SPENT, guarded, row_inputs

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


# --- what is not allowed ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("feature", "value", "write", "release"),
    [
        ("caution", CEILING - 0.01, True, True),
        ("caution", CEILING + 0.01, False, False),
        ("caution", 1.0, False, False),
        ("cpu_spent", SPENT - 0.01, True, True),
        ("cpu_spent", SPENT + 0.01, True, False),
        ("pool_fill", FULL - 0.01, True, True),
        ("pool_fill", FULL + 0.01, True, False),
    ],
)
def test_what_a_row_or_its_host_does_not_allow_is_not_done(
    feature: str, value: float, write: bool, release: bool
) -> None:
    rows, host = np.zeros((2, 3, F), np.float32), np.zeros((2, H), np.float32)
    actions = np.random.default_rng(4).uniform(-0.5, 1.0, (2, 3, 3))
    whole_host = feature in HOST_INDEX
    if whole_host:
        host[1, HOST_INDEX[feature]] = value
    else:
        rows[1, 2, INDEX[feature]] = value
    before = actions.copy()
    allowed = guarded(actions, rows, host)
    np.testing.assert_array_equal(actions, before)
    touched = np.zeros((2, 3), bool)
    touched[1, slice(None) if whole_host else 2] = True
    np.testing.assert_array_equal(allowed[..., 0], actions[..., 0])  # an age alone does nothing
    np.testing.assert_array_equal(allowed[..., 1], np.where(touched & (not write), -1.0, actions[..., 1]))
    np.testing.assert_array_equal(allowed[..., 2], np.where(touched & (not release), -1.0, actions[..., 2]))
    # one host by itself is guarded as beside others
    np.testing.assert_array_equal(guarded(actions[1], rows[1], host[1]), allowed[1])


def test_the_bound_of_cpu_is_one_and_a_half_times_the_promise(
    make_table: Callable[..., Table], later: Callable[..., Table]
) -> None:
    """By the feature as it is made of counters: so many pages compressed for 100 minutes."""
    promise, table = Promise(), make_table(1)
    gib = float(footprint(table)[0]) / GIB
    for ratio, over in ((1.49, False), (1.51, True)):
        features = FeatureExtractor(10.0, (1,), promise)
        features.update(table)
        us = ratio * promise.cpu_pct_per_gib / 100.0 * gib * 6e9
        seen = features.update(later(table, 6000.0, zswpout=us / CPU_US["zstd"][0]))
        assert (seen[0, INDEX["cpu_spent"]] >= SPENT) == over
