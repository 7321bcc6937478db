"""An experiment is a YAML file: algorithm, network, scenarios, seeds, steps. Unknown keys are refused.

    name: demo
    algorithm: {name: ppo, n_steps: 128}
    policy: shared
    scenarios: {train: [demo], evaluate: [demo-test]}
    seeds: [1]
    n_envs: 8
    total_steps: 60_000

Names of hyperparameters are those of Stable-Baselines3.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from zswap_gym import lookup
from zswap_gym.envs.arguments import action_spec
from zswap_gym.envs.objective import PENALTY, objective_named, penalty_of
from zswap_gym.envs.reward import RewardWeights
from zswap_gym.errors import UserError, nearest
from zswap_gym.policy.promise import Promise
from zswap_gym.yaml_file import read_yaml

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Rate = Annotated[float, Field(gt=0, le=1)]
LogStd = Annotated[float, Field(ge=-20, le=2)]
"""Within the bounds SB3 keeps SAC's to; beyond them e to its power is 0 or nothing to act on."""
SEED_MAX = 2**32 - 1
"""numpy's legacy generator, which SB3 seeds, takes no more."""
Seed = Annotated[int, Field(ge=0, le=SEED_MAX)]
WEIGHT_MAX = 1e6
"""Of the reward, absolute: far beyond any price, and far from where single precision ends."""


class _Strict(BaseModel):
    """Frozen, and an unknown key is a mistake that names its nearest neighbour."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _only_known_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for key in data:
                if key not in cls.model_fields:
                    raise UserError(f"unknown key {key!r}{nearest(str(key), cls.model_fields)}")
        return data


class Ppo(_Strict):
    """Hyperparameters of stable_baselines3.PPO, by its own names."""

    name: Literal["ppo"] = "ppo"
    learning_rate: Rate = 3e-4
    n_steps: Annotated[int, Field(gt=0, le=100_000)] = 128
    """Decisions per environment between two updates."""
    batch_size: Positive = 256
    n_epochs: Positive = 8
    gamma: Share = 0.99
    gae_lambda: Share = 0.95
    clip_range: Annotated[float, Field(gt=0)] = 0.2
    ent_coef: Annotated[float, Field(ge=0)] = 0.0
    vf_coef: Annotated[float, Field(ge=0)] = 0.5
    max_grad_norm: Annotated[float, Field(gt=0)] = 0.5
    log_std_init: LogStd = -0.5


class Sac(_Strict):
    """Hyperparameters of stable_baselines3.SAC, by its own names."""

    name: Literal["sac"] = "sac"
    learning_rate: Rate = 3e-4
    buffer_size: Annotated[int, Field(gt=0, le=10_000_000)] = 50_000
    learning_starts: Annotated[int, Field(ge=0)] = 1_000
    batch_size: Positive = 256
    tau: Annotated[float, Field(gt=0, le=1)] = 0.005
    gamma: Share = 0.99
    train_freq: Positive = 1
    gradient_steps: Positive = 1
    log_std_init: LogStd = -1.0


class Network(_Strict):
    """Size of the networks; the shared policy uses it for the encoder of a cgroup and for the heads."""

    hidden: Annotated[
        tuple[Annotated[int, Field(gt=0, le=4096)], ...], Field(min_length=1, max_length=16)
    ] = (64, 64)
    activation: Literal["tanh", "relu"] = "tanh"


class Normalise(_Strict):
    """Running normalisation of what the learner sees."""

    observations: bool = True
    """Pooled per feature over present cgroups for the shared policy, per element for the mlp."""
    reward: bool = True
    """Divide by the running standard deviation of the discounted return."""
    clip: Annotated[float, Field(gt=0)] = 10.0
    """Bound of a normalised feature."""


class EnvOptions(_Strict):
    """Arguments of WritebackEnv that are the same for every scenario of the experiment."""

    n_max: Positive | None = None
    """Rows of the observation; None takes the largest scenario's."""
    release: bool | None = None
    """Whether a writeback is followed by a release; None = as the scenario says."""
    episode_s: Annotated[float, Field(gt=0)] | None = None
    snapshots: Annotated[int, Field(ge=0)] | None = None
    """Warm starts drawn per training scenario; None takes the scenario's own number."""
    objective: str = "promise"
    """What is rewarded: ``promise`` or ``bill``."""
    promise: dict[str, float] = Field(default_factory=dict)
    """What is promised to each cgroup, by the names of policy.promise.Promise."""
    penalty: float = PENALTY
    """Points of memory saved that a clause broken twice over costs."""
    reward: dict[str, float] = Field(default_factory=dict)
    """Prices of the bill."""
    action: dict[str, float] = Field(default_factory=dict)
    """Bounds of what an action can mean, by the names of policy.actions.ActionSpec."""

    @field_validator("action")
    @classmethod
    def _known_bounds(cls, value: dict[str, float]) -> dict[str, float]:
        action_spec(value, "env.action")
        return value

    @field_validator("objective")
    @classmethod
    def _known_objective(cls, value: str) -> str:
        return objective_named(value, "env.objective")

    @field_validator("promise")
    @classmethod
    def _possible_promise(cls, value: dict[str, float]) -> dict[str, float]:
        Promise.of(value, "env.promise")
        return value

    @field_validator("penalty")
    @classmethod
    def _possible_penalty(cls, value: float) -> float:
        return penalty_of(value, "env.penalty")

    @field_validator("reward")
    @classmethod
    def _known_terms(cls, value: dict[str, float]) -> dict[str, float]:
        RewardWeights.of(value, "env.reward")
        for term, weight in value.items():
            if abs(weight) > WEIGHT_MAX:
                raise UserError(f"env.reward: {term} = {weight:g}; give a number within {WEIGHT_MAX:g} of 0")
        return value


class Scenarios(_Strict):
    """Names or files. What is in ``train`` is spread evenly over the environments."""

    train: Annotated[tuple[str, ...], Field(min_length=1)]
    evaluate: tuple[str, ...] = ()


class Experiment(_Strict):
    """Everything a training run depends on, besides the code."""

    name: str
    description: str = ""
    algorithm: Annotated[Ppo | Sac, Field(discriminator="name")]
    policy: Literal["shared", "mlp"] = "shared"
    network: Network = Network()
    scenarios: Scenarios
    env: EnvOptions = EnvOptions()
    normalise: Normalise = Normalise()
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (1,)
    n_envs: Annotated[int, Field(gt=0, le=1024)] = 8
    threads: Annotated[int, Field(gt=0, le=1024)] | None = None
    """To advance the environments on; None = as many as there are cores. Results do not depend on it."""
    total_steps: Positive
    checkpoint_every: Positive = 10_000
    """Steps between checkpoints, rounded up to the algorithm's own rhythm."""
    out: str | None = None
    """Folder of the results; None = runs/NAME."""

    @field_validator("algorithm", mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        """``algorithm: ppo`` means its defaults."""
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _batches_fit(self) -> Experiment:
        if isinstance(self.algorithm, Ppo):
            rollout = self.algorithm.n_steps * self.n_envs
            if rollout % self.algorithm.batch_size:
                raise UserError(
                    f"algorithm: batch_size = {self.algorithm.batch_size} does not divide "
                    f"n_steps x n_envs = {rollout}; choose a divisor"
                )
        return self

    @property
    def folder(self) -> Path:
        """Where results go unless the caller says otherwise."""
        return Path(self.out) if self.out else Path("runs") / self.name

    def digest(self) -> str:
        """16 hex digits over all settings but name, description, out, threads and the choice of seeds."""
        settings = self.model_dump(mode="json", exclude={"name", "description", "out", "threads", "seeds"})
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

    def to_yaml(self) -> str:
        """The resolved experiment, every default filled in."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def experiment_names() -> list[str]:
    """Names that :func:`load_experiment` finds without a path."""
    return lookup.names("experiments")


def load_experiment(name: str | Path) -> Experiment:
    """The experiment in a YAML file, or of that name: see :mod:`zswap_gym.lookup`.

    Raises :class:`UserError` in one line: file, key, value, what to do.
    """
    path = _find(str(name))
    return parse_experiment(read_yaml(path), str(path))


def parse_experiment(data: Mapping[str, Any], where: str) -> Experiment:
    """Validate ``data``; ``where`` names its source in errors."""
    try:
        return Experiment.model_validate(dict(data))
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if part not in ("ppo", "sac"))
        given = "" if first["type"] == "missing" else f" = {first['input']!r}"
        raise UserError(f"{where}: {key}{given}: {first['msg'][0].lower() + first['msg'][1:]}") from error


def _find(name: str) -> Path:
    if (path := lookup.find(name, "experiments")) is not None:
        return path
    if "/" not in name and not name.endswith((".yaml", ".yml")):
        known = experiment_names()
        raise UserError(
            f"no experiment {name!r}{nearest(name, known)}; "
            f"give a YAML file or one of: {', '.join(known) or '(none)'}"
        )
    raise UserError(
        f"{name}: no such file; give the YAML file of an experiment, or a name in configs/experiments"
    )
