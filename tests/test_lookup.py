"""Names resolve in one stated order, for everything that has names."""

from __future__ import annotations

from pathlib import Path

import pytest

from zswap_gym import lookup
from zswap_gym.agents.config import experiment_names, load_experiment
from zswap_gym.cli.control import read_config
from zswap_gym.workloads.scenario import load_scenario, scenario_names

ROOT = Path(__file__).parents[1]


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The working folder and the user's own, both empty."""
    working, home = tmp_path / "working", tmp_path / "home"
    working.mkdir()
    monkeypatch.chdir(working)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    return working / "configs", home / "zswap-gym"


def put(folder: Path, kind: str, name: str, like: str, description: str) -> Path:
    """A copy of one that comes with the package, told by its description or its first line."""
    path = folder / kind / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (ROOT / "configs" / kind / f"{like}.yaml").read_text().splitlines()
    lines = [f"description: {description}" if line.startswith("description:") else line for line in lines]
    path.write_text("\n".join(lines))
    return path


def test_the_order(places):
    working, own = places
    assert load_scenario("single-kv").description != "mine"
    put(own, "scenarios", "single-kv", "single-kv", "mine")
    assert load_scenario("single-kv").description == "mine"
    put(working, "scenarios", "single-kv", "single-kv", "this folder's")
    assert load_scenario("single-kv").description == "this folder's"
    (working.parent / "single-kv").write_text("no: yaml of ours")
    assert lookup.find("single-kv", "scenarios") == Path("single-kv")  # a file of that path comes first


def test_every_kind_has_names(places):
    for folder, name in zip(places, ("here", "own"), strict=True):
        put(folder, "experiments", name, "demo", name)
        put(folder, "controller", name, "observe", name)
        put(folder, "scenarios", name, "single-kv", name)
        assert load_experiment(name).description == name
        assert read_config(Path(name))[1].mode == "observe"
        assert {name, "demo"} <= set(experiment_names())
        assert {name, "single-kv"} <= set(scenario_names())
    assert read_config(Path("simulated"))[0]["kind"] == "simulated"
    assert lookup.names("laws") == sorted(path.stem for path in (ROOT / "configs" / "laws").glob("*.yaml"))


@pytest.mark.usefixtures("places")
def test_everything_at_the_top_of_the_repository_comes_with_the_package():
    for kind in ("scenarios", "experiments", "controller", "laws", "suites"):
        assert lookup.names(kind) == sorted(path.stem for path in (ROOT / "configs" / kind).glob("*.yaml"))


@pytest.mark.usefixtures("places")
def test_without_a_home(monkeypatch):
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.delenv("HOME", raising=False)
    assert "single-kv" in lookup.names("scenarios")
