"""One training: a start by imitation, then rounds of PPO, each of which restarts every host.

A round depends on the weights it begins with, the experiment, the training's seed and the round's number, on
nothing else, so a training can be cut anywhere between two rounds, go on in another process or on another
machine, and end with the same weights. What is carried from one to the next is a state of a few hundred
kilobytes that holds tensors and numbers: reading it runs no code.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import set_random_seed

from zswap_gym.agents.config import Experiment
from zswap_gym.agents.learning.export import to_policy
from zswap_gym.agents.learning.imitation import Lessons, fit, lessons
from zswap_gym.agents.learning.network import RowPolicy
from zswap_gym.agents.learning.rows_env import RowVecEnv
from zswap_gym.errors import UserError
from zswap_gym.policy.promise import Promise
from zswap_gym.policy.runtime import Policy
from zswap_gym.workloads.scenario import load_scenario


@dataclass(frozen=True)
class Stage:
    """Where a training stands after some rounds."""

    rounds: int
    """Done so far; 0 = imitation alone."""
    seconds: float
    """Wall time of these rounds."""
    state: bytes
    """To go on from."""
    policy: Policy
    """What it has learned."""
    decisions: int
    """Decisions of single cgroups it has learned from since imitation."""


def advance(experiment: Experiment, seed: int, state: bytes | None, rounds: int) -> Stage:
    """Go on with a training for so many rounds; a new one (``state`` None) begins by imitation.

    Raises:
        UserError: the weights are no longer numbers.
    """
    torch.set_num_threads(1)  # these networks are too small to share: two threads halve the speed
    began = time.perf_counter()
    env = _env(experiment)
    model = _model(experiment, env)
    done = decisions = 0
    if state is None:
        set_random_seed(_seed(seed, 0))
        model.policy = network = _network(model)  # weights of this seed
        _imitate(experiment, env, network, seed)
    else:
        done, decisions = _restore(model, state)
    for _ in range(rounds):
        done += 1
        decisions += _round(experiment, model, env, seed, done)
    return Stage(
        done, time.perf_counter() - began, _state(model, done, decisions),
        to_policy(_row_policy(model), experiment), decisions,
    )  # fmt: skip


def _env(experiment: Experiment) -> RowVecEnv:
    return RowVecEnv(
        [load_scenario(name) for name in experiment.scenarios.train],
        experiment.hosts,
        range(experiment.draws),
        promise=Promise.of(experiment.promise),
        prices=experiment.prices.as_prices(),
        threads=experiment.threads,
    )


def _model(experiment: Experiment, env: RowVecEnv) -> PPO:
    settings = experiment.ppo.model_dump(exclude={"log_std_init", "log_std_floor", "batch_size"})
    settings["batch_size"] = _batch(env.num_envs, experiment.ppo.n_steps, experiment.ppo.batch_size)
    network = {"hidden": experiment.network.hidden, "log_std_init": experiment.ppo.log_std_init}
    return PPO(RowPolicy, env, policy_kwargs=network, device="cpu", **settings)


def _batch(rows: int, steps: int, wanted: int) -> int:
    """The batch nearest above ``wanted`` that divides a rollout: a remainder of a few samples is noise."""
    many = max(d for d in range(1, steps + 1) if steps % d == 0 and (d == 1 or rows * steps // d >= wanted))
    return rows * steps // many


def _network(model: PPO) -> RowPolicy:
    """A policy like the model's with weights of its own, drawn anew."""
    return RowPolicy(model.observation_space, model.action_space, model.lr_schedule, **model.policy_kwargs)


def _row_policy(model: PPO) -> RowPolicy:
    assert isinstance(model.policy, RowPolicy)
    return model.policy


def _imitate(experiment: Experiment, env: RowVecEnv, policy: RowPolicy, seed: int) -> None:
    """Fit the policy to the teacher: on what the teacher does, then on what the policy makes of it."""
    options = experiment.imitation
    random = np.random.default_rng([seed, 0])
    teacher = options.teacher
    given: list[Lessons] = []
    for turn in range(1 + options.rounds):
        pupil = policy if turn else None
        for group in env.groups:
            draws = random.choice(env.draws, group.fleet.size).tolist()
            given.append(lessons(group, draws, teacher, pupil))
        every = Lessons.join(given)
        if not turn:
            policy.standardise.fit(every.seen)
        fit(policy, every, options.epochs)


def _round(experiment: Experiment, model: PPO, env: RowVecEnv, seed: int, number: int) -> int:
    """One pass of the longest episode; returns the decisions in it."""
    set_random_seed(_seed(seed, number))
    env.restart(np.random.default_rng([seed, number]))
    model._last_obs = None  # noqa: SLF001 - SB3's way to be asked for a reset
    steps = experiment.ppo.n_steps * max(1, round(env.longest / experiment.ppo.n_steps))
    try:
        model.learn(
            steps * env.num_envs,
            callback=_KeepExploring(experiment.ppo.log_std_floor),
            reset_num_timesteps=False,
            log_interval=None,  # type: ignore[arg-type] # SB3's own sign for never
        )
    except ValueError:  # torch draws no noise around what is no number
        if _finite(model):
            raise
    if not _finite(model):
        raise UserError(
            f"training with seed {seed} diverged in round {number}: its weights are no longer numbers; lower "
            "ppo.learning_rate or the prices"
        )
    return steps * env.num_envs


def _finite(model: PPO) -> bool:
    return all(bool(weights.isfinite().all()) for weights in model.policy.parameters())


class _KeepExploring(BaseCallback):
    """Exploration has a floor: without it nothing new is tried after a few rounds."""

    def __init__(self, floor: float) -> None:
        super().__init__()
        self._floor = floor

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        assert isinstance(self.model, PPO)
        _row_policy(self.model).keep_exploring(self._floor)


def _seed(seed: int, number: int) -> int:
    """Of the generators of SB3, numpy and torch in a round."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _state(model: PPO, done: int, decisions: int) -> bytes:
    buffer = io.BytesIO()
    torch.save(
        {
            "weights": model.policy.state_dict(),
            "optimiser": model.policy.optimizer.state_dict(),
            "rounds": done,
            "decisions": decisions,
        },
        buffer,
    )
    return buffer.getvalue()


def _restore(model: PPO, state: bytes) -> tuple[int, int]:
    """Put a state into a model; rounds and decisions done by then."""
    found = _read(state)
    model.policy.load_state_dict(found["weights"])
    model.policy.optimizer.load_state_dict(found["optimiser"])
    return int(found["rounds"]), int(found["decisions"])


def rounds_done(state: bytes) -> int:
    """Rounds behind a state. ValueError where it is damaged."""
    return int(_read(state)["rounds"])


def _read(state: bytes) -> dict[str, Any]:
    try:
        found = torch.load(io.BytesIO(state), weights_only=True)
        return {key: found[key] for key in ("weights", "optimiser", "rounds", "decisions")}
    except Exception as error:  # torch raises whatever its parser stumbles over
        raise ValueError("damaged, or no state of a training") from error
