"""What every registered law does, whatever it is: the contract of policy/laws, found by registration."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zswap_gym.host.types import COLUMN, COLUMNS, NOTHING, Request, Table
from zswap_gym.policy.laws import LAWS, Law, make_law
from zswap_gym.policy.laws.parameters import parameters_of, ranges_of

Make = Callable[..., Table]
MIB = 1 << 20
SPECS = [
    *LAWS,
    "fixed_age(age_s=5m,max_bytes=512K,release_share=0)",
    "release_only(release_bytes=2M)",
    "aimd(age_s=10,window_s=5)",
    "tmo(age_s=0)",
    "promise(watch_s=0)",
    "promise(watch_s=0,writeback=0)",
    "promotion(start_s=0)",
]
SIZES = [COLUMN[c] for c in ("memory_max", "memory_high", "zswap_max", "hint_seconds_to_event")]
COUNTERS = [COLUMN[c] for c in ("disk_reads", "zswpin", "zswpout", "zswpwb", "pgsteal", "psi_some_total_us")]


def ask(spec: str | Law, tables: Sequence[Table], dt_s: float = 30.0) -> list[list[Request]]:
    """What a law, made anew from a text, asks for at each table."""
    law = make_law(spec) if isinstance(spec, str) else spec
    if isinstance(spec, str):
        law.reset(len(tables[0]))
    return [law.decide(table, dt_s) for table in tables]


def check(requests: Sequence[Request], table: Table) -> None:
    """Requests that a kernel can be asked: finite, whole pages, nothing for who is absent."""
    assert len(requests) == len(table)
    for request, row in zip(requests, table, strict=True):
        if np.isnan(row).any():
            assert request == NOTHING
        assert request.age_s is None or 0 < request.age_s < 1e7
        for size in (request.max_bytes, request.release):
            assert isinstance(size, int)
            assert size >= 0
            assert size % 4096 == 0


@pytest.mark.parametrize("spec", SPECS)
class TestEveryLaw:
    """A law that is registered is tested."""

    @pytest.fixture
    def law(self, spec: str) -> Law:
        law = make_law(spec)
        law.reset(3)
        return law

    @settings(max_examples=40)
    @given(seed=st.integers(0, 2**32 - 1), dt_s=st.floats(0.5, 600))
    def test_answers_are_requests_a_kernel_can_be_asked(self, spec: str, seed: int, dt_s: float) -> None:
        law = make_law(spec)
        law.reset(4)
        for table in history(seed, 4):
            before = table.copy()
            requests = law.decide(table, dt_s)
            assert np.array_equal(table, before, equal_nan=True)
            check(requests, table)

    def test_no_more_is_asked_for_than_there_is_or_was_configured(self, spec: str) -> None:
        law: Any = make_law(spec)
        most = max([getattr(law, p) for p in parameters_of(type(law)) if "bytes" in p], default=0)
        tables = life(7, 240)
        for table, requests in zip(tables, ask(spec, tables), strict=True):
            for request, row in zip(requests, table, strict=True):
                assert request.max_bytes <= max(row[COLUMN["zswapped"]], most)
                assert request.release <= max(row[COLUMN["memory_current"]], most)

    def test_the_first_decision_needs_no_past(self, law: Law) -> None:
        for table in (life(1, 1)[0], np.zeros((3, len(COLUMNS))), np.full((3, len(COLUMNS)), nan)):
            law.reset(3)
            check(law.decide(table[:3], 30.0), table[:3])

    def test_empty_cgroups_are_left_alone(self, spec: str) -> None:
        empty = np.zeros((3, len(COLUMNS)))
        tables = []
        for i in range(30):
            empty[:, COLUMN["time_s"]] = 30.0 * i
            tables.append(empty.copy())
        configured = {"release_only(release_bytes=2M)"}  # a size is a size
        if spec not in configured:
            assert ask(spec, tables) == [[NOTHING] * 3] * 30

    def test_counters_that_stand_still_are_no_harm(self, spec: str) -> None:
        tables = life(5, 60)
        for table in tables:
            table[:, COUNTERS] = 0.0
        for table, requests in zip(tables, ask(spec, tables), strict=True):
            check(requests, table)

    def test_gaps_and_counters_that_go_back(self, spec: str) -> None:
        tables = life(9, 40)
        for i, (gap, more) in enumerate([(1e9, 1e15), (86400.0, 1e6), (-1e9, -1e15), (0.0, 0.0)]):
            for table in tables[10 * (i + 1) - 5 :]:
                table[:, COLUMN["time_s"]] += gap
                table[:, COUNTERS] += more
        for table, requests in zip(tables, ask(spec, tables), strict=True):
            check(requests, table)

    def test_a_cgroup_made_anew_is_treated_as_new(self, spec: str) -> None:
        tables = life(13, 80)
        lived = make_law(spec)
        lived.reset(6)
        for table in tables[:40]:
            lived.decide(table, 30.0)
        again = [table.copy() for table in tables[:40]]
        again[0][:, COUNTERS] = -1.0  # went backwards: the past is another cgroup's
        assert ask(lived, again) == ask(spec, again)

    def test_reset_forgets_everything(self, law: Law) -> None:
        fresh = copy.deepcopy(law)
        tables = [table[:3] for table in life(7, 40)]
        first = ask(law, tables)
        law.reset(3)
        assert ask(law, tables) == first
        assert ask(fresh, tables) == first

    def test_cgroups_do_not_disturb_each_other(self, spec: str) -> None:
        for tables in (history(11, 3), life(11, 60)):
            answers = ask(spec, tables)
            for i in range(len(tables[0])):
                assert [a[0] for a in ask(spec, [t[i : i + 1] for t in tables])] == [a[i] for a in answers]

    def test_one_law_decides_for_the_cgroups_of_many_hosts(self, spec: str) -> None:
        hosts = [life(seed, 60) for seed in (1, 2, 3)]
        many = [np.concatenate(tables) for tables in zip(*hosts, strict=True)]
        apart = [ask(spec, tables) for tables in hosts]
        assert ask(spec, many) == [[r for host in step for r in host] for step in zip(*apart, strict=True)]

    def test_the_number_of_cgroups_may_change(self, law: Law) -> None:
        for table, n in zip(life(3, 30), (3, 5, 1, 0, 5, 2) * 5, strict=True):
            check(law.decide(table[:n], 10.0), table[:n])

    def test_a_newcomer_at_the_end_changes_nothing(self, spec: str) -> None:
        three, grows = make_law(spec), make_law(spec)
        three.reset(3)
        grows.reset(3)
        for i, table in enumerate(life(5, 40)):
            expected = three.decide(table[:3], 10.0)
            assert grows.decide(table[: 3 if i < 20 else 4], 10.0)[:3] == expected


def history(seed: int, n: int, steps: int = 6) -> list[Table]:
    """Tables of n cgroups of any sizes, in which some are absent now and then or start again."""
    rng = np.random.default_rng(seed)
    now = rng.uniform(0, 1e9, (n, len(COLUMNS)))
    now[:, SIZES] = inf
    tables = []
    for _ in range(steps):
        now = now + rng.uniform(0, 1e5, now.shape)
        now[:, COLUMN["psi_some_total_us"]] += rng.choice([0, 1e6], n)
        now[:, COLUMN["zswapped"]] = rng.choice([0.0, 5000.0, 1e6, 1e9], n)
        said = now.copy()
        said[rng.random(n) < 0.2] = nan
        said[rng.random(n) < 0.2, COLUMN["disk_reads"]] = nan
        if rng.random() < 0.3:
            now[rng.integers(n), COLUMN["zswpin"]] = 0.0
        tables.append(said)
    return tables


def life(seed: int, steps: int, dt_s: float = 30.0) -> list[Table]:
    """Two hours or so of six cgroups as they are: small and large, quiet, busy, with bursts and pressure."""
    rng = np.random.default_rng(seed)
    anon = np.array([20.0, 60.0, 200.0, 500.0, 900.0, 1500.0]) * MIB
    busy = np.array([0.0, 0.02, 0.05, 0.1, 0.3, 1.0])
    now = np.zeros((6, len(COLUMNS)))
    now[:, SIZES] = inf
    tables = []
    for step in range(steps):
        calm = 0.1 if step % 40 < 30 else 1.0  # a burst every twenty minutes
        pages = anon / 4096
        flows = {
            "zswpout": 0.01 * busy * pages,
            "zswpin": 0.007 * busy * pages * calm,
            "zswpwb": 0.004 * busy * pages,
            "disk": 0.002 * busy * pages * calm,
            "psi_some_total_us": 4e4 * busy * calm * calm,
        }
        moved = {name: np.floor(mean * rng.uniform(0, 2, 6)) for name, mean in flows.items()}
        moved["disk_reads"] = moved.pop("disk")
        for name, amount in moved.items():
            now[:, COLUMN[name]] += amount
        now[:, COLUMN["time_s"]] = 1000.0 + dt_s * step
        now[:, COLUMN["anon"]] = anon
        now[:, COLUMN["zswapped"]] = 4096 * np.floor(anon / 4096 * rng.uniform(0.3, 0.5, 6))
        now[:, COLUMN["swap_current"]] = now[:, COLUMN["zswapped"]] + 0.2 * anon
        now[:, COLUMN["memory_current"]] = anon + now[:, COLUMN["zswapped"]] / 3
        now[:, COLUMN["psi_some_avg10"]] = now[:, COLUMN["psi_some_avg60"]] = 0.4 * busy * calm * calm
        tables.append(now.copy())
    return tables


# --- parameters -----------------------------------------------------------------------------------

PARAMETERS = [(name, parameter) for name, law in LAWS.items() for parameter in parameters_of(law)]


def values_to_try(name: str, parameter: str) -> list[float]:
    """Other values of a parameter: the ends of its range, or a sixteenth and sixteen times what it is."""
    span = ranges_of(LAWS[name]).get(parameter)
    if span is not None:
        return [span.low, span.high]
    if parameter in ("writeback", "pool_full"):
        return [0]
    value = getattr(make_law(name), parameter)
    return [value / 16, value * 16] if value else [1 << 20]


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS)
def test_every_parameter_moves_the_outcome(name: str, parameter: str) -> None:
    tables = life(21, 240)
    usual = ask(name, tables)
    others = []
    for value in values_to_try(name, parameter):
        law = make_law({"law": name, parameter: value})
        law.reset(6)
        others.append(ask(law, tables))
    assert any(other != usual for other in others)


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS)
def test_every_parameter_is_read_from_text(name: str, parameter: str) -> None:
    value = getattr(make_law(name), parameter)
    whole = isinstance(value, int) or "bytes" in parameter
    for spec in (
        {"law": name, parameter: value},
        f"{name}({parameter}={int(value) if whole else repr(value)})",
        f"{name}({parameter}={value / 60:.9f}m)" if parameter.endswith("_s") and value < 1e3 else name,
    ):
        assert getattr(make_law(spec), parameter) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("name", LAWS)
def test_the_ends_of_every_range_are_values_a_law_takes(name: str) -> None:
    spans = ranges_of(LAWS[name])
    for parameter, span in spans.items():
        assert span.low <= getattr(make_law(name), parameter) <= span.high
        for value in (span.low, span.high):
            make_law({"law": name, parameter: value})
    for ends in ("low", "high"):
        make_law({"law": name, **{p: getattr(span, ends) for p, span in spans.items()}})


def test_every_law_says_its_name_its_source_and_its_formula() -> None:
    for name, law in LAWS.items():
        assert getattr(law, "name", None) == name
        assert law.__doc__
        if parameters_of(law):
            assert "Source: " in law.__doc__ or "interface" in law.__doc__
