"""Hosts as environments of their cgroups: what they give is what the environment of one host gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zswap_gym.agents.learning.prices import UNAVOIDABLE, Prices
from zswap_gym.agents.learning.rows_env import WIDTH, Hosts, RowVecEnv
from zswap_gym.envs.crew import run_pieces
from zswap_gym.envs.reference import references
from zswap_gym.envs.writeback import WritebackEnv
from zswap_gym.policy.actions import PER_CGROUP
from zswap_gym.policy.features import FEATURES, HOST_FEATURES, INDEX
from zswap_gym.policy.promise import SUMS, Promise
from zswap_gym.policy.rows import CEILING, guarded, row_inputs
from zswap_gym.workloads.scenario import Scenario, load_scenario

F, H = len(FEATURES), len(HOST_FEATURES)


def split(obs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (N, F) and host (H,) of an environment's observation."""
    return obs[:-H].reshape(-1, F), obs[-H:]


def random_actions(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (*shape, PER_CGROUP)).astype(np.float32)


def test_a_row_sees_what_a_policy_sees_of_its_host(scenario: Scenario) -> None:
    """Observation for observation what row_inputs makes of the environment's own, to the bit."""
    hosts, seeds = Hosts(scenario, 2, Promise(), 1), (11, 12)
    hosts.begin(range(2), seeds)
    alone = [WritebackEnv(scenario, snapshots=0) for _ in seeds]
    seen = [env.reset(seed=seed)[0] for env, seed in zip(alone, seeds, strict=True)]
    for step in range(scenario.episode.steps):
        expected = np.stack([row_inputs(*split(obs)) for obs in seen])
        np.testing.assert_array_equal(hosts.observe(), expected)
        actions = random_actions(step, 2, 2).astype(float)
        run_pieces(hosts.decide(actions), 1)
        hosts.settle(Prices())
        seen = [
            env.step(guarded(acted, *split(obs)).ravel())[0]
            for env, obs, acted in zip(alone, seen, actions, strict=True)
        ]
    assert hosts.ended.all()
    for e, env in enumerate(alone):
        np.testing.assert_array_equal(hosts.fleet.accounts.sums[e], env.account.sums)
    assert hosts.fleet.account.written.all()


def test_what_is_not_allowed_is_not_done(scenario: Scenario) -> None:
    hosts = Hosts(scenario, 2, Promise(), 1)
    hosts.begin(range(2), (1, 2))
    for _ in range(scenario.episode.steps):
        hosts.fleet.rows[0, :, INDEX["caution"]] = CEILING + 0.01
        run_pieces(hosts.decide(np.ones((2, 2, PER_CGROUP)) * (-1.0, 1.0, 1.0)), 1)
        hosts.settle(Prices())
    nothing = np.stack([reference.sums[-1] for reference in references(scenario, (1, 2))])
    np.testing.assert_array_equal(hosts.fleet.accounts.sums[0], nothing[0])
    assert (hosts.fleet.accounts.sums[1] > nothing[1])[:, SUMS.index("written")].all()


def test_a_row_for_every_cgroup_of_every_host(scenario: Scenario, larger: Scenario) -> None:
    env = RowVecEnv([scenario, larger], 2, range(4), threads=1)
    assert env.num_envs == 2 * 2 + 2 * 3
    assert env.observation_space.shape == (WIDTH,) == (3 * F + H,)
    assert env.action_space.shape == (PER_CGROUP,)
    assert env.longest == 8
    obs, reward, done, infos = env.step(random_actions(0, 10))
    assert (obs.shape, obs.dtype) == ((10, WIDTH), np.float32)
    assert (reward.shape, reward.dtype) == ((10,), np.float32)
    assert (done.shape, len(infos)) == ((10,), 10)
    for group, rows in zip(env.groups, (obs[:4], obs[4:]), strict=True):
        np.testing.assert_array_equal(rows, group.observe().reshape(-1, WIDTH))


def test_episodes_are_cut_off_where_they_end_and_others_begin(scenario: Scenario, larger: Scenario) -> None:
    env = RowVecEnv([scenario, larger], 2, range(20), threads=1)
    last = env.reset()
    lengths = np.repeat([8, 5], [4, 6])
    for step in range(1, 17):
        twin = [group.fleet.tables.copy() for group in env.groups]
        obs, _, done, infos = env.step(random_actions(step, 10))
        np.testing.assert_array_equal(done, step % lengths == 0)
        for row in range(10):
            if done[row]:
                assert infos[row]["TimeLimit.truncated"]
                terminal = infos[row]["terminal_observation"]
                assert terminal.shape == (WIDTH,)
                assert not np.array_equal(terminal, obs[row])
                assert not np.array_equal(terminal, last[row])
            else:
                assert infos[row] == {}
        for group, before, first in zip(env.groups, twin, (0, 4), strict=True):
            assert not np.array_equal(group.fleet.tables, before)
            assert (group.done_steps == step % lengths[first]).all()
        last = obs


def test_the_terminal_observation_is_the_last_of_its_episode(scenario: Scenario) -> None:
    env = RowVecEnv([scenario], 1, [7], threads=1)
    env.reset()
    alone = WritebackEnv(scenario, snapshots=0)
    first, _ = alone.reset(seed=7)
    seen = first
    for step in range(8):
        actions = random_actions(step, 2)
        obs, _, done, infos = env.step(actions)
        seen = alone.step(guarded(actions.astype(float), *split(seen)).ravel())[0]
    assert done.all()
    np.testing.assert_array_equal([i["terminal_observation"] for i in infos], row_inputs(*split(seen)))
    np.testing.assert_array_equal(obs, row_inputs(*split(first)))  # the only draw there is, once more


@pytest.mark.parametrize("hosts", [2, 3])
def test_threads_change_no_bit(scenario: Scenario, larger: Scenario, hosts: int) -> None:
    one, two = (RowVecEnv([scenario, larger], hosts, range(9), threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one.reset(), two.reset())
    for step in range(10):
        actions = random_actions(step, one.num_envs)
        for mine, theirs in zip(one.step(actions)[:3], two.step(actions)[:3], strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_what_a_host_alone_gives_it_gives_beside_others(scenario: Scenario) -> None:
    """To the bit; neighbours may begin anew in between."""
    alone, among = Hosts(scenario, 1, Promise(), 1), Hosts(scenario, 3, Promise(), 1)
    alone.begin([0], [5])
    among.begin(range(3), [4, 5, 6])
    for step in range(8):
        if step == 3:
            among.begin([0, 2], [8, 9])
        np.testing.assert_array_equal(alone.observe()[0], among.observe()[1])
        actions = random_actions(step, 3, 2).astype(float)
        earned = []
        for hosts, acted in ((alone, actions[1:2]), (among, actions)):
            run_pieces(hosts.decide(acted), 1)
            earned.append(hosts.settle(Prices()))
        np.testing.assert_array_equal(earned[0][0], earned[1][1])
    np.testing.assert_array_equal(alone.weights[0], among.weights[1])
    np.testing.assert_array_equal(alone.ended[0], among.ended[1])
    assert among.done_steps.tolist() == [5, 8, 5]


def test_every_draw_comes_once_before_any_comes_twice(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    begin = Hosts.begin

    def noted(self: Hosts, which, seeds) -> None:
        begun.extend(seeds)
        begin(self, which, seeds)

    monkeypatch.setattr(Hosts, "begin", noted)
    env = RowVecEnv([scenario], 4, [3, 5, 7, 9], threads=1)
    assert sorted(begun) == [3, 5, 7, 9]
    begun.clear()
    env.restart(np.random.default_rng(2))
    env.reset()
    again = list(begun)
    assert sorted(again) == [3, 5, 7, 9]
    begun.clear()
    env.restart(np.random.default_rng(2))
    env.reset()
    assert begun == again
    begun.clear()
    RowVecEnv([scenario], 5, [3, 5], threads=1)
    assert sorted(begun[:4]) == [3, 3, 5, 5]
    assert set(begun[:2]) == set(begun[2:4]) == {3, 5}


def test_doing_nothing_earns_nothing(scenario: Scenario, larger: Scenario) -> None:
    env = RowVecEnv([scenario, larger], 2, range(4), threads=1)
    still = np.full((env.num_envs, PER_CGROUP), -1.0, np.float32)
    for _ in range(9):
        assert not env.step(still)[1].any()
    assert env.step(-still * np.array([-1.0, 1.0, 1.0], np.float32))[1].any()


def test_a_minute_that_breaks_with_nothing_done_is_charged_in_part(tiny: str) -> None:
    """A small pool is full and the kernel writes by itself."""
    prices = Prices(broken_low=0.5, broken_high=0.5)
    Path(tiny).write_text(Path(tiny).read_text().replace("max_pool_percent: 100", "max_pool_percent: 20"))
    env = RowVecEnv([load_scenario(tiny)], 3, range(3), prices=prices, threads=1)
    (hosts,) = env.groups
    total = 0.0
    for _ in range(7):
        reward = env.step(np.full((6, PER_CGROUP), -1.0, np.float32))[1]
        broken = hosts.weights * hosts.fleet.accounts.step_sums[..., SUMS.index("broken")]
        np.testing.assert_allclose(reward, broken.ravel() * -(1.0 - UNAVOIDABLE) * 0.5, atol=1e-7)
        total += reward.sum()
    assert total < 0.0


def test_cgroups_count_by_the_root_of_what_they_hold(larger: Scenario) -> None:
    hosts = Hosts(larger, 2, Promise(), 1)
    hosts.begin(range(2), (1, 2))
    held = np.stack([r.sums[-1, :, SUMS.index("held_byte_us")] for r in references(larger, (1, 2))])
    np.testing.assert_allclose(hosts.weights.mean(axis=1), 1.0)
    np.testing.assert_allclose((hosts.weights / hosts.weights[:, :1]) ** 2, held / held[:, :1])
    assert (hosts.weights[:, 2] > 1.2 * hosts.weights[:, 0]).all()


def test_rewards_are_what_was_earned_by_weight(scenario: Scenario) -> None:
    prices = Prices(broken_low=0.3, over=0.5)
    env = RowVecEnv([scenario], 2, [7], prices=prices, threads=1)
    twin = Hosts(scenario, 2, Promise(), 1)
    twin.begin(range(2), (7, 7))
    for step in range(7):
        actions = random_actions(step, 4)
        run_pieces(twin.decide(actions.reshape(2, 2, PER_CGROUP).astype(float)), 1)
        expected = twin.weights * twin.settle(prices)
        np.testing.assert_array_equal(env.step(actions)[1], expected.ravel().astype(np.float32))
    assert len(set(expected.ravel())) > 1


def test_a_row_is_no_environment_by_itself(scenario: Scenario) -> None:
    env = RowVecEnv([scenario], 1, [1], threads=1)
    assert env.env_is_wrapped(object) == [False, False]
    for ask in (
        lambda: env.get_attr("scenario"),
        lambda: env.set_attr("scenario", None),
        lambda: env.env_method("render"),
    ):
        with pytest.raises(NotImplementedError, match="no environment by itself"):
            ask()
    env.close()
