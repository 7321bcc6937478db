"""Advice without learning: the grid, the statistics, the choice, and that the advice holds."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

from zswap_gym.agents.advice.advise import advise
from zswap_gym.agents.advice.choose import (
    HARDLY,
    HELD,
    PSI,
    REFAULT,
    Slo,
    best,
    chance,
    interval,
    judge,
    pareto,
    search,
    student,
)
from zswap_gym.agents.advice.grid import NEVER, Point, default_ages, default_budgets, make_grid, size_text
from zswap_gym.agents.advice.measure import QUANTITIES, Measured
from zswap_gym.agents.advice.report import as_json, draw, reason, text_plot
from zswap_gym.agents.advice.subject import age_limit_s, scenario_of, subject
from zswap_gym.agents.evaluate import evaluate
from zswap_gym.envs.reward import TERMS
from zswap_gym.errors import UserError
from zswap_gym.units import parse_size
from zswap_gym.workloads.scenario import Scenario
from zswap_gym.workloads.traces import load_trace, trace_names

MIB = 1 << 20

SMALL = Scenario.model_validate(
    {
        "name": "small",
        "host": {"page_scale": 4},
        "stage_one": {"kind": "fixed", "rate": 256 << 10, "interval": 1},
        "cgroups": [
            {"name": "kv", "workload": {"archetype": "kv_zipf", "pages": 1024}},
            {"name": "agent", "workload": {"archetype": "sidecar_agent", "pages": 1024}},
        ],
        "episode": {"decision_interval": 10, "length": 200, "warmup": 60},
    }
)


# --- the grid ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [4.0, 60.0, 327.4, 7200.0])
def test_ages_reach_the_limit_and_no_further(limit):
    ages = default_ages(limit)
    assert ages[-1] == int(limit)
    assert ages == sorted(set(ages))
    assert all(b / a <= 1.7 for a, b in itertools.pairwise(ages))


@pytest.mark.parametrize("memory", [8 * MIB, 200 * MIB, 4096 * MIB])
def test_sizes_suit_the_memory_and_are_never_too_small(memory):
    sizes = default_budgets(memory)
    assert sizes[0] >= 512 * 1024
    assert sizes[-1] <= max(memory / 32, 512 * 1024)
    assert 1 <= len(sizes) <= 4


@pytest.mark.parametrize("size", [4096, 512 * 1024, 3 * MIB, 5 << 30, 4097])
def test_a_size_is_written_as_memparse_reads_it(size):
    assert parse_size(size_text(size)) == size


def test_what_is_written():
    assert Point("v1", 60, 8 * MIB).command() == 'echo "max=8M 60" > memory.zswap.proactive_writeback'
    assert Point("source=zswap", 1, MIB).command(0.5) == 'echo "512K source=zswap" > memory.reclaim'
    only = Point("zswap_writeback_only", 1, MIB)
    assert only.command(0.5) == 'echo "1M zswap_writeback_only" > memory.reclaim'
    assert Point("memory.reclaim", 0, MIB).command() == 'echo "1M" > memory.reclaim'
    assert NEVER.command() == ""


def test_an_age_beyond_what_the_recording_supports_is_refused():
    with pytest.raises(UserError, match="ages from 1 s to 60 s can be judged"):
        make_grid(60.0, 100 * MIB, ages=[30, 61])
    with pytest.raises(UserError, match="at least 4096"):
        make_grid(60.0, 100 * MIB, budgets=[100])


# --- the subject ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", trace_names())
def test_a_bare_recording_is_replayed_whole_on_a_machine_with_room(name):
    trace = load_trace(name)
    scenario = subject(name)
    assert scenario.span_s <= trace.span_s < scenario.span_s + scenario.episode.decision_interval
    assert age_limit_s(scenario) <= trace.span_s / 2
    assert scenario.host.page_scale * (scenario.cgroups[0].workload.pages or 0) <= trace.n_pages


def test_what_is_neither_a_recording_nor_a_scenario():
    with pytest.raises(UserError, match="neither a recording"):
        subject("redis")


# --- measuring --------------------------------------------------------------------------------------


def test_what_is_measured_is_what_evaluate_finds():
    """The same seed, the same law: held memory, disk reads and pressure agree to the last bit."""
    point = Point("v1", 20, MIB)
    measured = Measured.of(SMALL)
    measured.add([7], [NEVER, point])  # on memory that another run has used
    results = evaluate(["never", "fixed_age(age_s=20,max_bytes=1M)"], [SMALL], [7])
    trial = results.trial("fixed_age(age_s=20,max_bytes=1M)", SMALL.name)
    host = dict(zip(QUANTITIES, measured.host[7, point], strict=True))
    held = trial.terms[0, TERMS.index("dram_held")] / trial.hours
    assert host["held_bytes"] == pytest.approx(held * (1 << 30), rel=1e-12)
    account = trial.account.take(0)
    pressure = 100.0 * account.stalled_us / account.elapsed_us
    np.testing.assert_allclose(
        measured.rows[7, point][:, QUANTITIES.index("psi_some_pct")], pressure, rtol=1e-12
    )
    written = trial.terms[0, TERMS.index("bytes_written")] / trial.hours
    assert host["written_bytes_h"] == pytest.approx(written, rel=1e-12)
    assert written > 0


def test_settings_can_differ_by_cgroup():
    measured = Measured.of(SMALL)
    agent_only = (NEVER, Point("v1", 10, 2 * MIB))
    measured.add([1], [agent_only])
    assert measured.cgroups == ["kv", "agent"]
    written = measured.rows[1, agent_only][:, QUANTITIES.index("written_bytes_h")]
    assert written[0] == 0
    assert written[1] > 0


# --- the statistics ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("df", "p", "value"), [(3, 0.95, 2.353), (5, 0.95, 2.015), (5, 0.975, 2.571),
                                                (23, 0.95, 1.714), (23, 0.975, 2.069)])  # fmt: skip
def test_students_quantiles(df, p, value):
    assert student(df, p) == pytest.approx(value, rel=0.012)


def test_the_next_run_stays_within_its_bound_95_times_in_100():
    rng = np.random.default_rng(0)
    kept = 0
    for _ in range(2000):
        seen, following = rng.normal(5, 1, 6), rng.normal(5, 1)
        kept += following <= interval(seen).next_run
    assert kept / 2000 >= 0.95


def test_the_interval_covers_the_mean_95_times_in_100():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(2000):
        found = interval(rng.normal(5, 1, 6))
        hits += found.low <= 5 <= found.high
    assert hits / 2000 == pytest.approx(0.95, abs=0.015)


def made_up(held, refault, psi, seeds=6):
    """Measurements of three settings, without the model: arrays (seeds,) by setting."""
    found = Measured.of(SMALL)
    found.cgroups = ["app"]
    for point in held:
        for seed in range(seeds):
            row = np.zeros(len(QUANTITIES))
            row[HELD], row[REFAULT], row[PSI] = held[point], refault[point], psi[point]
            row[REFAULT] += 0.01 * (seed % 2)
            found.host[seed, point] = row
            found.rows[seed, point] = row[None]
    return found


def test_the_best_is_what_frees_most_within_the_promise():
    good, greedy, stalls = (Point("v1", age, MIB) for age in (60, 10, 5))
    found = made_up(
        {NEVER: 100.0, good: 80.0, greedy: 40.0, stalls: 50.0},
        {NEVER: 0.0, good: 0.1, greedy: 5.0, stalls: 0.1},
        {NEVER: 1.0, good: 1.05, greedy: 1.0, stalls: 1.5},
    )
    judged = [judge(found, p, range(6), Slo(0.2, 0.1)) for p in (good, greedy, stalls)]
    assert [j.meets_slo for j in judged] == [True, False, False]
    assert best(judged).point == good
    assert judged[0].freed_bytes.mean == 20.0
    # good is beaten by none: it has the fewest reads at its pressure; stalls frees more at more pressure
    assert {j.point for j in pareto(judged)} == {good, greedy, stalls}
    worse = judge(made_up({NEVER: 100.0, good: 90.0}, {NEVER: 0.0, good: 0.1}, {NEVER: 1.0, good: 1.05}),
                  good, range(6), Slo())  # fmt: skip
    assert pareto([judged[0], worse]) == [judged[0]]


def test_a_promise_kept_on_average_only_is_not_kept():
    point = Point("v1", 60, MIB)
    found = made_up({NEVER: 100.0, point: 50.0}, {NEVER: 0.0, point: 0.19}, {NEVER: 0.0, point: 0.0})
    judged = judge(found, point, range(6), Slo(0.2, 0.1))
    assert judged.refault_pct_wss_min.mean < 0.2 < judged.refault_pct_wss_min.next_run
    assert not judged.meets_slo
    assert best([judged]) is None


def test_pressure_is_promised_on_average():
    """Runs that scatter by more than is allowed keep it where their mean does, with room for chance."""
    point = Point("v1", 60, MIB)
    for mean, kept in ((-0.2, True), (0.05, False), (0.2, False)):
        found = made_up({NEVER: 100.0, point: 50.0}, {NEVER: 0.0, point: 0.1}, {NEVER: 1.0, point: 1.0}, 12)
        for seed in range(12):
            found.host[seed, point][PSI] += mean + (0.3 if seed % 2 else -0.3)
        judged = judge(found, point, range(12), Slo(0.2, 0.1))
        assert judged.psi_added_pct.mean == pytest.approx(mean)
        assert judged.psi_added_pct.next_run > 0.1
        assert judged.meets_slo is kept


def judged_on(broken, seeds):
    """A setting that broke the promise in so many of its runs."""
    point = Point("v1", 60, MIB)
    found = made_up({NEVER: 100.0, point: 50.0}, {NEVER: 0.0, point: 0.1}, {NEVER: 0.0, point: 0.0}, seeds)
    for seed in range(broken):
        found.host[seed, point][REFAULT] = 9.0
    return judge(found, point, range(seeds), Slo(0.2, 0.1))


@pytest.mark.parametrize(
    ("broken", "seeds", "given_up"),
    [
        (0, 3, False),
        (1, 3, False),
        (2, 3, True),
        (2, 12, False),
        (3, 12, True),
        (5, 36, False),
        (6, 36, True),
    ],
)
def test_a_setting_is_given_up_when_it_breaks_the_promise_too_often_for_chance(broken, seeds, given_up):
    assert (chance(judged_on(broken, seeds)) < HARDLY) is given_up


@pytest.mark.parametrize(
    ("broken", "seeds", "kept"),
    [(1, 12, False), (1, 36, True), (2, 36, False), (2, 72, True), (3, 72, False)],
)
def test_with_many_seeds_broken_promises_are_counted(broken, seeds, kept):
    assert judged_on(broken, seeds).meets_slo is kept


def test_more_seeds_go_to_the_leader_and_to_what_might_beat_it():
    modest, leader, border, greedy = (Point("v1", age, MIB) for age in (90, 60, 30, 10))
    found = made_up(
        {NEVER: 100.0, modest: 90.0, leader: 50.0, border: 40.0, greedy: 10.0},
        {NEVER: 0.0, modest: 0.0, leader: 0.1, border: 0.1, greedy: 5.0},
        dict.fromkeys([NEVER, modest, leader, border, greedy], 0.0),
        seeds=72,
    )
    for seed in range(5, 72, 16):  # 5 of 72: one that keeps the promise in 93 % of runs
        found.host[seed, border][REFAULT] = 1.0
    points = [NEVER, modest, leader, border, greedy]
    used = search(found, points, Slo(0.2, 0.1), 3)
    assert (used[modest], used[leader], used[border], used[greedy]) == (3, 36, 72, 1)
    assert best([judge(found, p, range(used[p]), Slo(0.2, 0.1)) for p in points[1:]]).point == leader


def test_the_runs_beyond_the_first_look_are_limited(monkeypatch):
    leader = Point("v1", 60, MIB)
    found = made_up({NEVER: 100.0, leader: 50.0}, {NEVER: 0.0, leader: 0.1}, {NEVER: 0.0, leader: 0.0}, 72)
    monkeypatch.setattr(
        "zswap_gym.agents.advice.choose.AGAIN", 6
    )  # 18 runs: 9 more of the leader, 9 more without it
    assert search(found, [NEVER, leader], Slo(0.2, 0.1), 3)[leader] == 12


def test_where_runs_are_long_there_are_fewer(monkeypatch):
    leader = Point("v1", 60, MIB)
    found = made_up({NEVER: 100.0, leader: 50.0}, {NEVER: 0.0, leader: 0.1}, {NEVER: 0.0, leader: 0.0}, 72)
    minutes = SMALL.episode.length / 60
    for row in found.host.values():
        row[QUANTITIES.index("zswap_loads_min")] = 1000 / minutes * SMALL.host.page_scale
    assert found.loads(NEVER, range(3)) == pytest.approx(1000)
    monkeypatch.setattr(
        "zswap_gym.agents.advice.choose.MOST_LOADS", 48_500
    )  # 48 runs: 36 without it, 12 with it
    assert search(found, [NEVER, leader], Slo(0.2, 0.1), 3)[leader] == 12


# --- the whole ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def advice():
    return advise(SMALL, Slo(2.0, 0.5), ages=[10, 40, 120], budgets=[MIB, 2 * MIB], seeds=3)


def test_advice_on_two_cgroups(advice):
    assert len(advice.grid) == 2 + 2 + 2 + 6
    assert advice.age_limit_s == 130
    assert set(advice.per_cgroup) == {"kv", "agent"}
    assert advice.together is not None
    text = text_plot(advice)
    assert len(text.splitlines()) == 15
    assert reason(advice).endswith(".")


def test_advice_as_json(advice):
    told = json.loads(json.dumps(as_json(advice)))
    assert {"recommendation", "grid", "pareto", "slo", "interval", "sizes_only", "per_cgroup"} <= set(told)
    assert {"age_s", "max_bytes", "interval_s", "line"} <= set(told["recommendation"])
    assert {(row["age_s"], row["max_bytes"]) for row in told["grid"]} == {
        (age, size) for age in (10, 40, 120) for size in (MIB, 2 * MIB)
    }
    assert all(row["age_s"] <= told["age_limit_s"] for row in told["grid"])
    assert all(not math.isnan(row["freed_bytes"]) for row in told["grid"])
    chosen = told["recommendation"]
    if chosen["line"]:
        assert chosen["line"] == f"max={chosen['max_bytes'] >> 20}M {chosen['age_s']}"
        assert chosen["meets_slo"]


def test_nothing_is_recommended_where_nothing_keeps_the_promise():
    none = advise(SMALL, Slo(0.0, 0.0), ages=[10], budgets=[2 * MIB], seeds=3)
    assert none.recommended is None
    assert as_json(none)["recommendation"] == {
        "age_s": None, "max_bytes": 0, "interval_s": 10.0, "line": "", "command": "",
    }  # fmt: skip
    assert "nothing" in reason(none).lower()


def test_the_picture(advice, tmp_path):
    pytest.importorskip("matplotlib")
    assert draw(advice, tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_advice_is_deterministic(advice):
    again = advise(SMALL, Slo(2.0, 0.5), ages=[10, 40, 120], budgets=[MIB, 2 * MIB], seeds=3)
    assert as_json(again) == as_json(advice)


def test_a_recording_too_short_to_judge():
    trace = load_trace("sidecar")
    short = type(trace)(**{**trace.__dict__, "times_us": trace.times_us[:5]})
    with pytest.raises(UserError, match="too few to advise on"):
        scenario_of(short, "short.npz")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "slo"), [("sidecar", 0.2), ("ml_sgd", 0.2), ("sqlite_oltp", 2.0)])
def test_the_advice_holds_on_fresh_seeds(name, slo):
    """On 60 seeds nobody has seen: the promise is kept, and no setting that keeps it frees 5 % more.

    experiments/advise has all recordings.
    """
    promise = Slo(slo)
    scenario = subject(name)
    given = advise(scenario, promise)
    chosen = given.recommended
    assert chosen is not None
    seeds = range(500_000, 500_060)
    found = Measured.of(scenario)
    rivals = [j.point for j in given.grid if j.point.interface == "v1"
              and j.freed_bytes.mean > chosen.freed_bytes.mean]  # fmt: skip
    found.add(seeds, [NEVER, chosen.point, *rivals])
    never = found.of_setting(NEVER, seeds)

    def holds(point):
        mine = found.of_setting(point, seeds)
        gentle = (mine[:, PSI] - never[:, PSI]).mean() <= promise.psi_added_pct
        kept = (mine[:, REFAULT] <= slo).mean() >= 0.95 and gentle
        return kept, (never[:, HELD] - mine[:, HELD]).mean()

    kept, freed = holds(chosen.point)
    assert kept
    for rival in rivals:
        kept, more = holds(rival)
        assert not kept or more <= freed / 0.95, (rival, more, freed)
