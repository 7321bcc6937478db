"""The environment: one host, a decision per cgroup and interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import numpy.typing as npt

from zswap_gym.envs.arguments import (
    action_spec,
    loaded,
    reset_options,
    whole,
    with_options,
)
from zswap_gym.envs.event_log import EventCost
from zswap_gym.envs.fleet import Ended, Fleet
from zswap_gym.envs.objective import PENALTY, STREAMS, objective_named, objective_of, penalty_of
from zswap_gym.envs.rendering import History, render_ansi, render_rgb, step_view
from zswap_gym.envs.reward import TERMS, RewardWeights
from zswap_gym.envs.spaces import (
    action_rows,
    action_space,
    flat_observation,
    observation_space,
    rows_and_host,
)
from zswap_gym.envs.warmstart import episode_start, scenario_digest
from zswap_gym.errors import UserError
from zswap_gym.host.simulated import SimulatedHost
from zswap_gym.host.types import Request, Table
from zswap_gym.policy.actions import ActionSpec, decode, from_requests
from zswap_gym.policy.contract import Contract
from zswap_gym.policy.features import FEATURES, Feature, Observation
from zswap_gym.policy.promise import Account, Promise
from zswap_gym.workloads.scenario import Scenario

DEFAULT_SCENARIO = "bench-mix"
OUTCOMES = {
    "ended": np.bool_,
    "errno": np.int64,
    "pages": np.int64,
    "seconds": np.float64,
    "release_errno": np.int64,
    "released": np.int64,
}
"""Keys and kinds of ``info["outcomes"]``."""

Array = npt.NDArray[np.float64]
Step = tuple[Observation, float, bool, bool, dict[str, Any]]


class WritebackEnv(gymnasium.Env[Observation, npt.NDArray[np.float32]]):
    """One host with its cgroups; every interval, how old and how much to write back from zswap, per cgroup.

    ## Description
    Linux keeps cold memory compressed in zswap and can write the oldest of it on to a swap device
    (``memory.zswap.proactive_writeback``). Written back it costs no memory and a disk read when it is
    wanted again; kept it costs a third of a page. A stage-one reclaimer, part of the scenario, fills
    zswap meanwhile, and the programs go on touching their pages. The kernel is simulated page by page:
    see ``zswap_gym.kernel``.

    A decision is a pair per cgroup: write back, then release (``memory.reclaim``), because a page written
    back stays in the swap cache until reclaim takes it. How much of each is decided apart. Both take simulated
    time, compete with faults for the disk, and may still run at the next decision; a cgroup that is
    busy then takes no new request.

    ## Action Space
    ``Box(-1, 1, (n_max * 3,), float32)``: three numbers per row, decoded by ``zswap_gym.policy.actions``
    exactly as the controller does it on a host.

    | # | action | unit | meaning |
    |---|---|---|---|
    | 3i | minimum age | log seconds | 10 s at -1 to 4 h at 1 |
    | 3i+1 | write | share of the cgroup's footprint | nothing up to -0.6; then growing with the square to 0.16 at 1; at least 512 KiB, at most what is in zswap |
    | 3i+2 | release | share of the cgroup's footprint | nothing up to -0.6; then growing with the square to 0.16 at 1; at most memory.current |

    The footprint is the cgroup's anonymous memory wherever it lies: resident, in zswap, on disk only. Write and
    release are independent; both are of whole pages. Actions of rows without a cgroup are ignored.

    ## Observation Space
    ``Box((n_max * F + H,), float32)``: ``n_max`` rows of F = 38 features, one row per cgroup, then H = 7
    features of the host. :meth:`rows_and_host` gives the (n_max, F) view. Rows without a cgroup are 0;
    feature ``present`` tells them from idle cgroups. Only what the files of a stock kernel and the
    operator's hints say is in it; what is *estimated* from them says so. The last eight are the memory of who
    decides: what was asked for last, what came of it, and how ``promise`` stands for the cgroup since the
    episode began (``zswap_gym.policy.memory``). A controller keeps the same, from when it first sees a cgroup:
    a restart of it begins at no broken minutes and caution 0.5.

    Per cgroup, at ``row * F + #``:

    | # | feature | unit | low | high | kernel file of origin |
    |---|---|---|---|---|---|
    | 0 | present | 0/1 | 0 | 1 | the cgroup exists; everything else is 0 where it does not |
    | 1 | host_share | share | 0 | 1 | memory.current / MemTotal |
    | 2 | limit_fill | share | 0 | 1 | memory.current / min(memory.max, memory.high, MemTotal) |
    | 3 | zswapped_share | share | 0 | 1 | memory.stat zswapped / footprint |
    | 4 | disk_share | share | 0 | 1 | on disk only / footprint |
    | 5 | swapcached_share | share | 0 | 1 | memory.stat swapcached / footprint: freed by a release at no cost |
    | 6 | compression | share | 0 | 1 | memory.stat zswap / zswapped: what a page held takes |
    | 7 | active_share | share | 0 | 1 | memory.stat active_anon / (active_anon + inactive_anon) |
    | 8 | zswap_fill | share | 0 | 1 | memory.zswap.current / memory.zswap.max |
    | 9 | return_ratio | share | 0 | 1 | disk refaults / zswpwb, 10 min averages |
    | 10 | writeback_on | 0/1 | 0 | 1 | memory.zswap.writeback, of the cgroup and all above it |
    | 11 | growth | share | -1 | 1 | memory.current since the last decision, / footprint |
    | 12 | older_30s | share | 0 | 1 | of zswapped, estimated from zswpout, zswpin, zswpwb (age.py) |
    | 13 | older_120s | share | 0 | 1 | as older_30s |
    | 14 | older_600s | share | 0 | 1 | as older_30s |
    | 15 | older_3600s | share | 0 | 1 | as older_30s |
    | 16 | store_rate | log share of footprint/min, 1e-4..10 | 0 | 1 | memory.stat zswpout |
    | 17 | load_rate | log share of footprint/min, 1e-4..10 | 0 | 1 | memory.stat zswpin |
    | 18 | disk_refault_rate | log share of footprint/min, 1e-4..10 | 0 | 1 | disk_reads: memory.stat pswpin, host/refaults.py |
    | 19 | writeback_rate | log share of footprint/min, 1e-4..10 | 0 | 1 | memory.stat zswpwb |
    | 20 | reclaim_rate | log share of footprint/min, 1e-4..10 | 0 | 1 | memory.stat pgsteal |
    | 21 | load_rate_slow | log share of footprint/min, 1e-4..10 | 0 | 1 | zswpin, 10 min average |
    | 22 | disk_refault_slow | log share of footprint/min, 1e-4..10 | 0 | 1 | disk_reads, 10 min average |
    | 23 | writeback_slow | log share of footprint/min, 1e-4..10 | 0 | 1 | zswpwb, 10 min average |
    | 24 | psi_some | log share of time, 1e-4..1 | 0 | 1 | memory.pressure some total, since the last decision |
    | 25 | psi_some_avg60 | log %, 0.01..100 | 0 | 1 | memory.pressure some avg60 |
    | 26 | until_event | log s, 1..86400 | 0 | 1 | hints file seconds_to_event; 1 = far off or unknown |
    | 27 | event_left | log s, 1..86400 | 0 | 1 | hints file seconds_left |
    | 28 | event_size | log share of footprint, 0.01..10 | 0 | 1 | hints file expected_bytes |
    | 29 | no_hint | 0/1 | 0 | 1 | hints file says nothing about the cgroup |
    | 30 | asked_age | log s, 1..86400 | 0 | 1 | minimum age asked for last; 0 = no writeback |
    | 31 | asked_write | log share of footprint, 1e-5..1 | 0 | 1 | bytes asked to write last |
    | 32 | asked_release | log share of footprint, 1e-5..1 | 0 | 1 | bytes asked to release last |
    | 33 | outcome | share | 0 | 1 | memory.stat zswpwb since the last decision / pages asked to write |
    | 34 | minute_reads | log ratio, 0.01..100 | 0 | 1 | disk_reads of this minute or the last, the larger, % of anon / promise disk_reads_pct_min |
    | 35 | broken_hour | log share, 1e-3..1 | 0 | 1 | minutes over the promise's disk reads, 1 h average |
    | 36 | caution | share | 0 | 1 | grows with broken minutes, falls with kept ones: stands at 3 % |
    | 37 | cpu_spent | log ratio, 0.01..10 | 0 | 1 | of zswpout, zswpin, zswpwb with zstd, per GiB, 10 min average / promise cpu_pct_per_gib |

    Of the host, at ``n_max * F + #``:

    | # | feature | unit | low | high | kernel file of origin |
    |---|---|---|---|---|---|
    | 0 | free_memory | share | 0 | 1 | /proc/meminfo MemFree / MemTotal |
    | 1 | free_swap | share | 0 | 1 | /proc/meminfo SwapFree / SwapTotal |
    | 2 | pool_fill | share | 0 | 1.5 | /proc/meminfo Zswap / (MemTotal x zswap max_pool_percent) |
    | 3 | host_psi | log share of time, 1e-4..1 | 0 | 1 | /proc/pressure/memory some total, since the last |
    | 4 | interval | log s, 1..3600 | 0 | 1 | /proc/uptime, since the last decision |
    | 5 | day_sin | 1 | -1 | 1 | local clock |
    | 6 | day_cos | 1 | -1 | 1 | local clock |

    ## Rewards
    With ``objective="promise"``, the default: memory saved against the same host with nothing done (same
    draw, same random stream), percent of what that one holds on average, less ``penalty`` times the growth of
    the breach of ``promise`` so far, averaged over the cgroups and counted once per step:
    ``100 (reference - own) / mean reference - penalty (t B(t) - (t-1) B(t-1))``. The rewards of an episode of T
    steps add up to T times (percent saved - penalty x breach), as ``zswap_gym.policy.promise.judge_hosts``
    finds them for the whole episode. The breach is 0 where all three clauses (minutes over the allowed disk
    reads, pressure added, CPU added) are kept to every cgroup; one clause broken twice over in all makes 1.

    With ``objective="bill"``: the sum of weight times term over the interval; the unit is one GiB*h of memory,
    and :class:`zswap_gym.envs.reward.RewardWeights` says what each weight rests on. No reference is run.

    ``info["terms"]`` holds the terms, in physical units: ``dram_held`` (GiB*h), ``stall_s`` (thread-seconds,
    more in critical windows), ``disk_refaults``, ``zswap_loads`` and ``rejects`` (pages), ``bytes_written``,
    ``oom_kills``.
    ``info["cost"]`` holds what an operator promises. Of the step: ``refault_pct_wss_min`` (disk reads, % of the
    resident set per minute, worst cgroup), ``psi_some_pct`` (worst cgroup) and ``broken_minutes`` (minutes that
    ended in it and were over ``promise.disk_reads_pct_min``, of all cgroups). Under the promise also of the
    episode so far, against the reference: ``saved_pct``, ``broken_pct`` (of the cgroups' minutes),
    ``psi_added_pct`` and ``cpu_added_pct_gib`` (worst cgroup) and ``breach``. Per cgroup they are one call away:
    :attr:`account` is what a promise is judged by, ``zswap_gym.envs.reference.references`` what it is judged
    against.
    ``info["seed"]`` is the episode's, ``info["cgroups"]`` names the rows. ``info["outcomes"]`` says of each
    cgroup (N,) whether its request ``ended``, and with what ``errno``, ``pages``, ``seconds``,
    ``release_errno`` and pages ``released`` (0 where none ended); ``info["busy"]`` counts requests refused
    because the last one still ran.

    ## Starting State
    A machine at the end of its warm-up: memory, zswap and disk filled by the stage-one reclaimer, with
    a mild fixed-age law writing back. ``reset(seed=s)`` takes draw ``s mod snapshots`` of the scenario
    (sizes, devices, events) and a random stream of its own; with ``snapshots=0`` every seed is a draw
    of its own. The same seed gives the same episode, bit for bit, in any process. Without a seed the next one
    is drawn from the environment's stream, under the promise and with snapshots from 16 per draw, so that each
    reference runs once.

    ## Episode End
    Truncation after the scenario's ``episode.length``. Never terminated: a cgroup the OOM killer hits
    restarts.

    ## Arguments
    | argument | default | meaning |
    |---|---|---|
    | scenario | "bench-mix" | name, file, or ``workloads.scenario.Scenario`` |
    | n_max | None | rows; None = as many as the scenario has cgroups with a workload |
    | release | None | whether writebacks are followed by a release; None = what the scenario says |
    | objective | "promise" | what is rewarded: "promise" or "bill" |
    | promise | None | ``Promise``, or what replaces some of it, as mapping or text |
    | penalty | 20 | points of memory saved that a clause broken twice over in all cgroups costs |
    | reward | None | prices of the bill: ``RewardWeights``, or a mapping that replaces some of the weights |
    | episode_s | None | length of an episode in seconds; None = the scenario's |
    | snapshots | None | size of the pool of warm starts; None = the scenario's, 0 = one per seed |
    | action | None | ``ActionSpec``, or a mapping that replaces some of its bounds; part of the contract |
    | render_mode | None | "ansi": the last step as text; "rgb_array": the episode as a picture |

    ```python
    import gymnasium
    import zswap_gym  # makes the ids known

    env = gymnasium.make("zswap_gym/Writeback-v0", scenario="kv-and-sidecar")
    obs, info = env.reset(seed=1)
    obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
    ```

    Rules drive the same environment by requests: ``env.unwrapped.step_requests(law.decide(table, dt))``.

    ## Vectorized environment
    ``gymnasium.make_vec("zswap_gym/Writeback-v0", num_envs=8, ...)`` makes a
    :class:`zswap_gym.envs.vector.WritebackVectorEnv`, one compiled call for all. It gives what single
    environments give, bit for bit, as do ``vectorization_mode="sync"`` with
    ``vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP}`` and SB3's ``DummyVecEnv``.

    ## Version History
    * v0: first version.
    """  # noqa: E501 - tables

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}  # noqa: RUF012
    features: ClassVar[tuple[Feature, ...]] = FEATURES
    """What a row of the observation holds."""

    def __init__(
        self,
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
    ) -> None:
        self.scenario = with_options(loaded(scenario), release, episode_s)
        rows = sum(cgroup.workload is not None for cgroup in self.scenario.cgroups)
        self.n_max = rows if n_max is None else whole("n_max", n_max, 1)
        if rows > self.n_max:
            raise UserError(
                f"n_max = {self.n_max}: scenario {self.scenario.name} has {rows} cgroups; "
                f"give at least {rows}"
            )
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise UserError(
                f"render_mode = {render_mode!r}; use one of {', '.join(self.metadata['render_modes'])}"
            )
        self.render_mode = render_mode
        self.objective = objective_named(objective)
        self.promise = Promise.of(promise)
        self.penalty = penalty_of(penalty)
        self.weights = RewardWeights.of(reward)
        self.interval_s = self.scenario.episode.decision_interval
        self.steps_per_episode = self.scenario.episode.steps
        snapshots = self.scenario.episode.snapshots if snapshots is None else snapshots
        self.snapshots = whole("snapshots", snapshots, 0)
        self.digest = scenario_digest(self.scenario)
        self._action = action_spec(action)
        self.contract = self._contract()
        self.observation_space = observation_space(self.n_max, self.features)
        self.action_space = action_space(self.n_max)
        self._fleet = Fleet(1, self.weights.critical_factor, self.promise)
        self._worth = objective_of(self, 1)

    def _contract(self) -> Contract:
        return Contract(self.interval_s, self._action, self.promise)

    # --- the Gymnasium interface -----------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode. The same seed starts the same one, in any process and at any time.

        Without a seed the next one is drawn from the environment's own stream. No ``options`` exist, so any
        is refused (UserError). The info has the keys of a step's, at their values where nothing has happened.
        """
        reset_options(options, ())
        super().reset(seed=seed, options=options)
        episode = self.next_episode(self.np_random) if seed is None else seed
        self._fleet.adopt(0, *episode_start(self.scenario, self.digest, episode, self.snapshots))
        self._worth.begin(0, episode)
        self._steps = 0
        self._history = History.start(list(self.cgroups), self.interval_s)
        self._episode = episode
        return self._observation(), self._info(
            dict.fromkeys(TERMS, 0.0), dict.fromkeys(self.costs, 0.0), (), 0
        )

    def step(self, action: npt.ArrayLike) -> Step:
        """Decode ``action`` (n_max * 3,), carry it out beside the workloads, let one interval pass.

        Raises:
            ValueError: the action is of another shape.
            ResetNeeded: no episode has begun, or the last one is over.
        """
        acted = action_rows(action, self.action_space)[: len(self.cgroups)]
        return self._step(*decode(acted, self.table, self.contract.action))

    def step_requests(self, requests: Sequence[Request]) -> Step:
        """The same with one Request per cgroup, in the order of :attr:`cgroups`: how laws drive it.

        Raises:
            ValueError: the number of requests is not the number of cgroups.
            ResetNeeded: no episode has begun, or the last one is over.
        """
        if len(requests) != len(self.cgroups):
            raise ValueError(f"{len(requests)} requests for {len(self.cgroups)} cgroups")
        if not all(isinstance(request, Request) for request in requests):
            raise ValueError(f"{requests!r}; give a zswap_gym.host.types.Request for each cgroup")
        return self._step(*from_requests(requests))

    def _step(self, age: Array, size: Array, release: Array) -> Step:
        before = self.table
        if self._steps >= self.steps_per_episode:  # recordings end, and are not to be played past their end
            raise gymnasium.error.ResetNeeded("the episode is over; call reset()")
        fleet = self._fleet
        busy = fleet.step(age[None], size[None], release[None], self.interval_s)
        self._steps += 1
        rewards, costs = self._worth.worth(fleet, np.array([self._steps]))
        reward = float(rewards[0])
        if self.render_mode is not None:
            self._history.add(step_view(fleet, 0, before, size, age), reward)
        info = self._info(
            dict(zip(TERMS, fleet.terms[0].tolist(), strict=True)),
            dict(zip(self.costs, costs[0].tolist(), strict=True)),
            fleet.outcomes(0),
            int(busy[0]),
        )
        return self._observation(), reward, False, self._steps >= self.steps_per_episode, info

    def render(self) -> Any:
        """A table of the last step (``ansi``) or the episode so far as an image (``rgb_array``)."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs a render_mode: gymnasium.make(..., render_mode='ansi')")
            return None
        self._running()
        return self.picture(self._history, self._steps)

    # --- beside it -------------------------------------------------------------------------------

    @property
    def host(self) -> SimulatedHost:
        """The simulated host: its machine, its files, its clock."""
        self._running()
        return self._fleet.hosts[0]

    @property
    def cgroups(self) -> tuple[str, ...]:
        """The cgroups of the rows, in order; rows beyond them are absent."""
        return tuple(self.host.cgroups())

    @property
    def table(self) -> Table:
        """The sample table (N, K) that the next decision is based on: what a law reads."""
        self._running()
        return np.asarray(self._fleet.tables[0])

    @property
    def events(self) -> tuple[EventCost, ...]:
        """Windows, arrivals and resumes that have begun in this episode, and what they cost so far."""
        self._running()
        return self._fleet.events.costs(0)

    def rows_and_host(
        self, observation: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """An observation as (n_max, F) rows and (H,) host features; leading axes are kept."""
        return rows_and_host(observation, len(self.features))

    @property
    def costs(self) -> tuple[str, ...]:
        """Names of what ``info["cost"]`` holds."""
        return self._worth.costs

    @property
    def account(self) -> Account:
        """What was done to each cgroup since the episode began, (N,): what a promise is judged by."""
        self._running()
        return self._fleet.account.take(0)

    # --- inside ----------------------------------------------------------------------------------

    def _running(self) -> None:
        if not self._fleet.hosts:
            raise gymnasium.error.ResetNeeded("call reset() first")

    def _info(
        self, terms: dict[str, float], cost: dict[str, float], outcomes: tuple[Ended, ...], busy: int
    ) -> dict[str, Any]:
        return {
            "seed": self._episode,
            "cgroups": self.cgroups,
            "terms": terms,
            "cost": cost,
            "outcomes": self._outcomes(outcomes),
            "busy": busy,
        }

    def _outcomes(self, ended: tuple[Ended, ...]) -> dict[str, npt.NDArray[Any]]:
        """By cgroup, so that every info is of the same shape: of a cgroup one request runs at a time."""
        rows = {name: i for i, name in enumerate(self.cgroups)}
        columns: dict[str, npt.NDArray[Any]] = {
            name: np.zeros(len(rows), kind) for name, kind in OUTCOMES.items()
        }
        for cgroup, *values in ended:
            for column, value in zip(columns.values(), (True, *values), strict=True):
                column[rows[cgroup]] = value
        return columns

    def picture(self, history: History, steps: int) -> Any:
        """What an episode of this scenario came to in so many steps, in the render mode."""
        title = f"{self.scenario.name}  step {steps}  {steps * self.interval_s:.0f} s"
        draw = render_ansi if self.render_mode == "ansi" else render_rgb
        return draw(history, title)

    def row_features(self, fleet: Fleet) -> Observation:
        """Rows (E, N, len(features)) of what an observation holds of the hosts of a fleet."""
        return fleet.rows

    def next_episode(self, stream: np.random.Generator) -> int:
        """Seed of the next episode where none is given.

        Under the promise every episode has its reference, so where draws are from a pool, seeds are from one
        too: STREAMS per draw, and each reference runs once.
        """
        pooled = self.objective == "promise" and self.snapshots > 0
        return int(stream.integers(self.snapshots * STREAMS if pooled else 1 << 62))

    def observe(self, fleet: Fleet) -> Observation:
        """Flat observations (E, n_max * F + H) of the hosts of a fleet."""
        return flat_observation(self.row_features(fleet), fleet.extractor.host(fleet.tables), self.n_max)

    def _observation(self) -> Observation:
        return np.asarray(self.observe(self._fleet)[0])
