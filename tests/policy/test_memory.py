"""What a policy remembers: what it asked for, what came of it, and the minutes everybody counts."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log1p, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zswap_gym.host.types import COLUMN, Table
from zswap_gym.policy import memory
from zswap_gym.policy.features import FEATURES, INDEX, MEMORY, FeatureExtractor
from zswap_gym.policy.promise import MINUTE_S, MinuteMeter, Promise

Make = Callable[..., Table]
MIB = float(1 << 20)
PAGE = 4096
FOOTPRINT = 115 * MIB
START = {"caution": 0.5}


def remembered(row: np.ndarray) -> dict[str, float]:
    return {f.name: float(row[INDEX[f.name]]) for f in FEATURES[MEMORY:]}


def told(x: float, floor: float, top: float) -> float:
    return log1p(x / floor) / log1p(top / floor)


def at_start(row: np.ndarray) -> bool:
    return remembered(row) == {f.name: START.get(f.name, 0.0) for f in FEATURES[MEMORY:]}


def asked(age_s: float, write: float, release: float) -> tuple[np.ndarray, ...]:
    return np.array([age_s]), np.array([write]), np.array([release])


def test_the_last_features_are_the_remembered_ones() -> None:
    names = ["asked_age", "asked_write", "asked_release", "outcome"]
    names += ["minute_reads", "broken_hour", "caution", "cpu_spent"]
    assert [f.name for f in FEATURES[MEMORY:]] == names
    assert len(FEATURES) == 38


def test_what_was_asked_is_seen_once(make_table: Make, later: Make) -> None:
    extractor, table = FeatureExtractor(10.0, (1,)), make_table(1)
    assert at_start(extractor.update(table)[0])
    extractor.asked(*asked(600.0, 10 * MIB, 5 * MIB))
    table = later(table, 10.0, zswpwb=2 * MIB / PAGE)
    seen = remembered(extractor.update(table)[0])
    assert seen["asked_age"] == pytest.approx(told(600.0, 1.0, 86400.0), rel=1e-6)
    assert seen["asked_write"] == pytest.approx(told(10 * MIB / FOOTPRINT, 1e-5, 1.0), rel=1e-6)
    assert seen["asked_release"] == pytest.approx(told(5 * MIB / FOOTPRINT, 1e-5, 1.0), rel=1e-6)
    assert seen["outcome"] == pytest.approx(0.2)
    seen = remembered(extractor.update(later(table, 10.0, zswpwb=500))[0])
    assert [seen[name] for name in ("asked_age", "asked_write", "asked_release", "outcome")] == [0.0] * 4


@pytest.mark.parametrize(("age_s", "write"), [(nan, 4 * MIB), (60.0, 0.0)])
def test_a_release_alone_asks_for_no_writeback(
    make_table: Make, later: Make, age_s: float, write: float
) -> None:
    extractor, table = FeatureExtractor(10.0, (1,)), make_table(1)
    extractor.update(table)
    extractor.asked(*asked(age_s, write, MIB))
    seen = remembered(extractor.update(later(table, 10.0, zswpwb=100))[0])
    assert (seen["asked_age"], seen["asked_write"], seen["outcome"]) == (0.0, 0.0, 0.0)
    assert seen["asked_release"] > 0


def test_more_written_than_asked_is_all_of_it(make_table: Make, later: Make) -> None:
    extractor, table = FeatureExtractor(10.0, (1,)), make_table(1)
    extractor.update(table)
    extractor.asked(*asked(60.0, MIB, 0.0))
    assert remembered(extractor.update(later(table, 10.0, zswpwb=1e5))[0])["outcome"] == 1.0


def test_minutes_move_caution_and_the_average(make_table: Make, later: Make) -> None:
    """Of 50 MiB resident 0.2 % are 25.6 pages: 26 reads break a minute, 25 do not."""
    extractor, table = FeatureExtractor(30.0, (1,)), make_table(1)
    extractor.update(table)
    for _ in range(2):
        table = later(table, 30.0, disk_reads=12.5)
        seen = remembered(extractor.update(table)[0])
    assert seen["caution"] == pytest.approx(0.49)
    assert seen["broken_hour"] == 0.0
    assert seen["minute_reads"] == pytest.approx(told(25 / 25.6, 0.01, 100.0), rel=1e-6)
    for reads in (26.0, 0.0):
        table = later(table, 30.0, disk_reads=reads)
        seen = remembered(extractor.update(table)[0])
    assert seen["caution"] == pytest.approx(min(0.49 + 0.01 * 0.97 / 0.03, 1.0))
    assert seen["broken_hour"] == pytest.approx(told(1 - exp(-1 / 60), 1e-3, 1.0), rel=1e-6)
    table = later(table, 30.0)  # the last full minute speaks until another one has more
    seen = remembered(extractor.update(table)[0])
    assert seen["minute_reads"] == pytest.approx(told(26 / 25.6, 0.01, 100.0), rel=1e-6)
    table = later(table, 30.0)
    assert remembered(extractor.update(table)[0])["minute_reads"] == 0.0


def test_caution_stands_still_where_three_percent_break() -> None:
    state = memory.START[:, None].copy()
    drift = memory.BROKEN_STEP * 0.03 - memory.KEPT_STEP * 0.97
    assert drift == pytest.approx(0.0, abs=1e-12)
    for _ in range(200):
        memory_of(state, 60.0, 0.0)
    assert state[4, 0] == 0.0
    memory_of(state, 60.0, 1e6)
    assert state[4, 0] == pytest.approx(memory.BROKEN_STEP)


def memory_of(state: np.ndarray, seconds: float, reads: float, resident: float = 4096.0 * 1000) -> None:
    """One look at the only row of a state, by what the extractors call."""
    look = [np.array([x]) for x in (seconds, 0.0, 0.0, reads, 0.0, resident, 1e9)]
    limits = np.array([0.2, 0.25, 10.0, 5.0])
    yes, out = np.ones(1, bool), np.zeros((1, memory.FEATURES), np.float32)
    memory.remember(*look, yes, yes, np.zeros((3, 1)), state, limits, np.ones((5, 2)), out, 0, 1)


@given(st.lists(st.tuples(st.floats(0.1, 400.0), st.integers(0, 50)), min_size=1, max_size=30))
def test_minutes_are_those_of_the_meter(looks: list[tuple[float, int]]) -> None:
    """To the bit: seconds into the minute, reads in it, and which minutes were broken."""
    promise, state = Promise(), memory.START[:, None].copy()
    meter, caution = MinuteMeter(1, promise), 0.5
    for seconds, reads in looks:
        memory_of(state, seconds, float(reads))
        (ended,), (broken,) = meter.add(seconds, np.array([float(reads)]), np.array([4096.0 * 1000]))
        assert state[:2, 0].tolist() == [meter.into_s[0], meter.reads[0]]
        if ended == 1:
            step = memory.BROKEN_STEP if broken else -memory.KEPT_STEP
            assert state[4, 0] == min(max(caution + step, 0.0), memory.DEBT)
        caution = float(state[4, 0])


def test_a_longer_gap_counts_as_an_hour(make_table: Make, later: Make) -> None:
    extractor, table = FeatureExtractor(10.0, (1,)), make_table(1)
    extractor.update(table)
    seen = remembered(extractor.update(later(table, 86400.0 * 365, disk_reads=1e9))[0])
    assert seen["broken_hour"] == pytest.approx(told(1 - exp(-1), 1e-3, 1.0), rel=1e-6)


def test_cpu_is_of_the_dearest_compressor(make_table: Make, later: Make) -> None:
    extractor, table = FeatureExtractor(10.0, (1,), Promise(cpu_pct_per_gib=0.5)), make_table(1)
    extractor.update(table)
    row = extractor.update(later(table, 20.0, zswpout=900, zswpin=300, zswpwb=200))[0]
    pct = (900 * 10 + 500 * 5) / 20e6 * 100 / (115 / 1024)
    assert remembered(row)["cpu_spent"] == pytest.approx(
        told(pct * (1 - exp(-20 / 600)) / 0.5, 0.01, 10.0), rel=1e-6
    )


def test_the_promise_sets_the_scale(make_table: Make, later: Make) -> None:
    usual, tight = (
        FeatureExtractor(10.0, (1,), promise) for promise in (None, Promise(disk_reads_pct_min=0.1))
    )
    table = make_table(1)
    for extractor in (usual, tight):
        extractor.update(table)
    table = later(table, MINUTE_S, disk_reads=20)
    assert usual.update(table)[0, INDEX["caution"]] < 0.5 < tight.update(table)[0, INDEX["caution"]]


@pytest.fixture
def lived(make_table: Make, later: Make) -> tuple[FeatureExtractor, Table]:
    """An extractor of (2, 2) cgroups that asked and broke minutes, and the table it saw last."""
    extractor, table = FeatureExtractor(60.0, (2, 2)), np.stack([make_table(2), make_table(2)])
    for _ in range(3):
        extractor.update(table)
        extractor.asked(*np.full((3, 2, 2), 1e6))
        table = later(table, 60.0, disk_reads=300, zswpout=100, zswpwb=100)
    rows = extractor.update(table)
    assert not any(at_start(row) for row in rows.reshape(4, -1))
    extractor.asked(*np.full((3, 2, 2), 1e6))
    return extractor, table


@pytest.mark.parametrize(
    ("mask", "new"),
    [
        (None, [[1, 1], [1, 1]]),
        ([True, False], [[1, 1], [0, 0]]),
        ([[False, True], [False, False]], [[0, 1], [0, 0]]),
    ],
)
def test_forgetting_begins_memory_anew_and_nothing_else(
    lived: tuple[FeatureExtractor, Table], later: Make, mask: list[object] | None, new: list[list[int]]
) -> None:
    extractor, table = lived
    twin = extractor.copy()
    rows = twin.copy().update(table)
    before = rows.copy()
    extractor.forget(None if mask is None else np.array(mask), rows)
    assert [[at_start(row) for row in env] for env in rows] == [[bool(x) for x in env] for env in new]
    np.testing.assert_array_equal(rows[..., :MEMORY], before[..., :MEMORY])
    after = later(table, 10.0, disk_reads=1, zswpout=50)
    seen, other = extractor.update(after), twin.update(after)
    np.testing.assert_array_equal(seen[..., :MEMORY], other[..., :MEMORY])
    forgot = [
        [row[INDEX["asked_write"]] == 0 and row[INDEX["caution"]] == 0.5 for row in env] for env in seen
    ]
    assert forgot == [[bool(x) for x in env] for env in new]


def test_absent_rows_forget_and_show_nothing(lived: tuple[FeatureExtractor, Table], later: Make) -> None:
    extractor, table = lived
    gone = table.copy()
    gone[0, 1] = nan
    rows = extractor.update(later(gone, 10.0))
    assert not rows[0, 1].any()
    extractor.forget(None, rows)
    assert not rows[0, 1].any()
    assert at_start(extractor.update(later(table, 20.0))[0, 1])


def test_a_cgroup_made_anew_remembers_nothing(lived: tuple[FeatureExtractor, Table], later: Make) -> None:
    extractor, table = lived
    table = later(table, 10.0)
    table[1, 0, COLUMN["zswpout"]] = 0.0
    rows = extractor.update(table)
    assert [[at_start(row) for row in env] for env in rows] == [[False, False], [True, False]]


def test_reset_and_adopt_take_memory_along(lived: tuple[FeatureExtractor, Table], later: Make) -> None:
    extractor, table = lived
    other = FeatureExtractor(60.0, (3, 2, 2))
    other.update(np.stack([table] * 3))
    other.adopt(1, extractor)
    after = later(table, 10.0, zswpwb=100)
    np.testing.assert_array_equal(other.update(np.stack([after] * 3))[1], extractor.update(after))
    extractor.reset()
    assert all(at_start(row) for row in extractor.update(later(after, 10.0)).reshape(4, -1))
