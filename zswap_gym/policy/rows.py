"""A policy of rows: what it sees of one cgroup, and what it may not do, in training and on a host alike."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from zswap_gym.policy.features import CPU_SPENT_SCALE, HOST_INDEX, INDEX, PRESENT, Observation

Array = npt.NDArray[np.float64]

CEILING = 0.95
"""Caution from which a cgroup is left alone. Caution rises with each broken minute, so whatever was learned,
a cgroup whose minutes go on breaking is neither written back nor released until enough are kept again."""
FULL = 0.9
"""Share of zswap's limit from which nothing is released on a host. What a release pushes into a full pool the
kernel writes to disk, of whichever cgroup comes next and however young (zswap_store() and shrink_worker()),
and the pool takes nothing more until it is down to this (accept_threshold_percent)."""
SPENT = math.log1p(1.5 / CPU_SPENT_SCALE[0]) / math.log1p(CPU_SPENT_SCALE[1] / CPU_SPENT_SCALE[0])
"""The feature cpu_spent, on its scale, at one and a half times the promised CPU: from there on a cgroup is
not released. The feature counts all compression, at the price of the dearest compressor, and the promise only
what is added, at its own."""
_CAUTION, _CPU, _POOL = INDEX["caution"], INDEX["cpu_spent"], HOST_INDEX["pool_fill"]
_WRITE, _RELEASE = 1, 2
_NOTHING = -1.0


def row_inputs(rows: Observation, host: Observation) -> Observation:
    """Inputs (..., N, 3F + H), float32, of rows (..., N, F) with the features of their host (..., H).

    Of each row: its own features, the mean and the maximum of every feature over the rows present, the
    host's features. Rows without a cgroup enter neither mean nor maximum, and their own features count as 0;
    where no row is present, mean and maximum are 0. Hosts have nothing to do with each other: many give the
    same bits as each by itself, and further absent rows change none.
    """
    rows, host = np.asarray(rows, np.float32), np.asarray(host, np.float32)
    n, f = rows.shape[-2:]
    out = np.zeros((*rows.shape[:-1], 3 * f + host.shape[-1]), np.float32)
    if n == 0:
        return out
    here = rows[..., PRESENT] > 0.5
    own = np.where(here[..., None], rows, np.float32(0))
    count = np.maximum(here.sum(-1, dtype=np.float32), np.float32(1))
    total = np.add.accumulate(own, axis=-2)[..., -1, :]  # in order: sum() may add in another one
    highest = np.where(here[..., None], rows, np.float32(-np.inf)).max(-2)
    out[..., :f] = own
    out[..., f : 2 * f] = (total / count[..., None])[..., None, :]
    out[..., 2 * f : 3 * f] = np.where(np.isfinite(highest), highest, np.float32(0))[..., None, :]
    out[..., 3 * f :] = host[..., None, :]
    return out


def guarded(actions: Array, rows: Observation, host: Observation) -> Array:
    """Actions (..., N, 3) without what rows (..., N, F) and hosts (..., H) do not allow."""
    left_alone = rows[..., _CAUTION] >= CEILING
    kept_in = left_alone | (rows[..., _CPU] >= SPENT) | (host[..., None, _POOL] >= FULL)
    allowed = actions.copy()
    allowed[..., _WRITE] = np.where(left_alone, _NOTHING, actions[..., _WRITE])
    allowed[..., _RELEASE] = np.where(kept_in, _NOTHING, actions[..., _RELEASE])
    return allowed
