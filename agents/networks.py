"""One set of weights for every cgroup: the networks of the shared policy, for PPO and SAC.

An encoder turns each cgroup's features into a code; the context is the mean and the maximum of
the codes of all present cgroups, and the host's features; a head turns a cgroup's own code and
the context into its actions. So a policy trained on four cgroups drives forty, and the order
of the rows does not matter. Rows without a cgroup are outside of it all: they do not enter the
context, their actions are 0, and they count neither in log-probabilities nor in entropy.

zswap_gym/policy/runtime.py is the same forward pass in numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import DiagGaussianDistribution, SquashedDiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy, ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN, Actor, SACPolicy
from torch import Tensor, nn

from zswap_gym.policy.actions import PER_CGROUP

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}
ACTIONS = PER_CGROUP
"""Per cgroup: minimum age, write and release."""


@dataclass(frozen=True)
class Layout:
    """How a flat observation is cut: ``n_max`` rows of ``features``, then ``host`` values.

    ``presence`` is the index of the row feature that is 1 where the row has a cgroup.
    """

    n_max: int
    features: int
    host: int
    presence: int

    def split(self, obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Flat (B, n_max * F + H) -> rows (B, n_max, F), mask (B, n_max, 1) of 0 and 1, host (B, H)."""
        rows = obs[:, : self.n_max * self.features].reshape(-1, self.n_max, self.features)
        mask = (rows[:, :, self.presence : self.presence + 1] > 0.5).to(obs.dtype)
        return rows, mask, obs[:, self.n_max * self.features :]


def mlp(sizes: Sequence[int], activation: type[nn.Module]) -> nn.Sequential:
    """Linear layers of ``sizes``, an activation after each."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers)


class RowEncoder(nn.Module):
    """Codes of the rows and the context they form.

    ``extra`` values per row (a critic's actions) are appended to the features.
    """

    def __init__(
        self, layout: Layout, hidden: Sequence[int], activation: type[nn.Module], extra: int = 0
    ) -> None:
        super().__init__()
        self.layout = layout
        self.layers = mlp([layout.features + extra, *hidden], activation)
        self.code = hidden[-1]
        self.context = 2 * self.code + layout.host

    def forward(self, obs: Tensor, actions: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(codes (B, N, code), context (B, context), mask (B, N, 1)) of flat observations."""
        rows, mask, host = self.layout.split(obs)
        if actions is not None:
            rows = torch.cat([rows, actions.reshape(-1, self.layout.n_max, ACTIONS)], dim=2)
        codes = self.layers(rows * mask) * mask
        mean = codes.sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
        # No cgroup at all: the maximum over nothing is 0, as is the mean.
        highest = codes.masked_fill(mask == 0, -torch.inf).amax(dim=1)
        highest = torch.where(torch.isfinite(highest), highest, torch.zeros_like(highest))
        return codes, torch.cat([mean, highest, host], dim=1), mask


class RowHead(nn.Module):
    """From a row's code and the context to ``out`` values per row."""

    def __init__(
        self, encoder: RowEncoder, hidden: int, activation: type[nn.Module], out: int = ACTIONS
    ) -> None:
        super().__init__()
        self.layers = mlp([encoder.code + encoder.context, hidden], activation)
        self.out = nn.Linear(hidden, out)

    def forward(self, codes: Tensor, context: Tensor) -> Tensor:
        """(B, N, out)."""
        return self.out(self.features(codes, context))  # type: ignore[no-any-return]

    def features(self, codes: Tensor, context: Tensor) -> Tensor:
        """(B, N, hidden): what the last layer sees."""
        spread = context.unsqueeze(1).expand(-1, codes.shape[1], -1)
        return self.layers(torch.cat([codes, spread], dim=2))  # type: ignore[no-any-return]


class ValueHead(nn.Module):
    """From the context to one value. Means and maxima carry no number of cgroups, so it is given."""

    def __init__(self, encoder: RowEncoder, hidden: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.n_max = encoder.layout.n_max
        self.net = nn.Sequential(mlp([encoder.context + 1, hidden], activation), nn.Linear(hidden, 1))

    def forward(self, context: Tensor, mask: Tensor) -> Tensor:
        """(B, 1)."""
        share = mask.sum(dim=1) / self.n_max
        return self.net(torch.cat([context, share], dim=1))  # type: ignore[no-any-return]


# --- distributions in which absent rows do not count -----------------------------------------------


class MaskedGaussian(DiagGaussianDistribution):
    """A diagonal Gaussian over (B, N * 3) actions of which some rows are absent: those are always 0."""

    mask: Tensor

    def masked(self, mean: Tensor, log_std: Tensor, mask: Tensor) -> MaskedGaussian:
        """Set the parameters; ``mask`` is (B, N * 3) of 0 and 1."""
        self.proba_distribution(mean, log_std)
        self.mask = mask
        return self

    def log_prob(self, actions: Tensor) -> Tensor:
        """(B,), present rows only."""
        each: Tensor = self.distribution.log_prob(actions)  # type: ignore[no-untyped-call]
        return (each * self.mask).sum(dim=1)

    def entropy(self) -> Tensor:
        """(B,), present rows only."""
        each: Tensor = self.distribution.entropy()  # type: ignore[no-untyped-call]
        return (each * self.mask).sum(dim=1)

    def sample(self) -> Tensor:
        """(B, N * 3), absent rows 0."""
        return self.distribution.rsample() * self.mask

    def mode(self) -> Tensor:
        """(B, N * 3), absent rows 0."""
        return self.distribution.mean * self.mask


class MaskedSquashedGaussian(SquashedDiagGaussianDistribution):
    """The same behind a tanh, for SAC. The mask travels through ``actions_from_params``."""

    mask: Tensor

    def actions_from_params(
        self, mean_actions: Tensor, log_std: Tensor, deterministic: bool = False, mask: Tensor | None = None
    ) -> Tensor:
        """Sampled or deterministic actions (B, N * 3)."""
        assert mask is not None
        self.mask = mask
        return super().actions_from_params(mean_actions, log_std, deterministic)

    def log_prob_from_params(
        self, mean_actions: Tensor, log_std: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sampled actions and their log-probabilities (B,)."""
        actions = self.actions_from_params(mean_actions, log_std, mask=mask)
        return actions, self.log_prob(actions, self.gaussian_actions)

    def log_prob(self, actions: Tensor, gaussian_actions: Tensor | None = None) -> Tensor:
        """(B,), present rows only; needs the actions before the tanh, as SAC has them."""
        assert gaussian_actions is not None
        each: Tensor = self.distribution.log_prob(gaussian_actions)  # type: ignore[no-untyped-call]
        # What tanh does to a density, as in the original SAC.
        each = each - torch.log(1 - actions**2 + self.epsilon)
        return (each * self.mask).sum(dim=1)

    def sample(self) -> Tensor:
        """(B, N * 3), absent rows 0."""
        return super().sample() * self.mask

    def mode(self) -> Tensor:
        """(B, N * 3), absent rows 0."""
        return super().mode() * self.mask


# --- PPO -------------------------------------------------------------------------------------------


class SharedActorCritic(ActorCriticPolicy):
    """SB3's actor-critic policy with the shared networks; ``layout`` comes in policy_kwargs."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        layout: Layout,
        hidden: Sequence[int] = (64, 64),
        activation_fn: type[nn.Module] = nn.Tanh,
        **kwargs: Any,
    ) -> None:
        self.layout = layout
        self.hidden = tuple(hidden)
        super().__init__(
            observation_space, action_space, lr_schedule, net_arch=[], activation_fn=activation_fn, **kwargs
        )

    def _build(self, lr_schedule: Schedule) -> None:
        act, last = self.activation_fn, self.hidden[-1]
        self.actor_rows = RowEncoder(self.layout, self.hidden, act)
        self.actor_head = RowHead(self.actor_rows, last, act)
        self.critic_rows = RowEncoder(self.layout, self.hidden, act)
        self.critic_head = ValueHead(self.critic_rows, last, act)
        self.log_std = nn.Parameter(torch.full((ACTIONS,), float(self.log_std_init)))
        self.action_dist = MaskedGaussian(self.layout.n_max * ACTIONS)
        if self.ortho_init:
            for module in (self.actor_rows, self.actor_head.layers, self.critic_rows):
                module.apply(partial(self.init_weights, gain=2**0.5))
            self.critic_head.apply(self.init_weights)
            self.init_weights(self.actor_head.out, gain=0.01)  # the first actions are near the middle
        rate = {"lr": lr_schedule(1), **self.optimizer_kwargs}
        self.optimizer = self.optimizer_class(self.parameters(), **rate)

    def _distribution(self, obs: Tensor) -> MaskedGaussian:
        codes, context, mask = self.actor_rows(obs)
        mean = self.actor_head(codes, context)
        wide = mask.expand_as(mean).flatten(1)
        assert isinstance(self.action_dist, MaskedGaussian)
        return self.action_dist.masked(mean.flatten(1), self.log_std.repeat(self.layout.n_max), wide)

    def forward(self, obs: Tensor, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Actions, values, log-probabilities."""
        distribution = self._distribution(obs)
        actions = distribution.get_actions(deterministic=deterministic)
        return actions, self.predict_values(obs), distribution.log_prob(actions)

    def evaluate_actions(self, obs: PyTorchObs, actions: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Values, log-probabilities of ``actions``, entropy."""
        assert isinstance(obs, Tensor)
        distribution = self._distribution(obs)
        return self.predict_values(obs), distribution.log_prob(actions), distribution.entropy()

    def get_distribution(self, obs: PyTorchObs) -> MaskedGaussian:
        """The distribution over actions."""
        assert isinstance(obs, Tensor)
        return self._distribution(obs)

    def predict_values(self, obs: PyTorchObs) -> Tensor:
        """(B, 1)."""
        assert isinstance(obs, Tensor)
        _, context, mask = self.critic_rows(obs)
        return self.critic_head(context, mask)  # type: ignore[no-any-return]

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        del data["net_arch"]
        return data | {"layout": self.layout, "hidden": self.hidden}


# --- SAC -------------------------------------------------------------------------------------------


class SharedActor(Actor):
    """SAC's actor with the shared networks."""

    def __init__(self, *args: Any, layout: Layout, hidden: Sequence[int], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        del self.latent_pi, self.mu, self.log_std  # the flat network's
        last, act = hidden[-1], self.activation_fn
        self.rows = RowEncoder(layout, hidden, act)
        self.head = RowHead(self.rows, last, act)
        self.spread = nn.Linear(last, ACTIONS)
        nn.init.zeros_(self.spread.weight)
        nn.init.constant_(self.spread.bias, self.log_std_init)
        self.action_dist = MaskedSquashedGaussian(layout.n_max * ACTIONS)  # type: ignore[assignment]

    def get_action_dist_params(self, obs: PyTorchObs) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Mean and log standard deviation (B, N * 3), and the mask of the same shape."""
        codes, context, mask = self.rows(obs)
        features = self.head.features(codes, context)
        mean = self.head.out(features)
        log_std = torch.clamp(self.spread(features), LOG_STD_MIN, LOG_STD_MAX)
        return mean.flatten(1), log_std.flatten(1), {"mask": mask.expand_as(mean).flatten(1)}


class _RowQ(nn.Module):
    """Q of an observation and the actions of its present rows."""

    def __init__(self, layout: Layout, hidden: Sequence[int], activation: type[nn.Module]) -> None:
        super().__init__()
        self.rows = RowEncoder(layout, hidden, activation, extra=ACTIONS)
        self.head = ValueHead(self.rows, hidden[-1], activation)

    def forward(self, obs: Tensor, actions: Tensor) -> Tensor:
        """(B, 1)."""
        _, context, mask = self.rows(obs, actions)
        return self.head(context, mask)  # type: ignore[no-any-return]


class SharedCritic(ContinuousCritic):
    """SAC's critics: a row encoder over features and actions, pooled."""

    def __init__(self, *, layout: Layout, hidden: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        act = kwargs["activation_fn"]
        self.q_networks = [_RowQ(layout, hidden, act) for _ in range(self.n_critics)]
        for i, q in enumerate(self.q_networks):
            self.add_module(f"qf{i}", q)

    def forward(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, ...]:
        """One (B, 1) per critic."""
        return tuple(q(obs, actions) for q in self.q_networks)

    def q1_forward(self, obs: Tensor, actions: Tensor) -> Tensor:
        """(B, 1) of the first critic."""
        return self.q_networks[0](obs, actions)  # type: ignore[no-any-return]


class SharedSacPolicy(SACPolicy):
    """SB3's SAC policy with the shared networks; ``layout`` comes in policy_kwargs."""

    def __init__(self, *args: Any, layout: Layout, hidden: Sequence[int] = (64, 64), **kwargs: Any) -> None:
        self.layout = layout
        self.hidden = tuple(hidden)
        super().__init__(*args, **{"net_arch": list(hidden), **kwargs})

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> SharedActor:
        """A new actor."""
        kwargs = self._update_features_extractor(self.actor_kwargs, features_extractor)
        return SharedActor(**kwargs, layout=self.layout, hidden=self.hidden).to(self.device)

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> SharedCritic:
        """A new pair of critics."""
        kwargs = self._update_features_extractor(self.critic_kwargs, features_extractor)
        return SharedCritic(**kwargs, layout=self.layout, hidden=self.hidden).to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        del data["net_arch"]
        return data | {"layout": self.layout, "hidden": self.hidden}
