"""A run is whole or goes on: whatever stops it, the same champion, and nothing half-written."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.agents.conftest import IDLE
from zswap_gym.agents.config import Experiment, load_experiment
from zswap_gym.agents.contestants import contestant
from zswap_gym.agents.learning.champion import TEST, champion_file
from zswap_gym.agents.learning.train import COLUMNS, Progress, read_champion, read_progress, train
from zswap_gym.agents.parallel import open_workers
from zswap_gym.agents.run_folder import locked
from zswap_gym.agents.tuning.objective import Bench
from zswap_gym.errors import UserError
from zswap_gym.policy.laws import make_law
from zswap_gym.policy.promise import Promise
from zswap_gym.policy.runtime import Policy
from zswap_gym.workloads.scenario import load_scenario

ROOT = Path(__file__).parents[3]
LAX = {"disk_reads_pct_min": 100, "psi_added_pct": 100, "cpu_pct_per_gib": 100}
"""A promise that everybody keeps: who saves most is champion."""


class StoppedError(Exception):
    """What a test stops a run with."""


def stopping_at(count: int) -> Any:
    """Called with a run's progress; the ``count``-th time the run is stopped."""
    told: list[Progress] = []

    def tick(now: Progress) -> None:
        told.append(now)
        if len(told) == count:
            raise StoppedError

    return tick


def files(run: Path) -> list[str]:
    return sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())


def outcomes(run: Path) -> list[tuple[Any, ...]]:
    """Lines of progress.csv without the seconds, by training and round."""
    return sorted((*at[:3], found) for at, found in read_progress(run))


def test_a_run_leaves_everything_that_is_needed_later(make_experiment, tmp_path: Path) -> None:
    experiment = make_experiment(trainings=2, promise=LAX, selection={"rules": [IDLE]})
    run = tmp_path / "deep" / "run"
    told: list[Progress] = []
    found = train(experiment, run, on_progress=told.append)
    assert found["champion"]["kind"] == "policy"
    candidates = [f"training-{k}/round-{r:04d}.npz" for k in (1, 2) for r in range(3)]
    assert files(run) == sorted(
        ["champion.json", "champion.npz", "experiment.yaml", "progress.csv", "provenance.json", *candidates,
         "training-1/state.pt", "training-2/state.pt"]
    )  # fmt: skip
    assert load_experiment(run / "experiment.yaml") == experiment
    facts = json.loads((run / "provenance.json").read_text())
    assert facts["experiment"] == experiment.digest()
    assert set(facts["scenarios"]) == {"tiny"}
    assert facts["packages"]["torch"]
    with (run / "progress.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert tuple(rows[0]) == COLUMNS
    assert sorted((int(r["training"]), int(r["rounds"]), int(r["decisions"])) for r in rows) == [
        (k, r, r * 32) for k in (1, 2) for r in range(3)
    ]
    assert read_champion(run) == found == json.loads((run / "champion.json").read_text())
    assert [now.what for now in told] == ["judging the rules", *["learning"] * 3, "choosing a champion"]
    assert told[0].best is None
    assert told[-1].best is not None
    assert told[-1].best.value >= max(outcome.value for _, _, _, outcome in outcomes(run))


def test_what_is_told_of_the_champion_is_what_anybody_finds(
    make_experiment, tiny: str, tmp_path: Path
) -> None:
    experiment = make_experiment(promise=LAX, selection={"rules": [IDLE]})
    run = tmp_path / "run"
    found = train(experiment, run)
    assert set(found) == {"champion", "best_rule", "candidates", "promise"}
    champion, rule = found["champion"], found["best_rule"]
    figures = {
        "policy", "kind", "saved_pct", "saved_low", "saved_high", "broken_pct", "psi_added_pct",
        "cpu_added_pct_gib", "keeping", "cgroups", "kept", "seeds", "scenarios",
    }  # fmt: skip
    assert set(champion) == set(rule) == figures
    assert set(champion["scenarios"]) == {"tiny"}
    assert champion["seeds"] == 2
    assert (champion["kind"], rule["kind"], rule["policy"]) == ("policy", "rule", IDLE)
    names = [c["policy"] for c in found["candidates"]]
    assert len(names) == len(set(names))
    assert {"training 1 round 0", "training 1 round 1", "training 1 round 2", IDLE} <= set(names)
    assert any("caution +0.3" in name for name in names)
    assert found["candidates"][0]["policy"] == champion["policy"]
    finals = [c["final"] for c in found["candidates"] if c["final"]]
    assert finals[0]["saved_pct"] == max(f["saved_pct"] for f in finals)
    assert found["promise"] == Promise.of(LAX).as_dict()
    # the same, from the files
    bench = Bench([load_scenario(tiny)], Promise.of(LAX))
    seeds = range(TEST, TEST + 2)
    trials = bench.run({"it": contestant(run)}, seeds)["it"]
    standing = bench.standings(trials, bench.nothing(seeds))[-1]
    assert standing.saved_pct.value == pytest.approx(champion["saved_pct"])
    assert standing.kept == champion["kept"]
    policy = Policy.load(run / "champion.npz")
    assert policy.provenance["champion"] == champion
    assert policy.provenance["best_rule"] == rule
    assert policy.provenance["digest"] == experiment.digest()


def test_a_stopped_run_goes_on_to_the_same_champion(make_experiment, tmp_path: Path) -> None:
    """Stopped before imitation, between two waves, and before the choice."""
    experiment = make_experiment(rounds=1, promise=LAX, selection={"rules": [IDLE]})
    whole = tmp_path / "whole"
    found = train(experiment, whole)
    for stop in (2, 3, 4):
        cut = tmp_path / str(stop)
        with pytest.raises(StoppedError):
            train(experiment, cut, on_progress=stopping_at(stop))
        assert not (cut / "champion.json").exists()
        assert train(experiment, cut, resume=True) == found
        assert (cut / "champion.json").read_bytes() == (whole / "champion.json").read_bytes()
        assert champion_file(cut).read_bytes() == champion_file(whole).read_bytes()
        assert files(cut) == files(whole)
        assert outcomes(cut) == outcomes(whole)
    # and a finished run is returned as it is
    before = {path: path.stat().st_mtime_ns for path in cut.rglob("*")}
    assert train(experiment, cut, resume=True) == found
    assert {path: path.stat().st_mtime_ns for path in cut.rglob("*")} == before


_KILLED = """
import os, signal, sys
from zswap_gym.agents.learning import train as module

write = module.write_atomically
left = int(sys.argv[3])

def dying(target, text):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    write(target, text)

module.write_atomically = dying
if __name__ == "__main__":
    module.train(sys.argv[1], sys.argv[2])
"""


@pytest.mark.slow
def test_killed_at_any_write_it_resumes_to_the_same_champion(make_experiment, tmp_path: Path) -> None:
    """Before each file that is written, in a process of its own that is killed."""
    experiment = make_experiment(promise=LAX, rounds=1, trainings=2)
    file = tmp_path / "experiment.yaml"
    file.write_text(experiment.to_yaml())
    found = train(experiment, tmp_path / "whole")
    writes = 2 + 4 * 2 + 1  # what it is, state and progress of four candidates, champion.json
    for number in range(1, writes + 1):
        cut = tmp_path / str(number)
        done = subprocess.run(
            [sys.executable, "-c", _KILLED, str(file), str(cut), str(number)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == -9, done.stderr
        assert not (cut / "champion.json").exists()
        assert train(experiment, cut, resume=True) == found
        assert champion_file(cut).read_bytes() == champion_file(tmp_path / "whole").read_bytes()


def test_a_candidate_whose_state_is_not_there_yet_comes_again(make_experiment, tmp_path: Path) -> None:
    """Killed between the two: the file of the candidate is left and not believed."""
    experiment = make_experiment(promise=LAX)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    found = train(experiment, whole)
    with pytest.raises(StoppedError):
        train(experiment, cut, on_progress=stopping_at(3))  # after imitation
    (cut / "training-1" / "round-0001.npz").write_bytes(b"half of it")
    assert train(experiment, cut, resume=True) == found
    assert files(cut) == files(whole)


def test_what_is_not_in_the_progress_file_is_judged_again(make_experiment, tmp_path: Path) -> None:
    experiment = make_experiment(promise=LAX)
    run = tmp_path / "run"
    found = train(experiment, run)
    (run / "champion.json").unlink()
    (run / "progress.csv").unlink()
    assert train(experiment, run, resume=True) == found


def test_another_seed_is_another_run(make_experiment, tmp_path: Path) -> None:
    found = []
    for seed in (1, 2):
        train(make_experiment(seed=seed, rounds=0), tmp_path / str(seed))
        found.append((tmp_path / str(seed) / "training-1" / "round-0000.npz").read_bytes())
    assert found[0] != found[1]


def test_time_that_is_up_ends_learning_and_not_the_choice(make_experiment, tmp_path: Path) -> None:
    run = tmp_path / "run"
    found = train(make_experiment(rounds=1000, promise=LAX), run, seconds=0.0)
    assert [name for name in files(run) if "round" in name] == ["training-1/round-0000.npz"]
    assert found == read_champion(run)


@pytest.mark.slow
def test_who_works_changes_nothing(make_experiment, tmp_path: Path) -> None:
    experiment = make_experiment(trainings=3, promise=LAX)
    here = train(experiment, tmp_path / "here")
    with open_workers(2) as workers:
        there = train(experiment, tmp_path / "there", workers=workers)
    assert there == here
    assert outcomes(tmp_path / "here") == outcomes(tmp_path / "there")


def test_a_rule_wins_where_no_policy_keeps_the_promise(make_experiment, tmp_path: Path) -> None:
    """Imitation of who reads from disk all the time, and a promise of no reads."""
    hard = {"teacher": "fixed_age(age_s=10,max_bytes=1M)", "epochs": 30}
    experiment = make_experiment(
        rounds=0,
        imitation=hard,
        promise={"disk_reads_pct_min": 1e-6},
        selection={"rules": [IDLE, "tmo"]},
    )
    run = tmp_path / "run"
    found = train(experiment, run)
    assert found["champion"]["kind"] == "rule"
    assert found["champion"]["policy"] == found["best_rule"]["policy"]
    assert found["champion"]["saved_pct"] == found["best_rule"]["saved_pct"]
    broken = [c for c in found["candidates"] if c["kind"] == "policy"]
    assert broken
    assert not any(c["judged"]["kept"] for c in broken if c["judged"])
    assert not (run / "champion.npz").exists()
    assert champion_file(run) == run / "champion.yaml"
    written = yaml.safe_load((run / "champion.yaml").read_text())
    assert written["law"] == found["champion"]["policy"].partition("(")[0]
    law = make_law(found["champion"]["policy"])
    assert contestant(run).digest() == contestant(law).digest()


# --- refusals -----------------------------------------------------------------------------------------


def refusal(experiment: Experiment, run: Path, *, resume: bool = False) -> str:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")} if run.exists() else None
    with pytest.raises(UserError) as caught:
        train(experiment, run, resume=resume)
    assert "\n" not in str(caught.value)
    after = {path: path.stat().st_mtime_ns for path in run.rglob("*")} if run.exists() else None
    assert after == before
    return str(caught.value)


@pytest.fixture
def stopped(make_experiment, tmp_path: Path) -> Path:
    """A run that was stopped after imitation."""
    with pytest.raises(StoppedError):
        train(make_experiment(), tmp_path / "stopped", on_progress=stopping_at(3))
    return tmp_path / "stopped"


def test_two_on_one_folder_are_refused(make_experiment, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with locked(run):
        assert "run: another training is writing there; wait for it" in refusal(make_experiment(), run)
    assert not run.exists()


def test_a_run_is_neither_overwritten_nor_gone_on_with_otherwise(make_experiment, stopped: Path) -> None:
    assert "holds a run already; resume it (--resume)" in refusal(make_experiment(), stopped)
    for other in (
        make_experiment(hosts=3), make_experiment(seed=2), make_experiment(selection={"seeds": 2}),
        make_experiment(promise={"minutes": 0.9}),
    ):  # fmt: skip
        line = refusal(other, stopped, resume=True)
        assert "was started with other settings (see experiment.yaml there)" in line
    # what changes no result may change
    assert train(make_experiment(name="another", threads=2), stopped, resume=True)


def test_a_wrong_rule_or_scenario_is_told_before_anything_is_written(make_experiment, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for changes, words in (
        ({"selection": {"rules": ["aimdd"]}}, "did you mean 'aimd'"),
        ({"selection": {"rules": ["missing.yaml"]}}, "missing.yaml: no such policy"),
        ({"selection": {"rules": ["never", "aimd@shrinker"]}}, "selection.rules: none does anything"),
        ({"scenarios": {"validation": ["mixed-hostt"]}}, "did you mean 'mixed-host'"),
        ({"scenarios": {"evaluate": ["mixed-tst"]}}, "did you mean 'mixed-test'"),
    ):
        assert words in refusal(make_experiment(**changes), run)
        assert not run.exists()


DAMAGED = [
    ("experiment.yaml", b"- 1\n", r"a run needs this file"),
    ("experiment.yaml", b"name: x\n", r"a run needs this file"),
    ("progress.csv", b"training,rounds\n1,one\n", "cannot be read .*; remove it: what it says is found out"),
    ("progress.csv", b"\xff\xfe\n", "remove it"),
    ("progress.csv", b"training,rounds,decisions\n1\n", "remove it"),
    ("training-1/state.pt", b"text", "damaged, or no state of a training; remove .*training-1 and resume"),
    ("training-1/state.pt", b"", "damaged, or no state"),
    ("training-1/round-0000.npz", b"PK", "not an exported policy, or damaged"),
]


def test_damaged_files_are_one_line(make_experiment, stopped: Path) -> None:
    for name, content, words in DAMAGED:
        whole = (stopped / name).read_bytes()
        (stopped / name).write_bytes(content)
        with pytest.raises(UserError, match=words) as caught:
            train(make_experiment(), stopped, resume=True)
        assert str(caught.value).startswith(str(stopped / name))
        assert "\n" not in str(caught.value)
        (stopped / name).write_bytes(whole)
    assert train(make_experiment(), stopped, resume=True)
    (stopped / "champion.json").write_text("{")
    with pytest.raises(UserError, match=r"champion\.json: cannot be read .*; remove it and resume again"):
        train(make_experiment(), stopped, resume=True)


def test_a_training_may_begin_anew(make_experiment, stopped: Path, tmp_path: Path) -> None:
    """What the message on a damaged state says to do is the way out."""
    for file in (stopped / "training-1").iterdir():
        file.unlink()
    (stopped / "training-1").rmdir()
    assert train(make_experiment(), stopped, resume=True) == train(make_experiment(), tmp_path / "whole")
