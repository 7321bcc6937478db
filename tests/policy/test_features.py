"""What a policy sees: bounds, meaning, and the same whether alone or in a batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import exp, inf, log1p, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zswap_gym.host.types import COLUMN, COLUMNS, Table
from zswap_gym.policy.features import (
    FEATURES,
    HIGH,
    HOST_FEATURES,
    HOST_HIGH,
    HOST_INDEX,
    HOST_LOW,
    INDEX,
    LOW,
    FeatureExtractor,
)

Make = Callable[..., Table]
MIB = float(1 << 20)
F, H, K = len(FEATURES), len(HOST_FEATURES), len(COLUMNS)

anything = hnp.arrays(
    np.float64,
    (3, 2, K),
    elements=st.one_of(
        st.floats(0, 1e6), st.floats(0, 1e18), st.just(0.0), st.just(inf), st.just(nan), st.floats(-1e9, 0)
    ),
)


def feature(rows: np.ndarray, name: str) -> np.ndarray:
    return rows[..., INDEX[name]]


def told(rate: float, floor: float = 1e-4, top: float = 10.0) -> float:
    """The log scale, written once more."""
    return min(log1p(rate / floor) / log1p(top / floor), 1.0)


# --- bounds ---------------------------------------------------------------------------------------


def test_features_are_named_once_and_say_where_they_come_from() -> None:
    for features in (FEATURES, HOST_FEATURES):
        assert len({f.name for f in features}) == len(features)
        assert all(f.unit and f.origin and f.low < f.high for f in features)
    assert FEATURES[0].name == "present"


@settings(max_examples=50)
@given(anything)
def test_whatever_the_files_say_features_stay_in_bounds(tables: np.ndarray) -> None:
    extractor = FeatureExtractor(10.0, (2,))
    for table in tables:
        before = table.copy()
        rows, host = extractor.update(table), extractor.host(table)
        assert rows.dtype == host.dtype == np.float32
        assert rows.shape == (2, F)
        assert host.shape == (H,)
        assert ((rows >= np.minimum(LOW, 0)) & (rows <= HIGH)).all()
        assert ((host >= np.minimum(HOST_LOW, 0)) & (host <= HOST_HIGH)).all()
        assert set(np.unique(feature(rows, "present"))) <= {0.0, 1.0}
        assert (rows[feature(rows, "present") == 0] == 0).all()
        assert np.array_equal(table, before, equal_nan=True)


@settings(max_examples=50)
@given(anything, st.integers(0, 2**32 - 1))
def test_a_batch_is_its_members(tables: np.ndarray, seed: int) -> None:
    """(environments, N) gives what each environment gives by itself, resets included."""
    rng = np.random.default_rng(seed)
    batch = FeatureExtractor(10.0, (3, 2))
    single = [FeatureExtractor(10.0, (2,)) for _ in range(3)]
    for step in range(4):
        table = tables[rng.permutation(3)] if step % 2 else tables + step
        reset = rng.random(3) < 0.3
        batch.reset(reset)
        for i in np.flatnonzero(reset):
            single[i].reset()
        expected = np.stack([one.observe(t) for one, t in zip(single, table, strict=True)])
        assert batch.observe(table) == pytest.approx(expected, abs=1e-6)


def test_a_flat_observation_is_rows_then_host(make_table: Make) -> None:
    table = np.stack([make_table(2), make_table(2, anon=MIB)])
    one, other = FeatureExtractor(10.0, (2, 2)), FeatureExtractor(10.0, (2, 2))
    flat, rows, host = one.observe(table), other.update(table), other.host(table)
    assert flat.shape == (2, 2 * F + H)
    assert np.array_equal(flat[:, : 2 * F], rows.reshape(2, -1))
    assert np.array_equal(flat[:, 2 * F :], host)


def test_features_are_free_of_the_machines_size(make_table: Make, later: Make) -> None:
    """Everything eight times as large looks the same."""
    sizes = [
        c for c in COLUMN if c.endswith(("current", "_max", "_high", "anon", "cached", "zswap", "zswapped"))
    ]
    sizes += [c for c in COLUMN if c.startswith("host_") and "psi" not in c and "percent" not in c]
    sizes += ["disk_reads", "zswpin", "zswpout", "zswpwb", "pgsteal", "hint_expected_bytes"]
    scale = np.ones(K)
    scale[[COLUMN[c] for c in sizes if "workingset" not in c]] = 8.0
    first = make_table(2, hint_known=1.0, hint_seconds_to_event=60.0, hint_expected_bytes=20 * MIB)
    tables = [
        first,
        later(first, 10.0, disk_reads=500, zswpin=300, zswpout=900, zswpwb=200, memory_current=MIB),
    ]
    small, large = FeatureExtractor(10.0, (2,)), FeatureExtractor(10.0, (2,))
    for table in tables:
        assert large.observe(table * scale) == pytest.approx(small.observe(table), abs=1e-6)


# --- meaning --------------------------------------------------------------------------------------


def test_shares(make_table: Make) -> None:
    (row,) = FeatureExtractor(10.0, (1,)).update(make_table(1))
    disk = 70 - 30 - 5
    footprint = 50 + 30 + disk
    expected = {
        "present": 1.0,
        "host_share": 60 / 1024,
        "limit_fill": 60 / 100,
        "zswapped_share": 30 / footprint,
        "disk_share": disk / footprint,
        "swapcached_share": 5 / footprint,
        "compression": 10 / 30,
        "active_share": 20 / 50,
        "zswap_fill": 0.0,
        "writeback_on": 1.0,
    }
    for name, value in expected.items():
        assert feature(row, name) == pytest.approx(value, rel=1e-6), name


def test_a_first_look_has_no_rates(make_table: Make) -> None:
    (row,) = FeatureExtractor(10.0, (1,)).update(make_table(1))
    for f in FEATURES:
        if f.name.endswith(("_rate", "_slow", "psi_some", "growth", "return_ratio")):
            assert feature(row, f.name) == 0.0, f.name


def test_rates_are_shares_of_the_footprint_per_minute(make_table: Make, later: Make) -> None:
    """The clock of the samples counts, not the interval that was planned."""
    extractor = FeatureExtractor(10.0, (1,))
    first = make_table(1)
    extractor.update(first)
    (row,) = extractor.update(
        later(
            first,
            20.0,
            zswpout=900,
            zswpin=300,
            disk_reads=200,
            zswpwb=200,
            pgsteal=1000,
            psi_some_total_us=2e4,
        )
    )
    per_min = 4096 / (115 * MIB) * 3
    assert feature(row, "store_rate") == pytest.approx(told(900 * per_min), rel=1e-5)
    assert feature(row, "load_rate") == pytest.approx(told(300 * per_min), rel=1e-5)
    assert feature(row, "disk_refault_rate") == pytest.approx(told(200 * per_min), rel=1e-5)
    assert feature(row, "writeback_rate") == pytest.approx(told(200 * per_min), rel=1e-5)
    assert feature(row, "reclaim_rate") == pytest.approx(told(1000 * per_min), rel=1e-5)
    assert feature(row, "psi_some") == pytest.approx(told(2e4 / 20e6, 1e-4, 1.0), rel=1e-5)
    assert feature(row, "return_ratio") == pytest.approx(1.0, rel=1e-5)


def test_own_writebacks_are_no_disk_refaults(make_table: Make, later: Make) -> None:
    """They move workingset_refault_anon by as much (FINDINGS 2), and no major fault."""
    extractor = FeatureExtractor(10.0, (1,))
    first = make_table(1)
    extractor.update(first)
    (row,) = extractor.update(later(first, 10.0, zswpwb=500, workingset_refault_anon=500))
    assert feature(row, "disk_refault_rate") == 0.0
    assert feature(row, "disk_refault_slow") == 0.0
    assert feature(row, "writeback_rate") > 0.1


def test_slow_averages_take_ten_minutes(make_table: Make, later: Make) -> None:
    extractor = FeatureExtractor(10.0, (1,))
    table = make_table(1)
    extractor.update(table)
    for _ in range(30):
        table = later(table, 20.0, disk_reads=100)
        (row,) = extractor.update(table)
    rate = 100 * 4096 / (115 * MIB) * 3
    assert feature(row, "disk_refault_slow") == pytest.approx(told(rate * (1 - exp(-1))), rel=1e-5)


def test_ages_grow(make_table: Make, later: Make) -> None:
    extractor = FeatureExtractor(10.0, (1,))
    table = make_table(1)
    extractor.update(table)
    seen = []
    for _ in range(20):
        table = later(table, 10.0)
        seen.append(extractor.update(table)[0, INDEX["older_30s"] : INDEX["older_3600s"] + 1])
    assert seen[1] == pytest.approx([0, 0, 0, 0], abs=0.2)
    assert seen[-1] == pytest.approx([1, 1, 0, 0], abs=0.15)


def test_limits(make_table: Make) -> None:
    rows = FeatureExtractor(10.0, (3,)).update(
        make_table(
            3,
            memory_max=[inf, 80 * MIB, 0.0],
            memory_high=[inf, 120 * MIB, inf],
            zswap_max=[20 * MIB, 0.0, inf],
            zswap_writeback=[1, 0, 1],
        )
    )
    assert feature(rows, "limit_fill") == pytest.approx([60 / 1024, 60 / 80, 1.0])
    assert feature(rows, "zswap_fill") == pytest.approx([0.5, 1.0, 0.0])
    assert feature(rows, "writeback_on").tolist() == [1, 0, 1]


def test_hints(make_table: Make) -> None:
    rows = FeatureExtractor(10.0, (4,)).update(
        make_table(
            4,
            hint_known=[0, 1, 1, 1],
            hint_seconds_to_event=[inf, 600, 60, 0],
            hint_seconds_left=[0, 0, 0, 30],
            hint_expected_bytes=[0, 10 * MIB, 20 * MIB, 20 * MIB],
        )
    )
    assert feature(rows, "no_hint").tolist() == [1, 0, 0, 0]
    until, left, size = (feature(rows, name) for name in ("until_event", "event_left", "event_size"))
    assert until[0] == 1.0
    assert until[0] > until[1] > until[2] > until[3] == 0.0
    assert (left[:3] == 0).all()
    assert left[3] == pytest.approx(told(30, 1.0, 86400.0), rel=1e-5)
    assert 0 == size[0] < size[1] < size[2]


def test_the_host(make_table: Make, later: Make) -> None:
    extractor = FeatureExtractor(30.0, (2,))
    table = make_table(2)
    table[0] = nan  # whoever is present speaks
    host = extractor.host(table)
    expected = {
        "free_memory": 0.25,
        "free_swap": 0.5,
        "pool_fill": 100 / (1024 * 0.2),
        "host_psi": 0.0,
        "interval": told(30.0, 1.0, 3600.0),
        "day_sin": 1.0,
        "day_cos": 0.0,
    }
    for name, value in expected.items():
        assert host[HOST_INDEX[name]] == pytest.approx(value, abs=1e-6), name
    host = extractor.host(later(table, 50.0, host_psi_some_total_us=5e5))
    assert host[HOST_INDEX["host_psi"]] == pytest.approx(told(0.01, 1e-4, 1.0), rel=1e-5)
    assert host[HOST_INDEX["interval"]] == pytest.approx(told(50.0, 1.0, 3600.0), rel=1e-5)
    assert (extractor.host(np.full_like(table, nan)) == 0).all()


# --- memory ---------------------------------------------------------------------------------------


def is_new(row: np.ndarray) -> bool:
    return bool(
        feature(row, "store_rate") == 0
        and feature(row, "load_rate_slow") == 0
        and feature(row, "older_30s") == 0
    )


@pytest.fixture
def watched(make_table: Make, later: Make) -> tuple[FeatureExtractor, Table]:
    """An extractor of (2, 2) cgroups with a minute's past, and the next table."""
    extractor = FeatureExtractor(10.0, (2, 2))
    table = np.stack([make_table(2), make_table(2)])
    for _ in range(7):
        extractor.observe(table)
        table = later(table, 10.0, zswpout=100, zswpin=100, disk_reads=150, host_psi_some_total_us=1e5)
    return extractor, table


@pytest.mark.parametrize("counter", ["zswpout", "disk_reads", "time_s", "psi_some_total_us"])
def test_a_counter_that_goes_back_means_a_new_cgroup(
    watched: tuple[FeatureExtractor, Table], counter: str
) -> None:
    extractor, table = watched
    table[1, 0, COLUMN[counter]] = 0.0
    rows = extractor.update(table)
    assert is_new(rows[1, 0])
    assert not is_new(rows[1, 1])
    assert not is_new(rows[0, 0])


def test_an_absent_cgroup_is_forgotten(watched: tuple[FeatureExtractor, Table], later: Make) -> None:
    extractor, table = watched
    gone = table.copy()
    gone[0, 1] = nan
    assert (extractor.update(gone)[0, 1] == 0).all()
    rows = extractor.update(later(table, 10.0, zswpout=100))
    assert is_new(rows[0, 1])
    assert not is_new(rows[0, 0])


@pytest.mark.parametrize(
    ("mask", "new"),
    [
        (None, [[1, 1], [1, 1]]),
        ([True, False], [[1, 1], [0, 0]]),
        ([[False, True], [False, False]], [[0, 1], [0, 0]]),
        ([[False, False], [False, False]], [[0, 0], [0, 0]]),
    ],
)
def test_reset(
    watched: tuple[FeatureExtractor, Table], mask: list[object] | None, new: list[list[int]]
) -> None:
    extractor, table = watched
    extractor.reset(None if mask is None else np.array(mask))
    rows, host = extractor.update(table), extractor.host(table)
    assert [[is_new(row) for row in env] for env in rows] == [[bool(x) for x in env] for env in new]
    assert (host[:, HOST_INDEX["host_psi"]] == 0).tolist() == [all(env) for env in new]


def test_a_copy_goes_its_own_way(watched: tuple[FeatureExtractor, Table], later: Make) -> None:
    extractor, table = watched
    twin = extractor.copy()
    expected = extractor.copy().observe(table)
    for _ in range(3):
        twin.observe(later(table, 50.0, zswpout=1e4))
    assert np.array_equal(extractor.observe(table), expected)


def test_adopting_anothers_past(
    watched: tuple[FeatureExtractor, Table], make_table: Make, later: Make
) -> None:
    batch, table = watched
    alone = FeatureExtractor(10.0, (2,))
    own = make_table(2, anon=10 * MIB)
    for _ in range(4):
        alone.observe(own)
        own = later(own, 10.0, zswpout=50, zswpwb=20)
    untouched = batch.copy().observe(table)
    batch.adopt(1, alone)
    both = batch.observe(np.stack([table[0], own]))
    assert np.array_equal(both[0], untouched[0])
    assert both[1] == pytest.approx(alone.observe(own), abs=1e-6)
    with pytest.raises(ValueError, match="does not fit"):
        batch.adopt(0, FeatureExtractor(10.0, (3,)))


def test_it_is_cheap(make_table: Make) -> None:
    """About a millisecond for 8 cgroups as a controller runs it: nothing beside reading their files."""
    extractor, table, best = FeatureExtractor(10.0, (8,)), make_table(8), inf
    for _ in range(100):
        table[:, COLUMN["time_s"]] += 10.0
        start = time.perf_counter()
        extractor.update(table)
        best = min(best, time.perf_counter() - start)
    assert best < 10e-3
