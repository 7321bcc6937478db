"""Scenarios small enough to learn on in a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from zswap_gym.workloads.scenario import Scenario, load_scenario

TEACHER = "fixed_age(age_s=30,max_bytes=512K)"
"""A law that writes and releases from the first decisions on, within the bounds of an action."""


@pytest.fixture
def scenario(tiny: str) -> Scenario:
    """Two cgroups, eight decisions an episode."""
    return load_scenario(tiny)


@pytest.fixture
def larger(tiny: str, tmp_path: Path) -> Scenario:
    """Beside it: three cgroups of different sizes, five decisions an episode."""
    text = (
        Path(tiny).read_text()
        .replace("name: tiny", "name: larger")
        .replace("length: 80s", "length: 50s")
        .replace("episode:", "  - {name: web, workload: {archetype: node_service, pages: 1024}}\nepisode:")
    )  # fmt: skip
    (tmp_path / "larger.yaml").write_text(text)
    return load_scenario(tmp_path / "larger.yaml")
