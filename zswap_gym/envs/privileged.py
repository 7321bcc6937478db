"""The same environment with the true ages of zswap entries: for critics, oracles and diagnosis."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from zswap_gym.envs.fleet import Fleet
from zswap_gym.envs.writeback import WritebackEnv
from zswap_gym.policy.contract import Contract
from zswap_gym.policy.features import FEATURES, Feature, Observation

EDGES_S = (0.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""Lower edges of the age bins, seconds; the last is open."""

AGE_FEATURES = tuple(
    Feature(f"true_age_{edge:.0f}s", "share", 0.0, 1.0, "none: read from the model's zswap entries")
    for edge in EDGES_S
)
"""Share of the cgroup's zswapped bytes whose age lies in each bin."""


class PrivilegedWritebackEnv(WritebackEnv):
    """Writeback-v0, and in each row what no kernel interface tells: the true age histogram.

    ## Description
    Everything is as in :class:`zswap_gym.envs.writeback.WritebackEnv` but for the observation. A policy
    trained here cannot be exported to a host, because no host can feed it; its contract says so.

    ## Observation Space
    As in Writeback-v0, with ten more features at the end of each row: the share of the cgroup's
    zswapped bytes whose age is in [0, 5), [5, 15), [15, 30), [30, 60), [60, 120), [120, 300),
    [300, 600), [600, 1800), [1800, 3600) seconds and above. Unit: share of 1; bounds 0 to 1; origin: the
    model, no kernel file.

    ## Version History
    * v0: first version.
    """

    features: ClassVar[tuple[Feature, ...]] = FEATURES + AGE_FEATURES

    def _contract(self) -> Contract:
        rows = tuple((f.name, f.unit, float(f.low), float(f.high)) for f in self.features)
        return replace(super()._contract(), features=rows)

    def row_features(self, fleet: Fleet) -> Observation:
        """Rows (E, N, F + 10): the policy's features, then the true ages."""
        ages = np.stack([[host.machine.zswap_ages(c, EDGES_S) for c in host.rows] for host in fleet.hosts])
        total = np.maximum(ages.sum(axis=-1, keepdims=True), 1)
        return np.concatenate([fleet.rows, (ages / total).astype(np.float32)], axis=-1)
