"""The network in torch, its twin in numpy, and what SB3 makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces

from zswap_gym.agents.learning.export import to_policy
from zswap_gym.agents.learning.network import CLIP, EPSILON, RowPolicy
from zswap_gym.agents.learning.rows_env import WIDTH
from zswap_gym.policy.actions import PER_CGROUP
from zswap_gym.policy.features import (
    FEATURES,
    HIGH,
    HOST_FEATURES,
    HOST_HIGH,
    HOST_INDEX,
    HOST_LOW,
    INDEX,
    LOW,
    PRESENT,
)  # fmt: skip
from zswap_gym.policy.promise import Promise
from zswap_gym.policy.rows import CEILING, FULL, SPENT, guarded, row_inputs
from zswap_gym.policy.runtime import Policy

F, H = len(FEATURES), len(HOST_FEATURES)


def network(*hidden: int, seed: int = 0, loud: float = 3.0) -> RowPolicy:
    """With LayerNorms that do something, and outputs large enough to be cut."""
    torch.manual_seed(seed)
    observation = spaces.Box(-np.inf, np.inf, (WIDTH,), np.float32)
    action = spaces.Box(-1.0, 1.0, (PER_CGROUP,), np.float32)
    policy = RowPolicy(observation, action, lambda _: 1e-3, hidden=hidden or (64, 64))
    with torch.no_grad():
        for norm in [part for part in policy.actor if isinstance(part, torch.nn.LayerNorm)]:
            norm.weight.copy_(torch.rand_like(norm.weight) + 0.5)
            norm.bias.copy_(torch.randn_like(norm.bias))
        policy.action_net.weight.copy_(torch.randn_like(policy.action_net.weight) * loud / 8)
    return policy


def observed(count: int, n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Rows (count, n, F), a fifth absent, some that are to be left alone; hosts (count, H), some full."""
    draw = np.random.default_rng(seed)
    rows = draw.uniform(LOW, HIGH, (count, n, F)).astype(np.float32)
    rows[..., PRESENT] = draw.random((count, n)) < 0.8
    return rows, draw.uniform(HOST_LOW, HOST_HIGH, (count, H)).astype(np.float32)


@pytest.mark.parametrize("hidden", [(16,), (64, 64), (32, 16, 8)])
@pytest.mark.parametrize("n", [1, 4, 40])
def test_what_is_exported_decides_as_what_was_trained(
    n: int, hidden: tuple[int, ...], make_experiment, tmp_path: Path
) -> None:
    """To 1e-5, normalising, clipping and guard included, after a way through the file."""
    net = network(*hidden, seed=n)
    rows, host = observed(120, n)
    net.standardise.fit(row_inputs(*observed(300, 4, seed=2)).reshape(-1, WIDTH))
    policy = Policy.load(to_policy(net, make_experiment()).save(tmp_path / "policy.npz"))
    got = policy.act(np.concatenate([rows.reshape(120, -1), host], axis=1)).reshape(120, n, PER_CGROUP)
    with torch.no_grad():
        mean = net.mean_action(torch.from_numpy(row_inputs(rows, host))).clamp(-1, 1).numpy()
    here = rows[..., PRESENT] > 0.5
    assert np.abs(got - guarded(mean, rows, host))[here].max() <= 1e-5
    assert not got[~here].any()
    # everything was tried: the box, the ceiling of caution, CPU spent, the full pool
    assert (np.abs(mean) == 1.0).any()
    assert got[here].std() > 0.1
    alone = rows[..., INDEX["caution"]] >= CEILING
    full = host[:, HOST_INDEX["pool_fill"]] >= FULL
    spent = rows[..., INDEX["cpu_spent"]] >= SPENT
    assert (here & alone).any()
    assert (got[here & spent][:, 2] == -1.0).all()
    assert full.any()
    assert (got[here & alone][:, 1:] == -1.0).all()
    assert (got[full][here[full]][:, 2] == -1.0).all()


def test_it_decides_as_sb3_predicts() -> None:
    net = network(seed=3)
    seen = row_inputs(*observed(50, 4)).reshape(-1, WIDTH)
    net.standardise.fit(seen)
    with torch.no_grad():
        mean = net.mean_action(torch.from_numpy(seen))
        np.testing.assert_array_equal(mean, net.get_distribution(torch.from_numpy(seen)).distribution.mean)
    predicted, _ = net.predict(seen, deterministic=True)
    np.testing.assert_array_equal(predicted, mean.clamp(-1, 1).numpy())


def test_where_it_comes_from_and_what_it_assumes_travel_with_it(make_experiment) -> None:
    experiment = make_experiment(promise={"minutes": 0.9})
    policy = to_policy(network(), experiment)
    assert policy.contract.promise == Promise(minutes=0.9)
    assert policy.contract.decision_interval_s == 10.0
    assert policy.provenance["digest"] == experiment.digest()
    assert policy.provenance["experiment"]["promise"] == {"minutes": 0.9}
    assert set(policy.provenance["scenarios"]) == {"tiny"}


def test_an_exported_policy_has_numbers_of_its_own(make_experiment) -> None:
    net = network()
    policy = to_policy(net, make_experiment())
    rows, host = observed(5, 3)
    obs = np.concatenate([rows.reshape(5, -1), host], axis=1)
    before = policy.act(obs)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1.0)
        net.standardise.mean.add_(5.0)
    np.testing.assert_array_equal(policy.act(obs), before)


def test_the_normaliser_is_fitted_once_and_cuts() -> None:
    draw = np.random.default_rng(4)
    seen = draw.normal(3.0, 2.0, (2000, WIDTH)).astype(np.float32)
    seen[:, 5] = 0.25
    scale = network().standardise
    scale.fit(seen)
    out = scale(torch.from_numpy(seen)).numpy()
    np.testing.assert_allclose(out.mean(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(np.delete(out.std(axis=0), 5), 1.0, atol=1e-3)
    assert not out[:, 5].any()
    # what never moved is scaled by the epsilon alone, and nothing goes beyond the bound
    moved = torch.from_numpy(seen[:1])
    moved[0, 5] = 0.25 + 0.01
    assert scale(moved)[0, 5] == pytest.approx(0.01 / np.sqrt(EPSILON), rel=1e-3)
    assert scale(torch.full((1, WIDTH), 1e6)).max() == CLIP
    assert {name for name, _ in scale.named_buffers()} == {"mean", "var"}
    assert list(scale.parameters()) == []


def test_actor_and_critic_share_nothing() -> None:
    net = network()
    seen = torch.from_numpy(row_inputs(*observed(4, 3)).reshape(-1, WIDTH))
    net.predict_values(seen).sum().backward()
    assert all(p.grad is None for p in net.actor.parameters())
    assert all(p.grad is not None for p in net.mlp_extractor.critic.parameters())
    net.zero_grad()
    net.mean_action(seen).sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in net.mlp_extractor.critic.parameters())
    assert all(p.grad is not None and p.grad.any() for p in net.actor.parameters())


def test_exploration_has_a_floor() -> None:
    net = network()
    with torch.no_grad():
        net.log_std.copy_(torch.tensor([-5.0, -2.3, 0.5]))
    net.keep_exploring(-2.3)
    assert net.log_std.tolist() == pytest.approx([-2.3, -2.3, 0.5])
    net.keep_exploring(-10.0)
    assert net.log_std.tolist() == pytest.approx([-2.3, -2.3, 0.5])
