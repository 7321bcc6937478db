"""Made-up results whose truth is known; a scenario and experiments that run in seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from zswap_gym.agents.config import Experiment, parse_experiment
from zswap_gym.agents.results import Episode, Results
from zswap_gym.envs.reward import TERMS

MakeResults = Callable[..., Results]


@pytest.fixture
def make_results() -> MakeResults:
    """``make({"agent": +0.1}, learned=("agent",))``: rewards of -1 plus the policy's edge plus noise."""

    def make(
        edges: Mapping[str, float],
        *,
        learned: tuple[str, ...] = (),
        scenarios: tuple[str, ...] = ("calm", "storm"),
        seeds: int = 10,
        noise: float = 0.01,
        violations: Mapping[str, float] | None = None,
    ) -> Results:
        rng = np.random.default_rng(8)
        episodes = []
        for scenario in scenarios:
            for seed in range(seeds):
                shared = rng.normal(0.0, 0.2)
                for policy, edge in {"never": 0.0, **edges}.items():
                    reward = -1.0 + shared + edge + rng.normal(0.0, noise) * (policy != "never")
                    terms = dict.fromkeys(TERMS, 0.0) | {"dram_held": -reward, "disk_refaults": 60.0}
                    broken = (violations or {}).get(policy, 0.0)
                    episodes.append(
                        Episode(policy, scenario, seed, 10, 0.5, reward, terms, 0.1, 0.05, broken, 12.0)
                    )
        return Results(
            tuple(episodes),
            ("never", *edges),
            scenarios,
            tuple(range(seeds)),
            "never",
            learned,
            {"version": "test"},
        )

    return make


SCENARIO = """
name: tiny
host: {page_scale: 8}
stage_one: {kind: fixed, rate: 512K, interval: 1s}
cgroups:
  - {name: kv, workload: {archetype: kv_zipf, pages: 256}}
  - {name: agent, workload: {archetype: sidecar_agent, pages: 256}}
episode: {decision_interval: 10s, length: 80s, warmup: 40s, snapshots: 3}
"""

MakeExperiment = Callable[..., Experiment]


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """The file of a scenario with two cgroups and eight decisions an episode."""
    path = tmp_path / "tiny.yaml"
    path.write_text(SCENARIO)
    return str(path)


@pytest.fixture
def make_experiment(tiny: str) -> MakeExperiment:
    """``make("ppo", "shared", **changes)``: an experiment on the tiny scenario that trains in seconds."""

    def make(algorithm: str = "ppo", policy: str = "shared", **changes: object) -> Experiment:
        settings = {
            "ppo": {"name": "ppo", "n_steps": 16, "batch_size": 32, "n_epochs": 2},
            "sac": {"name": "sac", "learning_starts": 40, "buffer_size": 500, "batch_size": 32},
        }[algorithm]
        plain = {
            "name": f"{algorithm}-{policy}",
            "algorithm": settings,
            "policy": policy,
            "network": {"hidden": [16, 16], "activation": "tanh" if algorithm == "ppo" else "relu"},
            "scenarios": {"train": [tiny]},
            "env": {"n_max": 3},
            "n_envs": 2,
            "total_steps": 128,
            "checkpoint_every": 32,
        }
        return parse_experiment({**plain, **changes}, "test")

    return make
