"""The spaces: flat boxes, because that is what learners take, with a documented view as rows.

An observation is ``n_max`` rows of F features, one row per cgroup, then H host features. Rows
without a cgroup are zero; feature 0, ``present``, tells them from idle cgroups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box, Space

from zswap_gym.policy.actions import PER_CGROUP
from zswap_gym.policy.features import HOST_FEATURES, Feature

Vector = npt.NDArray[np.float32]

H = len(HOST_FEATURES)
"""Host features."""


def observation_space(n_max: int, features: Sequence[Feature]) -> Space[Vector]:
    """Box (n_max * F + H,) float32 within the declared bounds of the features; an absent row is 0."""
    low = np.minimum([f.low for f in features], 0.0)
    high = np.maximum([f.high for f in features], 0.0)
    box = Box(
        np.concatenate([np.tile(low, n_max), [f.low for f in HOST_FEATURES]]).astype(np.float32),
        np.concatenate([np.tile(high, n_max), [f.high for f in HOST_FEATURES]]).astype(np.float32),
        dtype=np.float32,
    )
    return cast("Space[Vector]", box)


def action_space(n_max: int) -> Space[Vector]:
    """Box (n_max * 3,) float32 in [-1, 1]: minimum age, write and release of each row in turn."""
    return cast("Space[Vector]", Box(-1.0, 1.0, (n_max * PER_CGROUP,), np.float32))


def action_rows(action: npt.ArrayLike, space: Space[Any]) -> npt.NDArray[np.float64]:
    """An action of ``space`` (..., n_max * 3) as rows (..., n_max, 3). ValueError: it has another shape."""
    acted = np.asarray(action, np.float64)
    if acted.shape != space.shape:
        raise ValueError(f"an action of shape {acted.shape}; give {space.shape}")
    return acted.reshape(*acted.shape[:-1], -1, PER_CGROUP)


def flat_observation(rows: Vector, host: Vector, n_max: int) -> Vector:
    """Rows (E, N, F) and host features (E, H) as flat observations (E, n_max * F + H), N <= n_max."""
    e, n, f = rows.shape
    out = np.zeros((e, n_max * f + H), np.float32)
    out[:, : n * f] = rows.reshape(e, n * f)
    out[:, n_max * f :] = host
    return out


def rows_and_host(observation: Vector, n_features: int) -> tuple[Vector, Vector]:
    """A flat observation (..., n_max * F + H) as rows (..., n_max, F) and host features (..., H): views."""
    cut = observation.shape[-1] - H
    rows = observation[..., :cut].reshape(*observation.shape[:-1], cut // n_features, n_features)
    return rows, observation[..., cut:]
