"""Made-up results whose truth is known; a scenario and experiments that run in seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from zswap_gym.agents.config import Experiment, parse_experiment
from zswap_gym.agents.results import Results
from zswap_gym.agents.scoring.trial import Trial
from zswap_gym.envs.event_log import EventCost
from zswap_gym.envs.reward import TERMS
from zswap_gym.policy.actions import PER_CGROUP
from zswap_gym.policy.contract import Contract
from zswap_gym.policy.features import FEATURES, HOST_FEATURES
from zswap_gym.policy.promise import GIB, Account
from zswap_gym.policy.runtime import Layer, Normaliser, Policy

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
host: {page_scale: 8, zswap: {max_pool_percent: 100}}
stage_one: {kind: fixed, rate: 512K, interval: 1s}
cgroups:
  - {name: kv, workload: {archetype: kv_zipf, pages: 256}}
  - {name: agent, workload: {archetype: sidecar_agent, pages: 256}}
episode: {decision_interval: 10s, length: 80s, warmup: 40s, snapshots: 3}
"""

MakeExperiment = Callable[..., Experiment]


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """The file of a scenario with two cgroups and eight decisions an episode.

    Nothing fills its pool, so that the kernel writes nothing by itself.
    """
    path = tmp_path / "tiny.yaml"
    path.write_text(SCENARIO)
    return str(path)


IDLE = "aimd(age_s=7200)"
"""A rule that finds nothing to do in an episode of a minute: any policy that saves memory is above it."""
TINY = {
    "name": "tiny",
    "trainings": 1,
    "rounds": 2,
    "hosts": 2,
    "draws": 4,
    "network": {"hidden": [8]},
    "imitation": {"teacher": "fixed_age(age_s=30,max_bytes=512K)", "rounds": 1, "epochs": 60},
    "ppo": {"n_steps": 8, "batch_size": 16, "n_epochs": 2},
    "selection": {
        "every": 1, "seeds": 1, "finalists": 1, "final_seeds": 1, "cautions": [0.0, 0.3], "test_seeds": 2,
        "rules": [IDLE, "fixed_age(age_s=30,max_bytes=1M)"],
    },
    "threads": 1,
}  # fmt: skip


@pytest.fixture
def make_experiment(tiny: str) -> MakeExperiment:
    """``make(rounds=1, ppo={...})``: an experiment on the tiny scenario that trains in seconds.

    Of a group of settings those given are changed and the others stay.
    """

    def make(**changes: Any) -> Experiment:
        settings: dict[str, Any] = {**TINY, "scenarios": {"train": [tiny]}}
        for key, value in changes.items():
            nested = isinstance(value, Mapping) and isinstance(settings.get(key), Mapping)
            settings[key] = {**settings[key], **value} if nested else value
        return parse_experiment(settings, "test")

    return make


MakePolicy = Callable[..., Policy]


def _policy(seed: int = 1, interval_s: float = 10.0, **facts: Any) -> Policy:
    """Random weights, and a leaning to write early and to release; ``facts`` are its provenance."""
    rng = np.random.default_rng(seed)
    inputs = 3 * len(FEATURES) + len(HOST_FEATURES)

    def layer(n_in: int, n_out: int, activation: str = "none") -> Layer:
        weight = rng.normal(0.0, 2.0 / np.sqrt(n_in), (n_out, n_in)).astype(np.float32)
        return Layer(weight, rng.normal(0.0, 0.3, n_out).astype(np.float32), activation)

    last = replace(layer(8, PER_CGROUP), bias=np.array([-1.0, 0.5, 0.3], np.float32))
    layers = (layer(inputs, 8, "tanh"), last)
    scale = Normaliser(np.zeros(inputs), np.ones(inputs), 8.0, 1e-4)
    return Policy(layers, scale, Contract(interval_s), facts)


@pytest.fixture
def make_policy() -> MakePolicy:
    """``make(seed=1, interval_s=10.0, **provenance)``: a policy that nobody trained."""
    return _policy


@pytest.fixture
def run(make_experiment: MakeExperiment, tmp_path: Path) -> Path:
    """A training run's folder as far as its champion is concerned: a policy nobody trained."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "experiment.yaml").write_text(make_experiment().to_yaml())
    (folder / "champion.json").write_text("{}")
    _policy().save(folder / "champion.npz")
    return folder
