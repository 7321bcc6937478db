"""Made-up results whose truth is known; a scenario and experiments that run in seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from zswap_gym.agents.config import Experiment, parse_experiment
from zswap_gym.agents.results import Results
from zswap_gym.agents.scoring.trial import Trial
from zswap_gym.envs.event_log import EventCost
from zswap_gym.envs.reward import TERMS
from zswap_gym.policy.promise import GIB, Account

MakeResults = Callable[..., Results]

MINUTES, CGROUPS = 100, ("a", "b")


def account(seeds: int, held: npt.ArrayLike, broken: float) -> Account:
    """Accounts (seeds, 2) of an hour and a half: ``held`` GiB by seed, a share of minutes ``broken``."""
    full = np.ones((seeds, len(CGROUPS)))
    elapsed = full * MINUTES * 60e6
    held_bytes = np.asarray(held, float)[:, None] * GIB * full
    return Account(
        elapsed_us=elapsed,
        minutes=full * MINUTES,
        broken=full * MINUTES * broken,
        stalled_us=full * 1e3,
        cpu_us=full * 1e3,
        held_byte_us=held_bytes * elapsed,
        footprint_byte_us=2 * GIB * elapsed,
        reads=full * 60.0,
        written=full * 256.0,
    )


@pytest.fixture
def make_results() -> MakeResults:
    """``make({"agent": +0.1}, learned=("agent",))``: each edge is reward won and a share of memory saved.

    Rewards are -1 plus what the seed shares plus the edge plus noise; memory held is that, turned round.
    ``broken`` are shares of minutes by policy.
    """

    def make(
        edges: Mapping[str, float],
        *,
        learned: tuple[str, ...] = (),
        scenarios: tuple[str, ...] = ("calm", "storm"),
        seeds: int = 10,
        noise: float = 0.01,
        broken: Mapping[str, float] | None = None,
        objective: str = "promise",
    ) -> Results:
        rng = np.random.default_rng(8)
        trials = []
        for scenario in scenarios:
            shared = rng.normal(0.0, 0.2, seeds)
            for policy, edge in {"never": 0.0, **edges}.items():
                own = edge + rng.normal(0.0, noise, seeds) * (policy != "never")
                terms = np.zeros((seeds, len(TERMS)))
                terms[:, TERMS.index("dram_held")] = 1.0 - shared - own
                terms[:, TERMS.index("disk_refaults")] = 60.0
                held = (2.0 - shared) * (1.0 - own)
                arrival = EventCost(
                    "a", "arrival", 60.0, 180.0, announced=True, stalled_s=0.5 - edge, latency_s=None
                )
                trials.append(
                    Trial(
                        policy, scenario, tuple(range(seeds)), CGROUPS, 10, MINUTES / 60,
                        account(seeds, held, (broken or {}).get(policy, 0.0)), terms, -1.0 + shared + own,
                        ((arrival, arrival),) * seeds, np.full(seeds, 12.0),
                    )
                )  # fmt: skip
        return Results(
            tuple(trials),
            ("never", *edges),
            scenarios,
            tuple(range(seeds)),
            "never",
            learned,
            objective=objective,
            provenance={"version": "test"},
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
