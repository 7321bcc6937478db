"""The networks that are learned: actor and critic of one row, with LayerNorm, normaliser inside.

LayerNorm narrows how much one training differs from the next (arXiv 2606.06746). The normaliser is fixed
before learning begins and part of the network, so that a policy means the same from the first step on.
zswap_gym/policy/runtime.py is the actor in numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

CLIP = 8.0
"""Bound of a normalised feature."""
EPSILON = 1e-4
"""Added to a variance: a feature that was never seen to change is not blown up when it does."""


class Standardise(BaseFeaturesExtractor):
    """(x - mean) / std, cut to +-CLIP; the numbers are set once, by :meth:`fit`."""

    mean: Tensor
    var: Tensor

    def __init__(self, observation_space: spaces.Box) -> None:
        (width,) = observation_space.shape
        super().__init__(observation_space, width)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("var", torch.ones(width))

    def fit(self, seen: npt.NDArray[np.float32]) -> None:
        """Take mean and variance of observations (M, width)."""
        self.mean.copy_(torch.as_tensor(seen.mean(axis=0, dtype=np.float64)))
        self.var.copy_(torch.as_tensor(seen.var(axis=0, dtype=np.float64)))

    def forward(self, observations: Tensor) -> Tensor:
        """(B, width)."""
        return torch.clamp((observations - self.mean) / torch.sqrt(self.var + EPSILON), -CLIP, CLIP)


class Twin(nn.Module):
    """Two bodies, of the actor and of the critic: Linear, LayerNorm, tanh, for each hidden layer."""

    def __init__(self, inputs: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.latent_dim_pi = self.latent_dim_vf = hidden[-1]
        self.actor, self.critic = body(inputs, hidden), body(inputs, hidden)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What the last layers see."""
        return self.actor(features), self.critic(features)

    def forward_actor(self, features: Tensor) -> Tensor:
        """Of the actor alone."""
        return self.actor(features)  # type: ignore[no-any-return]

    def forward_critic(self, features: Tensor) -> Tensor:
        """Of the critic alone."""
        return self.critic(features)  # type: ignore[no-any-return]


def body(inputs: int, hidden: Sequence[int]) -> nn.Sequential:
    """Hidden layers."""
    layers: list[nn.Module] = []
    for before, after in pairwise([inputs, *hidden]):
        layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.Tanh()]
    return nn.Sequential(*layers)


class RowPolicy(ActorCriticPolicy):
    """SB3's policy of PPO with the networks above; ``hidden`` comes in policy_kwargs."""

    def __init__(self, *args: Any, hidden: Sequence[int] = (64, 64), **kwargs: Any) -> None:
        self.hidden = tuple(hidden)
        super().__init__(*args, **{**kwargs, "features_extractor_class": Standardise})

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = Twin(self.features_dim, self.hidden)  # type: ignore[assignment] # has its face

    @property
    def standardise(self) -> Standardise:
        """The normaliser."""
        assert isinstance(self.features_extractor, Standardise)
        return self.features_extractor

    @property
    def actor(self) -> nn.Sequential:
        """The hidden layers of the actor."""
        assert isinstance(self.mlp_extractor, Twin)
        return self.mlp_extractor.actor

    def mean_action(self, seen: Tensor) -> Tensor:
        """The action without noise (B, 3), not cut to [-1, 1]."""
        return self.action_net(self.actor(self.standardise(seen)))  # type: ignore[no-any-return]

    def keep_exploring(self, floor: float) -> None:
        """Lift the deviation of the noise to ``floor`` (a logarithm): gradients let it die."""
        with torch.no_grad():
            self.log_std.clamp_(min=floor)
