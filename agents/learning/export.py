"""From the network that learned to a policy that needs numpy and nothing else.

It holds what decides: normaliser, actor, and the clipping of its action. Critic, optimiser and noise stay
behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from zswap_gym.agents.config import Experiment
from zswap_gym.agents.learning.network import CLIP, EPSILON, RowPolicy
from zswap_gym.envs.warmstart import scenario_digest
from zswap_gym.policy.contract import Contract
from zswap_gym.policy.promise import Promise
from zswap_gym.policy.runtime import Layer, Normaliser, Policy
from zswap_gym.workloads.scenario import load_scenario


def contract_of(experiment: Experiment) -> Contract:
    """What a policy of the experiment assumes: decisions as often as the first scenario takes them."""
    first = load_scenario(experiment.scenarios.train[0])
    return Contract(
        decision_interval_s=first.episode.decision_interval, promise=Promise.of(experiment.promise)
    )


def to_policy(network: RowPolicy, experiment: Experiment) -> Policy:
    """The numpy twin of a network."""
    scale = network.standardise
    mean, var = (part.double().numpy().copy() for part in (scale.mean, scale.var))
    return Policy(
        layers=(*_hidden(network.actor), _dense(network.action_net)),
        scale=Normaliser(mean, var, CLIP, EPSILON),
        contract=contract_of(experiment),
        provenance=_provenance(experiment),
    )


def _provenance(experiment: Experiment) -> dict[str, Any]:
    scenarios = [load_scenario(name) for name in experiment.scenarios.train]
    return {
        "experiment": experiment.model_dump(mode="json"),
        "digest": experiment.digest(),
        "scenarios": {s.name: scenario_digest(s) for s in scenarios},
    }


def _hidden(body: nn.Sequential) -> Iterator[Layer]:
    """Triples of Linear, LayerNorm and tanh as runtime layers."""
    modules = list(body)
    for linear, norm in zip(modules[::3], modules[1::3], strict=True):
        yield replace(_dense(linear), activation="tanh", norm=(_array(norm.weight), _array(norm.bias)))


def _dense(linear: Any) -> Layer:
    return Layer(_array(linear.weight), _array(linear.bias))


def _array(part: Any) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = part.detach().numpy().copy()
    return array
