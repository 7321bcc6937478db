"""What a decision log says of the last run in it, added up per cgroup."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zswap_gym.controller.config import ControllerConfig


def summary(settings: ControllerConfig, rounds: int) -> dict[str, Any]:
    """Add up the last run of ``settings.log``: requests, bytes, errnos and which rails held what back.

    Counts are of requests that ask for something; ``release_bytes`` is what the allowed ones ask
    memory.reclaim for, in mode observe too.
    """
    from zswap_gym.controller.decisions import read_log, request_of

    records: list[dict[str, Any]] = []
    for record in read_log(settings.log) if settings.log else ():
        if record["kind"] == "start":
            records.clear()
        records.append(record)

    cgroups: dict[str, dict[str, Any]] = {}
    by: dict[str, None] = {}
    errnos: Counter[str] = Counter()
    notes: list[str] = []
    for record in records:
        if record["kind"] == "note":
            notes.append(record["words"])
        if record["kind"] not in ("decision", "outcome", "busy"):
            continue
        row = cgroups.setdefault(record["cgroup"], _blank())
        if record["kind"] == "decision":
            by[record["by"]] = None
            proposed, allowed = request_of(record["proposed"]), request_of(record["allowed"])
            row["proposed"] += not proposed.is_nothing
            row["allowed"] += not allowed.is_nothing
            row["release_bytes"] += allowed.release
            row["held_back_by"].update(reason.split(":")[0] for reason in record["reasons"])
        elif record["kind"] == "busy":
            row["held_back_by"]["busy"] += 1
        else:
            row["written_bytes"] += record["bytes"]
            errnos.update(name for name in (record["errno"], record["release_errno"]) if name != "OK")
    return {
        "mode": settings.mode,
        "rounds": rounds,
        "by": list(by),
        "cgroups": cgroups,
        "errnos": dict(errnos),
        "notes": notes,
        "log": settings.log,
    }


def _blank() -> dict[str, Any]:
    return {"proposed": 0, "allowed": 0, "release_bytes": 0, "written_bytes": 0, "held_back_by": Counter()}
