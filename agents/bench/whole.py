"""What surrounds the environment: the learner it feeds, and the first seconds of a process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

import torch
from stable_baselines3 import PPO

from zswap_gym.agents.bench.variants import variant
from zswap_gym.agents.vecenv import FleetVecEnv
from zswap_gym.envs.vector import WritebackVectorEnv

_START = """
import time
began = time.perf_counter()
import gymnasium, zswap_gym
env = gymnasium.make("zswap_gym/Writeback-v0", scenario="single-kv")
env.reset(seed=0)
env.step(env.action_space.sample())
print(time.perf_counter() - began)
"""


def ppo_env_share(batch: int, *, n_envs: int = 8, steps: int = 4096) -> float:
    """Share of PPO's time spent in the environments: 65,536 pages, limit 0.6, torch on one thread."""
    torch.set_num_threads(1)
    scenario = variant()
    vec = _Timed([WritebackVectorEnv(n_envs, scenario, objective="bill")])
    for seed in range(scenario.episode.snapshots):
        vec.fleets[0].reset(seed=[seed] * n_envs)
    model = PPO("MlpPolicy", vec, n_steps=256, batch_size=batch, seed=0, device="cpu")
    vec.seconds = 0.0
    began = time.perf_counter()
    model.learn(steps)
    return vec.seconds / (time.perf_counter() - began)


class _Timed(FleetVecEnv):
    """Counts the time in its steps."""

    seconds = 0.0

    def step_wait(self):  # type: ignore[no-untyped-def] # noqa: ANN202 - as its parent
        """Step, and note how long it took."""
        began = time.perf_counter()
        result = super().step_wait()
        self.seconds += time.perf_counter() - began
        return result


def start_up() -> tuple[float, float]:
    """(cold, warm) seconds of a new process from import to the first step, without and with the cache."""
    with tempfile.TemporaryDirectory(prefix="zswap-gym-bench-") as cache:
        environment = os.environ | {"ZSWAP_GYM_CACHE": cache, "OMP_NUM_THREADS": "1"}
        cold, *warm = [_first_step(environment) for _ in range(4)]
    return cold, sorted(warm)[1]


def _first_step(environment: dict[str, str]) -> float:
    done = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-c", _START], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])
