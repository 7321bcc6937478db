"""Running normalisation whose statistics are per feature, pooled over the cgroups that are present.

Plain VecNormalize keeps one mean and variance per element of the observation: the third row has
its own scale, learned from whatever cgroup happened to stand there, and a row that is absent
drags its statistics to zero. Here every present cgroup adds to the same statistics, so that they
hold for any number of cgroups in any order and can travel with an exported policy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from zswap_gym.agents.networks import Layout

Floats = npt.NDArray[np.floating]


class PooledMeanStd(RunningMeanStd):
    """Statistics of the row features and of the host features, seen from outside as one long vector.

    ``mean`` and ``var`` have the shape of a flat observation: the row statistics repeated per row,
    then the host's. The presence feature keeps mean 0 and variance 1: it is a mask, not a number.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.rows = RunningMeanStd(shape=(layout.features,))
        self.hosts = RunningMeanStd(shape=(layout.host,))
        self.epsilon = self.rows.count
        self._spread()

    def _spread(self) -> None:
        repeat = self.layout.n_max
        self.mean = np.concatenate([np.tile(self.rows.mean, repeat), self.hosts.mean])
        self.var = np.concatenate([np.tile(self.rows.var, repeat), self.hosts.var])
        self.count = self.hosts.count

    def update(self, arr: npt.NDArray[np.floating]) -> None:
        """Add flat observations (B, D)."""
        layout = self.layout
        cut = layout.n_max * layout.features
        rows = arr[:, :cut].reshape(-1, layout.features)
        present = rows[rows[:, layout.presence] > 0.5]
        if len(present):
            self.rows.update(present)
            self.rows.mean[layout.presence], self.rows.var[layout.presence] = 0.0, 1.0
        self.hosts.update(arr[:, cut:])
        self._spread()


class PooledNormalise(VecNormalize):
    """VecNormalize with pooled statistics; absent rows stay zero, the presence feature stays as it is.

    Being a VecNormalize, SB3 stores raw observations in SAC's replay buffer and normalises what it
    samples with the statistics of the day.

    Args:
        venv: the environments.
        layout: how their observation is cut.
        norm_obs, norm_reward, clip_obs, gamma: as in VecNormalize.
    """

    def __init__(
        self,
        venv: VecEnv,
        layout: Layout,
        *,
        norm_obs: bool = True,
        norm_reward: bool = True,
        clip_obs: float = 10.0,
        gamma: float = 0.99,
    ) -> None:
        super().__init__(venv, norm_obs=norm_obs, norm_reward=norm_reward, clip_obs=clip_obs, gamma=gamma)
        self.layout = layout
        self.obs_rms = PooledMeanStd(layout)  # type: ignore[assignment]

    def _mask(self, obs: Floats) -> npt.NDArray[np.bool_]:
        """Bool, shape of ``obs``: elements of present rows, and the host's."""
        layout = self.layout
        cut = layout.n_max * layout.features
        rows = obs[..., :cut].reshape(*obs.shape[:-1], layout.n_max, layout.features)
        present = np.broadcast_to(rows[..., layout.presence : layout.presence + 1] > 0.5, rows.shape)
        flat = present.reshape(*obs.shape[:-1], cut)
        return np.concatenate([flat, np.ones((*obs.shape[:-1], layout.host), bool)], axis=-1)

    def _presence(self) -> slice:
        """The presence features inside a flat observation."""
        return slice(self.layout.presence, self.layout.n_max * self.layout.features, self.layout.features)

    def _normalize_obs(self, obs: Floats, obs_rms: RunningMeanStd) -> Floats:
        out = np.where(self._mask(obs), super()._normalize_obs(obs, obs_rms), 0.0)
        out[..., self._presence()] = obs[..., self._presence()]
        return out

    def _unnormalize_obs(self, obs: Floats, obs_rms: RunningMeanStd) -> Floats:
        out = np.where(self._mask(obs), super()._unnormalize_obs(obs, obs_rms), 0.0)
        out[..., self._presence()] = obs[..., self._presence()]
        return out
