"""train, export, evaluate, control: the road, with a training of seconds."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml

from tests.agents.conftest import IDLE, SCENARIO, TINY

LAX = {"disk_reads_pct_min": 100, "psi_added_pct": 100, "cpu_pct_per_gib": 100}


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """With a rule that does nothing, so that a policy wins."""
    (tmp_path / "tiny.yaml").write_text(SCENARIO)
    settings = TINY | {"scenarios": {"train": ["tiny.yaml"]}, "promise": LAX, "rounds": 1}
    settings["selection"] = settings["selection"] | {"rules": [IDLE]}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(settings))))
    return path


def test_the_road(cli, tmp_path: Path, experiment: Path) -> None:
    status, out, err = cli("train", experiment, "--out", "run", "--workers", 1, "--json")
    assert (status, err) == (0, "")
    (found,) = json.loads(out)
    assert found["champion"]["kind"] == "policy"

    status, out, err = cli("export", "run", "--out", "policies/tiny.npz", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["bytes"] == (tmp_path / "policies/tiny.npz").stat().st_size

    args = ("--policy", "policies/tiny.npz", "--policy", "run", "--scenario", "tiny.yaml", "--seeds", 2)
    laws = "never,fixed_age(age_s=20)"
    status, out, err = cli("evaluate", *args, "--laws", laws, "--workers", 1, "--out", "ev", "--json")
    assert status == 0
    told = json.loads(out)
    assert told["learned"] == ["policies/tiny.npz", "run"]
    assert told["seeds"] == [5000, 5001]
    rows = list(csv.DictReader(Path("ev/episodes.csv").read_text().splitlines()))
    assert len(rows) == 4 * 2
    # The exported file and the run it came from are one policy.
    reward = {(row["policy"], row["seed"]): float(row["reward"]) for row in rows}
    for seed in ("5000", "5001"):
        assert reward["run", seed] == reward["policies/tiny.npz", seed] != reward["never", seed]
    assert "<svg" in Path("ev/report.html").read_text()

    controller = {
        "host": {"kind": "simulated", "scenario": "tiny.yaml", "seed": 9},
        "policy": "policies/tiny.npz",
        "interval": "10s",
        "mode": "act",
        "cgroups": ["*"],
    }
    Path("controller.yaml").write_text(yaml.safe_dump(controller))
    status, out, err = cli("control", "controller.yaml", "--decisions", 5, "--json")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert (told["rounds"], told["by"]) == (5, ["policies/tiny.npz"])


def test_evaluate_prints_a_table_and_a_verdict(cli) -> None:
    args = ("evaluate", "--scenario", "demo-test", "--laws", "never,release_only", "--seeds", 1)
    args = (*args, "--workers", 1)
    status, out, _ = cli(*args)
    assert status == 0
    for words in ("demo-test: 1 seeds", "release_only", "saved", "0.2 % of its resident set"):
        assert words in out
    status, out, _ = cli(*args, "--objective", "bill")
    assert (status, "gain" in out, "CPU" in out) == (0, True, False)
