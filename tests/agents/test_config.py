"""Experiments: what is right loads with every default, what is wrong is one line that helps."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from zswap_gym.agents.config import Experiment, Ppo, Sac, experiment_names, load_experiment, parse_experiment
from zswap_gym.errors import UserError

GOOD = {"name": "x", "algorithm": "ppo", "scenarios": {"train": ["a"]}, "total_steps": 1000}


def test_the_short_form_has_every_default() -> None:
    experiment = parse_experiment(GOOD, "x.yaml")
    assert experiment.algorithm == Ppo()
    assert experiment.policy == "shared"
    assert parse_experiment({**GOOD, "algorithm": {"name": "sac", "tau": 0.1}}, "x").algorithm == Sac(tau=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"totl_steps": 5}, r"x\.yaml: unknown key 'totl_steps' \(did you mean 'total_steps'\?\)"),
        ({"algorithm": {"name": "ppo", "lerning_rate": 1}}, "unknown key 'lerning_rate'.*'learning_rate'"),
        ({"algorithm": {"name": "sac", "n_epochs": 1}}, "unknown key 'n_epochs'"),
        ({"algorithm": "dqn"}, "algorithm.*'ppo', 'sac'"),
        ({"algorithm": {"name": "ppo", "gamma": 1.5}}, r"algorithm\.gamma = 1\.5: .*less than or equal to 1"),
        ({"algorithm": {"name": "ppo", "batch_size": 100}}, "batch_size = 100 does not divide"),
        ({"env": {"reward": {"dram_hold": -1}}}, "unknown term 'dram_hold'.*'dram_held'"),
        ({"env": {"reward": {"dram_held": 1}}}, "dram_held = 1"),
        ({"env": {"reward": {"dram_held": -1.0e300}}}, r"env\.reward: dram_held = -1e\+300; .*within 1e\+06"),
        ({"env": {"reward": {"dram_held": float("nan")}}}, r"env\.reward\.dram_held = nan"),
        ({"env": {"objective": "promis"}}, "env.objective = 'promis' .did you mean 'promise'"),
        ({"env": {"promise": {"minutes": 95}}}, r"env\.promise: minutes = 95\.0; give a number above 0"),
        (
            {"env": {"promise": {"minute": 0.9}}},
            r"env\.promise: unknown key 'minute' .did you mean 'minutes'",
        ),
        ({"env": {"penalty": -1}}, r"env\.penalty = -1\.0; give a number from 0 to 1e\+06"),
        ({"env": {"action": {"max_write_share": 2}}}, r"env\.action: max_write_share = 2"),
        ({"env": {"action": {"age_min_s": float("inf")}}}, r"env\.action\.age_min_s = inf"),
        ({"algorithm": {"name": "sac", "learning_rate": float("inf")}}, r"algorithm\.learning_rate = inf"),
        ({"algorithm": {"name": "ppo", "learning_rate": 1e300}}, r"algorithm\.learning_rate = 1e\+300"),
        ({"algorithm": {"name": "ppo", "log_std_init": 1000}}, r"algorithm\.log_std_init = 1000"),
        ({"seeds": [-1]}, r"seeds\.0 = -1: .*greater than or equal to 0"),
        ({"seeds": [1, 99999999999]}, r"seeds\.1 = 99999999999: .*less than or equal to 4294967295"),
        ({"n_envs": 100_000_000}, r"n_envs = 100000000: .*less than or equal to 1024"),
        ({"network": {"hidden": [10**9]}}, r"network\.hidden\.0 = 1000000000"),
        ({"n_envs": 0}, "n_envs = 0"),
        ({"total_steps": None}, "total_steps"),
        ({"scenarios": {"train": []}}, r"scenarios\.train"),
    ],
)
def test_mistakes_are_one_line(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse_experiment({**GOOD, **change}, "x.yaml")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("x.yaml: ")


def test_a_missing_key_is_named() -> None:
    with pytest.raises(UserError, match="total_steps: field required"):
        parse_experiment({k: v for k, v in GOOD.items() if k != "total_steps"}, "x.yaml")


def test_files_that_are_no_experiment(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1,\nb: 2\n")
    with pytest.raises(UserError, match=r"broken\.yaml: line \d+: .*; correct the YAML"):
        load_experiment(broken)
    broken.write_text("- 1\n")
    with pytest.raises(UserError, match="holds list, wanted a mapping"):
        load_experiment(broken)
    with pytest.raises(UserError, match="no such file"):
        load_experiment(tmp_path / "nothing.yaml")
    with pytest.raises(UserError, match=r"no experiment 'demoo' \(did you mean 'demo'\?\)"):
        load_experiment("demoo")


def test_every_shipped_experiment_loads_and_survives_a_round_trip() -> None:
    assert {"demo", "ppo-shared", "sac-shared"} <= set(experiment_names())
    for name in experiment_names():
        experiment = load_experiment(name)
        assert Experiment.model_validate(yaml.safe_load(experiment.to_yaml())) == experiment


def test_the_digest_sees_settings_and_not_names() -> None:
    base = parse_experiment(GOOD, "x")
    assert parse_experiment({**GOOD, "name": "y", "seeds": [4]}, "x").digest() == base.digest()
    assert parse_experiment({**GOOD, "n_envs": 16}, "x").digest() != base.digest()
