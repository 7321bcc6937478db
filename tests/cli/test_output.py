"""The early check of output paths, and JSON for programs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from zswap_gym.cli._output import ensure_writable, print_json
from zswap_gym.errors import UserError


def everything_below(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize("folder", [True, False])
def test_a_new_path_is_fine_and_is_not_made(tmp_path: Path, folder: bool) -> None:
    ensure_writable(tmp_path / "a" / "b" / "c", folder=folder)
    assert everything_below(tmp_path) == []


def test_relative_paths_are_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ensure_writable(Path("policy.npz"))
    ensure_writable(Path("runs/mine"), folder=True)
    assert everything_below(tmp_path) == []


def test_a_file_in_the_way_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match="runs: a file is in the way"):
        ensure_writable(tmp_path / "runs", folder=True)


@pytest.mark.parametrize("folder", [True, False])
def test_a_file_among_the_parents(tmp_path: Path, folder: bool) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match=r"mine: cannot be written \(.*runs: not a directory\)"):
        ensure_writable(tmp_path / "runs" / "mine", folder=folder)


def test_a_folder_in_the_way_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder; name a file"):
        ensure_writable(tmp_path)


def test_a_file_system_that_takes_no_files() -> None:
    """Even root cannot write there, so this holds for whoever runs the tests."""
    with pytest.raises(UserError, match="/proc/mine: cannot be written"):
        ensure_writable(Path("/proc/mine"), folder=True)


@dataclass
class _Point:
    x: float
    path: Path


def test_json_takes_what_results_are_made_of(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(
        {
            "array": np.arange(3),
            "scalar": np.float32(0.5),
            "missing": np.array([1.0, np.nan]),
            "limit": float("inf"),
            "point": _Point(1.0, Path("a/b")),
            "flag": True,
            1: (None, "x"),
        }
    )
    assert json.loads(capsys.readouterr().out) == {
        "array": [0, 1, 2],
        "scalar": 0.5,
        "missing": [1.0, None],
        "limit": None,
        "point": {"x": 1.0, "path": "a/b"},
        "flag": True,
        "1": [None, "x"],
    }
