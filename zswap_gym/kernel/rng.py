"""The one random stream of a machine: SplitMix64 in its state, so that a clone continues it."""

from __future__ import annotations

import math

import numpy as np

from zswap_gym.kernel.jit import inline

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_INV53 = 1.0 / (1 << 53)


@inline
def mix64(z):
    """SplitMix64's finaliser: a hash of a uint64."""
    z = (z ^ (z >> _S30)) * _M1
    z = (z ^ (z >> _S27)) * _M2
    return z ^ (z >> _S31)


@inline
def uniform(st):
    """The next uniform in [0, 1)."""
    x = st.host[0].rng + _GAMMA
    st.host[0].rng = x
    return (mix64(x) >> _S11) * _INV53


@inline
def exponential(st):
    """The next standard exponential."""
    return -math.log(1.0 - uniform(st))


@inline
def hashed_uniform(seed, epoch, block):
    """A uniform fixed by its arguments: shuffles that need no memory."""
    x = (np.uint64(seed) * _M1 + np.uint64(epoch)) * _GAMMA + np.uint64(block) * _M2
    return (mix64(mix64(x + _GAMMA)) >> _S11) * _INV53
