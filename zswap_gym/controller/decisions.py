"""The decision log: JSON lines of what was seen, proposed, allowed and done, and why.

One line per record; ``kind`` says which:

    start     configuration, who decides, cgroup patterns
    survey    what this host offers and lacks, after each start
    decision  one cgroup at one tick: the sample's whole row, what was proposed, allowed, and why not more
    busy      the cgroup's previous request still ran, so this one was not handed over
    unasked   the request came to nothing when it was put as this kernel takes it; the reason says how
    outcome   what was asked and what came of it
    note      trouble that stopped nothing

A log from its ``start`` on holds enough to make every decision again (:mod:`zswap_gym.controller.replay`).
Infinite numbers are written as text ("inf"), since JSON has none.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from zswap_gym.errors import UserError
from zswap_gym.host.types import COLUMNS, Outcome, Request, Sample

KINDS = ("start", "survey", "decision", "busy", "unasked", "outcome", "note")

FIRST_LINE_MAX = 64 << 20
"""Bytes read of a file's first line; a start record holds a few KiB per cgroup."""

KEY_NUMBERS = (
    "memory_current",
    "zswap",
    "zswapped",
    "swap_current",
    "psi_some_avg10",
    "workingset_refault_anon",
    "zswpwb",
    "host_swap_free",
)
"""What a person reading the log wants to see by name; the row has everything."""


@dataclass(frozen=True)
class Decision:
    """One cgroup at one tick."""

    sample: Sample
    proposed: Request
    allowed: Request
    reasons: tuple[str, ...]
    by: str
    """Who decided: a policy's or a law's name."""
    minutes: tuple[int, int] = (0, 0)
    """Minutes that the cgroup was seen for in this run, and how many of them broke the promise."""


def errno_name(code: int) -> str:
    """``EAGAIN`` rather than 11; ``OK`` for 0."""
    return "OK" if code == 0 else errno.errorcode.get(code, str(code))


def _errno_of(name: str) -> int:
    return 0 if name == "OK" else getattr(errno, name, 0) or int(name)


def digest(sample: Sample) -> str:
    """16 hex digits that tell two rows apart."""
    return hashlib.sha256(np.asarray(sample.row()).tobytes()).hexdigest()[:16]


def number(value: float) -> float | int | str:
    """A number JSON can hold: whole ones without a point, inf and nan as text."""
    if not isfinite(value):
        return str(float(value))
    return int(value) if value == int(value) and abs(value) < 2**53 else float(value)


def request_record(request: Request) -> dict[str, Any] | None:
    """A Request as JSON; null for nothing."""
    if request == Request():
        return None
    age = None if request.age_s is None else number(request.age_s)
    release = None if request.release_bytes is None else number(request.release_bytes)
    return {"age_s": age, "max_bytes": number(request.max_bytes), "release_bytes": release}


def request_of(record: Mapping[str, Any] | None) -> Request:
    """The Request a record stands for."""
    if record is None:
        return Request()
    age, size, release = record["age_s"], record["max_bytes"], record["release_bytes"]
    return Request(
        None if age is None else float(age),
        size if isinstance(size, int) else float(size),  # type: ignore[arg-type] # nan, as a broken policy proposed
        release if release is None or isinstance(release, int) else float(release),  # type: ignore[arg-type]
    )


def decision_record(tick: int, decision: Decision, sample_age_s: float) -> dict[str, Any]:
    """One cgroup's line."""
    sample = decision.sample
    seen = {name: number(getattr(sample, name)) for name in KEY_NUMBERS}
    return {
        "kind": "decision",
        "tick": tick,
        "time_s": sample.time_s,
        "cgroup": sample.cgroup,
        "inode": sample.inode,
        "by": decision.by,
        "seen": {"digest": digest(sample), **seen},
        "proposed": request_record(decision.proposed),
        "allowed": request_record(decision.allowed),
        "reasons": list(decision.reasons),
        "minutes": decision.minutes[0],
        "broken_minutes": decision.minutes[1],
        "sample_age_s": sample_age_s,
        "row": [number(getattr(sample, name)) for name in COLUMNS],
    }


def outcome_record(
    tick: int, cgroup: str, inode: int | None, asked: Request | None, outcome: Outcome
) -> dict[str, Any]:
    """What came of a request; ``inode`` is None where its budgets were not settled by this."""
    return {
        "kind": "outcome",
        "tick": tick,
        "cgroup": cgroup,
        "inode": inode,
        "asked": None if asked is None else request_record(asked),
        "errno": errno_name(outcome.errno),
        "pages": outcome.pages,
        "bytes": outcome.bytes,
        "duration_s": outcome.duration_s,
        "release_errno": errno_name(outcome.release_errno),
        "released_bytes": outcome.released_bytes,
        "notes": list(outcome.notes),
    }


def outcome_of(record: Mapping[str, Any]) -> Outcome:
    """The Outcome a record stands for."""
    return Outcome(
        _errno_of(record["errno"]),
        record["pages"],
        record["bytes"],
        record["duration_s"],
        _errno_of(record["release_errno"]),
        record["released_bytes"],
        tuple(record["notes"]),
    )


def sample_of(record: Mapping[str, Any]) -> Sample:
    """The Sample a decision record was made from; a column that is newer than the log has its default."""
    row = dict(zip(COLUMNS, map(float, record["row"]), strict=False))
    return Sample(record["cgroup"], record["inode"], **row)


class DecisionLog:
    """Appends records to a file, each batch in one write.

    The file is opened anew for every batch, so that it may be rotated away at any time, and
    appended to in one go (O_APPEND), so that readers and other writers never see half a line.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def check(self) -> None:
        """Refuse a file that holds something else: UserError, before anything is added to it.

        The first line tells. A file that is not there yet, an empty one, a pipe or a device passes.
        """
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            line = file.readline(FIRST_LINE_MAX)
        if line and _record(line) is None:
            raise UserError(
                f"{self.path}: its first line is not one of a decision log; name another file under log"
            )

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Append records, one line each. Raises OSError where the file cannot take them."""
        if not records:
            return
        lines = "".join(
            json.dumps(record, allow_nan=False, separators=(",", ":")) + "\n" for record in records
        )
        data = lines.encode()
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            end = os.lseek(fd, 0, os.SEEK_END)
            if os.write(fd, data) < len(data):  # the disk is full: take the half line back
                os.ftruncate(fd, end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        finally:
            os.close(fd)


def read_log(path: Path | str) -> Iterator[dict[str, Any]]:
    """Records of a log, in order. Raises UserError at a line that is none."""
    try:
        with Path(path).open("rb") as file:
            for line_number, line in enumerate(file, start=1):
                record = _record(line)
                if record is None:
                    raise UserError(f"{path}, line {line_number}: not a record of a decision log")
                yield record
    except OSError as error:
        raise UserError(f"{path}: {os.strerror(error.errno or 0).lower()}") from error


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):  # bytes that are not UTF-8 are a ValueError too
        return None
    return record if isinstance(record, dict) and record.get("kind") in KINDS else None
