"""zswap-gym tune: a file that takes a law's name, and mistakes that cost a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from zswap_gym.policy.promise import Promise

Cli = Callable[..., tuple[int, str, str]]

SCENARIO = """
name: tiny
host: {page_scale: 8}
stage_one: {kind: fixed, rate: 512K, interval: 1s}
cgroups:
  - {name: kv, workload: {archetype: kv_zipf, pages: 256}}
  - {name: agent, workload: {archetype: sidecar_agent, pages: 256}}
episode: {decision_interval: 10s, length: 80s, warmup: 40s, snapshots: 3}
"""
LITTLE = ("--trials", 3, "--seeds", 2, "--workers", 1, "--promise", "minutes=0.2")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(SCENARIO)
    return path


def test_a_tuned_law_is_a_file_that_takes_its_name(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    status, out, err = cli("tune", "fixed_age", "--scenario", tiny, *LITTLE)
    assert status == 0, err
    assert "wrote configs/laws/fixed_age.yaml" in out
    assert "best" in err  # the bar says how good it is so far
    found = yaml.safe_load((tmp_path / "configs/laws/fixed_age.yaml").read_text())
    assert list(found) == ["law", "parameters", "tuned"]
    told = found["tuned"]
    assert told["promise"] == {**Promise().as_dict(), "minutes": 0.2}
    assert told["search"]["trials"] == 3
    assert told["command"]
    assert set(told["scores"]["tuned"]) == {"tiny", "all"}

    status, out, err = cli(
        "evaluate", "--scenario", tiny, "--laws", "tuned:fixed_age,configs/laws/fixed_age.yaml", "--seeds", 1
    )
    assert status == 0, err
    assert "tuned:fixed_age" in out


def test_the_same_command_goes_on_and_says_so_for_programs(cli: Cli, tiny: Path) -> None:
    command = ("tune", "release_only", "--scenario", tiny, *LITTLE, "--json")
    status, out, err = cli(*command)
    assert status == 0
    assert [line.split(" keeps")[0] for line in err.splitlines()] == [  # few pages are said, and nothing else
        "zswap-gym: scenario tiny: cgroup kv",
        "zswap-gym: scenario tiny: cgroup agent",
    ]
    again = cli(*command)
    assert json.loads(again[1]) == json.loads(out)
    assert json.loads(out)["trials"] == 3
    status, out, _ = cli(*command, "--trials", 5)
    assert json.loads(out)["trials"] == 5


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("amid",), "did you mean 'aimd'"),
        (("aimd(tagret=1)",), "did you mean 'target'"),
        (("never",), "no parameter left to tune"),
        (("aimd", "--promise", "minutes=0"), "minutes = 0"),
        (("aimd", "--promise", "psi_added_pct=101"), "psi_added_pct = 101"),
        (("aimd", "--promise", "minute=0.9"), "did you mean 'minutes'"),
        (("aimd", "--split", "trian"), "did you mean 'train'"),
        (("aimd", "--scenario", "kv-and-sidecra"), "kv-and-sidecra"),
        (("aimd", "--scenario", "demo-train"), "1200 s"),
        (("aimd", "--sampler", "cma"), "tpe or cmaes"),
        (("all", "--out", "x.yaml"), "--out name one rule's files"),
        (("aimd", "--trials", 0), "--trials"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    cli: Cli, tmp_path: Path, args: tuple[object, ...], says: str
) -> None:
    status, out, err = cli("tune", *args)
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1 or args[-1] == "demo-train"  # which says what is left out first
    assert list(tmp_path.iterdir()) == []


def test_a_study_of_another_plan_costs_nothing(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    assert cli("tune", "fixed_age", "--scenario", tiny, *LITTLE)[0] == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    status, _, err = cli("tune", "fixed_age", "--scenario", tiny, *LITTLE, "--first-seed", 7)
    assert status == 2
    assert "seeds was" in err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_tuned_law_that_is_not_there(cli: Cli, tiny: Path) -> None:
    status, _, err = cli("evaluate", "--scenario", tiny, "--laws", "tuned:nobody")
    assert status == 2
    assert "no configs/laws/nobody.yaml" in err


def test_a_controller_takes_a_tuned_law(cli: Cli, tmp_path: Path) -> None:
    laws = tmp_path / "configs" / "laws"
    laws.mkdir(parents=True)
    (laws / "mine.yaml").write_text("law: fixed_age\nparameters: {age_s: 77, max_bytes: 1048576}\n")
    config = tmp_path / "control.yaml"
    config.write_text("law: tuned:mine\nlaw_arguments: {max_bytes: 2M}\n")
    from zswap_gym.cli.control import read_config

    _, settings = read_config(config)
    assert settings.law_spec == {"law": "fixed_age", "age_s": 77, "max_bytes": "2M"}
    config.write_text("law: tuned:yours\n")
    status, _, err = cli("control", config)
    assert status == 2
    assert "no configs/laws/yours.yaml" in err
    assert "mine" in err
