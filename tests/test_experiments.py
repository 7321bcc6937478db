"""The scripts of experiments/ run for minutes and in no test; what they import must be there all the same."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(ROOT.glob("experiments/**/*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: f"{script.parent.name}/{script.name}")
def test_what_a_script_imports_of_the_project_is_there(script: Path) -> None:
    wanted = [
        (node.module, alias.name)
        for node in ast.walk(ast.parse(script.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("zswap_gym")
        for alias in node.names
    ]
    missing = [
        f"{module}.{name}"
        for module, name in wanted
        if module and not hasattr(importlib.import_module(module), name)
    ]
    assert missing == []


def test_there_are_scripts_to_look_at() -> None:
    assert len(SCRIPTS) >= 15
