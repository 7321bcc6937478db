"""Pooled statistics: of present cgroups, per feature, whatever row they stand in."""

from __future__ import annotations

import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box
from stable_baselines3.common.vec_env import DummyVecEnv

from zswap_gym.agents.networks import Layout
from zswap_gym.agents.normalise import PooledMeanStd, PooledNormalise

LAYOUT = Layout(n_max=4, features=3, host=2, presence=0)
D = 4 * 3 + 2


class Noise(gymnasium.Env):
    """Random observations with a random number of cgroups."""

    observation_space = Box(-np.inf, np.inf, (D,), np.float32)
    action_space = Box(-1, 1, (8,), np.float32)

    def draw(self) -> np.ndarray:
        rows = self.np_random.normal([0, 5, -2], [0, 3, 0.5], (4, 3))
        rows[:, 0] = 1
        rows[self.np_random.integers(1, 5) :] = 0
        return np.concatenate([rows.ravel(), self.np_random.normal(10, 2, 2)]).astype(np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed, options=options)
        return self.draw(), {}

    def step(self, action):
        return self.draw(), float(action[0]), False, bool(self.np_random.random() < 0.1), {}


def make(n: int = 3, **kwargs) -> PooledNormalise:
    vec = PooledNormalise(DummyVecEnv([Noise] * n), LAYOUT, **kwargs)
    vec.seed(0)
    return vec


def test_statistics_are_those_of_present_rows() -> None:
    vec = make()
    seen = []
    vec.reset()
    seen.append(vec.get_original_obs())
    for _ in range(400):
        vec.step(np.zeros((3, 8)))
        seen.append(vec.get_original_obs())
    obs = np.concatenate(seen).astype(np.float64)
    rows = obs[:, :12].reshape(-1, 3)
    present = rows[rows[:, 0] > 0.5]
    stats = vec.obs_rms
    assert isinstance(stats, PooledMeanStd)
    assert stats.rows.mean[1:] == pytest.approx(present[:, 1:].mean(axis=0), rel=1e-2)
    assert stats.rows.var[1:] == pytest.approx(present[:, 1:].var(axis=0), rel=1e-2)
    assert stats.hosts.mean == pytest.approx(obs[:, 12:].mean(axis=0), rel=1e-2)
    assert (stats.rows.mean[0], stats.rows.var[0]) == (0.0, 1.0)
    assert stats.mean.shape == (D,)
    assert (stats.mean[1:12:3] == stats.rows.mean[1]).all()


def test_absent_rows_stay_zero_and_presence_stays_as_it_is() -> None:
    vec = make()
    vec.reset()
    for _ in range(50):
        obs, *_ = vec.step(np.zeros((3, 8)))
    raw = vec.get_original_obs()
    rows, raw_rows = obs[:, :12].reshape(3, 4, 3), raw[:, :12].reshape(3, 4, 3)
    absent = raw_rows[:, :, 0] == 0
    assert absent.any()
    assert (rows[absent] == 0).all()
    assert (rows[:, :, 0] == raw_rows[:, :, 0]).all()
    assert np.abs(rows[~absent][:, 1:]).max() > 0.5
    assert np.allclose(vec.unnormalize_obs(obs), raw, atol=1e-3)
    single = vec.normalize_obs(raw[0])
    assert (single == obs[0]).all()


def test_clipping_and_switching_off() -> None:
    vec = make(clip_obs=0.5)
    vec.reset()
    for _ in range(20):
        obs, *_ = vec.step(np.zeros((3, 8)))
    assert np.abs(np.delete(obs, [0, 3, 6, 9], axis=1)).max() == 0.5
    off = make(norm_obs=False)
    assert (off.reset() == off.get_original_obs()).all()


def test_it_survives_a_pickle() -> None:
    vec = make()
    vec.reset()
    for _ in range(20):
        vec.step(np.zeros((3, 8)))
    raw = vec.get_original_obs()
    again = pickle.loads(pickle.dumps(vec))
    again.set_venv(DummyVecEnv([Noise] * 3))
    assert (again.normalize_obs(raw) == vec.normalize_obs(raw)).all()
