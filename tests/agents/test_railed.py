"""A contestant within the controller's rails: what they allow is untouched, the rest it does not get."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from zswap_gym.agents.contestants import contestant
from zswap_gym.agents.evaluate import evaluate
from zswap_gym.agents.railed import Rails
from zswap_gym.controller.rails import Limits
from zswap_gym.controller.state import BreakerLimits
from zswap_gym.envs.reward import TERMS
from zswap_gym.envs.writeback import WritebackEnv
from zswap_gym.errors import UserError
from zswap_gym.host.types import NOTHING, Request
from zswap_gym.policy.promise import Promise
from zswap_gym.units import PAGE_SIZE

MIB = 1 << 20
EAGER = "fixed_age(age_s=5,max_bytes=4M)"
OPEN = Limits(
    age_floor_s=1.0,
    bytes_per_write=1 << 40,
    bytes_per_minute=1 << 40,
    psi_max_percent=101.0,
    swap_free_min=0.0,
    backoff_max_s=0.0,
    breaker=BreakerLimits(share=1e9, window_s=1e12),
    promise=Promise(100.0, minutes=0.001, cpu_pct_per_gib=100.0),
)


@pytest.fixture
def env(tiny: str) -> WritebackEnv:
    made = WritebackEnv(tiny)
    made.reset(seed=1)
    return made


def test_names() -> None:
    one = contestant(f"{EAGER}+rails@shrinker")
    assert one.railed
    assert one.arm == {"shrinker_enabled": True}
    assert not contestant(EAGER).railed
    with pytest.raises(UserError, match="did you mean 'fixed_age'"):
        contestant("fixd_age+rails")
    with pytest.raises(UserError, match=r"missing\.npz: no such policy"):
        contestant("missing.npz+rails")


def rails_of(limits: Limits, env: WritebackEnv) -> Rails:
    return Rails(limits, env.cgroups, env.interval_s)


def test_ages_are_raised_bytes_capped_and_the_rest_let_through(env: WritebackEnv) -> None:
    rails = rails_of(Limits(age_floor_s=60.0, bytes_per_write=MIB), env)
    asked = [Request(5.0, 4 * MIB), NOTHING]
    assert rails.allow(env.table, asked) == [Request(60.0, MIB, MIB), NOTHING]
    assert rails_of(OPEN, env).allow(env.table, asked) == asked


def test_what_was_not_written_is_not_charged(env: WritebackEnv) -> None:
    """Where nothing is old enough the day's budget is whole again afterwards."""
    rails = rails_of(replace(OPEN, bytes_per_day=2 * MIB, host_bytes_per_day=2 * MIB), env)
    names = env.cgroups
    for _ in range(3):
        assert rails.allow(env.table, [Request(1e6, 2 * MIB), NOTHING])[0].max_bytes == 2 * MIB
        env.step_requests([NOTHING, NOTHING])
        rails.settle(((names[0], 0, 0, 0.1, 0, 0),))
    assert rails.allow(env.table, [Request(1e6, 2 * MIB), Request(1e6, 2 * MIB)])[1].max_bytes == 0
    env.step_requests([NOTHING, NOTHING])
    rails.settle(((names[0], 0, 2 * MIB // PAGE_SIZE, 0.1, 0, 0),))
    assert rails.allow(env.table, [Request(1e6, 2 * MIB), NOTHING])[0].max_bytes == 0


def test_closed_rails_are_never_and_open_ones_nothing(tiny: str) -> None:
    policies = ["never", EAGER, f"{EAGER}+rails"]
    for limits, same in ((Limits(bytes_per_write=0), "never"), (OPEN, EAGER)):
        results = evaluate(policies, [tiny], [900, 901], rails=limits)
        by = {trial.policy: trial for trial in results.trials}
        np.testing.assert_array_equal(by[f"{EAGER}+rails"].terms, by[same].terms)
        assert (by[EAGER].terms[:, TERMS.index("bytes_written")] > 0).all()


def test_a_policy_within_rails_is_a_policy(run: Path, tiny: str) -> None:
    bundle = run / "champion.npz"
    results = evaluate([str(bundle), f"{bundle}+rails", f"{run}+rails"], [tiny], [900], rails=OPEN)
    assert results.learned == results.policies[1:]
    assert len({float(trial.reward[0]) for trial in results.trials if trial.policy != "never"}) == 1
