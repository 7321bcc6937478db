"""From a training run to one file that needs numpy and nothing else.

The bundle holds what SB3's ``predict(deterministic=True)`` does to an observation, all of it:
normalisation and its clipping, the network, and clipping (PPO) or squashing (SAC) of the action.
Critics, optimisers and exploration noise stay behind.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from zswap_gym.agents import checkpoint
from zswap_gym.agents.config import Ppo
from zswap_gym.agents.networks import SharedActor, SharedActorCritic
from zswap_gym.agents.normalise import PooledMeanStd
from zswap_gym.agents.provenance import provenance
from zswap_gym.agents.run_folder import experiment_of, facts_of
from zswap_gym.errors import UserError
from zswap_gym.policy.contract import Contract
from zswap_gym.policy.features import FEATURES
from zswap_gym.policy.runtime import Layer, Normaliser, Policy


def export_run(run: str | Path, out: str | Path) -> Path:
    """Export the last checkpoint of a run to the bundle ``out``; returns its path.

    Raises:
        UserError: no such run, no checkpoint yet, a damaged file, or a policy that no host can feed.
    """
    run = Path(run)
    model, vec, facts = load_run(run)
    contract = Contract.from_dict(facts["contract"], str(run))
    policy = to_policy(model, vec, contract, _provenance(run, model, facts))
    if len(policy.contract.features) != len(FEATURES):
        raise UserError(
            f"{run}: was trained on privileged observations, which no host has; train on Writeback-v0"
        )
    return policy.save(out)


def load_run(run: Path) -> tuple[BaseAlgorithm, VecNormalize, dict[str, Any]]:
    """The model and normaliser of a run's last checkpoint, and its provenance.json."""
    if not (run / "experiment.yaml").is_file():
        raise UserError(
            f"{run}: is not a training run (no experiment.yaml); give the folder 'zswap-gym train' wrote"
        )
    found = checkpoint.checkpoints(run)
    if not found:
        raise UserError(
            f"{run}: has no checkpoint yet; wait for one, or go on with 'zswap-gym train --resume'"
        )
    experiment = experiment_of(run)
    kind = PPO if isinstance(experiment.algorithm, Ppo) else SAC
    # Replay buffers come at full size and are not needed to predict.
    extra = {} if kind is PPO else {"buffer_size": 1}
    return found[-1].model(kind, **extra), found[-1].normaliser(), facts_of(run)


def to_policy(
    model: BaseAlgorithm, vec: VecNormalize, contract: Contract, facts: dict[str, Any] | None = None
) -> Policy:
    """The numpy twin of a trained model and its normaliser."""
    rows, host = _normalisers(vec)
    net = model.policy
    head: tuple[Layer, ...] = ()
    if isinstance(net, SharedActorCritic):
        body = _layers(net.actor_rows.layers)
        head = (*_layers(net.actor_head.layers), _linear(net.actor_head.out))
    elif isinstance(model, SAC):
        actor = model.actor
        if isinstance(actor, SharedActor):
            body = _layers(actor.rows.layers)
            head = (*_layers(actor.head.layers), _linear(actor.head.out))
        else:
            assert isinstance(actor.mu, nn.Linear)
            body = (*_layers(actor.latent_pi), _linear(actor.mu))
    else:
        assert isinstance(net, ActorCriticPolicy)
        assert isinstance(net.action_net, nn.Linear)
        body = (*_layers(net.mlp_extractor.policy_net), _linear(net.action_net))
    return Policy(
        kind="shared" if head else "mlp",
        squash="tanh" if isinstance(model, SAC) else "clip",
        body=body,
        head=head,
        rows=rows,
        host=host,
        contract=contract,
        provenance=facts or {},
    )


def _normalisers(vec: VecNormalize) -> tuple[Normaliser | None, Normaliser | None]:
    if not vec.norm_obs:
        return None, None
    stats: Any = vec.obs_rms
    if isinstance(stats, PooledMeanStd):
        parts = (stats.rows, stats.hosts)
        rows, host = (Normaliser(s.mean.copy(), s.var.copy(), vec.clip_obs, vec.epsilon) for s in parts)
        return rows, host
    return Normaliser(stats.mean.copy(), stats.var.copy(), vec.clip_obs, vec.epsilon), None


_NAMES: dict[type[nn.Module], str] = {nn.Tanh: "tanh", nn.ReLU: "relu"}


def _layers(modules: nn.Sequential | Sequence[nn.Module]) -> tuple[Layer, ...]:
    """Pairs of Linear and activation as runtime layers."""
    found: list[Layer] = []
    items = list(modules)
    for linear, activation in zip(items[::2], items[1::2], strict=True):
        assert isinstance(linear, nn.Linear)
        found.append(_linear(linear, _NAMES[type(activation)]))
    return tuple(found)


def _linear(layer: nn.Linear, activation: str = "none") -> Layer:
    return Layer(layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy(), activation)


def _provenance(run: Path, model: BaseAlgorithm, facts: dict[str, Any]) -> dict[str, Any]:
    experiment = experiment_of(run)
    weights = checkpoint.checkpoints(run)[-1].model_file.read_bytes()
    return {
        "experiment": json.loads(experiment.model_dump_json()),
        "digest": facts["experiment"],
        "seed": facts["seed"],
        "steps": model.num_timesteps,
        "scenarios": facts["scenarios"],
        "weights": facts["weights"],
        "model_sha256": hashlib.sha256(weights).hexdigest(),
        "trained": {key: facts[key] for key in ("zswap_gym", "commit", "packages", "when")},
        "exported": provenance(),
    }
