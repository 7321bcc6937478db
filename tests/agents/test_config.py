"""Experiments: what is right loads with every default, what is wrong is one line that helps."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from zswap_gym.agents.config import Experiment, Ppo, experiment_names, load_experiment, parse_experiment
from zswap_gym.agents.learning.prices import Prices
from zswap_gym.errors import UserError

GOOD = {"name": "x", "scenarios": {"train": ["a"]}}


def test_the_short_form_has_every_default() -> None:
    experiment = parse_experiment(GOOD, "x.yaml")
    assert experiment.ppo == Ppo()
    assert experiment.prices.as_prices() == Prices()
    assert str(experiment.folder) == "runs/x"
    assert parse_experiment({**GOOD, "prices": {"over": 0}}, "x").prices.as_prices() == Prices(over=0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": 5}, r"x\.yaml: unknown key 'training' \(did you mean 'trainings'\?\)"),
        ({"algorithm": "ppo"}, "unknown key 'algorithm'"),
        ({"ppo": {"lerning_rate": 1}}, "unknown key 'lerning_rate'.*'learning_rate'"),
        ({"ppo": {"gamma": 1.5}}, r"ppo\.gamma = 1\.5: .*less than or equal to 1"),
        ({"ppo": {"learning_rate": float("inf")}}, r"ppo\.learning_rate = inf"),
        ({"ppo": {"learning_rate": 1e300}}, r"ppo\.learning_rate = 1e\+300"),
        ({"ppo": {"log_std_init": 1000}}, r"ppo\.log_std_init = 1000"),
        ({"ppo": {"n_steps": 0}}, r"ppo\.n_steps = 0"),
        ({"promise": {"minutes": 95}}, r"promise: minutes = 95\.0; give a number above 0"),
        ({"promise": {"minute": 0.9}}, r"promise: unknown key 'minute' .did you mean 'minutes'"),
        ({"promise": {"minutes": float("nan")}}, r"promise\.minutes = nan"),
        ({"prices": {"broken_low": 0}}, r"prices\.broken_low = 0: .*greater than 0"),
        ({"prices": {"broken_hgh": 1}}, "unknown key 'broken_hgh' .did you mean 'broken_high'"),
        ({"prices": {"margin": 2}}, r"prices\.margin = 2"),
        ({"imitation": {"teacher": "promis"}}, "'promis'.*did you mean 'promise'"),
        ({"imitation": {"teacher": "fixed_age(agee_s=1)"}}, "did you mean 'age_s'"),
        ({"imitation": {"epochs": -1}}, r"imitation\.epochs = -1"),
        ({"selection": {"cautions": []}}, r"selection\.cautions"),
        ({"selection": {"cautions": [0.0, 1.5]}}, r"selection\.cautions\.1 = 1\.5"),
        ({"selection": {"test_seeds": 0}}, r"selection\.test_seeds = 0"),
        ({"seed": -1}, r"seed = -1: .*greater than or equal to 0"),
        ({"seed": 99999999999}, r"seed = 99999999999: .*less than or equal to 4294967295"),
        ({"hosts": 100_000_000}, r"hosts = 100000000: .*less than or equal to 1024"),
        ({"hosts": 0}, "hosts = 0"),
        ({"trainings": 0}, "trainings = 0"),
        ({"rounds": -1}, "rounds = -1"),
        ({"network": {"hidden": [10**9]}}, r"network\.hidden\.0 = 1000000000"),
        ({"network": {"hidden": []}}, r"network\.hidden"),
        ({"scenarios": {"train": []}}, r"scenarios\.train"),
        ({"scenarios": {"train": ["a"], "test": ["b"]}}, "unknown key 'test'"),
    ],
)
def test_mistakes_are_one_line(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse_experiment({**GOOD, **change}, "x.yaml")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("x.yaml: ")


def test_a_missing_key_is_named() -> None:
    with pytest.raises(UserError, match="scenarios: field required"):
        parse_experiment({"name": "x"}, "x.yaml")


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
    assert {"demo", "generalist"} <= set(experiment_names())
    for name in experiment_names():
        experiment = load_experiment(name)
        assert Experiment.model_validate(yaml.safe_load(experiment.to_yaml())) == experiment


def test_the_digest_sees_settings_and_not_names() -> None:
    base = parse_experiment(GOOD, "x")
    names = {"name": "y", "description": "of y", "out": "there", "threads": 7, "seed": 4}
    assert parse_experiment({**GOOD, **names}, "x").digest() == base.digest()
    for change in ({"hosts": 16}, {"promise": {"minutes": 0.9}}, {"selection": {"seeds": 3}}):
        assert parse_experiment({**GOOD, **change}, "x").digest() != base.digest()
