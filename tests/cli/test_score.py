"""zswap-gym score: a table, one line, one file; what is wrong is one line and nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROW = [
    "policy", "scenario", "saved_pct", "saved_low", "saved_high", "broken_pct", "psi_added_pct",
    "cpu_added_pct_gib", "disk_reads_min", "kept", "seeds",
]  # fmt: skip
SCENARIO = """
name: {name}
host: {{page_scale: 8}}
stage_one: {{kind: fixed, rate: 512K, interval: 1s}}
cgroups:
  - {{name: kv, workload: {{archetype: kv_zipf, pages: 256}}}}
episode: {{decision_interval: 10s, length: 120s, warmup: 40s}}
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / f"{name}.yaml").write_text(SCENARIO.format(name=name))
    return folder


def test_twice_gives_the_same_line_whoever_works(cli, suite: Path) -> None:
    args = ("score", "fixed_age(age_s=5,max_bytes=4M)", "--suite", suite, "--seeds", 3)
    lines = []
    for workers in (1, 2):
        status, out, _ = cli(*args, "--workers", workers, "--json", f"scores-{workers}.json")
        assert status == 0
        lines.append(out.splitlines()[-1])
        assert f"on suite {json.loads(lines[-1])['suite']}" in " ".join(out.split())
    assert lines[0] == lines[1]
    assert Path("scores-1.json").read_text() == Path("scores-2.json").read_text()
    line, document = json.loads(lines[0]), json.loads(Path("scores-1.json").read_text())
    assert list(document) == ["suite", "model", "rows"]
    assert (document["suite"], document["model"]) == (line["suite"], line["model"])
    assert [list(row) for row in document["rows"]] == [ROW] * 3
    assert [row["scenario"] for row in document["rows"]] == ["one", "two", "all"]
    assert document["rows"][-1] == {key: line[key] for key in ROW}
    assert line["seeds"] == 3


def test_rules_and_arms_beside_it(cli, suite: Path) -> None:
    status, _, _ = cli(
        "score", "never", "--suite", suite, "--seeds", 1, "--rules", "--workers", 1, "--json", "all.json"
    )
    assert status == 0
    rows = json.loads(Path("all.json").read_text())["rows"]
    named = [row["policy"] for row in rows if row["scenario"] == "all"]
    assert len(named) == len(set(named))
    rules = {"never", "aimd tuned", "promise tuned", "never@shrinker", "never@max_pool_percent=10"}
    assert rules <= set(named)
    kept = [row["kept"] for row in rows if row["scenario"] == "all"]
    assert kept == sorted(kept, reverse=True)  # who keeps the promise stands first


def test_what_is_wrong_is_one_line_and_nothing_is_lost(cli, suite: Path) -> None:
    before = Path("scores.json")
    before.write_text("of yesterday")

    def refused(words: str, *args: object) -> None:
        status, out, err = cli("score", *args, "--json", before)
        assert (status, out, err.count("\n")) == (2, "", 1), (out, err)
        assert words in err
        assert before.read_text() == "of yesterday"

    refused("suite 'v2': no such folder, file or name (did you mean 'v1'?)", "never", "--suite", "v2")
    refused("did you mean 'never'?", "nevr", "--suite", suite)
    refused("missing.npz: no such policy", "missing.npz", "--suite", suite)
    for promise in ("disk_reads_pct_min=0", "disk_reads_pct_min=101", "minutes=0"):
        refused("give a number above 0, at most", "never", "--suite", suite, "--promise", promise)
    (suite / "three.yaml").write_text(SCENARIO.format(name="three").replace("kv_zipf", "kv_zpif"))
    refused("three.yaml", "never", "--suite", suite)
    status, out, err = cli("score", "never", "--seeds", 1, "--json", "mine")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "mine: is a folder" in err
