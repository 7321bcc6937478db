"""experiments/reality, what needs no guest: ranking, bounds, a recording taken apart, a run in the model."""

from __future__ import annotations

import argparse
import importlib
import json
import math
import random
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from zswap_gym.controller.config import ControllerConfig
from zswap_gym.workloads.recorder.processes import SLOT_BITS
from zswap_gym.workloads.recording_file import Recorded
from zswap_gym.workloads.scenario import Scenario

FOLDER = Path(__file__).parents[1] / "experiments" / "reality"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a script of the folder as it imports its neighbours."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


def rows(where: str, held: dict[str, float], reads: int = 0) -> list[dict[str, str]]:
    """One run of program ``a`` under each policy."""
    return [
        {
            "where": where, "policy": policy, "run": "0", "program": "a", "held_mib": str(mib),
            "disk_reads": str(reads), "written": "0", "minutes": "5", "broken": "1",
        }
        for policy, mib in held.items()
    ]  # fmt: skip


def test_kendall_is_that_of_the_books(script: Any) -> None:
    kendall = script("compare").kendall
    assert kendall([1, 2, 3, 4], [10, 20, 30, 40]) == 1
    assert kendall([1, 2, 3, 4], [4, 3, 2, 1]) == -1
    assert kendall([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)
    assert kendall([1, 1, 2], [1, 2, 3]) == pytest.approx(2 / 6**0.5)  # tau-b: one tie of three pairs
    assert math.isnan(kendall([1], [2]))


def test_what_is_saved_is_counted_against_nothing_done_in_the_same_place(script: Any) -> None:
    compare = script("compare")
    found = compare.cells(
        [*rows("guest", {"never": 30, "x": 20}, 100), *rows("model", {"never": 50, "x": 39.5}, 350)]
    )
    acting = next(cell for cell in found if cell.policy == "x")
    assert (acting.guest.saved_mib, acting.model.saved_mib) == (10, 10.5)
    assert acting.saved_near
    assert not acting.reads_near, "250 pages apart, and more than a fifth"
    assert acting.guest.broken_pct == 20
    assert "| **350** |" in "\n".join(compare.table(found))
    assert "memory saved 1 of 1, disk reads 0 of 2" in compare.ranking(found)[0]


def test_a_policy_that_ran_in_one_place_only_is_left_out(script: Any) -> None:
    compare = script("compare")
    found = compare.cells([*rows("guest", {"never": 30, "x": 20}), *rows("model", {"never": 50, "y": 40})])
    assert [cell.policy for cell in found] == ["never"]
    assert "Nothing to rank" in compare.ranking(found)[1]


def test_a_recording_of_several_programs_is_taken_apart(script: Any) -> None:
    pages = np.array([1, 2, 1 | 1 << SLOT_BITS, 7 | 2 << SLOT_BITS])
    measured = np.array([2, 7 | 2 << SLOT_BITS])
    whole = Recorded(
        "all", pages, np.arange(8).reshape(2, 4) % 2 == 0, np.ones((2, 4), bool), np.array([0.0, 2.0]),
        (measured, np.zeros(2, np.uint8), np.full((2, 4), 1000, np.uint16)),
    )  # fmt: skip
    mine = script("record").part(whole, [0, 2], "pair")
    assert mine.vpn.tolist() == pages[[0, 1, 3]].tolist()
    assert mine.touched.tolist() == whole.touched[:, [0, 1, 3]].tolist()
    assert mine.sizes[0].tolist() == measured.tolist()
    assert script("record").part(whole, [1], "other").sizes[0].tolist() == []


@pytest.mark.parametrize("policy", ["never", "tuned:aimd", "fixed_age(age_s=30,max_bytes=1M)"])
def test_the_config_is_one_that_the_controller_takes(script: Any, policy: str) -> None:
    keys = json.loads(script("run").config(policy, ["app/*"], "log", "state"))
    config = ControllerConfig.from_mapping(keys)
    assert (config.mode, config.dialect) == ("act", "stock-pulse")
    assert config.law == policy.removeprefix("tuned:")


def test_the_scenario_says_what_the_guest_is(script: Any) -> None:
    run = script("run")
    scenario = Scenario.model_validate(run.scenario(list(run.PROGRAMS), 300))
    assert scenario.dialect == "stock-pulse"
    assert [cgroup.name for cgroup in scenario.cgroups] == list(run.PROGRAMS)


def test_a_run_in_the_model_gives_a_row_for_each_program(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = script("run")
    monkeypatch.setattr(run, "RUNS", tmp_path)
    args = argparse.Namespace(
        programs=["agent", "kv"], policies=["never", "release_only"], seconds=60.0, repeats=1, first=0
    )
    found = [
        row for policy, number, log in run.in_model(args) for row in run.rows(log, "model", policy, number)
    ]
    assert [(row.policy, row.program) for row in found] == [
        ("never", "agent"), ("never", "kv"), ("release_only", "agent"), ("release_only", "kv"),
    ]  # fmt: skip
    held = {(row.policy, row.program): row.held_mib for row in found}
    assert held["release_only", "kv"] < held["never", "kv"] < 40
    assert all(row.seconds == 60 and row.minutes == 1 and row.stored > 0 for row in found)


def test_the_programs_do_the_same_everywhere(script: Any) -> None:
    programs = script("programs")
    assert len(programs.half_noise(5, 1024)) == 1024
    assert programs.half_noise(5, 1024) != programs.half_noise(6, 1024)
    zipf = programs.Zipf(1000)
    drawn = [zipf.draw(random.Random(f"kv {second}")) for second in range(2000)]
    assert drawn == [zipf.draw(random.Random(f"kv {second}")) for second in range(2000)]
    assert max(drawn) < 1000
    assert 0.4 < sum(rank < 50 for rank in drawn) / 2000 < 0.75
