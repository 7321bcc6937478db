"""Imports run one way (DESIGN 2), and the controller's closure is the standard library and numpy."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("zswap_gym/**/*.py"), *ROOT.glob("zswap_gym/agents/**/*.py")])

# host/ stands on both sides of the wall: these files know the simulated kernel, all others are the seam.
SIMULATED_SIDE = ("zswap_gym.host.simulated",)

# Which rooms of the project a room may import, besides itself.
MAY_IMPORT = {
    "root": {"envs"},  # its ids, and only in a process that has gymnasium already: the tests below see to it
    "errors": set(),
    "units": {"errors"},
    "atomic": {"errors"},
    "lookup": set(),
    "yaml_file": {"errors"},
    "law_file": {"errors", "lookup", "yaml_file", "policy"},
    "builtin": {"errors"},
    "kernel": {"errors", "units"},
    "workloads": {"errors", "units", "atomic", "lookup", "yaml_file", "kernel"},
    "host": {"errors", "units"},
    "host.simulated": {"errors", "units", "kernel", "workloads", "host"},
    "policy": {"errors", "units", "host"},
    "envs": {"errors", "units", "kernel", "workloads", "host", "host.simulated", "policy"},
    "controller": {"errors", "units", "builtin", "host", "policy"},
    "agents": {
        "root", "errors", "units", "atomic", "lookup", "yaml_file", "law_file", "builtin", "kernel",
        "workloads", "host", "host.simulated", "policy", "envs", "controller",
    },
    "cli": {
        "root", "errors", "units", "atomic", "lookup", "yaml_file", "law_file", "builtin", "kernel",
        "workloads", "host", "host.simulated", "policy", "envs", "controller", "agents",
    },
}  # fmt: skip

# Which packages from outside a room may import. Kernel: no RL, no files, no YAML. Controller: numpy.
MAY_USE = {
    "root": set(),
    "errors": set(),
    "units": set(),
    "atomic": set(),
    "lookup": set(),
    "yaml_file": {"yaml"},
    "law_file": set(),
    "builtin": set(),
    "kernel": {"numpy", "numba", "llvmlite"},
    "workloads": {"numpy", "numba", "pydantic", "yaml"},
    "host": {"numpy"},
    "host.simulated": {"numpy"},
    "policy": {"numpy"},
    "envs": {"numpy", "numba", "gymnasium"},
    "controller": {"numpy"},
    "agents": {
        "numpy", "gymnasium", "torch", "stable_baselines3", "sb3_contrib", "tensorboard", "matplotlib",
        "pydantic", "yaml", "rich", "tqdm", "onnx", "onnxscript", "onnxruntime", "optuna",
        "sqlalchemy", "ray",
    },
    "cli": {"typer", "rich", "pydantic", "yaml", "numpy"},
}  # fmt: skip


@dataclass(frozen=True)
class Import:
    """One imported module, absolute, and where it is written."""

    module: str
    line: int
    at_top: bool


def module_name(path: Path) -> str:
    """Dotted name of a source file of this project."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    """The room of a module of this project."""
    if module.startswith("zswap_gym.agents"):
        return "agents"
    if module == "zswap_gym":
        return "root"
    if module.startswith(SIMULATED_SIDE):
        return "host.simulated"
    return module.split(".")[1]


def imports_of(source: str) -> list[Import]:
    """Every import in ``source``, inside functions and TYPE_CHECKING blocks too."""
    found: list[Import] = []

    def visit(node: ast.AST, at_top: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend(Import(alias.name, child.lineno, at_top) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"line {child.lineno}: relative import"
                base = child.module or ""
                # "from zswap_gym.host import simulated" imports a module too
                found.extend(
                    Import(
                        f"{base}.{alias.name}" if is_module(f"{base}.{alias.name}") else base,
                        child.lineno,
                        at_top,
                    )
                    for alias in child.names
                )
            lazy = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            visit(child, at_top and not lazy and not typing_only)

    visit(ast.parse(source), at_top=True)
    return found


def is_module(name: str) -> bool:
    """Whether a dotted name is a module or package of this project."""
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def violations(module: str, source: str) -> list[str]:
    """Imports in ``source`` that the room of ``module`` may not make, in words."""
    here = room(module)
    bad = []
    for item in imports_of(source):
        top = item.module.split(".")[0]
        if top == "zswap_gym":
            there = room(item.module)
            allowed = there == here or there in MAY_IMPORT[here]
        else:
            allowed = top in sys.stdlib_module_names or top in MAY_USE[here]
        if not allowed:
            bad.append(f"{module}:{item.line} imports {item.module}")
    return bad


def test_the_package_alone_loads_nothing() -> None:
    """What the root may import it imports only where gymnasium is loaded already."""
    code = "import sys, zswap_gym; print(*[name for name in sys.modules if name.startswith('zswap_gym.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_run_one_way(path: Path) -> None:
    assert violations(module_name(path), path.read_text()) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("zswap_gym.kernel.zswap", "import gymnasium"),
        ("zswap_gym.kernel.zswap", "from zswap_gym.host.types import Sample"),
        ("zswap_gym.controller.loop", "from zswap_gym.host import simulated"),
        ("zswap_gym.controller.loop", "def f():\n    import yaml"),
        ("zswap_gym.policy.laws", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("zswap_gym.host.linux", "from zswap_gym.kernel.spec import HostSpec"),
        ("zswap_gym.envs.reward", "from agents import evaluate"),
        ("zswap_gym.agents.learning.train", "from zswap_gym.cli import main"),
        ("zswap_gym", "from zswap_gym import units"),
    ],
)
def test_the_rules_catch_a_violation(module: str, source: str) -> None:
    assert violations(module, source) != []


def loaded_by_the_command_line() -> list[Path]:
    """The cli modules that zswap_gym.cli.main imports before any command runs, and itself."""
    found, todo = {"zswap_gym.cli"}, ["zswap_gym.cli.main"]
    while todo:
        module = todo.pop()
        found.add(module)
        path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
        todo += [
            item.module
            for item in imports_of(path.read_text())
            if item.at_top and item.module.startswith("zswap_gym.cli.") and item.module not in found
        ]
    return [path for path in SOURCES if module_name(path) in found]


@pytest.mark.parametrize("path", loaded_by_the_command_line(), ids=module_name)
def test_the_command_line_imports_lazily(path: Path) -> None:
    """At the top of what --help loads: the standard library, typer, errors and other cli modules."""
    heavy = [
        f"{item.module} (line {item.line})"
        for item in imports_of(path.read_text())
        if item.at_top
        and item.module.split(".")[0] not in sys.stdlib_module_names
        and not item.module.startswith(("typer", "zswap_gym.errors", "zswap_gym.cli"))
    ]
    assert heavy == []


def loaded_after(statement: str) -> set[str]:
    """Top-level packages in sys.modules of a fresh interpreter that ran ``statement``."""
    before = "import sys; start = set(sys.modules)\n"
    after = "\nprint(*{name.split('.')[0] for name in set(sys.modules) - start})"
    done = subprocess.run(
        [sys.executable, "-c", before + statement + after],
        capture_output=True, text=True, check=True, cwd=ROOT, timeout=60,
    )  # fmt: skip
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_else() -> None:
    assert loaded_after("import zswap_gym") - sys.stdlib_module_names == {"zswap_gym"}


def test_the_controllers_closure_is_the_standard_library_and_numpy() -> None:
    seam = [p for p in SOURCES if room(module_name(p)) in ("controller", "policy", "host")]
    statement = "\n".join(f"import {module_name(p)}" for p in seam)
    outside = loaded_after(statement) - set(sys.stdlib_module_names) - {"zswap_gym", "numpy"}
    # names such as _distutils_hack come from the interpreter's own site-packages start-up, none from imports
    assert {name for name in outside if not name.startswith("_")} == set()
