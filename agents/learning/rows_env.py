"""Hosts as Stable-Baselines3 environments, one for every cgroup: what is learned is one cgroup's behaviour.

A row's observation is its own features, those of the host and, pooled, those of its neighbours
(policy/rows.py); its action is its own; what it earns is its own (prices.py). So a host of eight cgroups
gives eight samples a step, and what one cgroup does is not drowned in what the others do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import Env, spaces
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from zswap_gym.agents.learning.prices import Prices, earned
from zswap_gym.envs.crew import Piece, run_pieces, thread_count
from zswap_gym.envs.fleet import Fleet
from zswap_gym.envs.reference import references
from zswap_gym.envs.spaces import H
from zswap_gym.envs.warmstart import episode_starts, scenario_digest
from zswap_gym.policy.actions import PER_CGROUP, ActionSpec, decode
from zswap_gym.policy.features import FEATURES, INDEX, Observation
from zswap_gym.policy.promise import SUMS, Promise
from zswap_gym.policy.rows import guarded, row_inputs
from zswap_gym.workloads.scenario import Scenario

Array = npt.NDArray[np.float64]

WIDTH = 3 * len(FEATURES) + H
"""Numbers in a row's observation."""
_CAUTION = INDEX["caution"]


class Hosts:
    """``size`` hosts of one scenario, each in an episode of its own, N cgroups each.

    Args:
        scenario: what they are.
        size: E.
        promise: what their minutes, and what they earn, are counted by.
        threads: to advance them on.
    """

    def __init__(self, scenario: Scenario, size: int, promise: Promise, threads: int) -> None:
        self.scenario, self.promise = scenario, promise
        self.steps = scenario.episode.steps
        self.interval_s = scenario.episode.decision_interval
        self.fleet = Fleet(size, promise=promise, threads=threads)
        self._digest = scenario_digest(scenario)
        self.done_steps = np.zeros(size, np.int64)
        self._reference: Array = np.zeros((size, 0, 0, 0))
        self._host: Observation = np.zeros((size, H), np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """(E, N)."""
        return self.fleet.tables.shape[:2]

    @property
    def ended(self) -> npt.NDArray[np.bool_]:
        """(E,): whose episode is over."""
        return self.done_steps >= self.steps

    def begin(self, which: Sequence[int], seeds: Sequence[int]) -> None:
        """Let hosts ``which`` begin the episodes of ``seeds``: each a draw of the scenario of its own."""
        fleet = self.fleet
        starts = episode_starts(self.scenario, self._digest, seeds, 0, fleet.threads)
        for e, start in zip(which, starts, strict=True):
            fleet.adopt(e, *start)
        found = references(self.scenario, seeds, promise=self.promise, threads=fleet.threads)
        if not self._reference.size:
            self._reference = np.zeros((fleet.size, *found[0].sums.shape))
            self._due = np.zeros(self.shape)
        for e, reference in zip(which, found, strict=True):
            self._reference[e], self._due[e], self.done_steps[e] = reference.sums, 0.0, 0
        # What a host says of its interval is used up when it is looked at: only the new ones' counts.
        self._host[which] = fleet.extractor.host(fleet.tables)[which]

    def observe(self) -> Observation:
        """(E, N, WIDTH), of the last samples."""
        return row_inputs(self.fleet.rows, self._host)

    def decide(self, actions: Array) -> list[Piece]:
        """Begin a step with actions (E, N, 3), in pieces for any threads; then comes :meth:`settle`."""
        fleet = self.fleet
        self._caution = fleet.rows[..., _CAUTION].astype(np.float64)
        acted = guarded(actions, fleet.rows, self._host)
        return fleet.begin_step(*decode(acted, fleet.tables, ActionSpec()), self.interval_s)

    def settle(self, prices: Prices) -> Array:
        """End the step; what each cgroup earned in it (E, N)."""
        fleet = self.fleet
        fleet.end_step()
        self._host = fleet.extractor.host(fleet.tables)
        self.done_steps += 1
        hosts = np.arange(fleet.size)
        return earned(
            fleet.accounts.step_sums, fleet.accounts.sums, self._reference[hosts, self.done_steps],
            self._reference[hosts, self.done_steps - 1], self._caution, self._due, self.promise, prices,
        )  # fmt: skip

    @property
    def weights(self) -> Array:
        """(E, N): how much a cgroup counts, by the root of what it holds with nothing done; 1 on average.

        By what it holds, one large cgroup would be all that is learned from; by nothing at all, small ones
        would rule (issue H).
        """
        held: Array = np.sqrt(self._reference[:, -1, :, SUMS.index("held_byte_us")])
        weights: Array = held / np.maximum(held.mean(axis=1, keepdims=True), 1.0)
        return weights


class RowVecEnv(VecEnv):
    """One SB3 environment for every cgroup of the hosts of several scenarios.

    Observations (rows, WIDTH), actions (rows, 3). :meth:`reset` begins a new episode on every host, on a draw
    from ``draws`` by the generator of :meth:`restart`; a host whose episode ends begins another by itself.

    Args:
        scenarios: what is learned on; their cgroups need not be alike.
        hosts: of each scenario.
        draws: seeds of the instances that may be met.
        promise: what is promised to each cgroup.
        prices: what a cgroup pays for breaking it.
        threads: as of ``envs.fleet.Fleet``.
    """

    def __init__(
        self,
        scenarios: Sequence[Scenario],
        hosts: int,
        draws: Sequence[int],
        *,
        promise: Promise | None = None,
        prices: Prices | None = None,
        threads: int | None = None,
    ) -> None:
        self.threads = thread_count(threads)
        self.prices = prices or Prices()
        self.groups = [Hosts(s, hosts, promise or Promise(), self.threads) for s in scenarios]
        self.draws = tuple(draws)
        self.restart(np.random.default_rng(0))
        self.reset()
        box = spaces.Box(-1.0, 1.0, (PER_CGROUP,), np.float32)
        rows = sum(e * n for e, n in (group.shape for group in self.groups))
        super().__init__(rows, spaces.Box(-np.inf, np.inf, (WIDTH,), np.float32), box)

    def restart(self, random: np.random.Generator) -> None:
        """Draw from ``random`` from now on."""
        self._random = random

    @property
    def longest(self) -> int:
        """Steps of the longest episode."""
        return max(group.steps for group in self.groups)

    def reset(self) -> VecEnvObs:
        """A new episode on every host; first observations (rows, WIDTH)."""
        for group in self.groups:
            size = group.fleet.size
            group.begin(range(size), self._draw(size))
        return self._observe()

    def _draw(self, many: int) -> list[int]:
        """Of each instance once before any comes twice."""
        found: list[int] = []
        while (short := many - len(found)) > 0:
            found += self._random.choice(self.draws, min(short, len(self.draws)), replace=False).tolist()
        return found

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Remember the actions (rows, 3); the step is made by :meth:`step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Observations, float32 rewards, dones and an info per row."""
        pieces: list[Piece] = []
        at = 0
        for group in self.groups:
            hosts, n = group.shape
            acted = self._actions[at : at + hosts * n].reshape(hosts, n, PER_CGROUP)
            pieces += group.decide(acted.astype(np.float64))
            at += hosts * n
        run_pieces(pieces, self.threads)
        rewards = [group.weights * group.settle(self.prices) for group in self.groups]
        ended = [np.repeat(group.ended, group.shape[1]) for group in self.groups]
        done, seen = np.concatenate(ended), self._observe()
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if done.any():
            for row in np.flatnonzero(done):  # an episode is cut off there, nothing ends
                infos[row] = {"TimeLimit.truncated": True, "terminal_observation": seen[row]}
            for group in self.groups:
                over = np.flatnonzero(group.ended).tolist()
                if over:
                    group.begin(over, self._draw(len(over)))
            seen = self._observe()
        return seen, np.concatenate([r.ravel() for r in rewards]).astype(np.float32), done, infos

    def _observe(self) -> Observation:
        return np.concatenate([group.observe().reshape(-1, WIDTH) for group in self.groups])

    def close(self) -> None:
        """Nothing is held that the garbage collector does not know of."""

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """Refused but for what SB3 asks of every environment: rows have no attributes of their own."""
        if attr_name != "render_mode":
            raise NotImplementedError(f"{attr_name}: a row is no environment by itself")
        return [None for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None) -> None:
        """Refused."""
        raise NotImplementedError(f"{attr_name}: a row is no environment by itself")

    def env_method(
        self, method_name: str, *args: Any, indices: int | Iterable[int] | None = None, **kwargs: Any
    ) -> list[Any]:
        """Refused."""
        raise NotImplementedError(f"{method_name}: a row is no environment by itself")

    def env_is_wrapped(
        self,
        wrapper_class: type[Env[Any, Any]],  # noqa: ARG002 - SB3's face
        indices: int | Iterable[int] | None = None,
    ) -> list[bool]:
        """By nothing."""
        return [False for _ in self._get_indices(indices)]
