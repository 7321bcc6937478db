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

from zswap_gym.envs.arguments import reset_options, whole
from zswap_gym.envs.crew import Piece, run_pieces
from zswap_gym.envs.fleet import Ended, Fleet
from zswap_gym.envs.lazy_info import LazyInfo
from zswap_gym.envs.objective import PENALTY, objective_of
from zswap_gym.envs.privileged import PrivilegedWritebackEnv
from zswap_gym.envs.rendering import History, step_view
from zswap_gym.envs.reward import TERMS, RewardWeights
from zswap_gym.envs.spaces import action_rows
from zswap_gym.envs.warmstart import WarmStart, episode_starts
from zswap_gym.envs.writeback import DEFAULT_SCENARIO, WritebackEnv
from zswap_gym.policy.actions import ActionSpec, decode
from zswap_gym.policy.features import Observation
from zswap_gym.policy.promise import Account, Promise
from zswap_gym.workloads.scenario import Scenario

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
CameTo = tuple[Array, Array, npt.NDArray[np.int64]]
"""Of a step: terms (num_envs, len(TERMS)), costs (num_envs, len(costs)) and requests refused (num_envs,)."""
Steps = tuple[Observation, Array, Flags, Flags, dict[str, Any]]


class WritebackVectorEnv(gymnasium.vector.VectorEnv[Observation, npt.NDArray[np.float32], Any]):
    """``num_envs`` hosts of one scenario, stepped together on all cores.

    Observations, actions, rewards and episodes are those of
    :class:`zswap_gym.envs.writeback.WritebackEnv`, bit for bit: environment i seeded with s gives what
    a single one seeded with s gives. ``gymnasium.make_vec("zswap_gym/Writeback-v0", num_envs=8,
    scenario=...)`` makes one.

    **Autoreset is of the same step** (``AutoresetMode.SAME_STEP``): where an episode ends, the
    observation returned is the first of the next episode, the last one is in ``infos["final_obs"]``
    and what the step was worth in ``infos["final_info"]``. ``reset(options={"reset_mask": mask})`` begins
    anew where the mask (num_envs,) is true and leaves the others in mid-episode, as ``SyncVectorEnv`` does.

    ``infos`` holds ``seed``, ``cgroups``, ``terms`` and ``cost`` as dictionaries of arrays (num_envs,), and
    ``busy``, after a reset as after a step. What became of the requests of the last step is asked per
    environment: :meth:`outcomes`.

    Gymnasium's vector wrappers of observations want ``AutoresetMode.NEXT_STEP`` and refuse this class;
    wrap the single environment, or use ``zswap_gym.agents.vecenv.FleetVecEnv`` with Stable-Baselines3.

    Args:
        num_envs: how many.
        scenario, n_max, release, objective, promise, penalty, reward, episode_s, snapshots, action: as of
            ``WritebackEnv``.
        render_mode: as of ``WritebackEnv``; :meth:`render` gives one picture, or text, per environment.
        max_episode_steps: an episode ends after so many steps where it has not ended before.
        threads: on how many to advance the hosts; None = as many as there are cores, or what the environment
            variable ZSWAP_GYM_THREADS says. Results are equal to the last bit whatever the number.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        **WritebackEnv.metadata,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }
    single: ClassVar[type[WritebackEnv]] = WritebackEnv

    def __init__(
        self,
        num_envs: int = 1,
        scenario: str | Path | Scenario = DEFAULT_SCENARIO,
        *,
        n_max: int | None = None,
        release: bool | None = None,
        objective: str = "promise",
        promise: Promise | Mapping[str, float] | str | None = None,
        penalty: float = PENALTY,
        reward: RewardWeights | Mapping[str, float] | None = None,
        episode_s: float | None = None,
        snapshots: int | None = None,
        action: ActionSpec | Mapping[str, float] | None = None,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        threads: int | None = None,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs = {num_envs}; at least one environment")
        self.one = self.single(
            scenario,
            n_max=n_max,
            release=release,
            objective=objective,
            promise=promise,
            penalty=penalty,
            reward=reward,
            episode_s=episode_s,
            snapshots=snapshots,
            action=action,
            render_mode=render_mode,
        )
        """The environment that all are like: spaces, contract, prices. It is never stepped."""
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.steps_per_episode = self.one.steps_per_episode
        if max_episode_steps is not None:
            steps = whole("max_episode_steps", max_episode_steps, 1)
            self.steps_per_episode = min(self.steps_per_episode, steps)
        self.single_observation_space = self.one.observation_space
        self.single_action_space = self.one.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.fleet = Fleet(num_envs, self.one.weights.critical_factor, self.one.promise, threads=threads)
        self._worth = objective_of(self.one, num_envs)
        self._steps = np.zeros(num_envs, np.int64)
        self._streams: list[np.random.Generator | None] = [None] * num_envs
        self._episodes = np.zeros(num_envs, np.int64)
        self._histories: dict[int, History] = {}
        self._observations: Observation = np.zeros((num_envs, 0), np.float32)
        self.final_account = Account.zeros((num_envs, 0))
        """(num_envs, N): :attr:`account` as the episodes that ended last left it, where they ended."""

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode everywhere; a seed s gives environment i the seed s + i, a list one each.

        ``options``: ``reset_mask``, bool (num_envs,): only where it is true.

        Raises:
            UserError: another option.
            TypeError, ValueError: a mask or seeds of another type or shape.
            ResetNeeded: the mask leaves out an environment that has no episode yet.
        """
        which = self._reset_mask(reset_options(options, ("reset_mask",)))
        if isinstance(seed, (int, np.integer)):
            seed = [int(seed) + i for i in range(self.num_envs)]
        seeds = [None] * self.num_envs if seed is None else list(seed)
        if len(seeds) != self.num_envs:
            raise ValueError(f"{len(seeds)} seeds for {self.num_envs} environments")
        for own in seeds:
            if own is not None and not 0 <= own < 1 << 63:
                raise ValueError(f"seed {own}: give a number from 0 to 2**63 - 1")
        self._begin(which, seeds)
        return self._observations.copy(), self._info(which, *self._nothing())

    def _reset_mask(self, options: Mapping[str, Any]) -> Flags:
        if "reset_mask" not in options:
            return np.ones(self.num_envs, np.bool_)
        mask = options["reset_mask"]
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            raise TypeError(f"reset_mask: {mask!r}; give a numpy array of bool")
        if mask.shape != (self.num_envs,) or not mask.any():
            raise ValueError(f"reset_mask: {mask!r}; give {self.num_envs} values, one of them true at least")
        if not self.fleet.hosts and not mask.all():
            raise gymnasium.error.ResetNeeded("call reset() for all environments first")
        return mask.copy()

    def step(self, actions: npt.ArrayLike) -> Steps:
        """One decision of every environment: ``actions`` (num_envs, n_max * 3).

        ValueError where they are of another shape.
        """
        run_pieces(self.begin_step(actions), self.fleet.threads)
        return self.end_step()

    def begin_step(self, actions: npt.ArrayLike) -> list[Piece]:
        """The work of :meth:`step` in pieces, for any threads in any order; then comes :meth:`end_step`."""
        if not self.fleet.hosts:
            raise gymnasium.error.ResetNeeded("call reset() first")
        n = self.fleet.tables.shape[1]
        acted = action_rows(actions, self.action_space)[:, :n]
        return self._begin_step(*decode(acted, self.fleet.tables, self.one.contract.action))

    def step_decoded(self, age_s: Array, max_bytes: Array, release_bytes: Array) -> Steps:
        """The same with requests (num_envs, N) as :func:`zswap_gym.policy.actions.decode` gives them.

        ValueError where they are of another shape.
        """
        shape = self.fleet.tables.shape[:2]
        if not age_s.shape == max_bytes.shape == release_bytes.shape == shape:
            shapes = f"{age_s.shape}, {max_bytes.shape} and {release_bytes.shape}"
            raise ValueError(f"requests of shapes {shapes}; give {shape} each")
        run_pieces(self._begin_step(age_s, max_bytes, release_bytes), self.fleet.threads)
        return self.end_step()

    def _begin_step(self, age_s: Array, max_bytes: Array, release_bytes: Array) -> list[Piece]:
        self._before = self.fleet.tables, max_bytes, age_s
        return self.fleet.begin_step(age_s, max_bytes, release_bytes, self.one.interval_s)

    def end_step(self) -> Steps:
        """What :meth:`step` returns, when all pieces are done."""
        one, fleet = self.one, self.fleet
        busy = fleet.end_step()
        self._steps += 1
        rewards, costs = self._worth.worth(fleet, self._steps)
        for e, history in self._histories.items():
            before, max_bytes, age_s = self._before
            history.add(step_view(fleet, e, before[e], max_bytes[e], age_s[e]), float(rewards[e]))
        ended: Flags = self._steps >= self.steps_per_episode
        self._observations = one.observe(fleet)
        came_to = fleet.terms, costs, busy
        info = self._next_episodes(ended, came_to) if ended.any() else self._info(~ended, *came_to)
        return self._observations.copy(), rewards, np.zeros(self.num_envs, np.bool_), ended, info

    def outcomes(self, e: int) -> tuple[Ended, ...]:
        """Requests of environment e that ended in its last step, as in the single one's info.

        Empty after the step that ended an episode: the next one has begun.
        """
        return self.fleet.outcomes(e)

    def render(self) -> tuple[Any, ...] | None:
        """What ``WritebackEnv.render`` gives of each environment's episode; None without a render mode."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs a render_mode: gymnasium.make_vec(..., render_mode='ansi')")
            return None
        if not self.fleet.hosts:
            raise gymnasium.error.ResetNeeded("call reset() first")
        steps = self._steps.tolist()
        return tuple(self.one.picture(self._histories[e], steps[e]) for e in range(self.num_envs))

    @property
    def account(self) -> Account:
        """(num_envs, N): what was done to each cgroup since its episode began.

        Of an episode that the last step ended it is :attr:`final_account`.
        """
        return self.fleet.account

    # --- inside ----------------------------------------------------------------------------------

    def _begin(self, which: Flags, seeds: Sequence[int | None]) -> None:
        """Start an episode of each of ``which``; what the others have seen stays what it was."""
        begun = np.flatnonzero(which).tolist()
        episodes = [self._episode(e, seeds[e]) for e in begun]
        one = self.one
        starts = episode_starts(one.scenario, one.digest, episodes, one.snapshots, self.fleet.threads)
        for e, episode, start in zip(begun, episodes, starts, strict=True):
            self._start(e, episode, *start)
        first = self.one.observe(self.fleet)
        # Not the first of the others: what a host says of its interval is used up when it is looked at.
        self._observations = first if which.all() else np.where(which[:, None], first, self._observations)

    def _episode(self, e: int, seed: int | None) -> int:
        """Seed of the next episode of environment e, from its stream where none is given."""
        stream = self._streams[e]
        if seed is not None or stream is None:
            stream = self._streams[e] = gymnasium.utils.seeding.np_random(seed)[0]
        return self.one.next_episode(stream) if seed is None else seed

    def _start(self, e: int, episode: int, start: WarmStart, stream: int) -> None:
        self.fleet.adopt(e, start, stream)
        self._worth.begin(e, episode)
        self._episodes[e] = episode
        self._steps[e] = 0
        if self.render_mode is not None:
            self._histories[e] = History.start(list(self.fleet.cgroups), self.one.interval_s)

    def _next_episodes(self, ended: Flags, came_to: CameTo) -> dict[str, Any]:
        """Reset where an episode ended; what it ended with moves to final_obs and final_info."""
        final = self._info(ended, *came_to)
        self.final_account = self.account
        last = np.full(self.num_envs, None, object)
        for e in np.flatnonzero(ended):
            last[e] = self._observations[e]
        self._begin(ended, [None] * self.num_envs)
        terms, costs, busy = came_to
        began = ended[:, None]
        info = self._info(
            np.ones(self.num_envs, np.bool_),
            np.where(began, 0.0, terms),
            np.where(began, 0.0, costs),
            np.where(ended, 0, busy),
        )
        return info | {"final_obs": last, "_final_obs": ended, "final_info": final, "_final_info": ended}

    def _nothing(self) -> CameTo:
        n = self.num_envs
        return np.zeros((n, len(TERMS))), np.zeros((n, len(self.one.costs))), np.zeros(n, np.int64)

    def _info(self, here: Flags, terms: Array, costs: Array, busy: npt.NDArray[np.int64]) -> dict[str, Any]:
        """Of the environments ``here``, with the masks that Gymnasium puts beside each value."""
        episodes, cgroups, names = self._episodes.copy(), self.fleet.cgroups, self.one.costs

        def make() -> dict[str, Any]:
            called = np.full(len(here), None, object)
            for e in np.flatnonzero(here):
                called[e] = cgroups
            return {
                "seed": np.where(here, episodes, 0),
                "cgroups": called,
                "terms": _named(TERMS, terms, here),
                "cost": _named(names, costs, here),
            }

        masks = {f"_{name}": here for name in (*_READ_SELDOM, "busy")}
        return LazyInfo(_READ_SELDOM, make, busy=busy, **masks)


_READ_SELDOM = ("seed", "cgroups", "terms", "cost")
"""Keys of an info that are made when they are read."""


def _named(names: Sequence[str], values: Array, here: Flags) -> dict[str, Any]:
    return dict(zip(names, values.T, strict=True)) | {f"_{name}": here for name in names}


class PrivilegedWritebackVectorEnv(WritebackVectorEnv):
    """Many :class:`zswap_gym.envs.privileged.PrivilegedWritebackEnv` as one."""

    single = PrivilegedWritebackEnv
