"""zswap-gym scenarios."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zswap_gym.workloads.scenario import load_scenario, scenario_names


def test_list_names_every_scenario(cli) -> None:
    status, out, err = cli("scenarios", "list")
    assert (status, err) == (0, "")
    assert {"bench-mix", "demo-train", "demo-test"} <= set(scenario_names())
    assert [name for name in scenario_names() if name not in out] == []


def test_list_as_json(cli) -> None:
    _, out, _ = cli("scenarios", "list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert sorted(rows) == scenario_names()
    assert len(rows["bench-mix"]["cgroups"]) == 8


def test_show_prints_a_scenario_that_means_the_same(cli, tmp_path: Path) -> None:
    for flags, suffix in (((), "yaml"), (("--json",), "json")):
        status, out, _ = cli("scenarios", "show", "bench-mix", *flags)
        assert status == 0
        copy = tmp_path / f"copy.{suffix}"  # JSON is YAML
        copy.write_text(out)
        assert load_scenario(copy) == load_scenario("bench-mix")


def test_a_picture(cli, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    status, out, _ = cli("scenarios", "plot", "arrival-announced", "--seed", "2")
    assert (status, out) == (0, "wrote arrival-announced.png\n")
    assert (tmp_path / "arrival-announced.png").read_bytes().startswith(b"\x89PNG")
    status, _, err = cli("scenarios", "plot", "arrival-announced", "-o", "picture.txt")
    assert status == 2
    assert "picture.txt" in err
