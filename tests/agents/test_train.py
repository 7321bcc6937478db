"""Training ends where it should, whatever interrupts it, and leaves nothing half-written."""

from __future__ import annotations

import csv
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv

from zswap_gym.agents import checkpoint
from zswap_gym.agents.callbacks import read_episodes
from zswap_gym.agents.config import SEED_MAX, Experiment, load_experiment, parse_experiment
from zswap_gym.agents.export import load_run
from zswap_gym.agents.networks import Layout
from zswap_gym.agents.run_folder import locked
from zswap_gym.agents.train import make_model, normalised, train
from zswap_gym.errors import UserError
from zswap_gym.policy.actions import PER_CGROUP

ROOT = Path(__file__).parents[2]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_run(run)[0].policy.state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_leaves_everything_that_is_needed_later(make_experiment, tmp_path: Path) -> None:
    experiment = make_experiment()
    run = tmp_path / "deep" / "run"
    result = train(experiment, run, 3, progress=False)
    assert (result.seed, result.steps, result.run) == (3, 128, str(run))
    assert result.episodes == len(read_episodes(run / "episodes.csv")) == 16
    assert sorted(path.name for path in run.iterdir()) == [
        "checkpoints", "episodes.csv", "experiment.yaml", "provenance.json", "result.json", "tensorboard",
    ]  # fmt: skip
    assert [c.step for c in checkpoint.checkpoints(run)] == [96, 128]
    assert load_experiment(run / "experiment.yaml") == experiment
    facts = json.loads((run / "provenance.json").read_text())
    assert (facts["seed"], facts["experiment"]) == (3, experiment.digest())
    assert set(facts["scenarios"]) == {"tiny"}
    assert facts["packages"]["torch"]
    assert list((run / "tensorboard").glob("events*"))
    with (run / "episodes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["return"]) != 0.0 and row["length"] == "8" for row in rows)


def test_the_same_seed_gives_the_same_weights(make_experiment, tmp_path: Path) -> None:
    runs = [
        train(make_experiment(), tmp_path / str(i), seed, progress=False) for i, seed in enumerate((1, 1, 2))
    ]
    a, b, c = (weights(Path(run.run)) for run in runs)
    assert same(a, b)
    assert not same(a, c)


_KILLED = """
import os, signal, sys
from pathlib import Path
from zswap_gym.agents import callbacks
from zswap_gym.agents.config import load_experiment
from zswap_gym.agents.train import train

def die(self):
    if self.num_timesteps >= int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return True

callbacks.Saver._on_step = die
train(load_experiment(sys.argv[1]), sys.argv[2], 5, progress=False)
"""


@pytest.mark.parametrize(
    ("algorithm", "policy"),
    [("ppo", "shared"), ("ppo", "mlp"), ("sac", "shared")],
    ids="{0[0]}-{0[1]}".format,
)
def test_a_killed_run_ends_bit_equal_to_one_that_was_not(
    algorithm, policy, make_experiment, tmp_path: Path
) -> None:
    experiment = make_experiment(algorithm, policy)
    file = tmp_path / "experiment.yaml"
    file.write_text(experiment.to_yaml())
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(experiment, whole, 5, progress=False)
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(file), str(cut), "78"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -9, done.stderr
    assert not (cut / "result.json").exists()
    assert [c.step for c in checkpoint.checkpoints(cut)][-1] == 64  # killed in the middle of a rollout
    lines = (cut / "episodes.csv").read_text()
    (cut / "checkpoints" / ".new-left").mkdir()
    result = train(experiment, cut, 5, resume=True, progress=False)
    assert result.steps == 128
    assert same(weights(whole), weights(cut))
    assert (whole / "episodes.csv").read_text() == (cut / "episodes.csv").read_text()
    assert len(lines.splitlines()) > 1
    assert [path.name for path in (cut / "checkpoints").iterdir() if path.name.startswith(".")] == []
    # and a finished run is simply returned
    assert train(experiment, cut, 5, resume=True, progress=False) == result


def test_resuming_without_a_checkpoint_starts_at_the_beginning(make_experiment, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(make_experiment(), run, 1, resume=True, progress=False).steps == 128


def test_a_run_is_not_overwritten_or_mixed_up(make_experiment, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(make_experiment(), run, 1, progress=False)
    with pytest.raises(UserError, match="holds a run already; resume it"):
        train(make_experiment(), run, 1, progress=False)
    with pytest.raises(UserError, match="was started with seed 1, not 2"):
        train(make_experiment(), run, 2, resume=True, progress=False)
    with pytest.raises(UserError, match="was started with other settings"):
        train(make_experiment(n_envs=4), run, 1, resume=True, progress=False)


def test_a_place_that_cannot_be_written_costs_no_training(make_experiment, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        train(make_experiment(), tmp_path / "file" / "run", 1, progress=False)
    assert (tmp_path / "file").read_text() == ""


_HOLDS = """
import sys, time
from pathlib import Path
from zswap_gym.agents.run_folder import locked

with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


def test_a_second_training_into_the_folder_is_refused_until_the_first_is_gone(
    make_experiment, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    first = subprocess.Popen([sys.executable, "-c", _HOLDS, str(run)], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == b"locked\n"
        for resume in (False, True):
            with pytest.raises(UserError, match="run: another training is writing there"):
                train(make_experiment(), run, 1, resume=resume, progress=False)
    finally:
        first.kill()
        first.communicate()
    assert list(run.iterdir()) == []
    with locked(run):
        pass


def test_a_lock_leaves_no_folder_it_made_for_nothing(tmp_path: Path) -> None:
    with locked(tmp_path / "deep" / "run"):
        assert (tmp_path / "deep" / "run").is_dir()
    assert list(tmp_path.iterdir()) == []


DAMAGED = [
    ("checkpoints/000000128/state.pkl", b"hello, this is no pickle\n", "remove this checkpoint"),
    ("checkpoints/000000128/state.pkl", b"N.", "holds NoneType, not dict.* remove this checkpoint"),
    ("checkpoints/000000128/normaliser.pkl", b"", "remove this checkpoint"),
    ("checkpoints/000000128/model.zip", None, "remove this checkpoint"),
    ("checkpoints/000000128/model.zip", b"", "remove this checkpoint"),
    ("checkpoints/000000128/model.zip", b"PK\x03\x04 and so on", "remove this checkpoint"),
    ("provenance.json", None, "train into another folder"),
    ("provenance.json", b"", "train into another folder"),
    ("provenance.json", b"{}", "lacks seed, .*; .* train into another folder"),
    ("experiment.yaml", None, "no such file.* train into another folder"),
    ("experiment.yaml", b"", "holds nothing.* train into another folder"),
    ("experiment.yaml", b"name: \xff", "train into another folder"),
    ("episodes.csv", b"", "has none of the episodes up to step 128; .* remove it to go on without"),
    ("episodes.csv", b"step,env,return,length\nx,0,-1.0,8\n", "remove it to go on without"),
]
"""File, what it is now (None: missing), what is said."""


def test_the_seconds_of_a_training_are_those_of_all_its_sessions(make_experiment, tmp_path: Path) -> None:
    experiment, run = make_experiment(), tmp_path / "run"
    train(experiment, run, 1, progress=False)
    (run / "result.json").unlink()
    file = checkpoint.checkpoints(run)[-1].path / "state.pkl"
    file.write_bytes(pickle.dumps(pickle.loads(file.read_bytes()) | {"seconds": 1000.0}))
    assert 1000 < train(experiment, run, 1, resume=True, progress=False).seconds < 1100


def test_a_damaged_file_of_a_run_is_one_line_that_says_what_to_do(make_experiment, tmp_path: Path) -> None:
    experiment, run = make_experiment(total_steps=128), tmp_path / "run"
    train(experiment, run, 1, progress=False)
    (run / "result.json").write_text("{")
    with pytest.raises(UserError, match=r"result\.json: cannot be read .*; remove it and resume"):
        train(experiment, run, 1, resume=True, progress=False)
    (run / "result.json").unlink()
    for name, now, words in DAMAGED:
        whole = (run / name).read_bytes()
        (run / name).unlink()
        if now is not None:
            (run / name).write_bytes(now)
        with pytest.raises(UserError, match=words) as caught:
            train(experiment, run, 1, resume=True, progress=False)
        assert str(caught.value).startswith(str(run / name))
        assert "\n" not in str(caught.value)
        if name not in ("episodes.csv", "checkpoints/000000128/state.pkl"):  # of which an export has no need
            with pytest.raises(UserError, match=words if now is not None else name):
                load_run(run)
        (run / name).write_bytes(whole)
    broken = checkpoint.checkpoints(run)[-1].path / "state.pkl"
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(UserError, match=r"state\.pkl: cannot be read .* remove this checkpoint"):
        train(experiment, run, 1, resume=True, progress=False)
    shutil.rmtree(broken.parent)
    (run / "episodes.csv").unlink()
    assert train(experiment, run, 1, resume=True, progress=False).episodes == 4  # of the last 32 steps


def test_the_largest_seed_trains(make_experiment, tmp_path: Path) -> None:
    experiment = make_experiment(total_steps=32, seeds=[SEED_MAX])
    assert train(experiment, tmp_path / "run", experiment.seeds[0], progress=False).seed == SEED_MAX


def test_a_training_that_diverges_is_one_line(make_experiment, tmp_path: Path) -> None:
    experiment = make_experiment()
    algorithm = experiment.algorithm.model_copy(update={"learning_rate": float("inf")})  # unchecked
    with pytest.raises(UserError, match=r"run: diverged: after .* steps .* lower algorithm\.learning_rate"):
        train(experiment.model_copy(update={"algorithm": algorithm}), tmp_path / "run", 1, progress=False)


def test_scenarios_are_spread_over_the_environments_and_padded(
    make_experiment, tiny: str, tmp_path: Path
) -> None:
    other = tmp_path / "other.yaml"
    text = (
        Path(tiny)
        .read_text()
        .replace("name: tiny", "name: three")
        .replace("episode:", "  - {name: web, workload: {archetype: node_service, pages: 256}}\nepisode:")
    )
    other.write_text(text)
    experiment = make_experiment(scenarios={"train": [tiny, str(other)]}, env={})
    from zswap_gym.agents.train import make_vec_env

    venv = make_vec_env(experiment)
    assert [one.scenario.name for one in venv.ones] == ["tiny", "three"]
    assert {one.observation_space.shape for one in venv.ones} == {venv.observation_space.shape}
    assert venv.ones[0].n_max == 3
    thrice = make_experiment(scenarios={"train": [tiny, tiny, str(other)]}, env={}, n_envs=4)
    assert [one.scenario.name for one in make_vec_env(thrice).ones] == ["tiny", "tiny", "tiny", "three"]
    slower = tmp_path / "slower.yaml"
    slower.write_text(text.replace("decision_interval: 10s", "decision_interval: 20s"))
    with pytest.raises(UserError, match="every 20 s, tiny every 10 s"):
        make_vec_env(make_experiment(scenarios={"train": [tiny, str(slower)]}))


# --- the training path learns ------------------------------------------------------------------------

LAYOUT = Layout(n_max=3, features=4, host=1, presence=0)


class Matching(gymnasium.Env):
    """Each present row shows x and two decoys; the right actions are (x, -x, x) times the host's sign."""

    observation_space = Box(-5, 5, (3 * 4 + 1,), np.float32)
    action_space = Box(-1, 1, (3 * PER_CGROUP,), np.float32)

    def observe(self) -> np.ndarray:
        self.rows = np.zeros((3, 4))
        here = self.np_random.random(3) < 0.7
        self.rows[here, 0] = 1.0
        self.rows[here, 1:] = self.np_random.uniform(-0.8, 0.8, (here.sum(), 3))
        self.sign = self.np_random.choice([-1.0, 1.0])
        return np.concatenate([self.rows.ravel(), [self.sign]]).astype(np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed, options=options)
        self.steps = 0
        return self.observe(), {}

    def step(self, action):
        x = self.sign * self.rows[:, 1]
        here = self.rows[:, 0] > 0
        error = (action.reshape(3, PER_CGROUP) - np.stack([x, -x, x], axis=1))[here]
        self.steps += 1
        return self.observe(), -2.0 * float((error**2).mean(axis=-1).sum()), False, self.steps >= 16, {}


TOY = {
    "ppo": {"name": "ppo", "n_steps": 64, "batch_size": 128, "n_epochs": 10, "learning_rate": 5e-3,
            "gamma": 0.0, "log_std_init": -1.0},
    "sac": {"name": "sac", "learning_starts": 200, "batch_size": 64, "learning_rate": 3e-3,
            "gamma": 0.0, "tau": 0.02, "gradient_steps": 4},
}  # fmt: skip


@pytest.mark.parametrize(("algorithm", "steps"), [("ppo", 6_144), ("sac", 1_000)])
def test_the_shared_policy_learns_a_toy_in_seconds(algorithm: str, steps: int) -> None:
    """Masking, pooling, normalising and both algorithms: a bug in any of them and this is not learned."""
    experiment = parse_experiment(
        {"name": "toy", "algorithm": TOY[algorithm], "network": {"hidden": [32], "activation": "relu"},
         "n_envs": 8 if algorithm == "ppo" else 4, "scenarios": {"train": ["none"]}, "total_steps": steps},
        "toy",
    )  # fmt: skip
    torch.set_num_threads(1)
    vec = normalised(experiment, DummyVecEnv([Matching] * experiment.n_envs), LAYOUT)
    model = make_model(experiment, vec, LAYOUT, seed=0, present=2.1)
    assert isinstance(model, PPO if algorithm == "ppo" else SAC)

    def score() -> float:
        env, total = Matching(), 0.0
        obs, _ = env.reset(seed=123)
        for _ in range(300):
            action, _ = model.predict(vec.normalize_obs(obs), deterministic=True)
            obs, reward, *_ = env.step(action)
            total += reward
        return total / 300

    before = score()
    model.learn(steps)
    after = score()
    assert before < -0.7
    assert after > -0.1, f"from {before:.3f} to {after:.3f}"


@pytest.mark.slow
def test_the_demo_experiment_learns(tmp_path: Path) -> None:
    experiment: Experiment = load_experiment("demo")
    result = train(experiment, tmp_path / "run", 1, progress=False)
    assert result.steps >= experiment.total_steps
    assert result.return_last > result.return_first
