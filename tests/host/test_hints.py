"""The operator's hints file."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from math import inf
from pathlib import Path

import pytest

from zswap_gym.host.hints import NO_HINT, Hint, Hints

WRITTEN_S = 1_795_629_600.0


def hints_of(path: Path, content: object, written_s: float = WRITTEN_S) -> Hints:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    os.utime(path, (written_s, written_s))
    hints = Hints(path)
    hints.refresh()
    return hints


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hints.json"


def test_seconds_count_from_the_writing_of_the_file(path: Path) -> None:
    hints = hints_of(path, {"web": {"seconds_to_event": 300, "expected_bytes": "64M"}})
    assert hints.hint("web", WRITTEN_S + 100) == Hint(True, 200.0, 0.0, float(64 << 20))
    assert hints.hint("web", WRITTEN_S + 301) == NO_HINT
    assert hints.hint("other", WRITTEN_S) == NO_HINT
    assert hints.notes() == []


def test_an_event_that_is_on_has_seconds_left(path: Path) -> None:
    hints = hints_of(path, {"web": {"seconds_left": 60}, "db": {"seconds_to_event": 10, "seconds_left": 60}})
    assert hints.hint("web", WRITTEN_S + 20) == Hint(True, 0.0, 40.0, 0.0)
    assert hints.hint("web", WRITTEN_S + 60) == NO_HINT
    assert hints.hint("db", WRITTEN_S) == Hint(True, 10.0, 0.0, 0.0)
    assert hints.hint("db", WRITTEN_S + 30) == Hint(True, 0.0, 40.0, 0.0)


def test_absolute_times(path: Path) -> None:
    at = datetime.fromtimestamp(WRITTEN_S + 600, UTC).isoformat()
    local = datetime.fromtimestamp(WRITTEN_S + 600).isoformat()  # noqa: DTZ006 - local time is meant
    hints = hints_of(
        path, {"a": {"at": at, "until": WRITTEN_S + 900}, "b": {"at": WRITTEN_S + 600}, "c": {"at": local}}
    )
    for name in ("a", "b", "c"):
        assert hints.hint(name, WRITTEN_S) == Hint(True, 600.0, 0.0, 0.0)
    assert hints.hint("a", WRITTEN_S + 700) == Hint(True, 0.0, 200.0, 0.0)
    assert hints.hint("b", WRITTEN_S + 700) == NO_HINT


def test_the_first_matching_pattern_counts(path: Path) -> None:
    hints = hints_of(path, {"batch.slice/*": {"seconds_to_event": 1}, "*": {"seconds_to_event": 2}})
    assert hints.hint("batch.slice/job1", WRITTEN_S).seconds_to_event == 1
    assert hints.hint("web", WRITTEN_S).seconds_to_event == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not read"),
        ("[1]", "must hold an object"),
        ("\x00\xff", "not read"),
        ("[" * 100_000, "not read"),
        ({"web": 5}, "must be an object"),
        ({"web": {"seconds": 5}}, "did you mean"),
        ({"web": {"seconds_to_event": "soon"}}, "seconds_to_event must be a number"),
        ({"web": {"seconds_to_event": -1}}, "seconds_to_event must be a number"),
        ('{"web": {"seconds_to_event": NaN}}', "seconds_to_event must be a number"),
        ({"web": {"at": "tomorrow"}}, "ISO 8601"),
        ({"web": {"at": 1, "seconds_to_event": 1}}, "not both"),
        ({"web": {"expected_bytes": "lots", "seconds_left": 5}}, "not a size"),
        ({"web": {"expected_bytes": "9" * 5000, "seconds_left": 5}}, "not a size"),
        ({"web": {"expected_bytes": 10**400, "seconds_left": 5}}, "this hint is not used"),
        ({"web": {"at": 10**400}}, "this hint is not used"),
        ('{"web": {"expected_bytes": ' + "9" * 5000 + "}}", "not read"),
        ({"web": {"expected_bytes": [], "seconds_left": 5}}, "must be a size"),
    ],
    ids=range(17),
)
def test_what_cannot_be_understood_is_no_hint_and_a_note(path: Path, content: object, words: str) -> None:
    hints = hints_of(path, content)
    assert hints.hint("web", WRITTEN_S) == NO_HINT
    (note,) = hints.notes()
    assert words in note
    assert str(path) in note
    hints.refresh()
    assert hints.notes() == []  # said once


def test_a_bad_entry_spoils_no_other(path: Path) -> None:
    hints = hints_of(path, {"web": 5, "db": {"seconds_to_event": 9}})
    assert hints.hint("db", WRITTEN_S) == Hint(True, 9.0, 0.0, 0.0)


def test_the_file_may_come_change_and_go(path: Path) -> None:
    hints = Hints(path)
    hints.refresh()
    assert hints.hint("web", WRITTEN_S) == NO_HINT
    path.write_text('{"web": {"seconds_to_event": 9}}')
    os.utime(path, (WRITTEN_S, WRITTEN_S))
    hints.refresh()
    assert hints.hint("web", WRITTEN_S).seconds_to_event == 9
    path.unlink()
    hints.refresh()
    assert hints.hint("web", WRITTEN_S) == NO_HINT
    assert hints.notes() == []


def test_no_file_at_all() -> None:
    hints = Hints(None)
    hints.refresh()
    assert hints.hint("web", 0.0).seconds_to_event == inf
