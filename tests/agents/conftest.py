"""Made-up results whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from agents.results import Episode, Results
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
                    episodes.append(
                        Episode(policy, scenario, seed, 10, 0.5, reward, terms, 0.1, 0.05,
                                (violations or {}).get(policy, 0.0), 12.0)  # fmt: skip
                    )
        return Results(
            tuple(episodes), ("never", *edges), scenarios, tuple(range(seeds)), "never", learned, {"version": "test"}
        )

    return make
