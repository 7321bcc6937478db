"""One set of weights for every cgroup: order does not matter, absent rows do not exist."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch.distributions import Normal

from zswap_gym.agents.networks import ACTIONS, Layout, SharedActorCritic, SharedSacPolicy

F, H = 5, 3


def spaces(n_max: int) -> tuple[Box, Box]:
    return Box(-1, 1, (n_max * F + H,), np.float32), Box(-1, 1, (n_max * ACTIONS,), np.float32)


def columns(*rows: int) -> list[int]:
    """Places of some rows' actions among all of them."""
    return [row * ACTIONS + k for row in rows for k in range(ACTIONS)]


def observations(n_max: int, present: list[int], batch: int = 4, seed: int = 0) -> torch.Tensor:
    """Random rows; only those in ``present`` are there. Absent rows hold rubbish on purpose."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(batch, n_max, F))
    rows[:, :, 0] = 0.0
    rows[:, present, 0] = 1.0
    return torch.tensor(
        np.concatenate([rows.reshape(batch, -1), rng.normal(size=(batch, H))], axis=1), dtype=torch.float32
    )


def ppo(n_max: int) -> SharedActorCritic:
    torch.manual_seed(0)
    return SharedActorCritic(
        *spaces(n_max), lambda _: 1e-3, layout=Layout(n_max, F, H, 0), hidden=(8, 8), ortho_init=False
    )


def sac(n_max: int) -> SharedSacPolicy:
    torch.manual_seed(0)
    return SharedSacPolicy(*spaces(n_max), lambda _: 1e-3, layout=Layout(n_max, F, H, 0), hidden=(8, 8))


def test_the_number_of_weights_does_not_depend_on_the_number_of_cgroups() -> None:
    assert ppo(2).state_dict().keys() == ppo(40).state_dict().keys()
    for few, many in zip(ppo(2).parameters(), ppo(40).parameters(), strict=True):
        assert few.shape == many.shape


def test_permuting_cgroups_permutes_actions_and_keeps_the_value() -> None:
    policy, obs = ppo(4), observations(4, [0, 1, 2])
    order = [2, 0, 3, 1]
    rows = obs[:, : 4 * F].reshape(-1, 4, F)[:, order].reshape(-1, 4 * F)
    moved = torch.cat([rows, obs[:, 4 * F :]], dim=1)
    here = policy.get_distribution(obs).mode().reshape(-1, 4, ACTIONS)
    there = policy.get_distribution(moved).mode().reshape(-1, 4, ACTIONS)
    assert torch.allclose(here[:, order], there, atol=1e-6)
    assert torch.allclose(policy.predict_values(obs), policy.predict_values(moved), atol=1e-6)


def test_absent_rows_stay_out_of_log_probability_and_entropy() -> None:
    """What a row without a cgroup holds, or is told to do, changes nothing."""
    policy = ppo(4)
    obs = observations(4, [0, 2])
    other = obs.clone()
    other[:, F + 1 : 2 * F] += 7.0  # the absent second row, all but its presence
    actions = torch.randn(4, 4 * ACTIONS)
    rubbish = actions.clone()
    rubbish[:, ACTIONS : 2 * ACTIONS] += 3.0
    values, log_prob, entropy = policy.evaluate_actions(obs, actions)
    again = policy.evaluate_actions(other, rubbish)
    assert torch.equal(values, again[0])
    assert torch.equal(log_prob, again[1])
    mean = policy.get_distribution(obs).distribution.mean
    std = policy.log_std.exp().repeat(4)
    here = columns(0, 2)
    expected = Normal(mean[:, here], std[here]).log_prob(actions[:, here]).sum(dim=1)
    assert torch.allclose(log_prob, expected)
    assert torch.allclose(entropy, Normal(mean[:, here], std[here].expand(4, len(here))).entropy().sum(dim=1))
    sampled, _, _ = policy(obs)
    assert (sampled[:, columns(1, 3)] == 0).all()


def test_gradients_do_not_flow_through_absent_rows() -> None:
    policy, obs = ppo(3), observations(3, [1]).requires_grad_()
    values, log_prob, entropy = policy.evaluate_actions(obs, torch.randn(4, 3 * ACTIONS))
    (values.sum() + log_prob.sum() + entropy.sum()).backward()
    rows = obs.grad[:, : 3 * F].reshape(-1, 3, F)
    assert (rows[:, [0, 2]] == 0).all()
    assert (rows[:, 1, 1:] != 0).any()


def test_sac_masks_the_same_way() -> None:
    policy = sac(4)
    obs = observations(4, [1, 3])
    torch.manual_seed(1)
    actions, log_prob = policy.actor.action_log_prob(obs)
    assert (actions.reshape(-1, 4, ACTIONS)[:, [0, 2]] == 0).all()
    mean, log_std, extra = policy.actor.get_action_dist_params(obs)
    here = columns(1, 3)
    assert extra["mask"][0].nonzero().flatten().tolist() == here
    squashed = actions[:, here]
    before = torch.atanh(squashed)
    expected = Normal(mean[:, here], log_std[:, here].exp()).log_prob(before) - torch.log(
        1 - squashed**2 + 1e-6
    )
    assert torch.allclose(log_prob, expected.sum(dim=1), atol=1e-3)
    rubbish = actions.clone()
    rubbish[:, columns(0, 2)] = 0.9
    for a, b in zip(policy.critic(obs, actions), policy.critic(obs, rubbish), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(policy.critic(obs, actions)[0], policy.critic(obs, actions * 0.5)[0])


@pytest.mark.parametrize("make", [ppo, sac])
def test_no_cgroup_at_all_is_survived(make) -> None:
    policy, obs = make(2), observations(2, [])
    assert (policy._predict(obs) == 0).all()


@pytest.mark.parametrize("make", [ppo, sac])
def test_a_policy_can_be_saved_and_loaded(make, tmp_path) -> None:
    policy, obs = make(3), observations(3, [0, 1])
    policy.save(tmp_path / "policy.zip")
    again = type(policy).load(tmp_path / "policy.zip")
    assert torch.equal(policy._predict(obs, deterministic=True), again._predict(obs, deterministic=True))
