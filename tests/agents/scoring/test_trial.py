"""The engine that everybody measures with: single environments, any split of the seeds, any worker."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from zswap_gym.agents.contestants import Contestant, contestant
from zswap_gym.agents.evaluate import evaluate
from zswap_gym.agents.parallel import open_workers
from zswap_gym.agents.scoring.inside import inside, kinds_of
from zswap_gym.agents.scoring.trial import TOGETHER, Trial, chunks, nothing_done, run_trial
from zswap_gym.envs.writeback import WritebackEnv
from zswap_gym.policy.laws import LAWS, make_law
from zswap_gym.policy.promise import SUMS, Account
from zswap_gym.policy.runtime import Policy
from zswap_gym.workloads.scenario import Scenario, load_scenario

SEEDS = (31, 32, 33)
EVENTFUL = """
name: eventful
host: {page_scale: 8}
stage_one: {kind: fixed, rate: 512K, interval: 1s}
cgroups:
  - name: kv
    workload: {archetype: kv_zipf, pages: 1024}
    events:
      - {kind: arrival, at: 15s, duration: 20s, every: 100s, bytes: 1M, fresh: true, announced: true}
      - {kind: critical, at: 60s, duration: 30s, announced: true}
  - {name: agent, workload: {archetype: sidecar_agent, pages: 512}}
episode: {decision_interval: 10s, length: 190s, warmup: 60s, snapshots: 3}
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    (tmp_path / "eventful.yaml").write_text(EVENTFUL)
    return load_scenario(tmp_path / "eventful.yaml")


@pytest.fixture
def agent(make_policy, tmp_path: Path) -> str:
    return str(make_policy().save(tmp_path / "policy.npz"))


def same(ours: Account, theirs: Account) -> None:
    for name in SUMS:
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)


def same_trials(ours: Trial, theirs: Trial) -> None:
    """Equal to the last bit in everything but the time it took."""
    same(ours.account, theirs.account)
    for f in fields(Trial):
        if f.name not in ("account", "events", "decide_us"):
            np.testing.assert_array_equal(getattr(ours, f.name), getattr(theirs, f.name), err_msg=f.name)
    assert ours.events == theirs.events


@pytest.mark.parametrize("name", LAWS)
def test_a_law_beside_others_does_what_it_does_in_a_single_environment(name: str, scenario: Scenario) -> None:
    trial = run_trial(name, contestant(name), scenario, SEEDS)
    env = WritebackEnv(scenario, snapshots=0, objective="bill")
    for i, seed in enumerate(SEEDS):
        law = make_law(name)
        env.reset(seed=seed)
        law.reset(len(env.cgroups))
        reward, over = 0.0, False
        while not over:
            _, value, _, over, _ = env.step_requests(law.decide(env.table, env.interval_s))
            reward += value
        same(trial.account.take(i), env.account)
        assert trial.reward[i] == reward
    assert trial.cgroups == env.cgroups
    assert trial.steps == env.steps_per_episode == 19


def test_a_policy_beside_others_does_what_it_does_in_a_single_environment(agent: str, tiny: str) -> None:
    trial = run_trial("agent", contestant(agent), load_scenario(tiny), SEEDS)
    policy, env = Policy.load(agent), WritebackEnv(tiny, snapshots=0)
    for i, seed in enumerate(SEEDS):
        obs, _ = env.reset(seed=seed)
        over = False
        while not over:
            obs, _, _, over, _ = env.step(policy.act(obs))
        same(trial.account.take(i), env.account)
    assert not np.array_equal(trial.account.sums, nothing_done(load_scenario(tiny), SEEDS).sums)


@pytest.mark.parametrize("spec", ["aimd", "fixed_age(age_s=5,max_bytes=4M)+rails", "never@shrinker", "agent"])
def test_how_seeds_are_split_changes_nothing(spec: str, tiny: str, request: pytest.FixtureRequest) -> None:
    driven: Contestant = contestant(request.getfixturevalue("agent") if spec == "agent" else spec)
    scenario = load_scenario(tiny)
    whole = run_trial(spec, driven, scenario, SEEDS)
    for split in ([(31,), (32,), (33,)], [(31, 32), (33,)]):
        same_trials(whole, Trial.join([run_trial(spec, driven, scenario, part) for part in split]))


def test_who_works_changes_nothing(scenario: Scenario, tiny: str) -> None:
    contestants = ["aimd", "fixed_age(age_s=5,max_bytes=4M)+rails", "never@shrinker"]
    here = evaluate(contestants, [scenario, tiny], SEEDS)
    with open_workers(2) as workers:
        there = evaluate(contestants, [scenario, tiny], SEEDS, workers=workers)
    assert len(here.untold) == 4
    for ours, theirs in zip((*here.trials, *here.untold), (*there.trials, *there.untold), strict=True):
        same_trials(ours, theirs)
    assert here.standings() == there.standings()


def test_nothing_done_is_what_never_does(scenario: Scenario) -> None:
    same(nothing_done(scenario, SEEDS), run_trial("never", contestant("never"), scenario, SEEDS).account)


def test_events_are_those_of_the_environment(scenario: Scenario) -> None:
    law = "fixed_age(age_s=5,max_bytes=4M)"
    trial = run_trial(law, contestant(law), scenario, SEEDS)
    env = WritebackEnv(scenario, snapshots=0)
    for seed, events in zip(SEEDS, trial.events, strict=True):
        rule = make_law(law)
        env.reset(seed=seed)
        rule.reset(2)
        for _ in range(env.steps_per_episode):
            env.step_requests(rule.decide(env.table, env.interval_s))
        assert events == env.events
    assert kinds_of(trial) == ["arrival", "critical"]
    arrivals, critical = inside(trial, "arrival"), inside(trial, "critical")
    assert (arrivals.events, critical.events) == (6, 3)
    assert arrivals.seconds == pytest.approx(3 * 2 * 20.0)
    assert critical.seconds == pytest.approx(3 * 30.0)
    each = [sum(e.stalled_s for e in own if e.kind == "arrival") for own in trial.events]
    assert arrivals.stalled_s == pytest.approx(sum(each))
    assert arrivals.stalled_each_s == pytest.approx(sum(each) / 6)
    assert arrivals.stalled_s > 0
    assert arrivals.resumes is None


def test_chunks_are_in_order_and_leave_work_for_everybody() -> None:
    seeds = range(100, 121)
    for workers in (1, 2, 3, 30):
        parts = chunks(seeds, workers)
        assert [seed for part in parts for seed in part] == list(seeds)
        assert len(parts) >= min(workers, len(seeds))
        assert max(map(len, parts)) <= TOGETHER
