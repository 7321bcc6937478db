"""Many environments as one: the same episodes, the same numbers, a fraction of the Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from zswap_gym.envs.fleet import Ended, Fleet
from zswap_gym.envs.privileged import PrivilegedWritebackEnv
from zswap_gym.envs.reward import COSTS, TERMS, RewardWeights, ServiceLevel
from zswap_gym.envs.spaces import action_rows
from zswap_gym.envs.warmstart import episode_start
from zswap_gym.envs.writeback import DEFAULT_SCENARIO, WritebackEnv
from zswap_gym.policy.actions import ActionSpec, decode
from zswap_gym.policy.features import Observation
from zswap_gym.workloads.scenario import Scenario

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Steps = tuple[Observation, Array, Flags, Flags, dict[str, Any]]


class WritebackVectorEnv(gymnasium.vector.VectorEnv[Observation, npt.NDArray[np.float32], Any]):
    """``num_envs`` hosts of one scenario, stepped in one compiled call.

    Observations, actions, rewards and episodes are those of
    :class:`zswap_gym.envs.writeback.WritebackEnv`, bit for bit: environment i seeded with s gives what
    a single one seeded with s gives. ``gymnasium.make_vec("zswap_gym/Writeback-v0", num_envs=8,
    scenario=...)`` makes one.

    **Autoreset is of the same step** (``AutoresetMode.SAME_STEP``): where an episode ends, the
    observation returned is the first of the next episode, the last one is in ``infos["final_obs"]``
    and what the step was worth in ``infos["final_info"]``.

    ``infos`` holds ``terms`` and ``cost`` as dictionaries of arrays (num_envs,), and ``busy``. What
    became of the requests of the last step is asked per environment: :meth:`outcomes`.

    Gymnasium's vector wrappers of observations want ``AutoresetMode.NEXT_STEP`` and refuse this class;
    wrap the single environment, or use ``zswap_gym.agents.vecenv.FleetVecEnv`` with Stable-Baselines3.

    Args:
        num_envs: how many.
        scenario, n_max, release, reward, episode_s, snapshots, level, action: as of ``WritebackEnv``.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012
    single: ClassVar[type[WritebackEnv]] = WritebackEnv

    def __init__(
        self,
        num_envs: int = 1,
        scenario: str | Path | Scenario = DEFAULT_SCENARIO,
        *,
        n_max: int | None = None,
        release: bool | None = None,
        reward: RewardWeights | Mapping[str, float] | None = None,
        episode_s: float | None = None,
        snapshots: int | None = None,
        level: ServiceLevel | None = None,
        action: ActionSpec | Mapping[str, float] | None = None,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs = {num_envs}; at least one environment")
        self.one = self.single(
            scenario,
            n_max=n_max,
            release=release,
            reward=reward,
            episode_s=episode_s,
            snapshots=snapshots,
            level=level,
            action=action,
        )
        """The environment that all are like: spaces, contract, prices. It is never stepped."""
        self.num_envs = num_envs
        self.single_observation_space = self.one.observation_space
        self.single_action_space = self.one.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.fleet = Fleet(num_envs, self.one.weights.critical_factor, self.one.level)
        self._steps = np.zeros(num_envs, np.int64)
        self._streams: list[np.random.Generator | None] = [None] * num_envs
        self._episodes = np.zeros(num_envs, np.int64)
        self._all = np.ones(num_envs, np.bool_)
        self._masks = tuple({f"_{name}": self._all for name in names} for names in (TERMS, COSTS))

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode everywhere; a seed s gives environment i the seed s + i, a list one each."""
        del options
        if isinstance(seed, (int, np.integer)):
            seed = [int(seed) + i for i in range(self.num_envs)]
        seeds = [None] * self.num_envs if seed is None else list(seed)
        if len(seeds) != self.num_envs:
            raise ValueError(f"{len(seeds)} seeds for {self.num_envs} environments")
        for own in seeds:
            if own is not None and not 0 <= own < 1 << 63:
                raise ValueError(f"seed {own}: give a number from 0 to 2**63 - 1")
        for e, own in enumerate(seeds):
            self._start(e, own)
        return self.one.observe(self.fleet), self._reset_info(self._all)

    def step(self, actions: npt.ArrayLike) -> Steps:
        """One decision of every environment: ``actions`` (num_envs, n_max * 2).

        ValueError where they are of another shape.
        """
        if not self.fleet.hosts:
            raise gymnasium.error.ResetNeeded("call reset() first")
        n = self.fleet.tables.shape[1]
        acted = action_rows(actions, self.action_space)[:, :n]
        return self.step_decoded(*decode(acted, self.fleet.tables, self.one.contract.action))

    def step_decoded(self, age_s: Array, max_bytes: Array, release_bytes: Array) -> Steps:
        """The same with requests (num_envs, N) as :func:`zswap_gym.policy.actions.decode` gives them.

        ValueError where they are of another shape.
        """
        one, fleet = self.one, self.fleet
        shape = fleet.tables.shape[:2]
        if not age_s.shape == max_bytes.shape == release_bytes.shape == shape:
            shapes = f"{age_s.shape}, {max_bytes.shape} and {release_bytes.shape}"
            raise ValueError(f"requests of shapes {shapes}; give {shape} each")
        busy = fleet.step(age_s, max_bytes, release_bytes, one.interval_s)
        rewards = one.weights.reward(fleet.terms)
        self._steps += 1
        ended: Flags = self._steps >= one.steps_per_episode
        info = self._step_info(fleet.terms, fleet.costs, busy)
        observations = one.observe(fleet)
        if np.count_nonzero(ended):
            observations, info = self._next_episodes(ended, observations, info)
        return observations, rewards, np.zeros(self.num_envs, np.bool_), ended, info

    def outcomes(self, e: int) -> tuple[Ended, ...]:
        """Requests of environment e that ended in its last step, as in the single one's info.

        Empty after the step that ended an episode: the next one has begun.
        """
        return self.fleet.outcomes(e)

    # --- inside ----------------------------------------------------------------------------------

    def _start(self, e: int, seed: int | None) -> None:
        stream = self._streams[e]
        if seed is not None or stream is None:
            stream = self._streams[e] = gymnasium.utils.seeding.np_random(seed)[0]
        episode = int(stream.integers(1 << 62)) if seed is None else seed
        one = self.one
        self.fleet.adopt(e, *episode_start(one.scenario, one.digest, episode, one.snapshots))
        self._episodes[e] = episode
        self._steps[e] = 0

    def _next_episodes(
        self, ended: Flags, observations: Observation, info: dict[str, Any]
    ) -> tuple[Observation, dict[str, Any]]:
        """Reset where an episode ended; what it ended with moves to final_obs and final_info."""
        last = np.full(self.num_envs, None, object)
        for e in np.flatnonzero(ended):
            last[e] = observations[e]
            self._start(int(e), None)
        told = self._reset_info(ended)
        told |= {"final_obs": last, "_final_obs": ended, "final_info": info, "_final_info": ended}
        if not ended.all():  # the others are in mid-episode: theirs stays where it is looked for
            told |= info
        return self.one.observe(self.fleet), told

    def _reset_info(self, which: Flags) -> dict[str, Any]:
        names = np.empty(self.num_envs, object)
        for e in range(self.num_envs):
            names[e] = self.fleet.cgroups
        return {"seed": self._episodes.copy(), "_seed": which, "cgroups": names, "_cgroups": which}

    def _step_info(self, terms: Array, costs: Array, busy: npt.NDArray[np.int64]) -> dict[str, Any]:
        here = self._all
        return {
            "terms": dict(zip(TERMS, terms.T, strict=True)) | self._masks[0],
            "_terms": here,
            "cost": dict(zip(COSTS, costs.T, strict=True)) | self._masks[1],
            "_cost": here,
            "busy": busy,
            "_busy": here,
        }


class PrivilegedWritebackVectorEnv(WritebackVectorEnv):
    """Many :class:`zswap_gym.envs.privileged.PrivilegedWritebackEnv` as one."""

    single = PrivilegedWritebackEnv
