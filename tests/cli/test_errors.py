"""Bad input: one line on stderr that says what, where and what to do; exit 2; nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from zswap_gym.cli import main
from zswap_gym.policy.actions import PER_CGROUP
from zswap_gym.policy.contract import Contract
from zswap_gym.policy.features import HOST_FEATURES
from zswap_gym.policy.runtime import Layer, Normaliser, Policy
from zswap_gym.workloads.traces import DATA

EXPERIMENT = {"name": "mine", "scenarios": {"train": ["demo-train"]}, "rounds": 1, "hosts": 2}
SCENARIO = {
    "name": "mine",
    "cgroups": [{"name": "kv", "workload": {"trace": "redis_zipf", "pages": 512}}],
    "episode": {"length": 30, "warmup": 5},
}
CONTROLLER = {
    "host": {"kind": "simulated", "scenario": "demo-test", "seed": 1},
    "law": "fixed_age",
    "interval": "5s",
}

Refused = Callable[..., str]


@pytest.fixture
def refused(cli, tmp_path: Path) -> Refused:
    """``refused(*args) -> the line``, after checking all that must hold of every refusal."""

    def run(*args: object) -> str:
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        status, out, err = cli(*args)
        assert status == 2, (out, err)
        assert out == ""
        assert err.startswith("zswap-gym: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
        return err

    return run


def save(path: Path, content: object) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


def bundle(path: Path, contract: Contract) -> Path:
    """A small policy bundle with weights of zero."""
    width = 3 * len(contract.features) + len(HOST_FEATURES)
    layer = Layer(np.zeros((PER_CGROUP, width), np.float32), np.zeros(PER_CGROUP, np.float32))
    scale = Normaliser(np.zeros(width), np.ones(width), 8.0, 1e-4)
    return Policy((layer,), scale, contract, {}).save(path)


# --- misspelt keys ----------------------------------------------------------------------------------


def test_a_misspelt_key_of_an_experiment(refused: Refused, tmp_path: Path) -> None:
    line = refused("train", save(tmp_path / "x.yaml", EXPERIMENT | {"round": 64}))
    assert "x.yaml" in line
    assert "'round' (did you mean 'rounds'?)" in line


def test_a_misspelt_key_of_a_scenario(refused: Refused, tmp_path: Path) -> None:
    wrong = SCENARIO | {"host": {"compresor": "zstd"}}
    line = refused("scenarios", "show", save(tmp_path / "x.yaml", wrong))
    assert "x.yaml" in line
    assert "'compresor' (did you mean 'compressor'?)" in line


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"modus": "act"}, "modus: unknown key (did you mean 'mode'?)"),
        ({"rails": {"age_flor": "1m"}}, "rails: age_flor: unknown key (did you mean 'age_floor'?)"),
        (
            {"host": {"kind": "simulated", "scenrio": "x"}},
            "host.scenrio: unknown key (did you mean 'scenario'?)",
        ),
        ({"host": {"kind": "simulatd"}}, "host.kind: must be linux or simulated"),
        ({"host": {"kind": "linux", "seed": 1}}, "belong to kind simulated"),
        ({"host": {"kind": "simulated"}}, "host.scenario: name the scenario"),
        ({"host": {"kind": "simulated", "scenario": "demo-test", "seed": -1}}, "host.seed: must be"),
        ({"host": "linux"}, "host: must be a mapping"),
        ({"hints": "hints.json"}, "hints: a simulated host takes its hints from the scenario"),
        ({"levels": "listed"}, "levels: a simulated host decides for the cgroups that have a workload"),
        ({"page_size": "16K"}, "page_size: a simulated host has pages of 4 KiB"),
        ({"levels": "leafs"}, "levels: must be one of leaves, listed, not 'leafs' (did you mean 'leaves'?)"),
        ({"psi": "off"}, "psi: must be one of needed, ignore, not"),
        ({"interval": "often"}, "interval: 'often' is not a duration"),
    ],
)
def test_a_wrong_value_or_key_of_a_controller(refused: Refused, tmp_path: Path, wrong, words: str) -> None:
    line = refused("control", save(tmp_path / "x.yaml", CONTROLLER | wrong), "--decisions", 1)
    assert "x.yaml" in line
    assert words in line


@pytest.mark.parametrize("command", [("train",), ("control",), ("scenarios", "show")], ids=" ".join)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [", "line 1: "),
        ("- a\n- b\n", "holds list"),
        ("", "holds nothing"),
        ("name: 2020-99-99", "line 1: '2020-99-99' means nothing (month must be in 1..12)"),
        ("[" * 100_000, "nested too deeply"),
        ("name: x\nname: y\n", "line 2: key 'name' is given twice"),
    ],
    ids=["no yaml", "a list", "empty", "no date", "deep", "twice"],
)
def test_a_config_that_is_no_mapping(
    refused: Refused, tmp_path: Path, command, content: str, words: str
) -> None:
    (tmp_path / "x.yaml").write_text(content)
    line = refused(*command, tmp_path / "x.yaml")
    assert "x.yaml: " in line
    assert words in line


@pytest.mark.parametrize("command", [("train",), ("control",), ("scenarios", "show")], ids=" ".join)
def test_a_config_that_is_not_there(refused: Refused, command) -> None:
    assert "nowhere.yaml" in refused(*command, "nowhere.yaml")


# --- traces and scenarios ---------------------------------------------------------------------------


def test_an_unknown_scenario(refused: Refused) -> None:
    assert "(did you mean 'bench-mix'?)" in refused("scenarios", "show", "bench-mixx")


def test_an_unknown_trace(refused: Refused, tmp_path: Path) -> None:
    wrong = SCENARIO | {"cgroups": [{"name": "kv", "workload": {"trace": "redis_zpif"}}]}
    line = refused(
        "evaluate", "--scenario", save(tmp_path / "x.yaml", wrong), "--laws", "never", "--seeds", 1
    )
    assert "redis_zpif" in line
    assert "(did you mean 'redis_zipf'?)" in line


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_truncated_trace(refused: Refused, tmp_path: Path, kept: float) -> None:
    whole = (DATA / "sidecar.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: int(kept * len(whole))])
    wrong = SCENARIO | {"cgroups": [{"name": "kv", "workload": {"trace": str(tmp_path / "cut.npz")}}]}
    line = refused(
        "evaluate", "--scenario", save(tmp_path / "x.yaml", wrong), "--laws", "never", "--seeds", 1
    )
    assert "cut.npz" in line


# --- output -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["occupied/here", "/proc/here"])
def test_an_unwritable_folder(refused: Refused, tmp_path: Path, place: str) -> None:
    (tmp_path / "occupied").write_text("")
    config = save(tmp_path / "x.yaml", EXPERIMENT)
    controller = save(tmp_path / "c.yaml", CONTROLLER)
    run = tmp_path / "run"
    run.mkdir()
    (run / "experiment.yaml").write_text(config.read_text())
    (run / "champion.json").write_text("{}")
    bundle(run / "champion.npz", Contract(5.0))
    for command in (
        ("train", config, "--out", place),
        ("evaluate", "--scenario", "demo-test", "--laws", "never", "--seeds", 1, "--out", place),
        ("export", "run", "--out", f"{place}/policy.npz"),
        ("control", controller, "--decisions", 1, "--log", f"{place}/log.jsonl"),
        ("demo", "--out", place),
    ):
        assert f"{place}" in refused(*command)


# --- policies and laws ------------------------------------------------------------------------------


def test_a_policy_of_another_contract(refused: Refused, tmp_path: Path) -> None:
    contract = Contract(5.0)
    other = replace(contract, features=(("mood", "1", 0.0, 1.0), *contract.features[1:]))
    path = bundle(tmp_path / "other.npz", other)
    controller = save(tmp_path / "c.yaml", CONTROLLER | {"policy": str(path)})
    for command in (
        ("control", controller, "--decisions", 1),
        ("evaluate", "--scenario", "demo-test", "--policy", path, "--laws", "never", "--seeds", 1),
    ):
        line = refused(*command)
        assert "other.npz" in line
        assert "features[0]" in line
        assert "mood" in line


def test_a_policy_of_an_earlier_version(refused: Refused, tmp_path: Path) -> None:
    """One of a whole host, with a network of body and head: its bundle was of version 1."""
    meta = {"bundle_version": 1, "kind": "shared", "squash": "clip", "layers": [{"name": "body.0"}]}
    np.savez(tmp_path / "old.npz", meta=np.array(json.dumps(meta)), **{"body.0.weight": np.zeros((3, 3))})
    controller = save(tmp_path / "c.yaml", CONTROLLER | {"policy": "old.npz"})
    for command in (
        ("control", controller, "--decisions", 1),
        ("evaluate", "--scenario", "demo-test", "--policy", "old.npz", "--laws", "never", "--seeds", 1),
    ):
        line = refused(*command)
        assert "old.npz: bundle version 1, this program reads 2; train it again" in line


def test_a_damaged_or_missing_policy(refused: Refused, tmp_path: Path) -> None:
    path = bundle(tmp_path / "cut.npz", Contract(5.0))
    path.write_bytes(path.read_bytes()[:300])
    for name in ("cut.npz", "nowhere.npz"):
        controller = save(tmp_path / "c.yaml", CONTROLLER | {"policy": name})
        assert name in refused("control", controller, "--decisions", 1)
        assert name in refused("evaluate", "--scenario", "demo-test", "--policy", name, "--seeds", 1)


def test_a_price_that_is_none(refused) -> None:
    args = ("evaluate", "--scenario", "demo-test", "--laws", "never", "--seeds", 1, "--objective", "bill")
    args = (*args, "--price")
    assert "--price dram_held: write TERM=WEIGHT" in refused(*args, "dram_held")
    assert "dram_held" in refused(*args, "dram_hold=-2")


def test_prices_without_a_bill(refused: Refused) -> None:
    args = ("evaluate", "--scenario", "demo-test", "--laws", "never", "--seeds", 1)
    assert "only --objective bill asks for prices" in refused(*args, "--price", "dram_held=-2")
    assert "--objective = 'bil' (did you mean 'bill'?)" in refused(*args, "--objective", "bil")


@pytest.mark.parametrize(
    ("promise", "words"),
    [
        ("minutes=0", "--promise: minutes = 0.0; give a number above 0, at most 1"),
        (
            "disk_reads_pct_min=101",
            "--promise: disk_reads_pct_min = 101.0; give a number above 0, at most 100",
        ),
        ("minuts=0.9", "--promise: unknown key 'minuts' (did you mean 'minutes'?)"),
        ("0.95", "--promise: '0.95' is no key=value"),
    ],
)
def test_a_promise_that_means_nothing(refused: Refused, promise: str, words: str) -> None:
    args = ("--scenario", "demo-test", "--laws", "never", "--seeds", 1, "--promise", promise)
    assert words in refused("evaluate", *args)
    assert words in refused("score", "never", "--promise", promise)


def test_rails_that_nobody_runs_within(refused: Refused, tmp_path: Path) -> None:
    controller = save(tmp_path / "c.yaml", CONTROLLER)
    line = refused(
        "evaluate", "--scenario", "demo-test", "--laws", "never", "--seeds", 1, "--rails", controller
    )
    assert f"--rails {controller}: nobody runs within rails; write NAME+rails" in line


def test_an_unknown_law(refused: Refused, tmp_path: Path) -> None:
    controller = save(tmp_path / "c.yaml", CONTROLLER | {"law": "fixd_age"})
    assert "did you mean 'fixed_age'?" in refused("control", controller, "--decisions", 1)
    line = refused("evaluate", "--scenario", "demo-test", "--laws", "never,fixd_age", "--seeds", 1)
    assert "did you mean 'fixed_age'?" in line


@pytest.mark.parametrize(
    ("laws", "words"),
    [
        ("fixed_age(agee_s=3)", "did you mean 'age_s'?"),
        ("fixed_age(age_s=soon)", "fixed_age"),
        ("fixed_age(", "write it as NAME or NAME(key=value,...)"),
        (",", "names no law"),
    ],
)
def test_a_badly_written_law(refused: Refused, laws: str, words: str) -> None:
    assert words in refused("evaluate", "--scenario", "demo-test", "--laws", laws, "--seeds", 1)


def test_a_seed_of_the_file_is_named_with_file_and_key(refused: Refused, tmp_path: Path) -> None:
    line = refused("train", save(tmp_path / "x.yaml", EXPERIMENT | {"seed": -1}))
    assert "x.yaml: seed = -1: " in line
    assert "--seed" not in line


def test_exporting_what_is_no_run(refused: Refused, tmp_path: Path) -> None:
    assert "nowhere: no such run" in refused("export", "nowhere")
    (tmp_path / "empty").mkdir()
    assert "empty: is not a training run" in refused("export", "empty")


# --- usage ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("trian",), "trian"),
        (("train",), "CONFIG"),
        (("train", "demo", "--sed", "1"), "--sed"),
        (("train", "demo", "--seed", "one"), "--seed"),
        (("train", "demo", "--seed", "-1"), "--seed -1: seeds are 0 to 4294967295"),
        (("train", "demo", "--seed", "99999999999"), "--seed 99999999999: seeds are 0 to"),
        (("evaluate", "--scenario", "demo-test", "--seeds", "0"), "--seeds"),
        (("evaluate",), "--scenario"),
        (("control", "x.yaml", "--mode", "acct"), "acct"),
        (("scenarios", "lst"), "lst"),
    ],
)
def test_wrong_usage(refused: Refused, args: tuple[str, ...], words: str) -> None:
    assert words in refused(*args)


# --- what is not bad input --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "args", "hint"),
    [
        ("zswap_gym.workloads.scenario.load_scenario", ("scenarios", "show", "bench-mix"), ""),
        ("zswap_gym.workloads.scenario.load_scenario", ("evaluate", "--scenario", "demo-test"), ""),
        ("zswap_gym.agents.advice.subject.subject", ("advise", "sidecar"), ""),
        ("zswap_gym.workloads.groundtruth.recordings", ("fidelity", "here"), ""),
        (
            "zswap_gym.agents.config.load_experiment",
            ("train", "demo"),
            "; the same command with --resume goes on",
        ),
    ],
)
def test_an_interrupt_is_130_and_one_line(
    cli, monkeypatch: pytest.MonkeyPatch, where: str, args: tuple[str, ...], hint: str
) -> None:
    monkeypatch.setattr(where, _raise(KeyboardInterrupt()))
    status, _, err = cli(*args)
    assert status == 130
    assert err.count("\n") == 1
    assert err.startswith(f"zswap-gym: interrupted{hint}")


def test_a_bug_is_not_dressed_up_as_bad_input(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zswap_gym.workloads.scenario.load_scenario", _raise(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        cli("scenarios", "show", "bench-mix")


def test_a_missing_extra_is_named(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train", "training"):
        monkeypatch.delitem(sys.modules, f"zswap_gym.agents.learning.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it raises ModuleNotFoundError
    line = refused("train", "demo")
    assert "training needs torch, which is not installed; pip install 'zswap-gym[train]'" in line


def _raise(error: BaseException) -> Callable[..., object]:
    def function(*_: object) -> object:
        raise error

    return function


def test_a_full_disk_is_one_line(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/mine/checkpoint.zip")

    monkeypatch.setattr(main, "app", full)
    assert main.main(["train", "demo"]) == main.BAD_INPUT
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "runs/mine/checkpoint.zip: No space left on device; make room" in said


def test_other_errors_of_the_system_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(main, "app", broken)
    with pytest.raises(OSError, match="Input/output"):
        main.main(["train", "demo"])
