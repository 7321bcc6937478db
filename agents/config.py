"""An experiment is a YAML file: what is learned on, how long, and how a champion is chosen.

    name: mine
    scenarios: {train: [mixed-host], validation: [mixed-validation], evaluate: [mixed-test]}
    promise: {disk_reads_pct_min: 0.2}
    trainings: 2
    rounds: 40

Unknown keys are refused. Hyperparameters of PPO have the names of Stable-Baselines3.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from zswap_gym import lookup
from zswap_gym.agents.learning.prices import Prices
from zswap_gym.errors import UserError, nearest
from zswap_gym.policy.laws import make_law
from zswap_gym.policy.promise import Promise
from zswap_gym.yaml_file import read_yaml

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Rate = Annotated[float, Field(gt=0, le=1)]
LogStd = Annotated[float, Field(ge=-20, le=2)]
"""Beyond these e to its power is 0 or nothing to act on."""
Price = Annotated[float, Field(gt=0, le=1e6)]
SEED_MAX = 2**32 - 1
"""numpy's legacy generator, which SB3 seeds, takes no more."""
Seed = Annotated[int, Field(ge=0, le=SEED_MAX)]


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
    """Hyperparameters of stable_baselines3.PPO, by its own names; an environment is a cgroup."""

    learning_rate: Rate = 3e-4
    n_steps: Annotated[int, Field(gt=0, le=100_000)] = 120
    """Decisions per cgroup between two updates."""
    batch_size: Positive = 1500
    """At least; the nearest that divides a rollout."""
    n_epochs: Positive = 4
    gamma: Share = 0.995
    """Memory stays saved for hours: at 30 s a decision, 0.98 sees 25 minutes."""
    gae_lambda: Share = 0.95
    clip_range: Annotated[float, Field(gt=0)] = 0.2
    target_kl: Annotated[float, Field(gt=0)] | None = 0.03
    ent_coef: Annotated[float, Field(ge=0)] = 0.0
    vf_coef: Annotated[float, Field(ge=0)] = 0.5
    max_grad_norm: Annotated[float, Field(gt=0)] = 0.5
    log_std_init: LogStd = -1.5
    log_std_floor: LogStd = -2.3
    """Exploration does not die below this."""


class Network(_Strict):
    """Hidden layers of actor and critic."""

    hidden: Annotated[
        tuple[Annotated[int, Field(gt=0, le=4096)], ...], Field(min_length=1, max_length=16)
    ] = (64, 64)


class Pricing(_Strict):
    """What a cgroup pays; see learning/prices.py."""

    broken_low: Price = Prices.broken_low
    broken_high: Price = Prices.broken_high
    over: Annotated[float, Field(ge=0, le=1e6)] = Prices.over
    margin: Share = Prices.margin

    def as_prices(self) -> Prices:
        """As the learner takes it."""
        return Prices(**self.model_dump())


class Imitation(_Strict):
    """How a training begins; see learning/imitation.py."""

    teacher: str = "promise"
    """A law, with parameters in brackets if wanted."""
    rounds: Annotated[int, Field(ge=0, le=100)] = 1
    """Times the pupil drives while the teacher looks on, after the teacher has driven."""
    epochs: Annotated[int, Field(ge=0, le=10_000)] = 10
    """0: from random weights; the lessons give the normaliser alone."""

    @field_validator("teacher")
    @classmethod
    def _known_law(cls, value: str) -> str:
        make_law(value)
        return value


class Selection(_Strict):
    """How a champion is chosen; see learning/champion.py."""

    every: Positive = 4
    """Rounds between two candidates of a training."""
    seeds: Positive = 2
    """Draws on which each candidate is judged as it comes."""
    finalists: Positive = 3
    """Candidates, and rules, that are judged once more on ..."""
    final_seeds: Positive = 6
    """... so many others."""
    cautions: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.0, 0.15, 0.3)
    """Finalists take part so much more cautious than they learned to be."""
    test_seeds: Positive = 8
    """Draws of the last judgement, whose figures are told."""
    rules: tuple[str, ...] = ()
    """Rules beside the candidates; none = every tuned one."""


class Scenarios(_Strict):
    """Names or files."""

    train: Annotated[tuple[str, ...], Field(min_length=1)]
    validation: tuple[str, ...] = ()
    """Where candidates are judged too, on what no training saw; beside new draws of ``train``."""
    evaluate: tuple[str, ...] = ()
    """Where the champion and the best rule are judged last; none = new draws of ``train``."""


class Experiment(_Strict):
    """Everything a training run depends on, besides the code."""

    name: str
    description: str = ""
    scenarios: Scenarios
    promise: dict[str, float] = Field(default_factory=dict)
    """What is promised to each cgroup, by the names of policy.promise.Promise."""
    trainings: Annotated[int, Field(gt=0, le=1000)] = 2
    """With different seeds; a champion is chosen among all they come to."""
    rounds: Annotated[int, Field(ge=0, le=100_000)] = 40
    """Of each training; one is a pass of the longest episode on all hosts."""
    hosts: Annotated[int, Field(gt=0, le=1024)] = 4
    """Of each scenario, side by side."""
    draws: Annotated[int, Field(gt=0, le=100_000)] = 16
    """Instances of each scenario (sizes, devices, events) that are learned on."""
    network: Network = Network()
    imitation: Imitation = Imitation()
    ppo: Ppo = Ppo()
    prices: Pricing = Pricing()
    selection: Selection = Selection()
    seed: Seed = 1
    threads: Annotated[int, Field(gt=0, le=1024)] | None = None
    """Of a training's hosts; None = as many as there are cores. Results do not depend on it."""
    out: str | None = None
    """Folder of the results; None = runs/NAME."""

    @field_validator("promise")
    @classmethod
    def _possible_promise(cls, value: dict[str, float]) -> dict[str, float]:
        Promise.of(value, "promise")
        return value

    @property
    def folder(self) -> Path:
        """Where results go unless the caller says otherwise."""
        return Path(self.out) if self.out else Path("runs") / self.name

    def digest(self) -> str:
        """16 hex digits over all settings but name, description, out, threads and the seed."""
        settings = self.model_dump(mode="json", exclude={"name", "description", "out", "threads", "seed"})
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
        key = ".".join(str(part) for part in first["loc"])
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
