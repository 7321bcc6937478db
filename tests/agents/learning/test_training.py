"""A training depends on its seed and on nothing else: not on where it was cut, and it learns."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.vec_env import DummyVecEnv

from zswap_gym.agents.learning import training
from zswap_gym.agents.learning.rows_env import WIDTH
from zswap_gym.agents.learning.training import Stage, advance, rounds_done
from zswap_gym.errors import UserError
from zswap_gym.policy.actions import PER_CGROUP


def tensors(found: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Everything in a state, nested as it is, by name."""
    if isinstance(found, dict):
        for key, value in found.items():
            yield from tensors(value, f"{name}.{key}")
    elif isinstance(found, (list, tuple)):
        for i, value in enumerate(found):
            yield from tensors(value, f"{name}[{i}]")
    else:
        yield name, found


def held(state: bytes) -> dict[str, Any]:
    return dict(tensors(torch.load(io.BytesIO(state), weights_only=True)))


def same(one: Stage, other: Stage) -> bool:
    """Whether weights, optimiser and counts are equal to the bit."""
    mine, theirs = held(one.state), held(other.state)
    assert mine.keys() == theirs.keys()
    return all(
        torch.equal(value, theirs[name]) if isinstance(value, torch.Tensor) else value == theirs[name]
        for name, value in mine.items()
    )


def test_a_training_cut_after_any_round_goes_on_to_the_same_weights(make_experiment) -> None:
    experiment = make_experiment()
    whole = advance(experiment, 5, None, 3)
    assert (whole.rounds, whole.decisions) == (3, 3 * 8 * 4)  # of two hosts with two cgroups each
    for cuts in ((0, 1, 2), (1, 1, 1)):
        stage, state = None, None
        for more in cuts:
            stage = advance(experiment, 5, state, more)
            state = stage.state
        assert stage is not None
        assert (stage.rounds, stage.decisions) == (whole.rounds, whole.decisions)
        assert same(whole, stage)
        seen = np.random.default_rng(0).normal(size=len(stage.policy.contract.host_features) + 76)
        np.testing.assert_array_equal(stage.policy.act(seen), whole.policy.act(seen))


def test_the_same_seed_gives_the_same_weights_and_another_others(make_experiment) -> None:
    experiment = make_experiment()
    one, again, other = (advance(experiment, seed, None, 1) for seed in (5, 5, 6))
    assert same(one, again)
    assert not same(one, other)


def test_a_round_moves_actor_critic_and_noise(make_experiment) -> None:
    before, after = (held(advance(make_experiment(), 5, None, rounds).state) for rounds in (0, 1))
    moved = {name for name, value in before.items() if not np.array_equal(value, after[name])}
    for part in (
        "mlp_extractor.actor.0.weight",
        "mlp_extractor.critic.0.weight",
        "action_net.bias",
        "log_std",
    ):
        assert f".weights.{part}" in moved
    # the normaliser is fitted once
    assert not {name for name in moved if "features_extractor" in name}


def test_threads_change_no_bit(make_experiment) -> None:
    one, two = (advance(make_experiment(threads=threads, hosts=3), 5, None, 1) for threads in (1, 2))
    assert same(one, two)


def test_a_state_holds_tensors_and_numbers_and_reading_it_runs_nothing(make_experiment) -> None:
    state = advance(make_experiment(), 1, None, 1).state
    found = held(state)
    assert {type(value) for value in found.values()} <= {torch.Tensor, int, float, bool, type(None)}
    assert any(name.startswith(".weights.mlp_extractor.critic") for name in found)
    assert any("exp_avg" in name for name in found)
    assert rounds_done(state) == 1
    assert len(state) < 500_000


class Mischief:
    """Runs code where it is unpickled."""

    ran = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _run, ()


def _run() -> None:
    Mischief.ran = True


def test_a_state_of_somebody_else_is_not_run(make_experiment) -> None:
    buffer = io.BytesIO()
    torch.save({"weights": Mischief(), "optimiser": {}, "rounds": 1, "decisions": 1}, buffer)
    whole = advance(make_experiment(), 1, None, 0).state
    missing = io.BytesIO()
    torch.save({"weights": {}}, missing)
    foreign = (buffer.getvalue(), pickle.dumps(Mischief()), missing.getvalue(), b"", b"text")
    for wrong in (*foreign, whole[:1000], whole[:-200]):
        with pytest.raises(ValueError, match="damaged, or no state of a training"):
            rounds_done(wrong)
        with pytest.raises(ValueError, match="damaged"):
            advance(make_experiment(), 1, wrong, 1)
    assert not Mischief.ran


def test_the_teacher_is_where_it_begins(make_experiment) -> None:
    """Imitation alone changes weights and moves with the teacher."""
    settings = {"rounds": 0, "epochs": 5}
    eager, idle = (
        advance(make_experiment(imitation={"teacher": law, **settings}), 1, None, 0).policy
        for law in ("fixed_age(age_s=10,max_bytes=1M)", "never")
    )
    assert (eager.layers[-1].bias[1:] > idle.layers[-1].bias[1:]).all()
    np.testing.assert_array_equal(eager.scale.mean.shape, (WIDTH,))


def test_exploration_keeps_to_its_floor(make_experiment) -> None:
    loud = make_experiment(ppo={"log_std_init": -3.0, "log_std_floor": -1.0, "learning_rate": 1e-9})
    found = held(advance(loud, 1, None, 1).state)
    assert found[".weights.log_std"].tolist() == pytest.approx([-1.0] * PER_CGROUP, abs=1e-3)


def test_a_training_that_diverges_is_one_line(make_experiment) -> None:
    experiment = make_experiment()
    ppo = experiment.ppo.model_copy(update={"learning_rate": float("inf")})  # unchecked
    wrong = experiment.model_copy(update={"ppo": ppo})
    with pytest.raises(UserError, match=r"seed 3 diverged in round 1: .*lower ppo\.learning_rate") as caught:
        advance(wrong, 3, None, 1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "steps", "wanted", "batch"),
    [
        (32, 120, 1500, 1920), (4, 8, 16, 16), (4, 8, 17, 32), (4, 8, 1, 4), (3, 7, 100, 21),
        (10, 12, 25, 30),
    ],
)  # fmt: skip
def test_a_batch_divides_a_rollout(rows: int, steps: int, wanted: int, batch: int) -> None:
    found = training._batch(rows, steps, wanted)
    assert found == batch
    assert rows * steps % found == 0


class Matching(gymnasium.Env):
    """Right is what three of the features say; the others are noise."""

    observation_space = Box(-np.inf, np.inf, (WIDTH,), np.float32)
    action_space = Box(-1, 1, (PER_CGROUP,), np.float32)

    def observe(self) -> np.ndarray:
        self.seen = self.np_random.uniform(-0.8, 0.8, WIDTH).astype(np.float32)
        return self.seen

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed, options=options)
        self.steps = 0
        return self.observe(), {}

    def step(self, action):
        error = action - self.seen[[1, 40, 80]] * (1.0, -1.0, 1.0)
        self.steps += 1
        return self.observe(), -float((error**2).mean()), False, self.steps >= 32, {}


def test_what_is_right_is_learned(make_experiment) -> None:
    """Normaliser, LayerNorm, PPO's settings, the floor: a bug in any of them and this is not learned."""
    experiment = make_experiment(
        network={"hidden": [32]},
        ppo={"n_steps": 64, "batch_size": 128, "n_epochs": 8, "gamma": 0.0, "learning_rate": 1e-2,
             "log_std_init": -1.0, "log_std_floor": -2.0, "target_kl": None},
    )  # fmt: skip
    torch.manual_seed(0)
    torch.set_num_threads(1)
    env = DummyVecEnv([Matching] * 8)
    env.seed(1)
    model = training._model(experiment, env)  # type: ignore[arg-type] # has its face

    def error() -> float:
        random = np.random.default_rng(3)
        seen = random.uniform(-0.8, 0.8, (500, WIDTH)).astype(np.float32)
        action, _ = model.predict(seen, deterministic=True)
        return float(((action - seen[:, [1, 40, 80]] * (1.0, -1.0, 1.0)) ** 2).mean())

    before = error()
    model.learn(10 * 64 * 8, callback=training._KeepExploring(-2.0))
    assert error() < 0.6 * before, f"from {before:.3f} to {error():.3f}"
