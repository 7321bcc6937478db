"""The native vector environment as Stable-Baselines3 wants to see it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import Env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from zswap_gym.envs.crew import run_pieces, thread_count
from zswap_gym.envs.lazy_info import LazyInfo
from zswap_gym.envs.reward import TERMS
from zswap_gym.envs.vector import Steps, WritebackVectorEnv
from zswap_gym.envs.writeback import WritebackEnv


class FleetVecEnv(VecEnv):
    """One or several :class:`zswap_gym.envs.vector.WritebackVectorEnv` with SB3's face.

    Each is a scenario of its own with any number of environments; the hosts of all of them are advanced
    together, in so many ``threads`` (None = as many as there are cores). They reset by themselves, as SB3
    expects. Infos hold ``terms`` and ``cost`` per environment, ``terminal_observation`` and
    ``TimeLimit.truncated`` where an episode ends, and ``episode`` with its return, length and time, as SB3's
    Monitor adds it. Pickles in mid-episode.

    Raises:
        ValueError: no fleet, or fleets whose observations or actions are of different sizes.
    """

    def __init__(self, fleets: Sequence[WritebackVectorEnv], *, threads: int | None = None) -> None:
        self.fleets = tuple(fleets)
        self.threads = thread_count(threads)
        widths = {(f.single_observation_space.shape, f.single_action_space.shape) for f in self.fleets}
        if len(widths) != 1:
            raise ValueError(f"fleets of {len(widths)} shapes; give at least one, and all the same n_max")
        ends = np.cumsum([fleet.num_envs for fleet in self.fleets]).tolist()
        self._slices = [slice(end - f.num_envs, end) for end, f in zip(ends, self.fleets, strict=True)]
        self.ones: list[WritebackEnv] = [fleet.one for fleet in self.fleets for _ in range(fleet.num_envs)]
        """Per environment the one it is like: scenario, contract, prices."""
        super().__init__(ends[-1], self.ones[0].observation_space, self.ones[0].action_space)
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, np.int64)
        self._began = time.perf_counter()
        self._actions: npt.NDArray[Any] = np.zeros((self.num_envs, 0))

    def reset(self) -> VecEnvObs:
        """First observations (num_envs, D); takes the seeds of :meth:`seed`, once."""
        parts = zip(self.fleets, self._slices, strict=True)
        begun = [fleet.reset(seed=self._seeds[part]) for fleet, part in parts]
        observations = np.concatenate([observation for observation, _ in begun])
        self.reset_infos = [
            {"seed": seed, "cgroups": cgroups}
            for _, info in begun
            for seed, cgroups in zip(info["seed"].tolist(), info["cgroups"], strict=True)
        ]
        self._reset_seeds()
        self._reset_options()
        self._returns[:], self._lengths[:] = 0.0, 0
        return observations

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Remember the actions (num_envs, A); the step is made by :meth:`step_wait`."""
        if len(actions) != self.num_envs:
            raise ValueError(f"{len(actions)} actions for {self.num_envs} environments")
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Observations, float32 rewards, dones and one info per environment."""
        parts = zip(self.fleets, self._slices, strict=True)
        pieces = [piece for fleet, part in parts for piece in fleet.begin_step(self._actions[part])]
        run_pieces(pieces, self.threads)
        steps = [fleet.end_step() for fleet in self.fleets]
        rewards, ended = (np.concatenate([step[k] for step in steps]) for k in (1, 3))
        self._returns += rewards
        self._lengths += 1
        infos = [info for step in steps for info in _infos(step)]
        for e in np.flatnonzero(ended):
            infos[e]["episode"] = {
                "r": float(self._returns[e]),
                "l": int(self._lengths[e]),
                "t": time.perf_counter() - self._began,
            }
            self._returns[e], self._lengths[e] = 0.0, 0
        return np.concatenate([step[0] for step in steps]), rewards.astype(np.float32), ended, infos

    def close(self) -> None:
        """Nothing is held that the garbage collector does not know of."""

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """The attribute of what each environment is like."""
        return [getattr(self.ones[i], attr_name) for i in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None) -> None:
        """Refused: the environments have one set of attributes."""
        raise NotImplementedError(f"{attr_name}: environments of a fleet are alike; make another fleet")

    def env_method(
        self, method_name: str, *args: Any, indices: int | Iterable[int] | None = None, **kwargs: Any
    ) -> list[Any]:
        """The method of what each environment is like."""
        return [getattr(self.ones[i], method_name)(*args, **kwargs) for i in self._get_indices(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[Env[Any, Any]], indices: int | Iterable[int] | None = None
    ) -> list[bool]:
        """Only by Monitor, so to speak: :class:`FleetVecEnv` itself adds ``episode`` to infos."""
        return [wrapper_class is Monitor for _ in self._get_indices(indices)]


def _infos(step: Steps) -> list[dict[str, Any]]:
    """One info per environment of a fleet's step."""
    ended, told = step[3], step[4]
    made = told.get("final_info", told)

    @cache
    def named() -> list[dict[str, dict[str, float]]]:
        costs = [name for name in made["cost"] if not name.startswith("_")]
        columns = zip(_columns(made["terms"], TERMS), _columns(made["cost"], costs), strict=True)
        return [
            {"terms": dict(zip(TERMS, term, strict=True)), "cost": dict(zip(costs, cost, strict=True))}
            for term, cost in columns
        ]

    infos: list[dict[str, Any]] = [
        LazyInfo(
            ("terms", "cost"), partial(lambda e: named()[e], e), busy=busy, **{"TimeLimit.truncated": False}
        )
        for e, busy in enumerate(made["busy"].tolist())
    ]
    for e in np.flatnonzero(ended):
        infos[e].update({"TimeLimit.truncated": True, "terminal_observation": told["final_obs"][e]})
    return infos


def _columns(named: dict[str, Any], names: Sequence[str]) -> Iterable[tuple[float, ...]]:
    """Per environment the values of ``names``, in order."""
    return zip(*(named[name].tolist() for name in names), strict=True)
