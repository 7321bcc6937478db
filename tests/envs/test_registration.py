"""The ids are known to Gymnasium the way people ask for them, each in a fresh process."""

from __future__ import annotations

import subprocess
import sys

import pytest

ID = "zswap_gym/Writeback-v0"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    "imports",
    [
        "import gymnasium, zswap_gym",
        "import zswap_gym, gymnasium",
        "import zswap_gym.host.types; from gymnasium import spaces; import gymnasium",
        "import zswap_gym, importlib.util; importlib.util.find_spec('gymnasium'); import gymnasium",
        "import gymnasium, zswap_gym.envs",
        "import zswap_gym.envs, gymnasium",
    ],
)
@pytest.mark.parametrize("env_id", [ID, "zswap_gym/Writeback-Privileged-v0"])
def test_after_the_import(imports: str, env_id: str) -> None:
    done = run(f"{imports}; print(type(gymnasium.make({env_id!r}, scenario='single-kv').unwrapped).__name__)")
    assert done.returncode == 0, done.stderr
    assert "WritebackEnv" in done.stdout


@pytest.mark.parametrize("module", ["zswap_gym", "zswap_gym.envs"])
def test_by_the_module_in_the_id(module: str) -> None:
    done = run(f"import gymnasium; print(gymnasium.make('{module}:{ID}', scenario='single-kv').spec.id)")
    assert (done.returncode, done.stdout.strip()) == (0, ID), done.stderr


def test_importing_the_package_alone_loads_no_gymnasium() -> None:
    assert run("import sys, zswap_gym; sys.exit('gymnasium' in sys.modules)").returncode == 0


def test_where_gymnasium_is_not_installed_the_package_imports_all_the_same() -> None:
    hidden = "import sys; sys.modules['gymnasium'] = None; import zswap_gym.host.types; import gymnasium"
    assert "ModuleNotFoundError" in run(hidden).stderr
    missing = "import zswap_gym, sys; sys.path[:] = []; import gymnasium"
    assert "ModuleNotFoundError: No module named 'gymnasium'" in run(missing).stderr
