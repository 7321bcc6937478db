"""train, export, evaluate, control: the road, with a training of seconds."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml

from zswap_gym.policy.runtime import Policy

EXPERIMENT = {
    "name": "tiny",
    "algorithm": {"name": "ppo", "n_steps": 16, "batch_size": 32, "n_epochs": 2},
    "network": {"hidden": [8]},
    "scenarios": {"train": ["demo-train"], "evaluate": ["demo-test"]},
    "env": {"snapshots": 1, "episode_s": 40.0},
    "n_envs": 2,
    "total_steps": 64,
}


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(EXPERIMENT))
    return path


def test_the_road(cli, tmp_path: Path, experiment: Path) -> None:
    status, out, err = cli("train", experiment, "--out", "run", "--json")
    assert (status, err) == (0, "")
    (run,) = json.loads(out)
    assert run["steps"] == 64

    status, out, err = cli("export", "run", "--out", "policies/tiny.npz", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["bytes"] == (tmp_path / "policies/tiny.npz").stat().st_size
    assert Policy.load("policies/tiny.npz").provenance["seed"] == 1

    args = ("--policy", "policies/tiny.npz", "--policy", "run", "--scenario", "demo-test", "--seeds", 2)
    status, out, err = cli("evaluate", *args, "--laws", "never,fixed_age(age_s=20)", "--out", "ev", "--json")
    assert status == 0
    told = json.loads(out)
    assert told["learned"] == ["policies/tiny.npz", "run"]
    assert told["seeds"] == [5000, 5001]
    rows = list(csv.DictReader(Path("ev/episodes.csv").read_text().splitlines()))
    assert len(rows) == 4 * 2
    # The exported file and the run it came from are one policy.
    reward = {(row["policy"], row["seed"]): float(row["reward"]) for row in rows}
    for seed in ("5000", "5001"):
        assert reward["run", seed] == pytest.approx(reward["policies/tiny.npz", seed], rel=1e-6)
    assert "<svg" in Path("ev/report.html").read_text()

    controller = {
        "host": {"kind": "simulated", "scenario": "demo-test", "seed": 9},
        "policy": "policies/tiny.npz",
        "interval": "5s",
        "mode": "act",
        "cgroups": ["*"],
    }
    Path("controller.yaml").write_text(yaml.safe_dump(controller))
    status, out, err = cli("control", "controller.yaml", "--decisions", 5, "--json")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert (told["rounds"], told["by"]) == (5, ["policies/tiny.npz"])


def test_several_seeds_have_a_folder_each(cli, experiment: Path) -> None:
    status, out, _ = cli("train", experiment, "--seed", 4, "--seed", 5, "--out", "runs", "--json")
    assert status == 0
    assert [run["seed"] for run in json.loads(out)] == [4, 5]
    assert sorted(path.name for path in Path("runs").iterdir()) == ["seed-4", "seed-5"]


def test_a_run_is_not_overwritten_and_a_finished_one_is_resumed_as_it_is(cli, experiment: Path) -> None:
    _, first, _ = cli("train", experiment, "--out", "run", "--json")
    status, out, err = cli("train", experiment, "--out", "run", "--json")
    assert (status, out) == (2, "")
    assert "holds a run already" in err
    status, again, _ = cli("train", experiment, "--out", "run", "--resume", "--json")
    assert (status, again) == (0, first)


def test_evaluate_prints_a_table_and_a_verdict(cli) -> None:
    status, out, _ = cli("evaluate", "--scenario", "demo-test", "--laws", "never,release_only", "--seeds", 1)
    assert status == 0
    for words in ("demo-test: 1 seeds", "release_only", "saved", "0.2 % of its resident set"):
        assert words in out
    args = ("evaluate", "--scenario", "demo-test", "--laws", "never,release_only", "--seeds", 1)
    status, out, _ = cli(*args, "--objective", "bill")
    assert (status, "gain" in out, "CPU" in out) == (0, True, False)
