"""The decision log."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from math import inf, nan
from pathlib import Path

import pytest

from zswap_gym.controller.decisions import (
    Decision,
    DecisionLog,
    decision_record,
    digest,
    errno_name,
    outcome_of,
    outcome_record,
    read_log,
    request_of,
    request_record,
    sample_of,
)
from zswap_gym.errors import UserError
from zswap_gym.host.types import NOTHING, Outcome, Request, Sample

Make = Callable[..., Sample]


@pytest.mark.parametrize(
    "request_",
    [
        NOTHING,
        Request(60.0, 4096),
        Request(0.5, 4096, 0),
        Request(None, 4096),
        Request(inf, 2**60, 5),
    ],
)
def test_requests_go_round(request_: Request) -> None:
    record = json.loads(json.dumps(request_record(request_), allow_nan=False))
    assert request_of(record) == request_


def test_a_broken_proposal_can_be_written_down() -> None:
    record = json.loads(json.dumps(request_record(Request(nan, nan)), allow_nan=False))  # type: ignore[arg-type]
    assert repr(request_of(record)) == repr(Request(nan, nan))  # type: ignore[arg-type]


def test_a_decision_holds_the_whole_sample(sample: Make) -> None:
    seen = sample(memory_max=inf, psi_some_avg10=0.12, time_s=172800.25, anon=nan)
    decision = Decision(seen, Request(5.0, 8192), Request(60.0, 8192), ("age-floor: raised",), "aimd")
    record = json.loads(json.dumps(decision_record(3, decision, 0.25), allow_nan=False))
    assert repr(sample_of(record)) == repr(seen)
    assert record["seen"]["digest"] == digest(seen)
    assert record["seen"]["memory_current"] == seen.memory_current
    assert (record["tick"], record["cgroup"], record["by"]) == (3, "web", "aimd")
    assert request_of(record["proposed"]) == decision.proposed
    assert request_of(record["allowed"]) == decision.allowed
    assert record["reasons"] == ["age-floor: raised"]


def test_digests_tell_samples_apart(sample: Make) -> None:
    assert digest(sample()) == digest(sample()) != digest(sample(zswpin=1.0))


def test_errno_by_name() -> None:
    assert [errno_name(code) for code in (0, errno.EAGAIN, errno.ENODEV, 9999)] == [
        "OK",
        "EAGAIN",
        "ENODEV",
        "9999",
    ]


@pytest.mark.parametrize("code", [0, errno.EINVAL, 9999])
def test_an_outcome_stands_beside_what_was_asked_and_goes_round(code: int) -> None:
    outcome = Outcome(code, 3, 12288, 0.5, errno.EAGAIN, 8192, ("a note",))
    record = outcome_record(1, "web", 7, Request(60.0, 1 << 20), outcome)
    assert (record["errno"], record["release_errno"]) == (errno_name(code), "EAGAIN")
    assert (record["released_bytes"], record["notes"]) == (8192, ["a note"])
    assert record["asked"] == {"age_s": 60, "max_bytes": 1 << 20, "release_bytes": None}
    assert outcome_of(json.loads(json.dumps(record))) == outcome
    assert outcome_record(1, "web", None, None, outcome)["asked"] is None


def test_appends_from_many_threads_never_mix(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "log.jsonl")
    records = [{"kind": "note", "words": "x" * 5000, "n": n} for n in range(50)]

    def work() -> None:
        for record in records:
            log.append([record, record])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = list(read_log(log.path))
    assert len(found) == 400
    assert all(found[i] == found[i + 1] for i in range(0, 400, 2))


def test_the_log_may_be_rotated_away(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "log.jsonl")
    log.append([{"kind": "note", "n": 1}])
    log.path.rename(tmp_path / "log.1")
    log.append([{"kind": "note", "n": 2}])
    log.append([])
    assert [record["n"] for record in read_log(log.path)] == [2]


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = DecisionLog(tmp_path / "log.jsonl")
    log.append([{"kind": "note", "n": 1}])
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:5]))
    with pytest.raises(OSError, match="No space left"):
        log.append([{"kind": "note", "n": 2}])
    assert [record["n"] for record in read_log(log.path)] == [1]


@pytest.mark.parametrize("line", ["{", "5", '{"n": 1}', "\x00"])
def test_what_is_no_log_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"kind":"note"}\n' + line + "\n")
    with pytest.raises(UserError, match=r"log\.jsonl, line 2: not a record"):
        list(read_log(path))
    with pytest.raises(UserError, match="no such file"):
        list(read_log(tmp_path / "none"))


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00binary",
        b"a diary\n",
        b"\n",
        b'{"kind":"diary"}\n',
        b'{"kind":["note"]}\n',
        b"[" * 100_000,
    ],
    ids=["bytes", "text", "blank", "kind", "list", "deep"],
)
def test_a_file_of_another_kind_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "diary"
    path.write_bytes(content)
    with pytest.raises(UserError, match="diary: its first line is not one of a decision log; name") as caught:
        DecisionLog(path).check()
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_what_may_become_or_is_a_log_passes(tmp_path: Path) -> None:
    DecisionLog(tmp_path / "none").check()
    DecisionLog("/dev/null").check()
    log = DecisionLog(tmp_path / "log.jsonl")
    log.path.touch()
    for _ in range(2):
        log.check()
        log.append([{"kind": "note", "tick": 1, "words": "x"}])


def test_a_line_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(b'{"kind":"note"}\n{"kind":"note","words":"\xff"}\n')
    with pytest.raises(UserError, match=r"log\.jsonl, line 2: not a record"):
        list(read_log(tmp_path / "log.jsonl"))
