"""A small and quick scenario that has in it everything an environment meets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from zswap_gym.envs.registration import register
from zswap_gym.envs.writeback import WritebackEnv
from zswap_gym.workloads.scenario import Scenario

register()

SMALL: dict[str, Any] = {
    "name": "small",
    "host": {"page_scale": 8},
    "stage_one": {"kind": "fixed", "rate": "512K", "interval": "1s"},
    "cgroups": [
        {"name": "pod", "memory_max": 0.7},
        {"name": "kv", "parent": "pod", "workload": {"archetype": "kv_zipf", "pages": 512}},
        {"name": "agent", "parent": "pod", "workload": {"archetype": "sidecar_agent", "pages": 512}},
        {
            "name": "web",
            "workload": {"archetype": "node_service", "pages": 256},
            "events": [{"kind": "critical", "at": "30s", "duration": "20s", "multiplier": 3}],
        },
    ],
    "episode": {"decision_interval": "10s", "length": "100s", "warmup": "60s", "snapshots": 3},
    "randomise": {"sizes": [0.7, 1.4], "device": ["nvme", "sata"]},
}

MakeScenario = Callable[..., Scenario]
MakeEnv = Callable[..., WritebackEnv]


@pytest.fixture(scope="session")
def make_scenario() -> MakeScenario:
    """``make(**changes)``: the small scenario with top-level keys replaced."""
    return lambda **changes: Scenario.model_validate({**SMALL, **changes})


@pytest.fixture(scope="session")
def make_env(make_scenario: MakeScenario) -> MakeEnv:
    """``make(**arguments)``: an environment on the small scenario."""
    return lambda cls=WritebackEnv, **kwargs: cls(**{"scenario": make_scenario(), **kwargs})
