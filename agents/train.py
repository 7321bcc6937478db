"""Training: from an experiment to a folder with a model, its normaliser and how they came about.

RUN/experiment.yaml      every setting, defaults filled in
RUN/provenance.json      seed, digests of settings and scenarios, versions, command
RUN/checkpoints/STEP/    the last two; see checkpoint.py
RUN/episodes.csv         one line per training episode
RUN/tensorboard/         for `tensorboard --logdir`
RUN/result.json          written last: the run is complete
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from zswap_gym.agents import checkpoint
from zswap_gym.agents.callbacks import Bar, EpisodeLog, Saver, returns_by_env
from zswap_gym.agents.config import Experiment, Ppo, load_experiment
from zswap_gym.agents.networks import ACTIVATIONS, Layout, SharedActorCritic, SharedSacPolicy
from zswap_gym.agents.normalise import PooledNormalise
from zswap_gym.agents.provenance import provenance
from zswap_gym.agents.run_folder import experiment_of, facts_of, locked, read_record
from zswap_gym.agents.vecenv import FleetVecEnv
from zswap_gym.atomic import write_atomically
from zswap_gym.envs.spaces import H
from zswap_gym.envs.vector import WritebackVectorEnv
from zswap_gym.envs.warmstart import scenario_digest
from zswap_gym.envs.writeback import WritebackEnv
from zswap_gym.errors import UserError
from zswap_gym.policy.features import INDEX


@dataclass(frozen=True)
class RunResult:
    """What a training run came to."""

    run: str
    seed: int
    steps: int
    episodes: int
    return_first: float
    """Mean return of the first tenth of each environment's episodes, in the unit of the objective."""
    return_last: float
    """Of the last tenth."""
    seconds: float
    """Wall time of training, over all resumptions; what a kill lost and was learned again counts once."""
    steps_per_s: float
    """Of the last session, learning included."""


def train(
    config: Experiment | str | Path,
    out: str | Path,
    seed: int,
    *,
    resume: bool = False,
    progress: bool = True,
) -> RunResult:
    """Train one policy with one seed into folder ``out``.

    Args:
        config: an experiment, its file, or its name.
        out: the run's folder.
        seed: of weights, exploration and episodes.
        resume: go on from the last checkpoint in ``out``; a finished run is returned as it is.
        progress: draw a bar on stderr.

    Raises:
        UserError: ``out`` holds another run, another training writes there, or it cannot be written.
    """
    experiment = config if isinstance(config, Experiment) else load_experiment(config)
    torch.set_num_threads(1)  # these networks are too small to share: two threads halve the speed
    with locked(Path(out)):
        return _train(experiment, Path(out), seed, resume=resume, progress=progress)


def _train(experiment: Experiment, run: Path, seed: int, *, resume: bool, progress: bool) -> RunResult:
    found = checkpoint.checkpoints(run)
    if found or (run / "experiment.yaml").exists():
        if not resume:
            raise UserError(f"{run}: holds a run already; resume it (--resume) or name another folder")
        _same_run(run, experiment, seed)
        if (run / "result.json").exists():
            return _read_result(run)
        checkpoint.sweep(run)
    started = time.perf_counter()
    if found:
        model, vec, before = _resumed(experiment, found[-1])
    else:
        (model, vec), before = _fresh(experiment, seed), 0.0
        _describe(run, experiment, seed, vec)

    def clock() -> float:
        return before + time.perf_counter() - started

    done = model.num_timesteps
    log = EpisodeLog(run / "episodes.csv", after=done, some=bool(model.ep_info_buffer))
    model.set_logger(configure(str(run / "tensorboard"), ["tensorboard"]))
    callbacks: list[BaseCallback] = [Saver(run, vec, experiment.checkpoint_every, clock), log]
    bar = Bar(experiment.total_steps, f"{experiment.name} seed {seed}", quiet=not progress)
    with bar, _diverging(run, model):
        model.learn(
            max(experiment.total_steps - done, 0),
            callback=[*callbacks, bar],
            reset_num_timesteps=not found,
            log_interval=_log_interval(experiment),
        )
    seconds = clock()
    checkpoint.save(run, model, vec, seconds)
    result = _result(run, seed, model, seconds, (model.num_timesteps - done) / (seconds - before))
    write_atomically(run / "result.json", json.dumps(asdict(result), indent=1))
    vec.close()
    return result


def make_fleet(experiment: Experiment, scenario: str, n_max: int | None, size: int) -> WritebackVectorEnv:
    """``size`` environments of one training scenario."""
    options = experiment.env
    return WritebackVectorEnv(
        size,
        scenario,
        n_max=n_max,
        release=options.release,
        objective=options.objective,
        promise=options.promise,
        penalty=options.penalty,
        reward=options.reward,
        episode_s=options.episode_s,
        snapshots=options.snapshots,
        action=options.action,
        threads=experiment.threads,
    )


def make_vec_env(experiment: Experiment) -> FleetVecEnv:
    """All environments of an experiment, spread over the scenarios, padded to the same number of rows."""
    names = experiment.scenarios.train
    probes = [make_fleet(experiment, name, None, 1).one for name in names]
    for probe in probes[1:]:
        if probe.interval_s != probes[0].interval_s:
            raise UserError(
                f"scenarios.train: {probe.scenario.name} decides every {probe.interval_s:g} s, "
                f"{probes[0].scenario.name} every {probes[0].interval_s:g} s; a policy has one interval"
            )
    n_max = experiment.env.n_max or max(probe.n_max for probe in probes)
    n = experiment.n_envs
    sizes = [len(range(i, n, len(names))) for i in range(min(n, len(names)))]
    return FleetVecEnv(
        [make_fleet(experiment, name, n_max, size) for name, size in zip(names[:n], sizes, strict=True)],
        threads=experiment.threads,
    )


def layout_of(env: WritebackEnv) -> Layout:
    """How the environment's observations are cut."""
    return Layout(env.n_max, len(env.features), H, INDEX["present"])


def normalised(experiment: Experiment, venv: VecEnv, layout: Layout) -> VecNormalize:
    """The normaliser the experiment asks for around ``venv``."""
    options, gamma = experiment.normalise, experiment.algorithm.gamma
    if experiment.policy == "shared":
        return PooledNormalise(
            venv,
            layout,
            norm_obs=options.observations,
            norm_reward=options.reward,
            clip_obs=options.clip,
            gamma=gamma,
        )
    return VecNormalize(
        venv, norm_obs=options.observations, norm_reward=options.reward, clip_obs=options.clip, gamma=gamma
    )


def make_model(
    experiment: Experiment, vec: VecEnv, layout: Layout, seed: int, present: float
) -> BaseAlgorithm:
    """A new model. ``present`` is the mean number of cgroups: SAC's target entropy is per action in use."""
    settings = experiment.algorithm.model_dump(exclude={"name", "log_std_init"})
    network = experiment.network
    kwargs: dict[str, Any] = {
        "activation_fn": ACTIVATIONS[network.activation],
        "log_std_init": experiment.algorithm.log_std_init,
    }
    shared = experiment.policy == "shared"
    if shared:
        kwargs |= {"layout": layout, "hidden": network.hidden}
    elif isinstance(experiment.algorithm, Ppo):
        kwargs["net_arch"] = {"pi": list(network.hidden), "vf": list(network.hidden)}
    else:
        kwargs["net_arch"] = list(network.hidden)
    common = {"policy_kwargs": kwargs, "seed": seed, "device": "cpu", **settings}
    if isinstance(experiment.algorithm, Ppo):
        return PPO(SharedActorCritic if shared else "MlpPolicy", vec, **common)
    target = -2.0 * present if shared else "auto"
    return SAC(SharedSacPolicy if shared else "MlpPolicy", vec, target_entropy=target, **common)


# --- starting and going on ------------------------------------------------------------------------


def _fresh(experiment: Experiment, seed: int) -> tuple[BaseAlgorithm, VecNormalize]:
    venv = make_vec_env(experiment)
    layout = layout_of(venv.ones[0])
    vec = normalised(experiment, venv, layout)
    present = float(np.mean([_rows(env) for env in venv.ones]))
    model = make_model(experiment, vec, layout, seed, present)
    venv.seed(seed * 1000)  # far enough apart that two runs share no first episode
    return model, vec


@contextmanager
def _diverging(run: Path, model: BaseAlgorithm) -> Iterator[None]:
    """Around learning: torch refuses to draw from a policy of NaN, which is the settings' fault."""
    try:
        yield
    except ValueError as error:
        if all(bool(weights.isfinite().all()) for weights in model.policy.parameters()):
            raise
        raise UserError(
            f"{run}: diverged: after {model.num_timesteps} steps the weights are no longer numbers; "
            "lower algorithm.learning_rate or the weights of env.reward, and train into another folder"
        ) from error


def _rows(env: WritebackEnv) -> int:
    return sum(cgroup.workload is not None for cgroup in env.scenario.cgroups)


def _resumed(
    experiment: Experiment, last: checkpoint.Checkpoint
) -> tuple[BaseAlgorithm, VecNormalize, float]:
    """Model and normaliser as they were, and the seconds of training until then."""
    state = last.state()
    vec = last.normaliser()
    vec.set_venv(state["venv"])
    kind = PPO if isinstance(experiment.algorithm, Ppo) else SAC
    model = last.model(kind, env=vec, force_reset=False)
    checkpoint.restore(model, vec, state)
    return model, vec, state.get("seconds", 0.0)  # checkpoints of old have none


def _same_run(run: Path, experiment: Experiment, seed: int) -> None:
    before, facts = experiment_of(run), facts_of(run)
    if before.digest() != experiment.digest():
        raise UserError(
            f"{run}: was started with other settings (see experiment.yaml there); name another folder"
        )
    if facts["seed"] != seed:
        raise UserError(f"{run}: was started with seed {facts['seed']}, not {seed}; name another folder")


def _read_result(run: Path) -> RunResult:
    names = [f.name for f in fields(RunResult)]
    found = read_record(run / "result.json", names, "remove it and resume again: it is written anew")
    return RunResult(**{name: found[name] for name in names})


def _describe(run: Path, experiment: Experiment, seed: int, vec: VecNormalize) -> None:
    """Write what the run is before it starts. experiment.yaml last: its presence means there is a run."""
    assert isinstance(vec.venv, FleetVecEnv)
    env, *_ = vec.venv.ones
    scenarios = {one.scenario.name: scenario_digest(one.scenario) for one in vec.venv.ones}
    facts = {
        "seed": seed,
        "experiment": experiment.digest(),
        "scenarios": scenarios,
        "contract": env.contract.to_dict(),
        "weights": env.weights.as_dict(),
        **provenance(),
    }
    write_atomically(run / "provenance.json", json.dumps(facts, indent=1))
    write_atomically(run / "experiment.yaml", experiment.to_yaml())


def _log_interval(experiment: Experiment) -> int:
    """Of SB3: PPO counts updates, SAC counts episodes."""
    return 1 if isinstance(experiment.algorithm, Ppo) else experiment.n_envs


def _result(run: Path, seed: int, model: BaseAlgorithm, seconds: float, rate: float) -> RunResult:
    """Returns are averaged within each environment first: scenarios differ in scale and length."""
    by_env = returns_by_env(run / "episodes.csv")
    tenth = {env: max(1, len(values) // 10) for env, values in by_env.items()}
    first = [np.mean(values[: tenth[env]]) for env, values in by_env.items()]
    last = [np.mean(values[-tenth[env] :]) for env, values in by_env.items()]
    return RunResult(
        run=str(run),
        seed=seed,
        steps=model.num_timesteps,
        episodes=sum(map(len, by_env.values())),
        return_first=float(np.mean(first)) if first else float("nan"),
        return_last=float(np.mean(last)) if last else float("nan"),
        seconds=seconds,
        steps_per_s=rate,
    )
