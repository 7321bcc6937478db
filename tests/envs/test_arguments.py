"""What an environment is made with is checked before anything is built."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tests.envs.conftest import MakeEnv
from zswap_gym.envs.reward import RewardWeights
from zswap_gym.envs.vector import WritebackVectorEnv
from zswap_gym.errors import UserError
from zswap_gym.policy.actions import ActionSpec
from zswap_gym.workloads.scenario import Scenario


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_max": 2.0}, "n_max = 2.0; give a whole number of at least 1"),
        ({"n_max": "3"}, "n_max = '3'"),
        ({"snapshots": -1}, "snapshots = -1; give a whole number of at least 0"),
        ({"snapshots": True}, "snapshots = True"),
        ({"release": 1}, "release = 1; give True or False"),
        ({"episode_s": float("nan")}, "episode_s = nan; give seconds"),
        ({"episode_s": "60"}, "episode_s = '60'; give seconds"),
        ({"reward": [1, 2]}, "reward: [1, 2]; give weights by name"),
        ({"reward": RewardWeights(dram_held=1.0)}, "reward: dram_held = 1.0"),
        ({"reward": RewardWeights(stall_s=float("nan"))}, "reward: stall_s = nan; give a number"),
        ({"objective": "promises"}, "objective = 'promises' (did you mean 'promise'?); give promise or bill"),
        ({"penalty": -1}, "penalty = -1; give a number from 0 to 1e+06"),
        ({"penalty": "much"}, "penalty = 'much'"),
        ({"promise": {"minutes": 95}}, "promise: minutes = 95; give a number above 0, at most 1"),
        ({"promise": "minute=0.9"}, "promise: unknown key 'minute' (did you mean 'minutes'?)"),
        ({"action": {"age_min_s": 0}}, "action: age_min_s = 0; give a number above 0"),
        ({"action": {"age_min_s": 20_000}}, "action: age_max_s = 14400.0; give a number above age_min_s"),
        ({"action": {"max_write_share": 2}}, "action: max_write_share = 2; give a number above 0, at most 1"),
        ({"action": {"max_release_share": "a"}}, "action: max_release_share = 'a'; give a number"),
        ({"action": {"nothing_below": 1}}, "action: nothing_below = 1; give a number from -1 to below 1"),
        ({"action": ActionSpec(min_bytes=-1)}, "action: min_bytes = -1; give a number of at least 0"),
        ({"action": {"age_max_s": float("inf")}}, "action: age_max_s = inf; give a number"),
    ],
)
def test_what_means_nothing_is_refused_by_name(
    make_env: MakeEnv, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        make_env(**arguments)


def test_numbers_may_be_numpys(make_env: MakeEnv) -> None:
    env = make_env(reward={"dram_held": np.float32(-2), "oom_kills": np.int64(-3)}, n_max=np.int64(4))
    assert (env.weights.dram_held, env.weights.oom_kills, env.n_max) == (-2.0, -3.0, 4)


def replaying(**changes: Any) -> Scenario:
    """A recording of 1,820 s, in Python."""
    content = {
        "name": "recorded",
        "cgroups": [{"name": "web", "workload": {"trace": "pysvc", "pages": 2048}}],
        "episode": {"decision_interval": "10s", "length": "60s", "warmup": "20s", "snapshots": 1},
    }
    return Scenario.model_validate({**content, **changes})


def test_recordings_are_not_played_past_their_end(make_env: MakeEnv) -> None:
    long = {"decision_interval": "10s", "length": "3600s", "warmup": "20s", "snapshots": 1}
    with pytest.raises(UserError, match=r"scenario 'recorded': key cgroups\.0\.workload\.start: .* are left"):
        make_env(scenario=replaying(episode=long))
    many = [{"name": "web", "workload": {"trace": "pysvc", "pages": 1 << 20}}]
    with pytest.raises(UserError, match=r"key cgroups\.0\.workload\.pages: value 1048576"):
        WritebackVectorEnv(2, replaying(cgroups=many))


def test_an_episode_is_never_longer_than_its_length(make_env: MakeEnv) -> None:
    uneven = {"decision_interval": "40s", "length": "145s", "warmup": "30s", "snapshots": 1}
    assert make_env(scenario=replaying(episode=uneven)).steps_per_episode == 3
    exact = {"decision_interval": 0.1, "length": 0.3, "warmup": "30s", "snapshots": 1}
    assert make_env(scenario=replaying(episode=exact)).steps_per_episode == 3


@pytest.mark.parametrize("lru", ["classic", "mglru-full"])
def test_lrus_of_single_pages_are_refused_at_load(lru: str) -> None:
    with pytest.raises(ValueError, match=f"lru {lru} is about single pages: page_scale must be 1, not 4"):
        replaying(host={"lru": lru, "page_scale": 4})
