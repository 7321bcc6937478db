"""What the operator knows in advance: one optional JSON file of hints per cgroup pattern.

A hint says when a cgroup will next be busy, for how long, and how much memory it will want:

    {
      "batch.slice/*": {"at": "2026-11-25T18:00:00", "expected_bytes": "2G"},
      "web":           {"seconds_to_event": 300, "seconds_left": 0, "expected_bytes": 67108864},
      "night":         {"at": 1795629600, "until": 1795633200}
    }

``at`` and ``until`` are absolute: ISO 8601 (local time unless it names a zone) or Unix seconds.
``seconds_to_event`` and ``seconds_left`` count from the moment the file was written, so a job
that rewrites the file need not keep doing so every second. The first matching pattern counts.
Hints are advice: a file that cannot be understood is reported and means no hint, never an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from math import inf, isfinite
from pathlib import Path

from zswap_gym.errors import UserError, nearest
from zswap_gym.units import parse_size


@dataclass(frozen=True, slots=True)
class Hint:
    """What is known about one cgroup's next event, now.

    Before it: ``seconds_to_event`` > 0 and ``seconds_left`` 0. During it: 0 and what is left.
    """

    known: bool = False
    seconds_to_event: float = inf
    seconds_left: float = 0.0
    expected_bytes: float = 0.0


NO_HINT = Hint()
"""Nothing is known."""


@dataclass(frozen=True, slots=True)
class _Window:
    """An event in Unix seconds: when it starts (inf = unknown) and ends."""

    start_s: float
    end_s: float
    expected_bytes: float

    def at(self, now_s: float) -> Hint:
        if now_s < self.start_s < inf:
            return Hint(True, self.start_s - now_s, 0.0, self.expected_bytes)
        if self.start_s <= now_s < self.end_s:
            return Hint(True, 0.0, self.end_s - now_s, self.expected_bytes)
        return NO_HINT


_KEYS = ("seconds_to_event", "at", "seconds_left", "until", "expected_bytes")


def _seconds(entry: Mapping[str, object], key: str) -> float:
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value) or value < 0:
        raise UserError(f"{key} must be a number of seconds, not {value!r}")
    return float(value)


def _moment(entry: Mapping[str, object], key: str) -> float:
    value = entry[key]
    if not isinstance(value, str):
        return _seconds(entry, key)
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        raise UserError(f"{key} must be ISO 8601 or Unix seconds, not {value!r}") from None


def _window(entry: object, written_s: float) -> _Window:
    """One entry of the file. UserError says what is wrong with it."""
    if not isinstance(entry, dict):
        raise UserError(f"must be an object, not {entry!r}")
    for key in entry:
        if key not in _KEYS:
            raise UserError(f"unknown key {key!r}{nearest(str(key), _KEYS)}")
    if {"at", "seconds_to_event"} <= entry.keys():
        raise UserError("give at or seconds_to_event, not both")
    size = entry.get("expected_bytes", 0)
    if not isinstance(size, (int, str)) or isinstance(size, bool) or (isinstance(size, int) and size < 0):
        raise UserError(f"expected_bytes must be a size, not {size!r}")
    start = inf
    if "at" in entry:
        start = _moment(entry, "at")
    elif "seconds_to_event" in entry:
        start = written_s + _seconds(entry, "seconds_to_event")
    end = -inf
    if "until" in entry:
        end = _moment(entry, "until")
    elif "seconds_left" in entry:
        # What is left counts from now where the event is on, from its start where it is to come.
        end = (written_s if start == inf else max(start, written_s)) + _seconds(entry, "seconds_left")
    if start == inf and end > -inf:
        start = -inf  # only an end is given: the event is on
    return _Window(start, end, float(parse_size(size)))


class Hints:
    """The hints file, read again whenever it changes.

    Args:
        path: the file, or None for no hints at all. It need not exist (yet).
        name: makes a pattern as written one over cgroup names; UserError where it cannot.
    """

    def __init__(self, path: Path | str | None, name: Callable[[str], str] = str) -> None:
        self._name = name
        self._path = None if path is None else Path(path)
        self._seen: tuple[int, int, int] | None = None
        self._windows: list[tuple[str, _Window]] = []
        self._notes: list[str] = []

    def refresh(self) -> None:
        """Look at the file; a missing one is no hints, a bad one is no hints and a note."""
        if self._path is None:
            return
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen == self._seen:
                return
            self._seen = seen
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            self._seen, self._windows = None, []
            return
        except (OSError, ValueError, RecursionError) as error:
            self._windows = []
            self._notes.append(f"{self._path}: not read, no hints are used ({error})")
            return
        self._windows = self._accept(content, stat.st_mtime)

    def _accept(self, content: object, written_s: float) -> list[tuple[str, _Window]]:
        if not isinstance(content, dict):
            self._notes.append(f"{self._path}: must hold an object of cgroup patterns; no hints are used")
            return []
        windows = []
        for pattern, entry in content.items():
            try:
                windows.append((self._name(pattern), _window(entry, written_s)))
            except (UserError, OverflowError, ValueError) as error:
                self._notes.append(f"{self._path}: {pattern!r}: {error}; this hint is not used")
        return windows

    def hint(self, cgroup: str, now_s: float) -> Hint:
        """The hint for ``cgroup`` at Unix time ``now_s``: first matching pattern, else no hint."""
        for pattern, window in self._windows:
            if fnmatchcase(cgroup, pattern):
                return window.at(now_s)
        return NO_HINT

    def notes(self) -> list[str]:
        """What was wrong with the file, in words, since the last call."""
        notes, self._notes = self._notes, []
        return notes
