"""``zswap-gym fidelity``: rows, trials, and one clear line for every folder that is no recording."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "data" / "groundtruth"
KEYS = {"scenario", "cgroup", "label", "counter", "kernel", "model"}
TRIAL_KEYS = {"trial", "mem_mib_kernel", "mem_mib_model", "disk_reads_kernel", "disk_reads_model"}


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A copy of a small recording, to be broken."""
    return Path(shutil.copytree(FOLDER / "p2_errno_and_syntax", tmp_path / "mine"))


def test_rows(cli, tmp_path: Path) -> None:
    out_file = tmp_path / "new" / "rows.json"
    status, out, err = cli("fidelity", FOLDER / "03_reclaim_and_back", "--json", out_file)
    assert status == 0, err
    rows = json.loads(out_file.read_text())
    assert all(set(row) == KEYS for row in rows)
    assert {row["scenario"] for row in rows} == {"03_reclaim_and_back"}
    labels = {row["label"] for row in rows}
    assert labels == {"final", "pre", "post", *(f"end:w1:{i}" for i in range(5))}
    end = {row["counter"]: row for row in rows if row["label"] == "final"}
    assert end["zswpout"]["kernel"] == 39739
    assert end["zswpout"]["model"] == 39739
    assert {"zswpin", "zswpwb", "pgmajfault", "memory.current", "memory.zswap.current", "swapcached"} <= set(
        end
    )
    assert "39739" in out
    assert "kernel's own" in out  # the two runs' difference stands beside


def test_a_folder_of_recordings_means_those_inside(cli, tmp_path: Path) -> None:
    for name in ("13_zero_pages", "p2_errno_and_syntax"):
        shutil.copytree(FOLDER / name, tmp_path / "some" / name)
    status, out, _ = cli("fidelity", tmp_path / "some")
    assert status == 0
    assert "13_zero_pages" in out
    assert "p2_errno_and_syntax" in out
    assert "counters compared" in out


def test_trials(cli, tmp_path: Path) -> None:
    out_file = tmp_path / "trials.json"
    status, out, err = cli(
        "fidelity", "--trials", FOLDER / "policytrials" / "t1_p1", "--json", out_file, "--seeds", 2
    )
    assert status == 0, err
    (row,) = json.loads(out_file.read_text())
    assert set(row) == TRIAL_KEYS
    assert row["trial"] == "t1_p1"
    assert row["disk_reads_model"] == pytest.approx(row["disk_reads_kernel"], rel=0.1)
    assert "t1_p1" in out


def one_line(status: int, err: str) -> str:
    assert status == 2
    assert err.startswith("zswap-gym: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def test_no_such_folder(cli) -> None:
    status, _, err = cli("fidelity", "nowhere")
    assert "nowhere: no such folder" in one_line(status, err)


def test_a_folder_without_recordings(cli, tmp_path: Path) -> None:
    status, _, err = cli("fidelity", tmp_path)
    assert "holds no recording" in one_line(status, err)


@pytest.mark.parametrize("name", ["scenario.txt", "events.jsonl", "samples.csv"])
def test_a_missing_file_is_named(cli, recording: Path, name: str) -> None:
    (recording / name).unlink()
    status, _, err = cli("fidelity", recording)
    assert name in one_line(status, err)
    assert str(recording) in err


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("scenario.txt", "# boot:", "# boots:", "line 1 must be '# boot: KERNEL | OPTIONS'"),
        ("scenario.txt", "rot=0", "maxpool=lots", "maxpool=lots"),
        ("scenario.txt", "rot=0", "comp=zstdd", "did you mean 'zstd'"),
        ("events.jsonl", "{", "[", "not a ground-truth scenario"),
        ("events.jsonl", '"errno":', '"err_no":', "errno is missing"),
        ("events.jsonl", "pages=8192", "pages=many", "worker w1: needs pages=N seed=S"),
        ("events.jsonl", '"cmd":"fill"', '"cmd":"fll"', "'fll' is not one of fill, seq"),
        ("samples.csv", "memory.current", "memory.now", "no column t, label, cg or memory.current"),
    ],
)
def test_broken_contents(cli, recording: Path, file: str, old: str, new: str, said: str) -> None:
    path = recording / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    status, _, err = cli("fidelity", recording)
    assert said in one_line(status, err)


def test_nothing_is_written_for_a_bad_folder(cli, tmp_path: Path) -> None:
    status, _, err = cli("fidelity", tmp_path / "none", "--json", tmp_path / "rows.json")
    one_line(status, err)
    assert not (tmp_path / "rows.json").exists()


def test_a_json_path_that_cannot_be_written(cli, recording: Path) -> None:
    status, _, err = cli("fidelity", recording, "--json", recording)
    assert "is a folder" in one_line(status, err)
