"""A start from a rule: what it does survives as actions, and the network comes to do it."""

from __future__ import annotations

import numpy as np
import torch

from tests.agents.learning.conftest import TEACHER
from tests.agents.learning.test_network import network
from zswap_gym.agents.contestants import contestant
from zswap_gym.agents.learning.imitation import Lessons, act, fit, lessons
from zswap_gym.agents.learning.network import RowPolicy
from zswap_gym.agents.learning.rows_env import WIDTH, Hosts
from zswap_gym.agents.scoring.trial import Conditions, run_trial
from zswap_gym.policy.actions import PER_CGROUP, ActionSpec
from zswap_gym.policy.promise import SUMS, Promise
from zswap_gym.workloads.scenario import Scenario

SEEDS = (3, 4, 5)
LAX = Promise(100.0, cpu_pct_per_gib=100.0)
"""What a teacher may do is guarded as what a policy may: here everything is allowed."""


def made(scenario: Scenario) -> Hosts:
    return Hosts(scenario, len(SEEDS), LAX, 1)


def still() -> RowPolicy:
    """A pupil that does nothing."""
    net = network()
    with torch.no_grad():
        net.action_net.weight.zero_()
        net.action_net.bias.fill_(-1.0)
    return net


def test_what_the_teacher_does_survives_as_actions(scenario: Scenario) -> None:
    """Its requests, told as actions and back, come to what the rule itself comes to."""
    hosts = made(scenario)
    given = lessons(hosts, SEEDS, TEACHER, None)
    trial = run_trial(TEACHER, contestant(TEACHER), scenario, SEEDS, Conditions(promise=LAX))
    ours = hosts.fleet.accounts.sums
    assert (ours[..., SUMS.index("written")] > 0).all()
    np.testing.assert_allclose(ours, trial.account.sums, rtol=1e-6)
    count = len(SEEDS) * 2 * scenario.episode.steps
    assert given.seen.shape == (count, WIDTH)
    assert given.done.shape == (count, PER_CGROUP)
    assert (given.seen.dtype, given.done.dtype) == (np.float32, np.float32)
    assert (given.done[:, 1] > ActionSpec().nothing_below).mean() > 0.5


def test_the_teacher_looks_on_while_the_pupil_drives(scenario: Scenario) -> None:
    driven, watched = made(scenario), made(scenario)
    lessons(driven, SEEDS, TEACHER, None)
    given = lessons(watched, SEEDS, TEACHER, still())
    written = SUMS.index("written")
    before = driven.fleet.accounts.sums[..., written]
    assert (watched.fleet.accounts.sums[..., written] < before).all()
    # what is told is what the teacher would have done, not what was done
    assert (given.done[:, 1] > ActionSpec().nothing_below).mean() > 0.5


def test_lessons_are_joined_in_order(scenario: Scenario) -> None:
    hosts = made(scenario)
    parts = [lessons(hosts, SEEDS, TEACHER, pupil) for pupil in (None, still())]
    both = Lessons.join(parts)
    for name in ("seen", "done"):
        np.testing.assert_array_equal(
            getattr(both, name), np.concatenate([getattr(part, name) for part in parts])
        )
    assert not np.array_equal(parts[0].seen, parts[1].seen)


def test_fitting_lowers_the_error_and_leaves_critic_and_noise_alone(scenario: Scenario) -> None:
    given = lessons(made(scenario), SEEDS, TEACHER, None)
    net = network(16, loud=0.1)
    net.standardise.fit(given.seen)
    frozen = {
        name: value.clone()
        for name, value in net.state_dict().items()
        if not name.startswith(("action_net", "mlp_extractor.actor"))
    }
    first = fit(net, given, 1)
    last = fit(net, given, 150)
    assert last < 0.2 * first
    told = float(((act(net, given.seen) - given.done) ** 2).mean())
    assert told < 1.5 * last
    now = net.state_dict()
    assert all(torch.equal(now[name], value) for name, value in frozen.items())
    assert len(frozen) >= 5


def test_a_pupils_actions_are_in_the_box() -> None:
    net = network(loud=30.0)
    seen = np.random.default_rng(0).normal(size=(40, WIDTH)).astype(np.float32)
    actions = act(net, seen)
    assert actions.shape == (40, PER_CGROUP)
    assert actions.dtype == np.float64
    assert np.abs(actions).max() == 1.0
