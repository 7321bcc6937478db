"""The exported policy decides what SB3's predict decides, normalising, clipping and squashing included."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from zswap_gym.agents import checkpoint
from zswap_gym.agents.export import export_run, load_run
from zswap_gym.agents.train import train
from zswap_gym.envs.writeback import WritebackEnv
from zswap_gym.errors import UserError
from zswap_gym.policy.actions import PER_CGROUP
from zswap_gym.policy.contract import Contract
from zswap_gym.policy.features import FEATURES, HIGH, HOST_FEATURES, LOW, PRESENT
from zswap_gym.policy.rows import row_inputs
from zswap_gym.policy.runtime import Layer, Normaliser, Policy

KINDS = [("ppo", "shared"), ("ppo", "mlp"), ("sac", "shared"), ("sac", "mlp")]
ROOT = Path(__file__).parents[2]


def loud(run: Path) -> None:
    """Make the last layer's outputs large and uneven, so that clipping and squashing have work to do."""
    model, _, _ = load_run(run)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in model.policy.named_parameters():
            last = any(
                part in name for part in ("action_net", "actor_head.out", "actor.mu", "actor.head.out")
            )
            if last:
                value.copy_(torch.randn(value.shape, generator=generator) * (2.0 if value.ndim > 1 else 0.7))
    model.save(checkpoint.checkpoints(run)[-1].model_file)


def rollout_observations(scenario: str, n_max: int, count: int) -> np.ndarray:
    env, rng, found = WritebackEnv(scenario, n_max=n_max), np.random.default_rng(3), []
    obs, _ = env.reset(seed=50)
    while len(found) < count:
        found.append(obs)
        obs, _, _, over, _ = env.step(rng.uniform(-1, 1, env.action_space.shape))
        if over:
            obs, _ = env.reset()
    return np.stack(found)


@pytest.mark.parametrize(("algorithm", "policy"), KINDS)
def test_it_equals_predict(algorithm: str, policy: str, make_experiment, tiny: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    # A tight clip, so that normalised features are clipped too.
    train(make_experiment(algorithm, policy, normalise={"clip": 2.0}), run, 1, progress=False)
    loud(run)
    bundle = Policy.load(export_run(run, tmp_path / "policy.npz"))
    model, vec, _ = load_run(run)
    env = WritebackEnv(tiny, n_max=3)
    env.observation_space.seed(0)
    random = np.stack([env.observation_space.sample() for _ in range(1000)])
    for name, obs in (("random", random), ("rollout", rollout_observations(tiny, 3, 1000))):
        normalised = vec.normalize_obs(obs)
        assert np.abs(normalised).max() == 2.0, "clipping was not tried"
        expected, _ = model.predict(normalised, deterministic=True)
        got = bundle.act(obs)
        assert got.shape == (1000, 9)
        assert np.abs(expected - got).max() <= 1e-5, name
        assert (
            np.abs(expected - np.stack([bundle.act(one) for one in obs[:50]] + list(got[50:]))).max() <= 1e-5
        )
        assert np.abs(expected).max() > 0.9
        assert expected.std() > 0.1
        if algorithm == "ppo":
            assert (np.abs(expected) == 1.0).any(), "the box was not reached"


def test_without_normalisation_too(make_experiment, tiny: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(make_experiment(normalise={"observations": False}), run, 1, progress=False)
    bundle = Policy.load(export_run(run, tmp_path / "policy.npz"))
    assert bundle.rows is None
    obs = rollout_observations(tiny, 3, 20)
    expected, _ = load_run(run)[0].predict(obs, deterministic=True)
    assert np.abs(expected - bundle.act(obs)).max() <= 1e-5


def test_a_shared_policy_drives_any_number_of_cgroups(make_experiment, tiny: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(make_experiment(), run, 1, progress=False)
    loud(run)
    bundle = Policy.load(export_run(run, tmp_path / "policy.npz"))
    narrow = rollout_observations(tiny, 2, 5)
    rows, host = narrow[:, : 2 * len(FEATURES)], narrow[:, 2 * len(FEATURES) :]
    wide = np.concatenate([rows, np.zeros((5, 7 * len(FEATURES)), np.float32), host], axis=1)
    assert np.allclose(bundle.act(narrow), bundle.act(wide)[:, :6], atol=1e-6)
    assert (bundle.act(wide)[:, 6:] == 0).all()


def test_where_it_comes_from_travels_with_it(make_experiment, tmp_path: Path) -> None:
    experiment = make_experiment()
    run = tmp_path / "run"
    train(experiment, run, 4, progress=False)
    facts = Policy.load(export_run(run, tmp_path / "policy.npz")).provenance
    assert (facts["seed"], facts["steps"], facts["digest"]) == (4, 128, experiment.digest())
    assert facts["experiment"]["algorithm"]["name"] == "ppo"
    assert facts["weights"]["dram_held"] == -1.0
    assert len(facts["model_sha256"]) == 64


def test_running_it_loads_no_torch(make_experiment, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(make_experiment(), run, 1, progress=False)
    policy = export_run(run, tmp_path / "policy.npz")
    script = (
        "import sys, numpy as np\nfrom zswap_gym.policy.runtime import Policy\n"
        f"p = Policy.load({str(policy)!r})\n"
        "n = 3 * len(p.contract.features) + len(p.contract.host_features)\n"
        "print(p.act(np.zeros(n)).shape, 'torch' in sys.modules, 'numba' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[0] == "(9,) False False"


def test_what_cannot_be_exported(make_experiment, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a training run"):
        export_run(tmp_path, tmp_path / "policy.npz")
    run = tmp_path / "run"
    train(make_experiment(), run, 1, progress=False)
    for one in checkpoint.checkpoints(run):
        (one.path / "model.zip").unlink()
        (one.path / "normaliser.pkl").unlink()
        (one.path / "state.pkl").unlink()
        one.path.rmdir()
    with pytest.raises(UserError, match="has no checkpoint yet"):
        export_run(run, tmp_path / "policy.npz")
    assert not (tmp_path / "policy.npz").exists()


@pytest.mark.parametrize("n", [1, 4, 40])
@pytest.mark.parametrize("activation", [torch.nn.Tanh, torch.nn.ReLU, torch.nn.ELU])
def test_a_policy_of_rows_is_what_torch_says(
    n: int, activation: type[torch.nn.Module], tmp_path: Path
) -> None:
    """LayerNorm and all, to 1e-5, after a way through the file."""
    f, h, width = len(FEATURES), len(HOST_FEATURES), 64
    torch.manual_seed(n)
    net = torch.nn.Sequential(
        torch.nn.Linear(3 * f + h, width), torch.nn.LayerNorm(width), activation(),
        torch.nn.Linear(width, width), torch.nn.LayerNorm(width), activation(),
        torch.nn.Linear(width, PER_CGROUP),
    )  # fmt: skip
    draw = np.random.default_rng(n)
    with torch.no_grad():
        for norm in (net[1], net[4]):
            norm.weight.copy_(torch.rand(width) + 0.5)
            norm.bias.copy_(torch.randn(width))
        net[6].weight.mul_(3.0)  # so that clipping has work to do
    linear = [(part.weight.detach().numpy(), part.bias.detach().numpy()) for part in net[::3]]
    norms = [(part.weight.detach().numpy(), part.bias.detach().numpy()) for part in (net[1], net[4])]
    name = activation.__name__.lower()
    body = (*(Layer(*part, name, norm) for part, norm in zip(linear, norms, strict=False)), Layer(*linear[2]))
    scale = Normaliser(draw.normal(size=3 * f + h), draw.uniform(0.01, 2.0, 3 * f + h), clip=4.0)
    policy = Policy("rows", "clip", body, (), scale, None, Contract(4, 30.0), {})
    policy = Policy.load(policy.save(tmp_path / "rows.npz"))

    rows = draw.uniform(LOW, HIGH, (100, n, f)).astype(np.float32)
    rows[..., PRESENT] = draw.random((100, n)) < 0.8
    host = draw.uniform(-1, 1, (100, h)).astype(np.float32)
    with torch.no_grad():
        out = net(torch.from_numpy(scale(row_inputs(rows, host)))).clamp(-1, 1).numpy()
    got = policy.act(np.concatenate([rows.reshape(100, -1), host], axis=1)).reshape(100, n, PER_CGROUP)
    here = rows[..., PRESENT] > 0.5
    assert np.abs(got - out)[here].max() <= 1e-5
    assert not got[~here].any()
    assert (np.abs(got) == 1.0).any()
    assert got.std() > 0.1
