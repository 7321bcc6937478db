"""``zswap-gym advise``: the table, the files, and refusals before any work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zswap_gym.policy.promise import Promise
from zswap_gym.workloads.scenario import load_scenario

FEW = ("--ages", "60,100", "--budgets", "1M", "--seeds", "3")


def test_a_bare_recording(cli, tmp_path):
    status, out, _ = cli("advise", "sidecar", *FEW, "--json", "a.json", "--save-scenario", "mine.yaml")
    assert status == 0
    assert "Largest age this workload supports: 102 s" in out
    told = json.loads((tmp_path / "a.json").read_text())
    assert told["recommendation"]["line"] in {"max=1M 60", "max=1M 100"}
    assert f'echo "{told["recommendation"]["line"]}" > memory.zswap.proactive_writeback' in out
    assert {row["age_s"] for row in told["grid"]} == {60, 100}
    assert told["promise"] == Promise().as_dict()
    verdict = {"saved_pct", "broken_pct", "psi_added_pct", "cpu_added_pct_gib", "kept", "disk_reads_min"}
    assert all(verdict <= set(row) for row in [told["recommendation"], *told["grid"]])
    assert told["recommendation"]["kept"]
    assert told["warning"] == ""
    assert "of minutes disk reads of at most 0.2 % of the resident set" in " ".join(out.split())
    assert load_scenario(tmp_path / "mine.yaml").cgroups[0].workload.trace == "sidecar"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("redis",), "neither a recording"),
        (("nowhere.npz",), "nowhere.npz"),
        (("sidecar", "--ages", "10m"), "ages from 1 s to 102 s can be judged"),
        (("sidecar", "--ages", "soon"), "'soon' is not a duration"),
        (("sidecar", "--budgets", "100"), "at least 4096"),
        (("sidecar", "--slo", "1"), "use --promise disk_reads_pct_min=1"),
        (("sidecar", "--psi", "0.2"), "use --promise psi_added_pct=0.2"),
        (("sidecar", "--promise", "minutes=0"), "--promise: minutes = 0.0; give a number above 0"),
        (("sidecar", "--promise", "minuts=0.9"), "did you mean 'minutes'"),
        (("sidecar", "--promise", "disk_reads_pct_min=101"), "at most 100"),
        (("sidecar", "--interval", "1h"), "--interval: 1h"),
        (("sidecar", "--plot", "q.xyz"), "q.xyz: a picture is a .png, .svg or .pdf"),
        (("sidecar", "--plot", "ppp3"), "ppp3: a picture is a .png, .svg or .pdf"),
        (("sidecar", "--json", "/proc/a.json"), "/proc/a.json"),
    ],
)
def test_bad_input(cli, args, words):
    status, out, err = cli("advise", *args)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert words in err


def test_too_few_minutes_are_said(cli, tmp_path):
    args = ("--ages", "10s", "--budgets", "4M", "--seeds", "3", "--json", "a.json")
    status, out, _ = cli("advise", "gcc_cc1", *args)
    assert status == 0
    warning = json.loads((tmp_path / "a.json").read_text())["warning"]
    assert warning.startswith("Only 6 whole minutes of a cgroup, all 3 seeds together: too few to tell 95 %")
    assert warning in " ".join(out.split())


@pytest.mark.parametrize("option", ["--json", "--save-scenario"])
def test_what_is_read_is_not_overwritten(cli, tmp_path, option):
    (tmp_path / "mine.yaml").write_text("name: mine\n")
    status, _, err = cli("advise", "mine.yaml", option, "mine.yaml")
    assert status == 2
    assert "mine.yaml: is what is read" in err


@pytest.mark.slow
def test_ctrl_c_leaves_nothing_behind(tmp_path):
    """As at a terminal, SIGINT goes to the whole group: no worker, no file, no traceback."""
    script = """
import signal
from zswap_gym.cli.main import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a script ignores it
raise SystemExit(main())
"""
    command = [sys.executable, "-c", script, "advise", "llm_infer", "--workers", "2", "--json", "a.json"]
    process = subprocess.Popen(
        command, cwd=tmp_path, start_new_session=True, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    workers: list[int] = []
    while len(workers) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)
        workers = [pid for pid in children(process.pid) if b"spawn_main" in command_line(pid)]
    time.sleep(2.0)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert not list(tmp_path.iterdir())


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_line(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes()
