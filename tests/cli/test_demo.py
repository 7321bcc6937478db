"""zswap-gym demo: the whole road with one command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from zswap_gym.controller.decisions import read_log


def test_a_folder_of_somebody_is_left_alone(cli, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "run").write_text("precious")
    status, out, err = cli("demo", "--out", "mine")
    assert (status, out) == (2, "")
    assert "mine: is not empty and no earlier demo wrote it" in err
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["run"]


@pytest.mark.slow
def test_the_demo_twice(tmp_path: Path) -> None:
    """In a process of its own, as a person runs it; the second replaces the first."""
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "zswap_gym.cli", "demo", "--out", "d", "--minutes", "0.5"],
            cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        for words in ("champion", "champion+rails", "never", "promise tuned", "shrinker", "best rule"):
            assert words in done.stdout
        folder = tmp_path / "d"
        results = json.loads((folder / "evaluation" / "results.json").read_text())
        told = json.loads((folder / "run" / "champion.json").read_text())
        learned = told["champion"]["kind"] == "policy"  # in half a minute a rule may have won
        assert results["learned"] == (["champion", "champion+rails"] if learned else [])
        assert results["scenarios"] == ["hourly-jobs", "hourly-jobs-test"]
        assert (folder / ("policy.npz" if learned else "rule.yaml")).is_file()
        assert "<svg" in (folder / "report.html").read_text()
        rounds = {r["tick"] for r in read_log(folder / "decisions.jsonl") if r["kind"] == "decision"}
        assert rounds == set(range(1, 11))
