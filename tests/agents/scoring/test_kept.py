"""Whoever says that a promise is kept says the same of the same run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zswap_gym.agents.advice.assess import assess
from zswap_gym.agents.advice.grid import NEVER, Point
from zswap_gym.agents.advice.measure import Measured
from zswap_gym.agents.contestants import contestant
from zswap_gym.agents.evaluate import evaluate
from zswap_gym.agents.scoring.score import score
from zswap_gym.agents.scoring.standing import by_cgroup
from zswap_gym.agents.scoring.suite import Suite
from zswap_gym.agents.scoring.trial import Conditions, nothing_done, run_trial
from zswap_gym.agents.tuning.objective import Bench
from zswap_gym.envs.reference import references
from zswap_gym.envs.writeback import WritebackEnv
from zswap_gym.policy.laws import make_law
from zswap_gym.policy.promise import Account, Promise, judge, judge_hosts
from zswap_gym.workloads.scenario import Scenario, load_scenario

SEEDS = (61, 62)
SCENARIO = """
name: hour
host: {page_scale: 16}
stage_one: {kind: fixed, rate: 512K, interval: 1s}
cgroups:
  - {name: kv, workload: {archetype: kv_zipf, pages: 2048}}
  - {name: agent, workload: {archetype: sidecar_agent, pages: 2048}}
episode: {decision_interval: 30s, length: 20m, warmup: 120s}
"""
LAWS = ("never", "release_only(share=0.001)", "fixed_age(age_s=5,max_bytes=4M)", "fixed_age(age_s=900)")


@pytest.fixture
def hour(tmp_path: Path) -> Scenario:
    (tmp_path / "hour.yaml").write_text(SCENARIO)
    return load_scenario(tmp_path / "hour.yaml")


def in_environments(law: str, scenario: Scenario, promise: Promise) -> list[bool]:
    """Per cgroup, from single environments and their references alone."""
    env = WritebackEnv(scenario, snapshots=0, promise=promise)
    rule, mine, base = make_law(law), Account.zeros(2), Account.zeros(2)
    for seed, reference in zip(SEEDS, references(env, SEEDS), strict=True):
        env.reset(seed=seed)
        rule.reset(2)
        over = False
        while not over:
            _, _, _, over, _ = env.step_requests(rule.decide(env.table, env.interval_s))
        mine, base = mine + env.account, base + reference.account
    return judge(mine, base, promise).kept.tolist()


@pytest.mark.parametrize(
    "promise", [Promise(), Promise(disk_reads_pct_min=0.01), Promise(cpu_pct_per_gib=0.01)]
)
def test_environment_engine_evaluation_tuning_and_score_agree(hour: Scenario, promise: Promise) -> None:
    results = evaluate(LAWS, [hour], SEEDS, promise=promise)
    rows = score({law: law for law in LAWS}, Suite("mine", (hour,), SEEDS, promise)).rows()
    scored = {row["policy"]: row["kept"] for row in rows if row["scenario"] == "all"}
    bench = Bench([hour], promise)
    seen = set()
    for law in LAWS:
        kept = in_environments(law, hour, promise)
        trial = run_trial(law, contestant(law), hour, SEEDS, Conditions(promise))
        nothing = nothing_done(hour, SEEDS, promise)
        assert judge(trial.account.sum(), nothing.sum(), promise).kept.tolist() == kept
        found = by_cgroup(results.trial(law, "hour"), results.trial("never", "hour"), promise)
        assert found.kept.tolist() == kept
        assert (results.standing(law).keeping, results.standing(law).kept) == (sum(kept), all(kept))
        assert bool(judge_hosts(trial.account.sum(), nothing.sum(), promise).kept) == all(kept)
        tuned = bench.outcome([trial], bench.nothing(SEEDS))
        assert (tuned.keeping, tuned.kept) == (sum(kept), all(kept))
        assert scored[law] == all(kept)
        seen |= set(kept)
    assert seen == {True, False}


@pytest.mark.parametrize("promise", [Promise(), Promise(cpu_pct_per_gib=0.01)])
def test_advice_says_the_same_of_the_same_setting(hour: Scenario, promise: Promise) -> None:
    """Figure by figure, to the last bit: of the host, and of each cgroup."""
    settings = {
        NEVER: "never",
        Point("v1", 5, 4 << 20): "fixed_age(age_s=5,max_bytes=4M)",
        Point("v1", 900, 8 << 20): "fixed_age(age_s=900)",
    }
    results = evaluate(list(settings.values()), [hour], SEEDS, promise=promise)
    found, nothing = Measured.of(hour, promise), nothing_done(hour, SEEDS, promise)
    found.add(SEEDS, list(settings))
    figures = ("saved_pct", "broken_pct", "allowed_pct", "psi_added_pct", "cpu_added_pct_gib", "kept")
    seen = set()
    for setting, law in settings.items():
        total = results.trial(law, "hour").account.sum()
        host, each = (f(total, nothing.sum(), promise) for f in (judge_hosts, judge))
        advised = assess(found, setting, SEEDS)
        assert [getattr(advised, name) for name in figures] == [getattr(host, name) for name in figures]
        assert advised.kept == results.standing(law).kept
        for i in range(2):
            one = assess(found, setting, SEEDS, i)
            assert [getattr(one, name) for name in figures] == [getattr(each, name)[i] for name in figures]
        seen.add(advised.kept)
    assert seen == {True, False}


def test_memory_saved_is_what_the_hosts_do_not_hold(hour: Scenario) -> None:
    results = evaluate(LAWS, [hour], SEEDS)
    for law in LAWS:
        ours, theirs = results.trial(law, "hour").account, results.trial("never", "hour").account
        held, before = ours.held_byte_us.sum(1), theirs.held_byte_us.sum(1)
        np.testing.assert_allclose(results.saved_pct(law)[0], 100.0 * (1.0 - held / before), atol=1e-9)
