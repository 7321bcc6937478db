"""The fleet as an SB3 VecEnv: what DummyVecEnv over single environments gives, and PPO learns on it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from tests.envs.conftest import SMALL
from zswap_gym.agents.vecenv import FleetVecEnv
from zswap_gym.envs.vector import WritebackVectorEnv
from zswap_gym.envs.writeback import WritebackEnv
from zswap_gym.workloads.scenario import Scenario

SCENARIO = Scenario.model_validate(SMALL)


def fleet(*sizes: int, threads: int | None = None) -> FleetVecEnv:
    return FleetVecEnv([WritebackVectorEnv(n, SCENARIO, threads=threads) for n in sizes], threads=threads)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("sizes", [(3,), (1, 2)])
def test_it_gives_what_single_environments_in_a_dummy_vec_env_give(
    sizes: tuple[int, ...], threads: int
) -> None:
    dummy = DummyVecEnv([lambda: Monitor(WritebackEnv(SCENARIO))] * 3)
    vec = fleet(*sizes, threads=threads)
    for venv in (dummy, vec):
        venv.seed(40)
    assert (dummy.reset() == vec.reset()).all()
    rng = np.random.default_rng(0)
    ended = 0
    for _ in range(21):
        actions = rng.uniform(-1, 1, (3, 9)).astype(np.float32)
        a, b = dummy.step(actions), vec.step(actions)
        for mine, theirs in zip(a[:3], b[:3], strict=True):
            assert mine.dtype == theirs.dtype
            assert (mine == theirs).all()
        for one, other in zip(a[3], b[3], strict=True):
            assert one["terms"] == other["terms"]
            assert one["cost"] == other["cost"]
            assert one["TimeLimit.truncated"] == other["TimeLimit.truncated"]
            if "episode" in one:
                ended += 1
                assert other["episode"]["r"] == pytest.approx(one["episode"]["r"], abs=1e-5)
                assert other["episode"]["l"] == one["episode"]["l"]
                assert (one["terminal_observation"] == other["terminal_observation"]).all()
    assert ended == 6


def test_ppo_learns_on_it_behind_a_normaliser() -> None:
    vec = VecNormalize(fleet(1, 1))
    model = PPO("MlpPolicy", vec, n_steps=16, batch_size=16, n_epochs=1, seed=3, device="cpu")
    model.learn(64)
    assert model.num_timesteps == 64
    assert len(model.ep_info_buffer) == 6
    assert vec.get_attr("n_max") == [3, 3]
    with pytest.raises(NotImplementedError, match="alike"):
        vec.set_attr("n_max", 4)


def test_the_return_of_an_episode_is_the_environments_own_behind_a_normaliser() -> None:
    """SB3 takes it from Monitor, where there is one."""
    model = PPO("MlpPolicy", VecNormalize(fleet(1)), seed=3, device="cpu")
    returns = []
    for venv in (fleet(1), DummyVecEnv([lambda: Monitor(WritebackEnv(SCENARIO))])):
        venv.seed(5)
        normalised = VecNormalize(venv, training=False)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            returns.append(evaluate_policy(model, normalised, 2)[0])
    assert returns[0] == pytest.approx(returns[1], rel=1e-5)


def test_where_episodes_begin_is_told_as_by_a_dummy_vec_env() -> None:
    dummy, vec = DummyVecEnv([lambda: WritebackEnv(SCENARIO)] * 2), fleet(2)
    for venv in (dummy, vec):
        venv.seed(7)
        venv.reset()
    assert vec.reset_infos == [{key: info[key] for key in ("seed", "cgroups")} for info in dummy.reset_infos]


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="fleets of 0 shapes"):
        fleet()
    with pytest.raises(ValueError, match="fleets of 2 shapes"):
        FleetVecEnv([WritebackVectorEnv(1, SCENARIO), WritebackVectorEnv(1, SCENARIO, n_max=5)])
    vec = fleet(2)
    vec.reset()
    with pytest.raises(ValueError, match="5 actions for 2 environments"):
        vec.step(np.zeros((5, 9)))
