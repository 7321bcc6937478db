"""The objective: what an episode's rewards come to is what the promise says of it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.envs.conftest import MakeEnv, MakeScenario
from zswap_gym.envs import reference
from zswap_gym.envs.objective import PENALTY, STREAMS, TO_DATE
from zswap_gym.envs.reference import references
from zswap_gym.envs.reward import COSTS
from zswap_gym.envs.vector import WritebackVectorEnv
from zswap_gym.host.types import NOTHING, Request
from zswap_gym.policy.promise import BREACH_MOST, SUMS, Account, Promise, judge, judge_hosts

LONG = {"decision_interval": "20s", "length": "600s", "warmup": "60s", "snapshots": 2}
MILD = [Request(20.0, 1 << 20, 1 << 20), NOTHING, NOTHING]
ROUGH = [Request(1.0, 64 << 20, 64 << 20)] * 3


@pytest.mark.parametrize("requests", [MILD, ROUGH])
def test_environment_and_promise_agree(make_env: MakeEnv, make_scenario: MakeScenario, requests) -> None:
    promise = Promise(0.5, minutes=0.8, psi_added_pct=0.3, cpu_pct_per_gib=1.0)
    env = make_env(scenario=make_scenario(episode=LONG), promise=promise, penalty=7.0)
    env.reset(seed=1)
    rewards, over = [], False
    while not over:
        _, reward, _, over, info = env.step_requests(requests)
        rewards.append(reward)
        (found,) = references(env, [1])
        at = {name: getattr(found.steps, name)[: len(rewards)].sum(axis=0) for name in SUMS}
        verdict = judge_hosts(env.account, Account(**at), promise)
        for name in TO_DATE:
            assert info["cost"][name] == pytest.approx(float(getattr(verdict, name)), rel=1e-9, abs=1e-9)
    verdict, each = (ask(env.account, found.account, promise) for ask in (judge_hosts, judge))
    assert np.mean(rewards) == pytest.approx(float(verdict.saved_pct - 7.0 * verdict.breach))
    assert bool(verdict.kept) == each.kept.all() == (verdict.breach < 1e-9)
    assert verdict.breach == pytest.approx(each.breach.mean())
    held = (each.saved_pct * found.account.held_byte_us).sum() / found.account.held_byte_us.sum()
    assert verdict.saved_pct == pytest.approx(held)
    assert verdict.saved_pct > 0
    assert (verdict.breach > 0) == (requests is ROUGH)


def test_doing_nothing_earns_nothing(make_env: MakeEnv) -> None:
    env = make_env()
    env.reset(seed=1)
    steps = [env.step_requests([NOTHING] * 3) for _ in range(10)]
    assert [step[1] for step in steps] == [0.0] * 10
    assert all(step[4]["cost"][name] == 0.0 for step in steps for name in ("saved_pct", "breach"))


def test_whoever_reclaims_hardest_does_not_win(make_env: MakeEnv, make_scenario: MakeScenario) -> None:
    env = make_env(scenario=make_scenario(episode=LONG))
    sums = []
    for requests in ([NOTHING] * 3, ROUGH):
        env.reset(seed=2)
        steps = [env.step_requests(requests) for _ in range(env.steps_per_episode)]
        sums.append(sum(step[1] for step in steps))
    assert steps[-1][4]["cost"]["saved_pct"] > 5.0
    assert steps[-1][4]["cost"]["cpu_added_pct_gib"] > Promise().cpu_pct_per_gib
    assert sums[1] < sums[0] == 0.0
    assert sums[1] > -3 * BREACH_MOST * PENALTY * env.steps_per_episode  # as bad as it can be


def test_a_bill_asks_for_no_reference(make_env: MakeEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_run", None)
    env = make_env(objective="bill", snapshots=0)
    env.reset(seed=99)
    assert tuple(env.step_requests(ROUGH)[4]["cost"]) == COSTS == env.costs


def test_the_reference_runs_with_the_first_step_all_at_once(
    make_scenario: MakeScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[int]] = []
    run = reference._run
    monkeypatch.setattr(reference, "_pool", type(reference._pool)())
    monkeypatch.setattr(
        reference, "_run", lambda s, d, seeds, *rest: ran.append(seeds) or run(s, d, seeds, *rest)
    )
    vector = WritebackVectorEnv(3, make_scenario())
    vector.reset(seed=[5, 6, 7])
    assert ran == []
    for _ in range(9):
        vector.step(np.zeros((3, 9)))
    assert ran == [[5, 6, 7]]
    vector.step(np.zeros((3, 9)))  # the last step: the next episodes begin
    assert len(ran) == 1
    vector.step(np.zeros((3, 9)))
    assert [len(seeds) for seeds in ran] == [3, 3]


def test_seeds_that_nobody_gives_come_back_where_draws_do(make_env: MakeEnv) -> None:
    def drawn(**options) -> list[int]:
        env = make_env(**options)
        env.reset(seed=0)
        return [env.reset()[1]["seed"] for _ in range(200)]

    assert set(drawn()) == set(range(3 * STREAMS))
    assert len(set(drawn(snapshots=0))) == len(set(drawn(objective="bill"))) == 200
