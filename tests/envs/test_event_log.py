"""What single events cost: held against the model, and the same in one environment and in many."""

from __future__ import annotations

import numpy as np
import pytest

from zswap_gym.envs.vector import WritebackVectorEnv
from zswap_gym.envs.writeback import WritebackEnv
from zswap_gym.host.types import NOTHING, Request
from zswap_gym.kernel.layout import STAT
from zswap_gym.workloads.scenario import Scenario

SANDBOXES = {
    "name": "sandboxes",
    "host": {"page_scale": 8},
    "stage_one": {"kind": "fixed", "rate": "1M", "interval": "1s"},
    "cgroups": [
        {
            "name": "sandbox",
            "threads": 2,
            "workload": {"archetype": "agent_python", "pages": 1000},
            "events": [
                {
                    "kind": "resume", "at": "60s", "duration": "3s", "idle": ["60s", "200s"],
                    "bytes": "8M", "base": "0.25s", "announced": False,
                }
            ],
        },
        {
            "name": "web",
            "workload": {"archetype": "node_service", "pages": 500},
            "events": [
                {"kind": "critical", "at": "90s", "duration": "60s"},
                {"kind": "arrival", "at": "200s", "duration": "60s", "bytes": "2M", "fresh": True},
            ],
        },
    ],
    "episode": {"decision_interval": "30s", "length": "600s", "warmup": "120s", "snapshots": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def scenario():
    return Scenario.model_validate(SANDBOXES)


def played(scenario, request, seed=3, steps=20):
    env = WritebackEnv(scenario)
    env.reset(seed=seed)
    for _ in range(steps):
        env.step_requests([request] * 2)
    return env


def test_what_has_begun_is_told_and_nothing_else(scenario):
    env = WritebackEnv(scenario)
    env.reset(seed=3)
    assert env.events == ()
    for _ in range(20):
        env.step_requests([NOTHING] * 2)
        now_s = env.host.machine.now_us / 1e6 - env.host.boot_us / 1e6
        assert all(cost.start_s < now_s for cost in env.events)
    kinds = {cost.kind for cost in env.events}
    assert kinds == {"resume", "critical", "arrival"}
    assert [cost.start_s for cost in env.events] == sorted(cost.start_s for cost in env.events)
    assert all((cost.latency_s is None) == (cost.kind != "resume") for cost in env.events)


def test_who_resumes_from_disk_waits_longer_and_everybody_at_least_the_base(scenario):
    hard = Request(10.0, 64 << 20, 64 << 20)
    waits = {
        name: [c.latency_s for c in played(scenario, request).events if c.kind == "resume"]
        for name, request in (("nothing", NOTHING), ("disk", hard))
    }
    assert len(waits["nothing"]) == len(waits["disk"]) > 2
    assert min(waits["nothing"]) >= 0.25
    # 256 simulated pages of 8 at some 100 us each, on two threads
    assert np.mean(waits["disk"]) - np.mean(waits["nothing"]) == pytest.approx(0.09, rel=0.5)


def test_a_wait_is_what_the_model_stalled_for_the_resumed_memory(scenario):
    env = played(scenario, Request(10.0, 64 << 20, 64 << 20))
    regions = env.host.machine.state.regions
    waited = regions["waited"][regions["resume"] == 1].sum() / 1e6
    told = sum((c.latency_s - 0.25) * 2 for c in env.events if c.kind == "resume")
    before = WritebackEnv(scenario)
    before.reset(seed=3)
    waited -= before.host.machine.state.regions["waited"][regions["resume"] == 1].sum() / 1e6
    assert told == pytest.approx(waited)


def test_stalls_inside_windows_are_at_most_those_of_the_cgroup(scenario):
    env = WritebackEnv(scenario)
    env.reset(seed=3)
    web = env.host.machine.index["web"]
    stall = STAT.index("stall_us")
    before = int(env.host.machine.state.stat[web, stall])
    for _ in range(20):
        env.step_requests([Request(10.0, 64 << 20, 64 << 20)] * 2)
    total = (int(env.host.machine.state.stat[web, stall]) - before) / 1e6
    inside = [cost.stalled_s for cost in env.events if cost.cgroup == "web"]
    assert all(0 < stalled < total for stalled in inside)
    assert sum(inside) < total


def test_many_environments_tell_what_single_ones_do_and_remember_the_last_episode(scenario):
    many = WritebackVectorEnv(2, scenario)
    many.reset(seed=[3, 4])
    action = np.zeros(many.action_space.shape, np.float32)
    singles = [WritebackEnv(scenario) for _ in range(2)]
    for seed, env in zip((3, 4), singles, strict=True):
        env.reset(seed=seed)
        for _ in range(20):
            env.step(action[0])
    for _ in range(20):
        many.step(action)
    assert [many.fleet.events.last(e) for e in range(2)] == [env.events for env in singles]
    assert many.fleet.events.costs(0) == ()
