"""The promise: what keeping it means, at its edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zswap_gym.errors import UserError
from zswap_gym.kernel.spec import COMPRESSORS
from zswap_gym.policy.promise import (
    CPU_US,
    GIB,
    SUMS,
    Account,
    MinuteMeter,
    Promise,
    cpu_us,
    judge,
    judge_hosts,
)

HOUR_US = 3.6e9


def account(**values: float) -> Account:
    """One cgroup of 1 GiB over an hour, with what ``values`` replaces."""
    made = Account.zeros(1)
    usual = {
        "elapsed_us": HOUR_US,
        "minutes": 60.0,
        "held_byte_us": GIB * HOUR_US,
        "footprint_byte_us": GIB * HOUR_US,
    }
    for name, value in (usual | values).items():
        getattr(made, name)[0] = value
    return made


def test_the_usual_promise_is_that_of_the_issue() -> None:
    assert Promise().as_dict() == {
        "disk_reads_pct_min": 0.2, "minutes": 0.95, "psi_added_pct": 0.1, "cpu_pct_per_gib": 0.25
    }  # fmt: skip


@pytest.mark.parametrize(
    ("mine", "nothing", "kept"),
    [
        ({}, {}, True),
        ({"broken": 3.0}, {}, True),  # 5 % of the minutes
        ({"broken": 4.0}, {}, False),
        ({"broken": 12.6}, {"broken": 12.0}, True),  # doing nothing breaks 20 %: at most 21
        ({"broken": 12.7}, {"broken": 12.0}, False),
        ({"broken": 3.3}, {"broken": 3.0}, False),  # doing nothing breaks 5 %, not more: the promise stands
        ({"stalled_us": 0.001 * HOUR_US}, {}, True),
        ({"stalled_us": 0.0011 * HOUR_US}, {}, False),
        ({"stalled_us": 0.0111 * HOUR_US}, {"stalled_us": 0.0102 * HOUR_US}, True),
        ({"cpu_us": 0.0025 * HOUR_US}, {}, True),
        ({"cpu_us": 0.0026 * HOUR_US}, {}, False),
        ({"cpu_us": 0.0026 * HOUR_US, "footprint_byte_us": 2 * GIB * HOUR_US}, {}, True),  # per GiB
        ({"cpu_us": 0.0126 * HOUR_US}, {"cpu_us": 0.0102 * HOUR_US}, True),
    ],
)
def test_each_clause_at_its_edge(mine: dict[str, float], nothing: dict[str, float], kept: bool) -> None:
    assert judge(account(**mine), account(**nothing), Promise()).kept.tolist() == [kept]


@pytest.mark.parametrize(
    ("mine", "breach"),
    [
        ({"broken": 3.0}, 0.0),
        ({"broken": 4.5}, 0.5),  # 7.5 % of the minutes, 5 % allowed
        ({"broken": 60.0}, 5.0),
        ({"stalled_us": 0.00125 * HOUR_US}, 0.25),
        ({"cpu_us": 0.00375 * HOUR_US, "stalled_us": 0.00125 * HOUR_US}, 0.75),
        ({"cpu_us": HOUR_US, "stalled_us": HOUR_US, "broken": 60.0}, 15.0),
    ],
)
def test_the_breach_is_how_far_over_it_is(mine: dict[str, float], breach: float) -> None:
    verdict = judge(account(**mine), account(), Promise())
    assert verdict.breach.tolist() == pytest.approx([breach])
    assert verdict.kept.tolist() == [breach == 0.0]


def test_a_host_keeps_it_where_it_is_kept_to_every_cgroup() -> None:
    small = {"held_byte_us": 0.5 * GIB * HOUR_US}
    mine = both(account(broken=9.0, held_byte_us=0.5 * GIB * HOUR_US), account(cpu_us=0.001 * HOUR_US))
    host = judge_hosts(mine, both(account(), account()), Promise())
    assert float(host.saved_pct) == 25.0
    assert float(host.broken_pct) == pytest.approx(7.5)
    assert float(host.cpu_added_pct_gib) == pytest.approx(0.1)
    assert float(host.breach) == pytest.approx(1.0)
    assert not host.kept
    assert judge_hosts(both(account(**small), account()), both(account(), account()), Promise()).kept


def both(one: Account, other: Account) -> Account:
    return Account.concatenate([one, other])


def test_memory_saved_is_a_share_of_what_doing_nothing_holds() -> None:
    verdict = judge(account(held_byte_us=0.75 * GIB * HOUR_US), account(), Promise())
    assert verdict.saved_pct.tolist() == [25.0]


def test_accounts_of_seeds_add_up() -> None:
    bad, good = account(broken=6.0), account()
    assert not judge(bad, good, Promise()).kept[0]
    assert judge(bad + good, good + good, Promise()).kept[0]


@pytest.mark.parametrize("interval", [1.0, 5.0, 7.0, 30.0, 60.0, 90.0, 300.0])
def test_minutes_are_minutes_whatever_the_interval(interval: float) -> None:
    meter = MinuteMeter(2, Promise())
    resident = np.array([1000.0, 1000.0]) * 4096
    rate = np.array([1.9, 2.1]) / 60.0  # pages a second; 0.2 % of 1000 pages are 2
    ended = broken = np.zeros(2)
    for _ in range(int(6300 / interval)):
        new, bad = meter.add(interval, rate * interval, resident)
        ended, broken = ended + new, broken + bad
    assert ended.tolist() == [int(6300 / interval) * interval // 60.0] * 2
    assert broken.tolist() == [0.0, ended[0]]


@given(st.lists(st.tuples(st.floats(0.1, 400.0), st.integers(0, 50)), min_size=1, max_size=30))
def test_no_second_and_no_read_is_lost(looks: list[tuple[float, int]]) -> None:
    meter = MinuteMeter(1, Promise())
    minutes = sum(float(meter.add(s, np.array([float(r)]), np.array([4096.0]))[0][0]) for s, r in looks)
    assert minutes * 60.0 + meter.into_s[0] == pytest.approx(sum(s for s, _ in looks), abs=1e-3)
    assert 0 <= meter.reads[0] <= sum(r for _, r in looks) + 1e-9


def test_new_rows_begin_a_minute() -> None:
    meter = MinuteMeter(2, Promise())
    meter.add(45.0, np.array([9.0, 9.0]), np.array([4096.0, 4096.0]))
    meter.reset(np.array([True, False]))
    assert meter.into_s.tolist() == [0.0, 45.0]
    assert meter.reads.tolist() == [0.0, 9.0]


def test_what_a_host_is_charged_is_what_the_model_charges() -> None:
    for name, spec in COMPRESSORS.items():
        assert CPU_US[name] == (spec.compress_us, spec.decompress_us)
    assert cpu_us(np.array([2.0]), np.array([3.0]), np.array([4.0]), 10.0, 5.0).tolist() == [55.0]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"minutes": 0}, "x.yaml: promise: minutes = 0; give a number above 0, at most 1"),
        ({"minutes": 95}, "minutes = 95"),
        ({"disk_reads_pct_min": 101}, "at most 100"),
        ({"disk_reads": 0.1}, "did you mean"),
        ({"psi_added_pct": float("nan")}, "psi_added_pct = nan"),
        ({"cpu_pct_per_gib": "much"}, "cpu_pct_per_gib = 'much'"),
        ("minutes", "key=value"),
        ("minutes=0.9,minutes=0.8", "twice"),
        ("minutes=most", "give a number"),
        (3, "by name"),
    ],
)
def test_a_bad_promise_is_one_line(value: object, words: str) -> None:
    with pytest.raises(UserError) as caught:
        Promise.of(value, "x.yaml: promise")  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert str(caught.value).startswith("x.yaml: promise: ")
    assert "\n" not in str(caught.value)


def test_a_promise_from_text_and_from_a_mapping() -> None:
    assert Promise.of("disk_reads_pct_min=0.1, minutes=0.9") == Promise(0.1, 0.9)
    assert Promise.of({"minutes": 0.9}) == Promise(minutes=0.9)
    assert Promise.of(None) == Promise()


def test_accounts_as_arrays_and_back() -> None:
    one, two = account(broken=3.0), account(broken=5.0)
    assert one.sums.shape == (1, len(SUMS))
    assert Account.of(one.sums).broken.tolist() == [3.0]
    assert Account.concatenate([one, two]).broken.tolist() == [3.0, 5.0]
    assert Account.stack([one, two]).broken.tolist() == [[3.0], [5.0]]
