"""Budgets and the breaker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zswap_gym.controller.state import (
    Breaker,
    BreakerLimits,
    CgroupState,
    Window,
    charge,
    day,
    minute,
    observe,
    settle,
)
from zswap_gym.host.dialects import Whole
from zswap_gym.host.types import Sample
from zswap_gym.policy.promise import Promise

LIMITS = BreakerLimits(share=0.5, window_s=300.0, freeze_s=600.0, max_freeze_s=2000.0)
PROMISED = 256.0
"""Pages that may come back in a window anyway."""


# --- windows --------------------------------------------------------------------------------------


def test_a_window_forgets_what_is_older_than_its_span() -> None:
    window = minute().add(100.5, 10).add(130.0, 5)
    assert [window.used(t) for t in (130.0, 160.4, 161.6, 189.0, 192.0)] == [15, 15, 5, 5, 0]


@given(st.lists(st.tuples(st.floats(0, 1e5), st.integers(0, 1 << 40))), st.floats(0, 1e5))
def test_a_window_never_understates(spent: list[tuple[float, int]], now_s: float) -> None:
    window = Window(60.0, 7.0)
    spent = sorted((at_s, size) for at_s, size in spent if at_s <= now_s)
    for at_s, size in spent:
        window = window.add(at_s, size)
    true = sum(size for at_s, size in spent if at_s > now_s - 60.0)
    generous = sum(size for at_s, size in spent if at_s > now_s - 60.0 - 2 * 7.0)
    assert true <= window.used(now_s) <= generous


def test_windows_stay_small() -> None:
    short, long = minute(), day()
    for t in range(0, 3 * 86400, 10):
        short, long = short.add(float(t), 1), long.add(float(t), 1)
    assert len(short.spent) <= 62
    assert len(long.spent) <= 146
    assert long.used(3 * 86400.0) >= 8640


def test_a_charge_is_corrected_where_it_was_made() -> None:
    state = charge(CgroupState(now_s=100.0), Whole(60, 1000, 500))
    assert [w.used(100.0) for w in (state.written_minute, state.written_day, state.released_minute)] == [
        1000,
        1000,
        500,
    ]
    state = settle(replace(state, now_s=150.0), 300, 200)
    assert (state.written_minute.used(150.0), state.written_day.used(150.0)) == (300, 300)
    assert state.released_minute.used(150.0) == 200
    assert state.written_minute.used(162.0) == 0  # it left with the charge, not later
    assert settle(state, 5, 5) is state  # once
    over = settle(charge(CgroupState(now_s=100.0), Whole(60, 1000, 0)), 1200, 0)
    assert over.written_day.used(100.0) == 1200


# --- the breaker ----------------------------------------------------------------------------------


def run(breaker: Breaker, *steps: tuple[float, float], now_s: float = 0.0, dt_s: float = 10.0) -> Breaker:
    """Steps of (pages written, pages read back)."""
    for written, refaulted in steps:
        now_s += dt_s
        breaker = breaker.step(now_s, dt_s, written, refaulted, LIMITS, PROMISED)
    return breaker


def test_it_stays_closed_while_pages_stay_away() -> None:
    assert run(Breaker(), *[(1000, 300)] * 100).phase == "closed"


def test_a_few_refaults_are_nothing() -> None:
    assert run(Breaker(), (0, 255)).phase == "closed"


def test_it_opens_when_pages_come_back() -> None:
    breaker = run(Breaker(), (1000, 0), (0, 300), (0, 300))
    assert (breaker.phase, breaker.since_s, breaker.freeze_s) == ("open", 30.0, 600.0)


def test_pages_written_long_ago_count_when_they_come_back() -> None:
    """A sleeper wakes: what was written an hour ago is read back at once."""
    breaker = run(Breaker(), (5000, 0))
    breaker = breaker.step(3600.0, 3590.0, 0, 0, LIMITS, PROMISED)
    assert breaker.step(3610.0, 10.0, 0, 1000, LIMITS, PROMISED).phase == "open"


def opened() -> Breaker:
    return Breaker("open", since_s=0.0, freeze_s=600.0, written=100.0, refaulted=1000.0)


def test_after_the_freeze_it_probes_and_closes_if_all_is_well() -> None:
    breaker = run(opened(), *[(0, 100)] * 59)
    assert breaker.phase == "open"
    breaker = run(breaker, (0, 0), now_s=590.0)
    assert (breaker.phase, breaker.written, breaker.refaulted) == ("half-open", 0, 0)
    breaker = run(breaker, *[(0, 0)] * 100, now_s=600.0)
    assert breaker.phase == "half-open"  # nothing tried yet
    breaker = run(breaker, (256, 0), *[(0, 0)] * 28, now_s=1600.0)
    assert breaker.phase == "half-open"
    assert run(breaker, (0, 0), now_s=1890.0).phase == "closed"


def test_a_failed_probe_freezes_for_twice_as_long_up_to_a_limit() -> None:
    breaker, now_s = opened(), 600.0
    for freeze_s in (1200.0, 2000.0, 2000.0):
        breaker = run(breaker, (0, 0), now_s=now_s)
        assert breaker.phase == "half-open"
        breaker = run(breaker, (64, 0), (0, 80), now_s=now_s + 10)
        assert (breaker.phase, breaker.freeze_s) == ("open", freeze_s)
        now_s += 30 + freeze_s
    # after a good probe it starts from the beginning
    closed = run(breaker, (0, 0), (64, 0), *[(0, 0)] * 31, now_s=now_s)
    assert closed.phase == "closed"
    assert run(closed, (0, 1000), now_s=now_s + 400).freeze_s == 600.0


# --- observing ------------------------------------------------------------------------------------


def test_own_writebacks_and_zswap_loads_are_no_disk_refaults(sample: Callable[..., Sample]) -> None:
    first = sample(disk_reads=100.0, zswpwb=400.0, zswpin=500.0, workingset_refault_anon=1000.0)
    state = observe(CgroupState(), first, 0.5, LIMITS, Promise())
    assert (state.breaker.written, state.fresh, state.sample_age_s) == (0, True, 0.5)
    later = replace(first, time_s=1010.0, disk_reads=200.0, zswpwb=900.0, zswpin=700.0)
    state = observe(state, later, 0.0, LIMITS, Promise())
    assert (state.breaker.written, state.breaker.refaulted) == (500, 100)


@pytest.mark.parametrize("time_s", [1000.0, 999.0])
def test_time_that_stands_still_is_stale(sample: Callable[..., Sample], time_s: float) -> None:
    state = observe(CgroupState(), sample(), 0.0, LIMITS, Promise())
    again = observe(state, sample(time_s=time_s, zswpwb=1e6), 0.0, LIMITS, Promise())
    assert not again.fresh
    assert again.counters == state.counters
    assert observe(again, sample(time_s=1001.0), 0.0, LIMITS, Promise()).fresh


def test_what_is_promised_anyway_never_trips_it(sample: Callable[..., Sample]) -> None:
    """0.2 % of 1,000,000 pages a minute, five minutes of it: 10,000 pages."""
    first = sample(anon=4096e6)
    for refaulted, phase in ((9_900.0, "closed"), (10_100.0, "open")):
        state = observe(CgroupState(), first, 0.0, LIMITS, Promise())
        later = replace(first, time_s=1010.0, disk_reads=refaulted)
        assert observe(state, later, 0.0, LIMITS, Promise()).breaker.phase == phase
