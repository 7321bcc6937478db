"""What a policy of rows sees of each cgroup: itself, all of them together, and the host.

Used in training and on a host alike: what a network was fed while it learned is what it is fed later.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from zswap_gym.policy.features import PRESENT

Array = npt.NDArray[np.float32]


def row_inputs(rows: Array, host: Array) -> Array:
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
