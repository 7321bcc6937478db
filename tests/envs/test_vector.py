"""The native vector environment gives what single ones give, to the last bit."""

from __future__ import annotations

import pickle
import re

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import zswap_gym.envs  # noqa: F401 - registers the ids
from tests.envs.conftest import MakeEnv, MakeScenario
from zswap_gym.envs.privileged import PrivilegedWritebackEnv
from zswap_gym.envs.reward import TERMS
from zswap_gym.envs.vector import PrivilegedWritebackVectorEnv, WritebackVectorEnv
from zswap_gym.envs.writeback import WritebackEnv

SEEDS = [3, 9, 40, 4, 11]


@pytest.mark.parametrize("objective", ["promise", "bill"])
@pytest.mark.parametrize(
    ("many", "one"),
    [(WritebackVectorEnv, WritebackEnv), (PrivilegedWritebackVectorEnv, PrivilegedWritebackEnv)],
)
def test_it_equals_single_environments(
    many, one, objective: str, make_scenario: MakeScenario, make_env: MakeEnv
) -> None:
    options = {"n_max": 5, "objective": objective, "reward": {"stall_s": -0.5}}
    vector = many(len(SEEDS), make_scenario(), **options)
    singles = [make_env(cls=one, **options) for _ in SEEDS]
    obs, info = vector.reset(seed=SEEDS)
    first = [env.reset(seed=s) for env, s in zip(singles, SEEDS, strict=True)]
    assert (obs == np.stack([o for o, _ in first])).all()
    assert info["cgroups"].tolist() == [i["cgroups"] for _, i in first]
    rng = np.random.default_rng(0)
    for step in range(25):  # two and a half episodes
        actions = rng.uniform(-1, 1, vector.action_space.shape).astype(np.float32)
        obs, rewards, terminations, truncations, info = vector.step(actions)
        assert not terminations.any()
        assert truncations.all() == (step % 10 == 9)
        told = info["final_info"] if truncations[0] else info
        for i, env in enumerate(singles):
            alone, reward, _, truncated, single = env.step(actions[i])
            assert (rewards[i], truncations[i]) == (reward, truncated)
            assert {name: told["terms"][name][i] for name in TERMS} == single["terms"]
            assert {name: told["cost"][name][i] for name in vector.one.costs} == single["cost"]
            assert told["busy"][i] == single["busy"]
            if truncated:
                assert (info["final_obs"][i] == alone).all()
                alone, reset_info = env.reset()
                assert info["seed"][i] == reset_info["seed"]
            else:
                ended = dict(
                    zip(single["cgroups"], zip(*single["outcomes"].values(), strict=True), strict=True)
                )
                assert {name: (True, *rest) for name, *rest in vector.outcomes(i)} == {
                    name: values for name, values in ended.items() if values[0]
                }
            assert (obs[i] == alone).all()


def test_a_pickled_one_goes_on_identically(make_scenario: MakeScenario) -> None:
    vector = WritebackVectorEnv(3, make_scenario())
    vector.reset(seed=1)
    rng = np.random.default_rng(1)
    for _ in range(4):
        vector.step(rng.uniform(-1, 1, (3, 9)))
    twin = pickle.loads(pickle.dumps(vector))
    for _ in range(10):
        actions = rng.uniform(-1, 1, (3, 9))
        a, b = vector.step(actions), twin.step(actions)
        assert (a[0] == b[0]).all()
        assert (a[1] == b[1]).all()


def test_gymnasium_makes_it_and_it_says_how_it_resets(make_scenario: MakeScenario) -> None:
    vector = gymnasium.make_vec("zswap_gym/Writeback-v0", num_envs=2, scenario=make_scenario())
    assert isinstance(vector.unwrapped, WritebackVectorEnv)
    assert vector.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    obs, _ = vector.reset(seed=5)
    assert obs in vector.observation_space
    with pytest.raises(gymnasium.error.ResetNeeded):
        WritebackVectorEnv(2, make_scenario()).step(np.zeros((2, 9)))
    with pytest.raises(ValueError, match="seed 9223372036854775808: give a number from 0"):
        vector.unwrapped.reset(seed=[5, 1 << 63])
    with pytest.raises(ValueError, match="3 seeds for 2 environments"):
        vector.unwrapped.reset(seed=[1, 2, 3])


def test_actions_and_requests_of_another_shape_are_refused(make_scenario: MakeScenario) -> None:
    vector = WritebackVectorEnv(3, make_scenario())
    vector.reset(seed=1)
    for wrong in (np.zeros((9, 3)), np.zeros(27), np.zeros((2, 9))):
        with pytest.raises(ValueError, match=re.escape(f"shape {wrong.shape}; give (3, 9)")):
            vector.step(wrong)
    asked, one = np.ones((3, 3)), np.ones((1, 1))
    for requests in ((one, one, one), (asked, asked, one)):
        with pytest.raises(ValueError, match=re.escape("give (3, 3) each")):
            vector.step_decoded(*requests)
    vector.step_decoded(asked, asked, asked)
