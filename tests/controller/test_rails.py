"""The rails: each one by example, and what holds for all requests there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zswap_gym.controller.rails import Limits, check
from zswap_gym.controller.state import Breaker, BreakerLimits, CgroupState, charge, observe, settle
from zswap_gym.host.dialects import whole
from zswap_gym.host.types import COLUMNS, NOTHING, Request, Sample
from zswap_gym.units import PAGE_SIZE

Make = Callable[..., Sample]
MIB = 1 << 20
LIMITS = Limits(
    allow=("web", "batch.slice/*"),
    own_cgroup="system.slice/zswap-gym.service",
    age_floor_s=60.0,
    bytes_per_write=8 * MIB,
    bytes_per_minute=16 * MIB,
    bytes_per_day=64 * MIB,
    host_bytes_per_day=128 * MIB,
)
STATE = CgroupState(now_s=1000.0)
ASK = Request(120.0, 4 * MIB)


def rails_of(reasons: tuple[str, ...]) -> list[str]:
    return [reason.split(":")[0] for reason in reasons]


# --- each rail ------------------------------------------------------------------------------------


def test_what_is_within_all_limits_passes_unchanged(sample: Make) -> None:
    for request in (ASK, Request(60.0, 1), Request(None, 4 * MIB), Request(120.0, 4 * MIB, 0), NOTHING):
        assert check("web", sample(), request, STATE, LIMITS) == (request, ())


@pytest.mark.parametrize(
    ("cgroup", "rail"),
    [
        ("", "allow-list"),
        (".", "allow-list"),
        ("/", "allow-list"),
        ("db", "allow-list"),
        ("web/inner", "allow-list"),
        ("system.slice/zswap-gym.service", "own-cgroup"),
        ("system.slice", "own-cgroup"),
    ],
)
@pytest.mark.parametrize("request_", [ASK, Request(None, 4096)])
def test_only_allowed_cgroups_are_touched(sample: Make, cgroup: str, rail: str, request_: Request) -> None:
    allowed, reasons = check(cgroup, sample(), request_, STATE, LIMITS)
    assert allowed == NOTHING
    assert rails_of(reasons) == [rail]


def test_own_cgroup_and_root_are_safe_whatever_is_allowed(sample: Make) -> None:
    everything = replace(LIMITS, allow=("*",))
    for cgroup in ("", "system.slice", "system.slice/zswap-gym.service"):
        assert check(cgroup, sample(), ASK, STATE, everything)[0] == NOTHING
    assert check("system.slice/sibling.service", sample(), ASK, STATE, everything) == (ASK, ())
    assert check("system.slice/zswap-gym.service.other", sample(), ASK, STATE, everything) == (ASK, ())


def test_nothing_is_allowed_by_default(sample: Make) -> None:
    assert check("web", sample(), ASK, STATE, Limits())[0] == NOTHING


def test_the_age_floor_raises(sample: Make) -> None:
    allowed, reasons = check("web", sample(), Request(5.0, MIB), STATE, LIMITS)
    assert (allowed.age_s, allowed.max_bytes, allowed.release) == (60.0, MIB, MIB)
    assert reasons == ("age-floor: 5 s raised to 60 s",)


@pytest.mark.parametrize(
    ("changes", "rail"),
    [
        ({"psi_some_avg10": 5.0}, "psi"),
        ({"psi_some_avg60": 5.0}, "psi"),
        ({"host_swap_free": 0.05 * (1 << 30)}, "swap"),
        ({"host_swap_total": 0.0, "host_swap_free": 0.0}, "swap"),
        ({"swap_max": float(41 << 20)}, "swap"),
        ({"anon": nan}, "sample"),
        ({"memory_current": inf}, "sample"),
        ({"memory_max": -inf}, "sample"),
    ],
)
@pytest.mark.parametrize("request_", [ASK, Request(None, MIB)])
def test_guards_stop_everything(
    sample: Make, changes: dict[str, float], rail: str, request_: Request
) -> None:
    allowed, reasons = check("web", sample(**changes), request_, STATE, LIMITS)
    assert (allowed, rails_of(reasons)) == (NOTHING, [rail])


def test_every_nan_is_noticed(sample: Make) -> None:
    for name in COLUMNS:
        _, reasons = check("web", sample(**{name: nan}), ASK, STATE, LIMITS)
        assert reasons == (f"sample: {name} is nan",)


def test_a_stale_sample_means_nothing(sample: Make) -> None:
    state = observe(
        observe(STATE, sample(), 0.0, LIMITS.breaker, LIMITS.promise),
        sample(),
        0.0,
        LIMITS.breaker,
        LIMITS.promise,
    )
    assert rails_of(check("web", sample(), ASK, state, LIMITS)[1]) == ["stale"]
    late = replace(STATE, sample_age_s=10.1)
    assert rails_of(check("web", sample(), ASK, late, LIMITS)[1]) == ["stale"]
    assert check("web", sample(), ASK, replace(STATE, sample_age_s=nan), LIMITS)[0] == NOTHING


@pytest.mark.parametrize(
    "request_",
    [
        Request(nan, MIB),
        Request(inf, MIB),
        Request(-1.0, MIB),
        Request(60.0, -1),
        Request(60.0, MIB, -1),
        Request(60.0, nan),  # type: ignore[arg-type]
        Request(None, inf),  # type: ignore[arg-type]
    ],
)
def test_nonsense_means_nothing(sample: Make, request_: Request) -> None:
    allowed, reasons = check("web", sample(), request_, STATE, LIMITS)
    assert (allowed, rails_of(reasons)) == (NOTHING, ["request"])


def test_writeback_switched_off_takes_the_writeback_and_its_release(sample: Make) -> None:
    off = sample(zswap_writeback=0.0)
    assert check("web", off, ASK, STATE, LIMITS)[0] == NOTHING
    allowed, reasons = check("web", off, Request(120.0, MIB, 2 * MIB), STATE, LIMITS)
    assert (allowed, rails_of(reasons)) == (Request(None, 0, 2 * MIB), ["writeback-disabled"])
    assert check("web", off, Request(None, MIB), STATE, LIMITS) == (Request(None, MIB), ())


def test_caps_shrink_to_whole_pages(sample: Make) -> None:
    allowed, reasons = check("web", sample(), Request(120.0, 100 * MIB), STATE, LIMITS)
    assert (whole(allowed), rails_of(reasons)) == (whole(Request(120.0, 8 * MIB)), ["bytes-per-write"])
    spent = replace(STATE, written_minute=STATE.written_minute.add(990.0, 16 * MIB - 5000))
    allowed, reasons = check("web", sample(), ASK, spent, LIMITS)
    assert (allowed.max_bytes, allowed.release, rails_of(reasons)) == (4096, 4096, ["bytes-per-minute"])
    spent = replace(STATE, written_day=STATE.written_day.add(900.0, 64 * MIB))
    assert check("web", sample(), ASK, spent, LIMITS)[0] == NOTHING
    allowed, reasons = check("web", sample(), ASK, STATE, LIMITS, host_written_today=127 * MIB)
    assert (allowed.max_bytes, rails_of(reasons)) == (MIB, ["host-bytes-per-day"])


def test_releases_have_caps_of_their_own(sample: Make) -> None:
    allowed, reasons = check("web", sample(), Request(None, 100 * MIB), STATE, LIMITS)
    assert (allowed, rails_of(reasons)) == (Request(None, 0, 8 * MIB), ["release-per-write"])
    spent = replace(STATE, released_minute=STATE.released_minute.add(990.0, 16 * MIB))
    allowed, reasons = check("web", sample(), ASK, spent, LIMITS)
    assert (allowed, rails_of(reasons)) == (Request(120.0, 4 * MIB, 0), ["release-per-minute"])


def test_an_open_breaker_stops_writeback_but_not_a_release_of_its_own(sample: Make) -> None:
    state = replace(STATE, breaker=Breaker("open", since_s=900.0, freeze_s=600.0))
    allowed, reasons = check("web", sample(), ASK, state, LIMITS)
    assert (allowed, rails_of(reasons)) == (NOTHING, ["breaker"])
    assert "frozen for 500 s more" in reasons[0]
    assert check("web", sample(), Request(None, MIB), state, LIMITS) == (Request(None, MIB), ())


def test_a_half_open_breaker_lets_a_probe_through(sample: Make) -> None:
    state = replace(STATE, breaker=Breaker("half-open", since_s=900.0))
    allowed, reasons = check("web", sample(), ASK, state, LIMITS)
    assert (allowed.max_bytes, rails_of(reasons)) == (MIB, ["breaker"])


# --- all requests there are -----------------------------------------------------------------------

sizes = st.integers(-10, 200 * MIB) | st.sampled_from([0, 1, 4095, 4096, 4097, 2**62])
ages = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 1e5)
any_requests = st.builds(Request, ages, sizes, st.none() | sizes)
any_limits = st.builds(
    Limits,
    allow=st.sampled_from([(), ("web",), ("*",), ("db",)]),
    own_cgroup=st.sampled_from([None, "web", "web/own"]),
    age_floor_s=st.floats(0, 1e4),
    bytes_per_write=st.integers(0, 64 * MIB),
    bytes_per_minute=st.integers(0, 64 * MIB),
    bytes_per_day=st.integers(0, 200 * MIB),
    host_bytes_per_day=st.integers(0, 400 * MIB),
    psi_max_percent=st.floats(0, 100),
    swap_free_min=st.floats(0, 1),
    breaker=st.builds(BreakerLimits, probe_bytes=st.integers(0, 4 * MIB)),
)
any_samples = st.builds(
    Sample,
    st.just("web"),
    inode=st.just(7),
    time_s=st.just(1000.0),
    psi_some_avg10=st.floats(0, 100) | st.just(nan),
    psi_some_avg60=st.floats(0, 100),
    zswap_writeback=st.sampled_from([0.0, 1.0]),
    swap_max=st.just(inf) | st.floats(0, 1e9),
    host_swap_total=st.just(2.0**30),
    host_swap_free=st.floats(0, 2.0**30),
)
any_states = st.builds(
    lambda written, released, breaker: CgroupState(
        written_minute=CgroupState().written_minute.add(990.0, written),
        written_day=CgroupState().written_day.add(990.0, written),
        released_minute=CgroupState().released_minute.add(990.0, released),
        breaker=breaker,
        now_s=1000.0,
    ),
    st.integers(0, 100 * MIB),
    st.integers(0, 100 * MIB),
    st.sampled_from([Breaker(), Breaker("open", 900.0, 600.0), Breaker("half-open", 900.0)]),
)


@given(any_requests, any_samples, any_states, any_limits, st.integers(0, 500 * MIB))
def test_rails_only_take_away_and_say_so(
    request: Request, sample: Sample, state: CgroupState, limits: Limits, today: int
) -> None:
    allowed, reasons = check("web", sample, request, state, limits, host_written_today=today)
    assert bool(reasons) == (allowed != request)
    assert all(": " in reason for reason in reasons)
    if allowed.is_nothing:
        return
    asked, got = whole(request), whole(allowed)
    assert got.writeback_bytes <= asked.writeback_bytes
    assert got.release_bytes <= asked.release_bytes
    assert got.writeback_bytes <= limits.bytes_per_write
    assert got.release_bytes <= limits.bytes_per_write
    assert (
        state.written_minute.used(1000.0) + got.writeback_bytes <= limits.bytes_per_minute
        or not got.writeback_bytes
    )
    assert today + got.writeback_bytes <= limits.host_bytes_per_day or not got.writeback_bytes
    if got.writeback_bytes:
        assert allowed.age_s is not None
        assert allowed.age_s >= max(limits.age_floor_s, request.age_s or 0.0)
        assert sample.zswap_writeback == 1
        assert state.breaker.phase != "open"
    assert limits.allow != ()
    assert limits.own_cgroup is None
    assert max(sample.psi_some_avg10, sample.psi_some_avg60) < limits.psi_max_percent
    # What is allowed is allowed again.
    assert check("web", sample, allowed, state, limits, host_written_today=today) == (allowed, ())


@given(
    st.lists(
        st.tuples(st.floats(0.01, 400.0), st.integers(0, 40 * MIB), st.floats(0, 1)), min_size=1, max_size=60
    )
)
def test_no_span_of_time_ever_holds_more_than_its_cap(steps: list[tuple[float, int, float]]) -> None:
    """Whatever is asked and however much of it the kernel then writes."""
    limits = replace(LIMITS, bytes_per_day=50 * MIB)
    state, now_s = CgroupState(), 1000.0
    written: list[tuple[float, int]] = []
    for dt_s, size, share in steps:
        now_s += dt_s
        sample = Sample("web", 7, time_s=now_s, host_swap_total=1e9, host_swap_free=9e8)
        state = observe(state, sample, 0.0, limits.breaker, limits.promise)
        allowed, _ = check("web", sample, Request(120.0, size), state, limits)
        if allowed.is_nothing:
            continue
        state = charge(state, whole(allowed))
        done = int(whole(allowed).writeback_bytes * share) // PAGE_SIZE * PAGE_SIZE
        state = settle(state, done, 0)
        written.append((now_s, done))
    for span_s, cap in ((60.0, limits.bytes_per_minute), (86400.0, limits.bytes_per_day)):
        for end_s, _ in written:
            assert sum(size for at_s, size in written if end_s - span_s < at_s <= end_s) <= cap
