"""zswap-gym control over a simulated host, through its files, and over a tree of files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from zswap_gym.cli._decisions import NOTES_KEPT, Summary
from zswap_gym.cli._output import shown
from zswap_gym.cli._rendered import RenderedHost
from zswap_gym.cli.control import print_summary, read_config
from zswap_gym.controller.config import ControllerConfig
from zswap_gym.controller.decisions import read_log
from zswap_gym.controller.lock import alone
from zswap_gym.controller.replay import replay
from zswap_gym.host.simulated import SimulatedHost
from zswap_gym.host.types import Request
from zswap_gym.workloads.scenario import load_scenario

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "tests" / "fixtures" / "cgroup" / "6.12-v1"
MIB = 1 << 20


def linux(tmp_path: Path, **changes: object) -> Path:
    """A config over a copy of the fixture tree; with changes."""
    tree = tmp_path / "tree"
    if not tree.exists():
        shutil.copytree(FIXTURE, tree)
    config = {
        "cgroups": ["*"],
        "law": "fixed_age(age_s=300)",
        "interval": "10ms",
        "log": str(tmp_path / "log.jsonl"),
        "cgroup_root": str(tree / "cgroup"),
        "proc_root": str(tree / "proc"),
        "sys_root": str(tree / "sys"),
    }
    path = tmp_path / "linux.yaml"
    path.write_text(yaml.safe_dump(config | changes))
    return path


def simulated(tmp_path: Path, **changes: object) -> Path:
    config = {
        "host": {"kind": "simulated", "scenario": "demo-test", "seed": 3},
        "mode": "act",
        "interval": "5s",
        "cgroups": ["*"],
        "law": "fixed_age(age_s=5,max_bytes=2M)",
        "log": str(tmp_path / "log.jsonl"),
        "rails": {"age_floor": "5s"},
    }
    path = tmp_path / "controller.yaml"
    path.write_text(yaml.safe_dump(config | changes))
    return path


def test_ten_rounds_of_acting_write_pages_back(cli, tmp_path: Path) -> None:
    status, out, err = cli("control", simulated(tmp_path), "--decisions", 10, "--json")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert told["rounds"] == 10
    assert told["mode"] == "act"
    assert sorted(told["cgroups"]) == ["cache", "logs", "ml", "service"]
    records = list(read_log(tmp_path / "log.jsonl"))
    decisions = [r for r in records if r["kind"] == "decision"]
    assert len(decisions) == 40
    # The summary is the log added up, and the counters the kernel printed say the same.
    outcomes = [r for r in records if r["kind"] == "outcome"]
    for name, row in told["cgroups"].items():
        assert row["written_bytes"] == sum(r["bytes"] for r in outcomes if r["cgroup"] == name)
        assert row["released_bytes"] == sum(r["released_bytes"] for r in outcomes if r["cgroup"] == name)
        asked = [r for r in decisions if r["cgroup"] == name and r["allowed"]]
        assert len(asked) == len([r for r in outcomes if r["cgroup"] == name])  # the last round's too
        assert sum(row["nothing_because"].values()) == 10 - len(asked)
    assert sum(row["written_bytes"] for row in told["cgroups"].values()) > MIB


def test_observing_is_the_default_and_writes_nothing_back(cli, tmp_path: Path) -> None:
    config = yaml.safe_load(simulated(tmp_path).read_text())
    del config["mode"]
    (tmp_path / "controller.yaml").write_text(yaml.safe_dump(config))
    _, out, _ = cli("control", tmp_path / "controller.yaml", "--decisions", 3, "--json")
    told = json.loads(out)
    assert told["mode"] == "observe"
    assert sum(row["proposed"] for row in told["cgroups"].values()) > 0
    assert {row["written_bytes"] for row in told["cgroups"].values()} == {0}
    last = [r for r in read_log(tmp_path / "log.jsonl") if r["kind"] == "decision"][-4:]
    assert {r["seen"]["zswpwb"] for r in last} == {0}


def test_options_win_over_the_config(cli, tmp_path: Path) -> None:
    args = ("--decisions", 1, "--mode", "observe", "--log", "sub/other.jsonl", "--json")
    _, out, _ = cli("control", simulated(tmp_path), *args)
    assert json.loads(out)["mode"] == "observe"
    assert (tmp_path / "sub" / "other.jsonl").exists()
    assert not (tmp_path / "log.jsonl").exists()


@pytest.mark.parametrize("changes", [{"log": None}, {"cgroups": []}], ids=lambda c: next(iter(c)))
def test_acting_by_option_needs_what_acting_by_config_needs(cli, tmp_path: Path, changes: dict) -> None:
    status, out, err = cli("control", linux(tmp_path, **changes), "--mode", "act", "--decisions", 1)
    assert (status, out) == (2, "")
    assert f"linux.yaml: {next(iter(changes))}: mode act needs" in err


def test_a_log_given_by_option_is_log_enough_to_act(cli, tmp_path: Path) -> None:
    args = ("--mode", "act", "--log", "own.jsonl", "--decisions", 1, "--json")
    assert cli("control", linux(tmp_path, log=None), *args)[0] == 0
    assert (tmp_path / "own.jsonl").exists()


@pytest.mark.parametrize("mode", ["act", "observe"])
def test_a_second_controller_is_refused(cli, tmp_path: Path, mode: str) -> None:
    with alone([tmp_path / "log.jsonl"]):
        status, out, err = cli("control", linux(tmp_path, mode=mode), "--decisions", 1)
    assert (status, out) == (2, "")
    assert "log.jsonl: another controller acts with it" in err
    assert not (tmp_path / "log.jsonl").exists()


def test_a_log_of_another_kind_is_refused_before_anything_is_done(cli, tmp_path: Path) -> None:
    (tmp_path / "diary").write_bytes(b"dear diary \xff\n")
    path = linux(tmp_path, mode="act", log="diary")
    status, out, err = cli("control", path, "--decisions", 1)
    assert (status, out) == (2, "")
    assert "diary: its first line is not one of a decision log" in err
    assert (tmp_path / "diary").read_bytes() == b"dear diary \xff\n"


@pytest.mark.parametrize(
    "line", ["interval: 1" + "0" * 400, "interval: 1" + "0" * 5000, "[" * 1000], ids=["400", "5000", "deep"]
)
def test_yaml_that_python_cannot_take_is_refused_in_one_line(cli, tmp_path: Path, line: str) -> None:
    (tmp_path / "long.yaml").write_text(line + "\n")
    status, out, err = cli("control", "long.yaml")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "long.yaml" in err


def test_a_root_without_memory_files_is_refused(cli, tmp_path: Path) -> None:
    (tmp_path / "v1" / "memory" / "web").mkdir(parents=True)
    status, out, err = cli("control", linux(tmp_path, cgroup_root=str(tmp_path / "v1")), "--decisions", 1)
    assert (status, out) == (2, "")
    assert "v1: no cgroup v2 memory controller here" in err


def test_patterns_that_match_nothing_are_warned_of(cli, tmp_path: Path) -> None:
    status, out, err = cli("control", linux(tmp_path, cgroups=["nosuch"]), "--decisions", 1, "--json")
    assert status == 0
    assert "no cgroup matches nosuch" in err
    assert any("no cgroup matches nosuch" in note for note in json.loads(out)["notes"])


def test_the_log_of_a_run_replays(cli, tmp_path: Path) -> None:
    cli("control", simulated(tmp_path), "--decisions", 4, "--json")
    again = replay(tmp_path / "log.jsonl")
    assert again.decisions == 16
    assert again.mismatches == []


def test_the_summary_is_of_the_last_run_only(cli, tmp_path: Path) -> None:
    path = simulated(tmp_path)
    _, first, _ = cli("control", path, "--decisions", 2, "--json")
    _, second, _ = cli("control", path, "--decisions", 2, "--json")
    assert json.loads(first) == json.loads(second)


def test_a_summary_needs_no_log_and_reads_none(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unread(path: object) -> None:
        raise AssertionError(f"{path} may be larger than memory")

    monkeypatch.setattr("zswap_gym.controller.decisions.read_log", unread)
    told = [
        json.loads(cli("control", linux(tmp_path, log=log), "--decisions", 2, "--json")[1])
        for log in (str(tmp_path / "log.jsonl"), None)
    ]
    assert told[0].pop("log") != told[1].pop("log")
    assert told[0] == told[1]
    assert sorted(told[0]["cgroups"]) == ["batch.slice/job1", "old", "web"]


def test_a_summary_keeps_no_records() -> None:
    note = {"kind": "note", "tick": 1, "words": "again"}
    busy = {"kind": "busy", "tick": 1, "cgroup": "web", "inode": 1}
    summary = Summary()
    for _ in range(5 * NOTES_KEPT):
        summary.take([note, busy])
    told = summary.told(ControllerConfig(), 1)
    assert told["notes"] == ["again"] * NOTES_KEPT
    assert told["cgroups"]["web"]["held_back_by"] == {"busy": 5 * NOTES_KEPT}


def test_the_table_names_every_cgroup_and_rail(cli, tmp_path: Path) -> None:
    path = simulated(tmp_path, rails={"age_floor": "5s", "bytes_per_write": "1M"})
    _, out, _ = cli("control", path, "--decisions", 3)
    assert "acting on 4 cgroups every 5 s" in out
    for words in ("service", "cache", "logs", "ml", "bytes-per-write x"):
        assert words in out


def test_names_are_no_markup_and_always_printable(capsys: pytest.CaptureFixture[str]) -> None:
    summary = Summary()
    for name in ("a[/b]", "[red]x", "byte\udcff", "line\nend\x1b[2J"):
        summary.take([{"kind": "busy", "tick": 1, "cgroup": name, "inode": 1}])
    print_summary(summary.told(ControllerConfig(log="odd\udcff"), 1))
    out = capsys.readouterr().out
    for name in ("a[/b]", "[red]x", "byte?", "line?end?[2J", "odd?"):
        assert f" {name}" in out


def test_an_encoding_that_lacks_a_character_is_no_trouble() -> None:
    assert shown("caf\u00e9 \udcff", "ascii") == "caf? ?"
    assert shown("caf\u00e9 \udcff", "utf-8") == "caf\u00e9 ?"


def test_a_tree_of_files_is_observed_and_left_alone(cli, tmp_path: Path) -> None:
    path, tree = linux(tmp_path, cgroups=["web", "batch.slice/*"]), tmp_path / "tree"
    before = {p: p.read_bytes() for p in tree.rglob("*") if p.is_file()}
    status, out, _ = cli("control", path, "--decisions", 2, "--json")
    assert status == 0
    assert sorted(json.loads(out)["cgroups"]) == ["batch.slice/job1", "web"]
    assert {p: p.read_bytes() for p in tree.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "controller").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_shipped_config_is_valid(path: Path) -> None:
    host, settings = read_config(path)
    assert settings.mode in ("observe", "act")
    if host["kind"] == "simulated":
        assert load_scenario(host["scenario"]).episode.decision_interval == settings.interval_s


@pytest.fixture
def pair() -> tuple[RenderedHost, SimulatedHost]:
    """The same machine twice: seen and moved through text, and directly."""
    scenario = load_scenario("demo-test")
    rendered, direct = RenderedHost(SimulatedHost(scenario, 5)), SimulatedHost(scenario, 5)
    for host in (rendered, direct):
        host.sleep(40.0)
    return rendered, direct


def test_text_shows_what_the_model_holds(pair) -> None:
    rendered, direct = pair
    for text, fast in zip(rendered.sample(), direct.sample(), strict=True):
        assert text.cgroup == fast.cgroup
        np.testing.assert_array_equal(text.row(), fast.row())


def test_a_write_through_text_moves_the_same_pages(pair) -> None:
    rendered, direct = pair
    assert rendered.submit("service", Request(5.0, 2 * MIB))
    ((name, outcome),) = rendered.outcomes()
    assert direct.submit("service", Request(5.0, 2 * MIB))
    ended: list = []
    while not ended:
        direct.sleep(0.001)
        ended = direct.outcomes()
    assert name == "service"
    assert outcome.pages == ended[0][1].pages > 0
    assert outcome.bytes == outcome.pages * 4096
    assert min(outcome.released_bytes, ended[0][1].released_bytes) >= 2 * MIB
    assert rendered.outcomes() == []
