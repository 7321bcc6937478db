"""Steps and simulated seconds per second of wall time."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from zswap_gym.agents.bench.variants import variant
from zswap_gym.envs.crew import thread_count
from zswap_gym.envs.vector import WritebackVectorEnv
from zswap_gym.envs.writeback import WritebackEnv
from zswap_gym.kernel import engine, requests
from zswap_gym.kernel.layout import STAT
from zswap_gym.kernel.machine import Machine
from zswap_gym.workloads.scenario import Scenario

COUNTED = ("pgfault", "pgscan", "zswpwb", "looks")


@dataclass(frozen=True)
class Rate:
    """Environment steps a second with a random policy, resets included, and what a step contained."""

    steps_per_s: float
    outside_us: float
    """Microseconds of a step outside the compiled core."""
    counts: dict[str, float]
    """Per step, in simulated pages: faults, scans, pages written back, looks at accessed bits."""
    pages: int
    memory_mib: float
    """Of one machine."""
    scaling: float | None
    """How many times as fast on all cores."""


def env_rate(scenario: Scenario, n_envs: int, episodes: int, *, vector: bool = True) -> Rate:
    """Median over whole episodes on one core, after the warm starts have run and all code is loaded.

    Of a vector environment each episode is followed by one on all cores: what that gains is a ratio of
    neighbours in time.
    """
    env = (
        WritebackVectorEnv(n_envs, scenario, objective="bill", threads=1)  # no references: as every rate
        if vector
        else WritebackEnv(scenario, objective="bill")
    )
    steps = (env.one if isinstance(env, WritebackVectorEnv) else env).steps_per_episode
    for seed in reversed(range(scenario.episode.snapshots)):
        env.reset(seed=seed)
    env.action_space.seed(0)
    env.step(env.action_space.sample())
    env.reset(seed=0)
    rates, outside, total = [], [], np.zeros(len(STAT))
    gains: list[float] = []
    for episode in range(episodes):
        actions = [env.action_space.sample() for _ in range(steps)]  # drawing them is the policy's work
        with _CoreClock() as core:
            began = time.perf_counter()
            total += _episode(env, actions)
            if not vector:  # a vector environment has begun the next episode by itself
                env.reset(seed=episode + 1)
            wall = time.perf_counter() - began
        rates.append(steps * n_envs / wall)
        outside.append((wall - core.seconds) / (steps * n_envs) * 1e6)
        if vector:
            gains.append(wall / _on_all_cores(env, actions))
    machine = _machine(env)
    per_step = total / (episodes * max(steps - 1, 1))
    per_step[[i for i, name in enumerate(STAT) if name != "looks"]] /= machine.state.host["scale"][0]
    counts = {name: float(per_step[STAT.index(name)]) for name in COUNTED}
    memory = sum(array.nbytes for array in machine.state) / (1 << 20)
    return Rate(
        statistics.median(rates), statistics.median(outside), counts, len(machine.state.pages), memory,
        statistics.median(gains) if gains else None,
    )  # fmt: skip


def _on_all_cores(env: Any, actions: list[npt.NDArray[np.float32]]) -> float:
    """Seconds of an episode whose hosts are advanced on all cores."""
    env.fleet.threads = min(thread_count(), env.num_envs)
    began = time.perf_counter()
    for action in actions:
        env.step(action)
    wall = time.perf_counter() - began
    env.fleet.threads = 1
    return wall


def _episode(
    env: WritebackVectorEnv | WritebackEnv, actions: list[npt.NDArray[np.float32]]
) -> npt.NDArray[np.int64]:
    """A whole episode; what the first host counted in all steps but the last.

    The last step of a vector environment resets it, so its counters are out of reach by then.
    """
    before = now = _machine(env).counters()[0]
    for step, action in enumerate(actions):
        if step == len(actions) - 1:
            now = _machine(env).counters()[0]
        env.step(action)
    made: npt.NDArray[np.int64] = now - before
    return made


def _machine(env: WritebackVectorEnv | WritebackEnv) -> Machine:
    return (env.fleet.hosts[0] if isinstance(env, WritebackVectorEnv) else env.host).machine


class _CoreClock:
    """Counts the time spent in the compiled step, while it is open."""

    def __enter__(self) -> Self:
        self.seconds = 0.0
        self._request, self._advance = requests.request_all, engine.advance
        requests.request_all, engine.advance = self._timed(self._request), self._timed(self._advance)
        return self

    def _timed(self, compiled: Callable[..., None]) -> Callable[..., None]:
        def call(*args: object) -> None:
            began = time.perf_counter()
            compiled(*args)
            self.seconds += time.perf_counter() - began

        return call

    def __exit__(self, *_: object) -> None:
        requests.request_all, engine.advance = self._request, self._advance


def host_week() -> float:
    """Seconds for one host and one week: 10,080 decisions of 60 s, 65,536 pages, limit 0.8."""
    week = variant(
        limit=0.8, episode={"decision_interval": "60s", "length": "604800s", "warmup": "600s", "snapshots": 1}
    )
    env = WritebackVectorEnv(1, week, objective="bill")
    env.reset(seed=0)
    env.action_space.seed(0)
    began = time.perf_counter()
    for _ in range(10_080):
        env.step(env.action_space.sample())
    return time.perf_counter() - began


@dataclass(frozen=True)
class Size:
    """A machine of some size run without a policy."""

    gib: float
    pages: int
    sim_s_per_s: float
    ns_per_page_s: float
    """Nanoseconds of wall time per simulated page and simulated second."""
    peak_gib: float
    """Largest resident set of this process so far."""


def machine_rate(gib: int, page_scale: int, seconds: float) -> Size:
    """Simulated seconds per second of a machine whose working sets are ``gib`` together, limit 0.6."""
    pages = (gib << 30) // 4096 // page_scale
    scenario = variant(pages=pages, page_scale=page_scale, limit=0.6)
    drawn = scenario.realise(np.random.default_rng(0))
    machine = Machine(drawn.host, drawn.cgroups, drawn.plans, seed=1, stage_one=drawn.stage_one)
    del drawn
    machine.advance(machine.now_us + 60_000_000)  # past the first touch of every page
    began = time.perf_counter()
    machine.advance(machine.now_us + round(seconds * 1e6))
    wall = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    made = len(machine.state.pages)
    return Size(gib, made, seconds / wall, wall / seconds / made * 1e9, peak)
