"""Terms, weights and their sum."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zswap_gym.envs.reward import TERMS, RewardTerms, RewardWeights
from zswap_gym.errors import UserError
from zswap_gym.host.types import NOTHING, Request

amounts = st.lists(st.floats(0, 1e12), min_size=len(TERMS), max_size=len(TERMS))


@given(amounts, st.lists(st.floats(-1e3, 0), min_size=len(TERMS), max_size=len(TERMS)))
def test_the_reward_is_exactly_the_sum_of_weight_times_term(values: list[float], prices: list[float]) -> None:
    terms, weights = RewardTerms(*values), RewardWeights(*prices)
    total = 0.0
    for name in TERMS:
        total += weights.as_dict()[name] * getattr(terms, name)
    assert weights.reward(terms.as_array()) == total


def test_every_term_costs_and_has_a_weight() -> None:
    weights = RewardWeights()
    assert [f.name for f in fields(RewardWeights) if f.name != "critical_factor"] == list(TERMS)
    assert all(getattr(weights, name) < 0 for name in TERMS)
    # a load from zswap is a sixteenth of a read from disk: 6 us against 100
    assert weights.disk_refaults / weights.zswap_loads == pytest.approx(100 / 6, rel=0.01)


def test_weights_from_yaml() -> None:
    assert RewardWeights.of({"dram_held": -2, "critical_factor": 3}).dram_held == -2.0
    assert RewardWeights.of(None) == RewardWeights()
    with pytest.raises(UserError, match=r"mine\.yaml: unknown term 'dram' \(did you mean 'dram_held'\?\)"):
        RewardWeights.of({"dram": -1}, "mine.yaml")
    for wrong in ({"stall_s": 0.1}, {"stall_s": "x"}, {"stall_s": float("nan")}, {"critical_factor": 0.5}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            RewardWeights.of(wrong)


def test_the_environments_reward_is_that_sum_and_the_terms_are_the_models(make_env) -> None:
    weights = {"dram_held": -3.0, "zswap_loads": -1e-5}
    env = make_env(objective="bill", reward=weights)
    env.reset(seed=2)
    machine = env.host.machine
    before = machine.counters()[0]
    names = ("pswpin", "zswpin", "pswpout")
    sums = dict.fromkeys(TERMS, 0.0)
    held = [machine.gauge("", "memory_current")]
    for _ in range(5):
        _, reward, _, _, info = env.step_requests([Request(5.0, 1 << 20)] * 3)
        assert reward == RewardWeights.of(weights).reward(RewardTerms(**info["terms"]).as_array())
        held.append(machine.gauge("", "memory_current"))
        for name in TERMS:
            sums[name] += info["terms"][name]
    after = machine.counters()[0]
    from zswap_gym.kernel.layout import STAT

    disk, loads, written = (int((after - before)[STAT.index(name)]) for name in names)
    assert (sums["disk_refaults"], sums["zswap_loads"], sums["bytes_written"]) == (
        disk,
        loads,
        written * 4096,
    )
    assert sums["bytes_written"] > 0
    assert sums["dram_held"] == pytest.approx(np.trapezoid(held, dx=10.0) / 2**30 / 3600, rel=1e-3)


def test_a_stall_counts_more_in_a_critical_window(make_env) -> None:
    def stalls(factor: float) -> list[float]:
        env = make_env(reward={"critical_factor": factor})
        env.reset(seed=0)
        return [env.step_requests([NOTHING] * 3)[4]["terms"]["stall_s"] for _ in range(10)]

    plain, weighted = stalls(1.0), stalls(10.0)
    inside = [i for i, (a, b) in enumerate(zip(plain, weighted, strict=True)) if b > a]
    assert inside == [3, 4]  # the window is 30 to 50 s into the episode
    assert all(b == a for i, (a, b) in enumerate(zip(plain, weighted, strict=True)) if i not in inside)
    assert all(weighted[i] <= 10 * plain[i] for i in inside)


def test_costs_are_beside_the_reward(make_env) -> None:
    env = make_env()
    env.reset(seed=1)
    calm = env.step_requests([NOTHING] * 3)[4]["cost"]
    steps = [env.step_requests([Request(0.0, 64 << 20)] * 3)[4]["cost"] for _ in range(6)]
    rough = max(steps, key=lambda cost: cost["refault_pct_wss_min"])
    assert rough["refault_pct_wss_min"] > max(calm["refault_pct_wss_min"], 1.0)
    assert 1 <= steps[4]["broken_minutes"] <= 3  # the minute ends with the sixth decision of ten seconds
    assert sum(cost["broken_minutes"] for cost in steps) == steps[4]["broken_minutes"]
    assert 0.0 <= rough["psi_some_pct"] <= 100.0
