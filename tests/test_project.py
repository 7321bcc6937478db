"""The project files agree with each other and with the sources."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

from zswap_gym import __version__

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PIN = re.compile(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*")


def normal(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def constraints() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_constraints_are_exact_without_tags_hashes_or_hosts() -> None:
    assert [line for line in constraints() if not PIN.fullmatch(line)] == []


def test_constraints_pin_whatever_make_setup_installs() -> None:
    extras = PYPROJECT["project"]["optional-dependencies"]
    asked = [
        *PYPROJECT["project"]["dependencies"],
        *extras["train"],
        *extras["tune"],
        *extras["dev"],
    ]
    pinned = {normal(line.split("==")[0]) for line in constraints()}
    assert {normal(re.split(r"[<>=!~\[; ]", item)[0]) for item in asked} - pinned == set()


def test_one_version_everywhere() -> None:
    assert f"version: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()


def test_make_help_lists_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert [line.split()[0] for line in shown.splitlines()] == phony.group(1).split()


def test_make_says_what_it_needs_when_python_is_too_old(tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    # a stand-in that answers the version check as 3.10 would
    old.write_text(
        "#!/bin/sh\nexec python3 -c \"import sys; sys.version_info = (3, 10); sys.version = '3.10.0'\n$2\"\n"
    )
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "setup", f"PYTHON={old}", f"VENV={tmp_path}/venv"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "3.11 or newer is needed" in done.stderr
    assert not (tmp_path / "venv").exists()
