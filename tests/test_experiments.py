"""The scripts of experiments/ run for minutes and in no test; what they import must be there all the same."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from zswap_gym.agents.contestants import Contestant, Driver, LawDriver
from zswap_gym.agents.scoring.trial import run_trial
from zswap_gym.policy.laws import make_law
from zswap_gym.policy.promise import Account
from zswap_gym.workloads.scenario import Scenario, load_scenario

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


@pytest.fixture
def script(request: pytest.FixtureRequest) -> Callable[[str], ModuleType]:
    """A script of experiments/ as a module, without running it."""

    def load(path: str) -> ModuleType:
        name = f"experiment_{path.replace('/', '_').removesuffix('.py').replace('-', '_')}"
        spec = importlib.util.spec_from_file_location(name, ROOT / "experiments" / path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        request.addfinalizer(lambda: sys.modules.pop(name))
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def small() -> Scenario:
    scenario = load_scenario("kv-and-sidecar")
    episode = scenario.episode.model_copy(update={"length": 1200.0})
    return scenario.model_copy(update={"episode": episode})


def _account(driver: Driver, scenario: Scenario) -> Account:
    return run_trial("somebody", Contestant(driver), scenario, (3, 4)).account


def _equal(ours: Account, theirs: Account) -> bool:
    return all(np.array_equal(getattr(ours, f.name), getattr(theirs, f.name)) for f in fields(Account))


def _tracker() -> LawDriver:
    return LawDriver(make_law("promise(watch_s=0)"))


def test_samples_that_are_right_change_nothing_and_wrong_ones_do(
    script: Callable[[str], ModuleType], small: Scenario
) -> None:
    disturbed = script("robust/policy.py").Disturbed
    plain = _account(_tracker(), small)
    assert _equal(_account(disturbed(_tracker()), small), plain)
    for wrong in ({"noise": 0.3}, {"stale": True}, {"every": 2}):
        assert not _equal(_account(disturbed(_tracker(), **wrong), small), plain)


def test_halves_ask_for_one_half(script: Callable[[str], ModuleType], small: Scenario) -> None:
    half = script("release-ablation/measure.py").Half
    assert _account(half(_tracker(), writeback=False), small).written.sum() == 0
    assert _account(half(_tracker(), writeback=True), small).written.sum() > 0
    nothing = _account(LawDriver(make_law("never")), small)
    only_releases = LawDriver(make_law("release_only"))
    assert _equal(_account(half(only_releases, writeback=True), small), nothing)


def test_hosts_of_any_size_hold_each_cgroup_equally_often(script: Callable[[str], ModuleType]) -> None:
    hosts_of = script("generalise/measure.py").hosts_of
    scenario = load_scenario("mixed-test")
    for size, many in ((1, 5), (4, 5), (8, 5), (40, 1)):
        hosts = hosts_of(scenario, size)
        assert [len(host.cgroups) for host in hosts] == [size] * many
        assert len({cgroup.name for host in hosts for cgroup in host.cgroups}) == size * many
        works = [cgroup.workload for host in hosts for cgroup in host.cgroups]
        assert {works.count(cgroup.workload) for cgroup in scenario.cgroups} == {size * many // 5}
        Scenario.model_validate(hosts[0].model_dump(mode="json"))
