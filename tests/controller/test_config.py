"""The small validator: what it takes, and what its one-line messages say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from zswap_gym.controller.config import ControllerConfig
from zswap_gym.controller.rails import Limits
from zswap_gym.controller.state import BreakerLimits
from zswap_gym.errors import UserError

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "controller").glob("*.yaml"))


def test_nothing_said_means_observe_and_touch_nothing() -> None:
    config = ControllerConfig.from_mapping({})
    assert (config.mode, config.cgroups, config.law, config.policy) == ("observe", (), "never", None)
    assert config.rails == Limits()
    assert config.limits("own").own_cgroup == "own"
    assert config.limits(None).allow == ()


def test_units_are_understood() -> None:
    config = ControllerConfig.from_mapping(
        {
            "mode": "act",
            "interval": "1.5m",
            "cgroups": ["web"],
            "rails": {
                "age_floor": "2h",
                "bytes_per_write": "1M",
                "breaker": {"freeze": 5, "probe_bytes": 4096},
            },
        }
    )
    assert config.interval_s == 90.0
    assert config.rails == Limits(
        age_floor_s=7200.0, bytes_per_write=1 << 20, breaker=BreakerLimits(freeze_s=5.0, probe_bytes=4096)
    )
    assert config.limits(None).allow == ("web",)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"mod": "act"}, "file.yaml: mod: unknown key (did you mean 'mode'?)"),
        ({"mode": "watch"}, "file.yaml: mode: must be one of observe, act, not 'watch'"),
        ({"rails": {"age_flor": 5}}, "file.yaml: rails: age_flor: unknown key (did you mean 'age_floor'?)"),
        ({"rails": {"breaker": {"windw": 5}}}, "rails: breaker: windw: unknown key (did you mean 'window'?)"),
        ({"rails": 5}, "rails: must be a mapping, not 5"),
        ({"interval": "0s"}, "interval: must be more than no time"),
        ({"interval": "soon"}, "interval: 'soon' is not a duration"),
        ({"interval": True}, "interval: must be a duration"),
        ({"interval": float("nan")}, "interval: must be a number from 0"),
        ({"law": "fixed_age", "law_arguments": {"age_s": 10**5000}}, "law_arguments: a number of hundreds"),
        ({"interval": 10**400}, "interval: a number of hundreds of digits"),
        ({"interval": "9" * 5000}, "is not a duration"),
        ({"workers": 10**400}, "workers: a number of hundreds of digits"),
        ({"workers": -(10**5000)}, "workers: a number of hundreds of digits"),
        ({"rails": {"bytes_per_day": "9" * 5000}}, "rails: bytes_per_day: '99"),
        ({"rails": {"bytes_per_day": 10**400}}, "rails: bytes_per_day: a number of hundreds of digits"),
        ({"cgroups": "web"}, "cgroups: must be a list of texts"),
        ({"cgroups": [1]}, "cgroups: must be a list of texts"),
        ({"workers": 0}, "workers: must be a whole number from 1"),
        ({"workers": 1.5}, "workers: must be a whole number from 1"),
        ({"log": 5}, "log: must be text"),
        ({"rails": {"bytes_per_write": -1}}, "rails: bytes_per_write: must be a number from 0"),
        ({"rails": {"bytes_per_write": "lots"}}, "rails: bytes_per_write: 'lots' is not a size"),
        ({"rails": {"swap_free_min": 5}}, "rails: swap_free_min: must be from 0 to 1"),
        ({"rails": {"psi_max_percent": "high"}}, "rails: psi_max_percent: must be a number from 0"),
        ({"law": "nevr"}, "law 'nevr': unknown (did you mean 'never'?)"),
        ({"law_arguments": [1]}, "law_arguments: must be a mapping"),
        ({"law": "fixed_age", "law_arguments": {"ages": 5}}, "did you mean 'age_s'"),
        ({"law": "fixed_age(ages=5)"}, "unknown parameter 'ages' (did you mean 'age_s'?)"),
        ({"mode": "act"}, "cgroups: mode act needs at least one pattern"),
        ({"mode": "act", "cgroups": ["web"], "log": None}, "log: mode act needs a decision log"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(mapping: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        ControllerConfig.from_mapping(mapping, "file.yaml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("file.yaml: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configs_are_valid_and_go_round(path: Path) -> None:
    mapping = yaml.safe_load(path.read_text())
    mapping.pop("host", None)  # which host to run on is the command line's
    config = ControllerConfig.from_mapping(mapping, str(path))
    again = ControllerConfig.from_mapping(json.loads(json.dumps(config.to_mapping())))
    assert again == config


def test_observe_yaml_spells_out_the_defaults() -> None:
    (path,) = (path for path in CONFIGS if path.name == "observe.yaml")
    said = yaml.safe_load(path.read_text())
    assert said.keys() == ControllerConfig().to_mapping().keys()
    assert said["rails"].keys() == ControllerConfig().to_mapping()["rails"].keys()
    assert said["rails"]["breaker"].keys() == ControllerConfig().to_mapping()["rails"]["breaker"].keys()
    assert ControllerConfig.from_mapping(said | {"cgroups": []}) == ControllerConfig()
