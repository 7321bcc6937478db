"""The native vector environment as Stable-Baselines3 wants to see it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import Env
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from zswap_gym.envs.reward import COSTS, TERMS
from zswap_gym.envs.vector import WritebackVectorEnv


class FleetVecEnv(VecEnv):
    """A :class:`zswap_gym.envs.vector.WritebackVectorEnv` with SB3's face.

    It is stepped in one compiled call and resets by itself, as SB3 expects. Infos hold ``terms`` and
    ``cost`` per environment, ``terminal_observation`` and ``TimeLimit.truncated`` where an episode ends,
    and ``episode`` with its return, length and time, as SB3's Monitor adds it.
    """

    def __init__(self, vector: WritebackVectorEnv) -> None:
        self.vector = vector
        super().__init__(vector.num_envs, vector.single_observation_space, vector.single_action_space)
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, np.int64)
        self._began = time.perf_counter()
        self._actions: npt.NDArray[Any] = np.zeros((self.num_envs, 0))

    def reset(self) -> VecEnvObs:
        """First observations (num_envs, D); takes the seeds of :meth:`seed`, once."""
        observations, _ = self.vector.reset(seed=self._seeds)
        self._reset_seeds()
        self._reset_options()
        self._returns[:], self._lengths[:] = 0.0, 0
        return observations

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Remember the actions; the step is made by :meth:`step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Observations, float32 rewards, dones and one info per environment."""
        observations, rewards, _, ended, told = self.vector.step(self._actions)
        self._returns += rewards
        self._lengths += 1
        step = told.get("final_info", told)
        infos: list[dict[str, Any]] = [
            {"terms": dict(zip(TERMS, terms, strict=True)), "cost": dict(zip(COSTS, costs, strict=True))}
            for terms, costs in zip(
                _columns(step["terms"], TERMS), _columns(step["cost"], COSTS), strict=True
            )
        ]
        for info, busy in zip(infos, step["busy"].tolist(), strict=True):
            info["busy"] = busy
            info["TimeLimit.truncated"] = False
        for e in np.flatnonzero(ended):
            infos[e] |= {
                "TimeLimit.truncated": True,
                "terminal_observation": told["final_obs"][e],
                "episode": {
                    "r": float(self._returns[e]),
                    "l": int(self._lengths[e]),
                    "t": time.perf_counter() - self._began,
                },
            }
            self._returns[e], self._lengths[e] = 0.0, 0
        return observations, rewards.astype(np.float32), ended, infos

    def close(self) -> None:
        """Nothing is held that the garbage collector does not know of."""

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """The attribute of the environment that all are like."""
        return [getattr(self.vector.one, attr_name) for _ in self._chosen(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None) -> None:
        """Refused: the environments have one set of attributes."""
        raise NotImplementedError(f"{attr_name}: environments of a fleet are alike; make another fleet")

    def env_method(
        self, method_name: str, *args: Any, indices: int | Iterable[int] | None = None, **kwargs: Any
    ) -> list[Any]:
        """The method of the environment that all are like."""
        return [getattr(self.vector.one, method_name)(*args, **kwargs) for _ in self._chosen(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[Env[Any, Any]], indices: int | Iterable[int] | None = None
    ) -> list[bool]:
        """Never: :class:`FleetVecEnv` itself does what Monitor does."""
        del wrapper_class
        return [False for _ in self._chosen(indices)]

    def _chosen(self, indices: int | Iterable[int] | None) -> Sequence[int]:
        return list(self._get_indices(indices))


def _columns(named: dict[str, Any], names: Sequence[str]) -> Iterable[tuple[float, ...]]:
    """Per environment the values of ``names``, in order."""
    return zip(*(named[name].tolist() for name in names), strict=True)
