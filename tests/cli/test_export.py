"""zswap-gym export: the champion as one file, from a folder that may be somebody else's."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.agents.conftest import _policy
from zswap_gym.agents.contestants import contestant
from zswap_gym.policy.runtime import Policy


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder as far as its champion is concerned."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "experiment.yaml").write_text("name: x\nscenarios: {train: [demo-train]}\n")
    (folder / "champion.json").write_text("{}")
    return folder


def refused(cli, *args: object) -> str:
    """What is said on stderr, one line; no file is there afterwards that was not there before."""
    before = sorted(Path().rglob("*"))
    status, out, err = cli(*args)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert sorted(Path().rglob("*")) == before
    return err


def test_a_policy(cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it lies there, and nothing is unpickled."""
    _policy(run="somebody's").save(run / "champion.npz")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("unpickled")

    with monkeypatch.context() as patched:
        for name in ("load", "loads", "Unpickler"):
            patched.setattr(pickle, name, never)
        status, out, err = cli("export", run, "--out", "deep/it.npz", "--json")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert told == {"policy": "deep/it.npz", "kind": "policy", "bytes": Path("deep/it.npz").stat().st_size}
    assert Path("deep/it.npz").read_bytes() == (run / "champion.npz").read_bytes()
    assert Policy.load("deep/it.npz").provenance == {"run": "somebody's"}


def test_without_a_name_it_is_called_policy_or_rule(cli, run: Path) -> None:
    _policy().save(run / "champion.npz")
    status, out, _ = cli("export", run)
    assert (status, out.startswith("wrote policy.npz (")) == (0, True)
    (run / "champion.npz").unlink()
    (run / "champion.yaml").write_text("law: aimd\nparameters: {}\n")
    status, out, _ = cli("export", run)
    assert (status, out.startswith("wrote rule.yaml (")) == (0, True)
    assert contestant("rule.yaml").digest() == contestant("aimd").digest()


def test_a_rule_is_no_npz(cli, run: Path) -> None:
    (run / "champion.yaml").write_text("law: aimd\nparameters: {}\n")
    line = refused(cli, "export", run, "--out", "policy.npz")
    assert "its champion is a rule, no policy beat it; name a .yaml file with --out" in line
    assert cli("export", run, "--out", "mine.yml")[0] == 0


def test_what_is_damaged_or_would_need_unpickling_is_refused(cli, run: Path) -> None:
    _policy().save(run / "champion.npz")
    whole = (run / "champion.npz").read_bytes()
    (run / "champion.npz").write_bytes(whole[: len(whole) // 2])
    assert "champion.npz: not an exported policy, or damaged" in refused(cli, "export", run)
    np.savez(run / "champion.npz", meta=np.array([{"bundle_version": 2}], dtype=object))
    assert "champion.npz: not an exported policy" in refused(cli, "export", run)
    meta = np.array(json.dumps({"bundle_version": 1, "kind": "shared"}))
    np.savez(run / "champion.npz", meta=meta)
    assert "bundle version 1, this program reads 2; train it again" in refused(cli, "export", run)


def test_a_run_that_has_not_chosen_yet(cli, run: Path) -> None:
    (run / "champion.json").unlink()
    _policy().save(run / "champion.npz")
    assert "run: has no champion yet; go on with 'zswap-gym train --resume'" in refused(cli, "export", run)
