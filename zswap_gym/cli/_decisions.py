"""What a run of the controller decided and did, added up per cgroup while it goes."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zswap_gym.controller.config import ControllerConfig

NOTES_KEPT = 100
"""A summary has the last so many notes; the log has them all."""


class Summary:
    """Adds up records of a decision log as they are made, and forgets them: a run may last for months.

    Counts are of requests that ask for something; ``release_bytes`` is what the allowed ones ask
    memory.reclaim for, in mode observe too, ``released_bytes`` what it gave. ``held_back_by`` counts what
    took something away from a request, ``nothing_because`` the rounds in which no byte was asked for.
    ``broken_minutes`` of the ``minutes`` seen broke the promise of disk reads.
    """

    def __init__(self) -> None:
        self._cgroups: dict[str, dict[str, Any]] = {}
        self._by: dict[str, None] = {}
        self._errnos: Counter[str] = Counter()
        self._notes: deque[str] = deque(maxlen=NOTES_KEPT)
        self._findings: list[Mapping[str, Any]] = []

    def take(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Add records in the form they have in the log (:mod:`zswap_gym.controller.decisions`)."""
        for record in records:
            if record["kind"] == "note":
                self._notes.append(record["words"])
            elif record["kind"] == "survey":
                self._findings = record["findings"]
            elif record["kind"] in ("decision", "outcome", "busy", "unasked"):
                self._add(record, self._cgroups.setdefault(record["cgroup"], _blank()))

    def _add(self, record: Mapping[str, Any], row: dict[str, Any]) -> None:
        from zswap_gym.controller.decisions import request_of

        if record["kind"] == "decision":
            self._by[record["by"]] = None
            proposed, allowed = request_of(record["proposed"]), request_of(record["allowed"])
            row["proposed"] += not proposed.is_nothing
            row["allowed"] += not allowed.is_nothing
            row["release_bytes"] += allowed.release
            row["minutes"], row["broken_minutes"] = record["minutes"], record["broken_minutes"]
            reasons = [reason.split(":")[0] for reason in record["reasons"]]
            if not proposed.is_nothing:
                row["held_back_by"].update(reasons)
            if allowed.is_nothing:
                row["nothing_because"].update(reasons[-1:])  # the last one is what took the rest
        elif record["kind"] in ("busy", "unasked"):
            reason = record.get("reason", "busy").split(":")[0]
            row["held_back_by"][reason] += 1
            row["nothing_because"][reason] += 1
        else:
            row["written_bytes"] += record["bytes"]
            row["released_bytes"] += record["released_bytes"]
            self._errnos.update(name for name in (record["errno"], record["release_errno"]) if name != "OK")

    def told(self, settings: ControllerConfig, rounds: int) -> dict[str, Any]:
        """All of it as plain values, with what was set and how many ``rounds`` there were."""
        return {
            "mode": settings.mode,
            "rounds": rounds,
            "by": list(self._by),
            "cgroups": self._cgroups,
            "errnos": dict(self._errnos),
            "findings": self._findings,
            "notes": list(self._notes),
            "log": settings.log,
        }


def _blank() -> dict[str, Any]:
    names = ("proposed", "allowed", "release_bytes", "written_bytes", "released_bytes", "minutes")
    sums = dict.fromkeys((*names, "broken_minutes"), 0)
    return {**sums, "held_back_by": Counter(), "nothing_because": Counter()}
