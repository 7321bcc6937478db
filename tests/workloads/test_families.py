"""The families in which foresight pays: small, quick, of irregular times, with a rest that is long."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from zswap_gym.agents.scoring.suite import digest_of
from zswap_gym.envs.warmstart import scenario_digest
from zswap_gym.workloads.coldness import bitmaps
from zswap_gym.workloads.scenario import load_scenario, scenario_names

FAMILIES = ("sandbox-resumes", "hourly-jobs", "office-hours", "batch-rounds", "archives-among-stores")
S = 1_000_000


def of(family):
    return [load_scenario(name) for name in scenario_names() if name.startswith(family)]


@pytest.mark.parametrize("family", FAMILIES)
def test_small_enough_to_search_in(family):
    for scenario in of(family):
        real = scenario.realise(np.random.default_rng(0))
        assert len(real.cgroups) <= 8
        assert max(plan.n_pages for plan in real.plans.values()) <= 6000
        assert 3600 <= scenario.episode.length <= 8 * 3600
        assert scenario.episode.decision_interval in (30, 60)


@pytest.mark.parametrize("name", ["office-hours", "office-hours-test", "batch-rounds", "batch-rounds-test"])
def test_a_rest_is_a_rest(name):
    """Most of the time hardly anything is touched, and then a large part within minutes."""
    scenario = load_scenario(name)
    real = scenario.realise(np.random.default_rng(1))
    plan = next(iter(real.plans.values()))
    times = np.arange(1, 8 * 60) * 60 * S + 3600 * S
    touched, there = bitmaps(plan, times, np.random.default_rng(0))
    share = touched.sum(1) / there.sum(1)
    assert (share < 0.01).mean() > 0.3
    assert share.max() > 0.3


def test_sandboxes_rest_irregularly_and_no_two_alike():
    real = load_scenario("sandbox-resumes").realise(np.random.default_rng(1))
    starts = {
        cgroup: [event.start_s for event in real.events if event.cgroup == cgroup]
        for cgroup in {event.cgroup for event in real.events}
    }
    assert len(starts) == 6
    for times in starts.values():
        rests = np.diff(times)
        assert len(set(rests.round())) == len(rests)
    assert all(set(a).isdisjoint(b) for a, b in itertools.combinations(starts.values(), 2))


def test_announced_or_not_is_all_that_differs():
    quiet, told = (load_scenario(f"sandbox-resumes{k}") for k in ("", "-announced"))
    events = [
        [(e.cgroup, e.start_s, e.bytes) for e in s.realise(np.random.default_rng(5)).events]
        for s in (quiet, told)
    ]
    assert events[0] == events[1]
    assert not any(e.announced for c in quiet.cgroups for e in c.events)
    assert all(e.announced for c in told.cgroups for e in c.events)


def test_a_trap_is_said_and_simulated_like_any_other():
    traps = [load_scenario(name) for name in scenario_names() if load_scenario(name).trap]
    assert traps
    for scenario in traps:
        quiet = scenario.model_copy(update={"trap": False})
        assert scenario_digest(quiet) == scenario_digest(scenario)
        assert digest_of(quiet) == digest_of(scenario)
        assert scenario.arm(shrinker_enabled=True).trap
