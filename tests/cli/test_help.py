"""--help teaches, and costs no compile and no torch."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = (
    (),
    ("advise",),
    ("train",),
    ("tune",),
    ("evaluate",),
    ("export",),
    ("control",),
    ("scenarios",),
    ("scenarios", "list"),
    ("scenarios", "show"),
    ("scenarios", "plot"),
    ("demo",),
    ("fidelity",),
)
HEAVY = ("numba", "llvmlite", "torch", "gymnasium", "stable_baselines3", "matplotlib", "numpy", "yaml")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_imports_nothing_heavy(command: tuple[str, ...]) -> None:
    script = (
        "import sys\n"
        "from zswap_gym.cli.main import main\n"
        f"status = main([*{command!r}, '--help'])\n"
        f"print('LOADED', *[name for name in {HEAVY!r} if name in sys.modules])\n"
        "sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1].split() == ["LOADED"]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != ("scenarios",)], ids=" ".join)
def test_help_shows_an_example(command: tuple[str, ...], cli) -> None:
    status, out, _ = cli(*command, "--help")
    assert status == 0
    assert "  zswap-gym " + " ".join(command[:1]) in out


def in_the_readme() -> list[list[str]]:
    """Words of every command line shown in the README."""
    lines = (ROOT / "README.md").read_text().splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("    zswap-gym ")]


@pytest.mark.parametrize("words", in_the_readme(), ids=" ".join)
def test_the_readme_shows_commands_that_exist(words: list[str], cli) -> None:
    depth = 2 if words[0] == "scenarios" else 1
    status, out, _ = cli(*words[:depth], "--help")
    assert status == 0
    for word in words:
        assert not word.startswith("--") or word in out
        assert not word.startswith("configs/") or (ROOT / word).is_file()


def test_no_arguments_is_help(cli) -> None:
    status, out, err = cli()
    assert (status, err) == (0, "")
    assert "zswap-gym scenarios list" in out


def test_version(cli) -> None:
    from zswap_gym import __version__

    assert cli("--version") == (0, f"zswap-gym {__version__}\n", "")
