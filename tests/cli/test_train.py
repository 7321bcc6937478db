"""zswap-gym train: one run, several seeds, and what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.agents.conftest import SCENARIO, TINY
from zswap_gym.agents.learning.train import read_champion
from zswap_gym.policy.runtime import Policy

LAX = {"disk_reads_pct_min": 100, "psi_added_pct": 100, "cpu_pct_per_gib": 100}


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """A training of seconds; its file names the scenario beside it."""
    (tmp_path / "tiny.yaml").write_text(SCENARIO)
    settings = TINY | {"scenarios": {"train": [str(tmp_path / "tiny.yaml")]}, "promise": LAX, "rounds": 1}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(settings))))
    return path


def test_a_run_prints_champion_and_best_rule(cli, experiment: Path) -> None:
    status, out, err = cli("train", experiment, "--out", "run", "--workers", 1)
    assert status == 0
    found = read_champion(Path("run"))
    champion, rule = found["champion"], found["best_rule"]
    for words in (
        "tiny", "all", f"{champion['saved_pct']:.2f}", f"{rule['saved_pct']:.2f}", "2 of each scenario",
        f"champion: {champion['policy']} ({champion['kind']}); best rule: {rule['policy']}",
        "zswap-gym export run",
    ):  # fmt: skip
        assert words in out
    assert "best so far" in err
    # in the folder of its name where none is given
    status, again, err = cli("train", experiment, "--workers", 1, "--json")
    assert (status, err) == (0, "")
    assert json.loads(again) == [found] == [read_champion(Path("runs/tiny"))]


def test_a_run_is_not_overwritten_and_a_finished_one_is_resumed_as_it_is(cli, experiment: Path) -> None:
    _, first, _ = cli("train", experiment, "--out", "run", "--workers", 1, "--json")
    status, out, err = cli("train", experiment, "--out", "run", "--json")
    assert (status, out) == (2, "")
    assert "run: holds a run already; resume it (--resume)" in err
    status, again, _ = cli("train", experiment, "--out", "run", "--resume", "--workers", 1, "--json")
    assert (status, again) == (0, first)


def test_several_seeds_have_a_folder_each(cli, experiment: Path) -> None:
    settings = yaml.safe_load(experiment.read_text())
    experiment.write_text(yaml.safe_dump(settings | {"rounds": 0}))
    args = ("--seed", 4, "--seed", 5, "--seed", 4, "--out", "runs", "--workers", 1, "--json")
    status, out, _ = cli("train", experiment, *args)
    assert status == 0
    assert len(json.loads(out)) == 2
    assert sorted(path.name for path in Path("runs").iterdir()) == ["seed-4", "seed-5"]
    one, other = (Policy.load(f"runs/seed-{n}/training-1/round-0000.npz") for n in (4, 5))
    assert one.provenance["experiment"]["seed"] == 4
    assert (one.layers[0].weight != other.layers[0].weight).any()
