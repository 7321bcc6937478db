"""The environment: one host, a decision per cgroup and interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import numpy.typing as npt

from zswap_gym.envs.accounting import Meter
from zswap_gym.envs.rendering import History, StepView, render_ansi, render_rgb
from zswap_gym.envs.reward import RewardWeights, ServiceLevel
from zswap_gym.envs.spaces import action_space, observation_space, rows_and_host
from zswap_gym.envs.warmstart import WarmStart, episode_start
from zswap_gym.errors import UserError
from zswap_gym.host.types import COLUMN, Request, Table
from zswap_gym.policy.actions import PER_CGROUP, decode, from_requests, to_requests
from zswap_gym.policy.contract import Contract
from zswap_gym.policy.features import FEATURES, Feature, Observation
from zswap_gym.workloads.scenario import Scenario, load_scenario

DEFAULT_SCENARIO = "bench-mix"

Step = tuple[Observation, float, bool, bool, dict[str, Any]]


class WritebackEnv(gymnasium.Env[Observation, npt.NDArray[np.float32]]):
    """DOC"""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}
    features: ClassVar[tuple[Feature, ...]] = FEATURES
    """What a row of the observation holds."""

    def __init__(
        self,
        scenario: str | Path | Scenario = DEFAULT_SCENARIO,
        *,
        n_max: int | None = None,
        release: bool | None = None,
        reward: RewardWeights | Mapping[str, float] | None = None,
        episode_s: float | None = None,
        snapshots: int | None = None,
        level: ServiceLevel | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.scenario = _with_options(_load(scenario), release, episode_s)
        rows = sum(cgroup.workload is not None for cgroup in self.scenario.cgroups)
        self.n_max = rows if n_max is None else n_max
        if rows > self.n_max:
            raise UserError(
                f"n_max = {self.n_max}: scenario {self.scenario.name} has {rows} cgroups; give at least {rows}"
            )
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise UserError(f"render_mode = {render_mode!r}; use one of {', '.join(self.metadata['render_modes'])}")
        self.render_mode = render_mode
        self.weights = RewardWeights.of(reward)
        self.level = level or ServiceLevel()
        self.interval_s = self.scenario.episode.decision_interval
        self.steps_per_episode = max(1, round(self.scenario.episode.length / self.interval_s))
        self.snapshots = self.scenario.episode.snapshots if snapshots is None else snapshots
        self.contract = self._contract()
        self.observation_space = observation_space(self.n_max, self.features)
        self.action_space = action_space(self.n_max)
        self._at: WarmStart | None = None

    def _contract(self) -> Contract:
        return Contract(self.n_max, self.interval_s)

    # --- the Gymnasium interface -----------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode. The same seed starts the same one, in any process and at any time.

        Without a seed the next one is drawn from the environment's own stream. ``options`` has no keys.
        """
        super().reset(seed=seed)
        episode = int(self.np_random.integers(1 << 62)) if seed is None else seed
        self._at = at = episode_start(self.scenario, episode, self.snapshots)
        machine = at.host.machine
        self._names = at.host.cgroups()
        self._steps = 0
        self._meter = Meter(
            machine, [machine.index[name] for name in self._names], at.events, self.weights.critical_factor, self.level
        )
        self._meter.start(at.table)
        self._history = History.start(self._names, self.interval_s)
        return self._observation(at.rows), {"seed": episode, "cgroups": tuple(self._names)}

    def step(self, action: npt.ArrayLike) -> Step:
        """Decode ``action`` (n_max * 2,), carry it out beside the workloads, let one interval pass."""
        at = self._running()
        acted = np.asarray(action, np.float64).reshape(self.n_max, PER_CGROUP)[: len(self._names)]
        return self.step_requests(to_requests(*decode(acted, at.table, self.contract.action)))

    def step_requests(self, requests: Sequence[Request]) -> Step:
        """The same with one Request per cgroup, in the order of :attr:`cgroups`: how laws drive it.

        Raises:
            ValueError: the number of requests is not the number of cgroups.
        """
        at = self._running()
        host = at.host
        busy = 0
        for name, request in zip(self._names, requests, strict=True):
            if not request.is_nothing and not host.submit(name, request):
                busy += 1
        before = at.table
        host.sleep(self.interval_s)
        outcomes = tuple(
            (name, o.errno, o.pages, o.duration_s, o.release_errno) for name, o in host.outcomes()
        )
        at.table = host.table()
        at.rows = at.extractor.update(at.table)
        terms, cost = self._meter.read(at.table)
        reward = self.weights.reward(terms)
        self._steps += 1
        if self.render_mode is not None:
            self._history.add(self._view(before, at.table, requests), reward)
        info = {"terms": terms.as_dict(), "cost": cost.as_dict(), "outcomes": outcomes, "busy": busy}
        return self._observation(at.rows), reward, False, self._steps >= self.steps_per_episode, info

    def render(self) -> Any:
        """A table of the last step (``ansi``) or the episode so far as an image (``rgb_array``)."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs a render_mode: gymnasium.make(..., render_mode='ansi')")
            return None
        self._running()
        title = f"{self.scenario.name}  step {self._steps}  {self._steps * self.interval_s:.0f} s"
        draw = render_ansi if self.render_mode == "ansi" else render_rgb
        return draw(self._history, title)

    # --- beside it -------------------------------------------------------------------------------

    @property
    def cgroups(self) -> tuple[str, ...]:
        """The cgroups of the rows, in order; rows beyond them are absent."""
        self._running()
        return tuple(self._names)

    @property
    def table(self) -> Table:
        """The sample table (N, K) that the next decision is based on: what a law reads."""
        return self._running().table

    def rows_and_host(
        self, observation: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """An observation as (n_max, F) rows and (H,) host features; leading axes are kept."""
        return rows_and_host(observation, len(self.features))

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A machine's compiled code knows its arrays by address, and unpickled arrays are elsewhere: a clone
        # looks them up anew, and everything that held the machine is given the clone.
        at = state.get("_at")
        if at is not None:
            import copy

            machine = at.host.machine
            state = copy.deepcopy(state, {id(machine): machine.clone()})
        self.__dict__.update(state)

    # --- inside ----------------------------------------------------------------------------------

    def _running(self) -> WarmStart:
        if self._at is None:
            raise gymnasium.error.ResetNeeded("call reset() first")
        return self._at

    def _row_features(self, at: WarmStart, rows: Observation) -> Observation:  # noqa: ARG002 - for subclasses
        """Rows (N, len(features)) from what the policy's extractor made of the sample."""
        return rows

    def _observation(self, rows: Observation) -> Observation:
        at = self._running()
        n, f = len(self._names), len(self.features)
        out = np.zeros(self.observation_space.shape, np.float32)
        out[: n * f] = self._row_features(at, rows).ravel()
        out[self.n_max * f :] = at.extractor.host(at.table)
        return out

    def _view(self, before: Table, after: Table, requests: Sequence[Request]) -> StepView:
        def column(name: str) -> npt.NDArray[np.float64]:
            return after[:, COLUMN[name]]

        age, asked, _ = from_requests(requests)
        zswap = column("zswap")
        written = column("zswpwb") - before[:, COLUMN["zswpwb"]]
        return StepView(
            resident=column("memory_current") - zswap,
            zswap=zswap,
            disk=np.maximum(column("swap_current") - column("zswapped") - column("swapcached"), 0.0),
            asked=asked,
            age=age,
            written=written * 4096.0,
            disk_reads=self._meter.disk_reads,
            psi=self._meter.psi_pct,
        )


def _load(scenario: str | Path | Scenario) -> Scenario:
    return scenario if isinstance(scenario, Scenario) else load_scenario(scenario)


def _with_options(scenario: Scenario, release: bool | None, episode_s: float | None) -> Scenario:
    """The scenario with the environment's arguments put into it."""
    if release is not None and release != scenario.release_after_writeback:
        scenario = scenario.arm(release_after_writeback=release)
    if episode_s is not None:
        if episode_s < scenario.episode.decision_interval:
            raise UserError(
                f"episode_s = {episode_s:g}: shorter than one decision of {scenario.episode.decision_interval:g} s"
            )
        if episode_s > scenario.episode.length and scenario.age_limit_s() is not None:
            raise UserError(
                f"episode_s = {episode_s:g}: scenario {scenario.name} replays recordings for "
                f"{scenario.episode.length:g} s and they are never looped; give at most that"
            )
        # Events after a shortened episode's end are dropped when it is realised.
        episode = scenario.episode.model_copy(update={"length": float(episode_s)})
        scenario = scenario.model_copy(update={"episode": episode})
    return scenario
