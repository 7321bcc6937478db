"""Hosts that go on from where another stands."""

from __future__ import annotations

import numpy as np
import pytest

from zswap_gym.envs.fleet import Fleet
from zswap_gym.envs.warmstart import episode_start, scenario_digest
from zswap_gym.policy.promise import SUMS
from zswap_gym.workloads.scenario import Scenario, load_scenario


@pytest.mark.parametrize("dialect", ["v1", "v5"])
def test_hosts_that_follow_go_the_same_way(dialect: str) -> None:
    scenario: Scenario = load_scenario("arrival-announced").arm(dialect=dialect)
    trunk, fleet = Fleet(1, critical_factor=3.0), Fleet(3, critical_factor=3.0)
    trunk.adopt(0, *episode_start(scenario, scenario_digest(scenario), 3, 1))

    def go(which: Fleet, steps: int) -> None:
        shape = which.tables.shape[:2]
        for _ in range(steps):  # 45 s: in the middle of a minute, and with a request still running
            which.step(np.full(shape, 300.0), np.full(shape, 8e6), np.full(shape, 16e6), 45.0)

    go(trunk, 7)
    before = trunk.account.take(...)
    for e in range(3):
        fleet.follow(e, trunk)
    np.testing.assert_array_equal(fleet.account.held_byte_us[2], before.held_byte_us[0])
    go(fleet, 9)
    for name in SUMS:  # those who went on have not moved the one they began with
        np.testing.assert_array_equal(getattr(trunk.account, name), getattr(before, name))
    go(trunk, 9)
    for e in range(3):
        np.testing.assert_array_equal(fleet.tables[e], trunk.tables[0])
        np.testing.assert_array_equal(fleet.rows[e], trunk.rows[0])
        np.testing.assert_array_equal(fleet.terms[e], trunk.terms[0])
        np.testing.assert_array_equal(fleet.accounts.sums[e], trunk.accounts.sums[0])
    assert (trunk.account.broken > before.broken).any()
