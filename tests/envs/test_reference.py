"""The paired reference: the very episode, with nothing done."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from tests.envs.conftest import MakeEnv, MakeScenario
from zswap_gym.envs import reference
from zswap_gym.envs.reference import references
from zswap_gym.host.types import NOTHING
from zswap_gym.policy.promise import Account, Promise, judge

SEEDS = [3, 12, 3, 5]


@pytest.fixture(autouse=True)
def _empty_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_pool", type(reference._pool)())


def bits(account: Account) -> bytes:
    return b"".join(np.ascontiguousarray(getattr(account, f.name)).tobytes() for f in fields(Account))


def test_it_is_the_episode_of_who_does_nothing(make_env: MakeEnv) -> None:
    env = make_env()
    for seed, found in zip(SEEDS, references(env, SEEDS), strict=True):
        env.reset(seed=seed)
        for t in range(10):
            env.step_requests([NOTHING] * 3)
            assert bits(env._fleet.step_account.take(0)) == bits(found.steps.take(t))
            assert bits(env.account) == bits(Account.of(found.sums[t + 1]))
        verdict = judge(env.account, found.account, Promise())
        assert verdict.kept.all()
        assert verdict.saved_pct.tolist() == [0.0] * 3


def test_one_at_a_time_or_many_at_once(make_env: MakeEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    many = references(make_env(), range(5))
    reference._pool.clear()
    monkeypatch.setattr(reference, "TOGETHER", 2)
    one = references(make_env(), range(5))
    assert [bits(found.account) for found in many] == [bits(found.account) for found in one]
    assert len({bits(found.account) for found in many}) == 5


def test_a_scenario_draws_per_seed_an_environment_as_it_says(
    make_env: MakeEnv, make_scenario: MakeScenario
) -> None:
    (own,) = references(make_scenario(), [12])
    assert bits(own.account) == bits(references(make_env(snapshots=0), [12])[0].account)
    assert bits(own.account) != bits(references(make_env(), [12])[0].account)


def test_each_runs_once_and_the_pool_is_bounded(make_env: MakeEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    env = make_env()
    ran: list[int] = []
    run = reference._run

    def counted(scenario, digest, seeds, *rest):
        ran.extend(seeds)
        return run(scenario, digest, seeds, *rest)

    monkeypatch.setattr(reference, "_run", counted)
    first = references(env, SEEDS)
    assert ran == [3, 12, 5]
    assert references(env, SEEDS)[1] is first[1]
    references(env, [3], promise=Promise(disk_reads_pct_min=0.1))  # other broken minutes
    references(env, [3], promise=Promise(psi_added_pct=0.5))  # the same ones
    assert ran == [3, 12, 5, 3]
    monkeypatch.setattr(reference, "POOL_BYTES", 1)
    again = references(env, [5, 12])
    assert len(reference._pool) == 1
    assert [bits(found.account) for found in again] == [bits(first[3].account), bits(first[1].account)]
