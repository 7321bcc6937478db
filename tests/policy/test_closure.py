"""Deciding needs numpy and the standard library: a host that runs a policy has nothing else."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import zswap_gym.policy

ROOT = Path(__file__).parents[2]
HEAVY = {"pydantic", "yaml", "gymnasium", "numba", "torch", "rich", "typer"}
MODULES = [m.name for m in pkgutil.walk_packages(zswap_gym.policy.__path__, "zswap_gym.policy.")]


def loaded_by(statements: str) -> set[str]:
    """Top-level packages in a fresh interpreter after these statements."""
    done = subprocess.run(
        [sys.executable, "-c", f"{statements}\nimport sys\nprint(*sys.modules)"],
        capture_output=True, text=True, check=True, cwd=ROOT, timeout=60,
    )  # fmt: skip
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_importing_the_policy_room_loads_nothing_heavy() -> None:
    assert {"zswap_gym.policy.runtime", "zswap_gym.policy.features", "zswap_gym.policy.laws"} <= set(MODULES)
    loaded = loaded_by(f"import zswap_gym.host.types, {', '.join(MODULES)}")
    assert loaded & HEAVY == set()
    assert {"numpy", "zswap_gym"} <= loaded


def test_the_check_sees_a_heavy_import() -> None:
    assert loaded_by("import zswap_gym.policy.laws, yaml") & HEAVY == {"yaml"}
