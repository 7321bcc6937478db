"""Hosts that go on from where another stands."""

from __future__ import annotations

import numpy as np
import pytest

from zswap_gym.envs.fleet import Fleet
from zswap_gym.envs.warmstart import episode_start, scenario_digest
from zswap_gym.policy import memory
from zswap_gym.policy.features import FEATURES, INDEX, MEMORY
from zswap_gym.policy.promise import SUMS, Promise
from zswap_gym.workloads.scenario import Scenario, load_scenario


@pytest.fixture(scope="module")
def sleepers() -> Scenario:
    """A scenario in which warm-up and writebacks break minutes."""
    scenario: Scenario = load_scenario("arrival-announced")
    return scenario


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


def test_memory_begins_with_the_episode(sleepers: Scenario) -> None:
    """What the warm-up broke is nobody's doing; the counters, ages and averages of it go on."""
    start, stream = episode_start(sleepers, scenario_digest(sleepers), 3, 1)
    assert (start.rows[:, INDEX["caution"]] != 0.5).any()
    fleet = Fleet(2)
    for e in range(2):
        fleet.adopt(e, start, stream)
    np.testing.assert_array_equal(fleet.rows[1, :, :MEMORY], start.rows[:, :MEMORY])
    remembered = np.zeros(len(FEATURES) - MEMORY)
    remembered[INDEX["caution"] - MEMORY] = 0.5
    np.testing.assert_array_equal(fleet.rows[1, :, MEMORY:], np.tile(remembered, (len(start.rows), 1)))

    shape = fleet.tables.shape[:2]
    fleet.step(np.full(shape, 300.0), np.full(shape, 8e6), np.full(shape, 16e6), 30.0)
    assert (fleet.rows[..., INDEX["asked_write"]] > 0).all()
    assert (fleet.rows[..., INDEX["asked_release"]] > fleet.rows[..., INDEX["asked_write"]]).all()
    before = fleet.rows[1].copy()
    fleet.adopt(0, start, stream)
    np.testing.assert_array_equal(fleet.rows[0, :, MEMORY:], np.tile(remembered, (len(start.rows), 1)))
    np.testing.assert_array_equal(fleet.rows[1], before)
    fleet.step(np.full(shape, np.nan), np.zeros(shape), np.zeros(shape), 30.0)
    assert not fleet.rows[..., INDEX["asked_write"] : INDEX["outcome"] + 1].any()


def test_broken_minutes_are_the_accounts(sleepers: Scenario) -> None:
    """Caution moves in the very minutes that the promise is judged by, where decisions end with them."""
    promise = Promise(disk_reads_pct_min=0.05)
    fleet = Fleet(1, promise=promise)
    fleet.adopt(0, *episode_start(sleepers, scenario_digest(sleepers), 3, 1))
    shape = fleet.tables.shape[:2]
    caution, seen = np.full(shape, memory.CAUTION), 0
    for _ in range(40):
        before = fleet.account.broken.copy()
        fleet.step(np.full(shape, 60.0), np.full(shape, 8e6), np.full(shape, 8e6), 60.0)
        broken = fleet.account.broken - before
        seen += int(broken.sum())
        moved = np.where(broken > 0, memory.BROKEN_STEP, -memory.KEPT_STEP)
        caution = np.clip(caution + moved, 0.0, memory.DEBT)
        seen_now = fleet.rows[..., INDEX["caution"]]
        np.testing.assert_allclose(seen_now, np.minimum(caution, 1.0), rtol=0, atol=1e-6)
    assert 0 < seen < 40 * caution.size
