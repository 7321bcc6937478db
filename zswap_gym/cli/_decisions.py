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
    memory.reclaim for, in mode observe too.
    """

    def __init__(self) -> None:
        self._cgroups: dict[str, dict[str, Any]] = {}
        self._by: dict[str, None] = {}
        self._errnos: Counter[str] = Counter()
        self._notes: deque[str] = deque(maxlen=NOTES_KEPT)

    def take(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Add records in the form they have in the log (:mod:`zswap_gym.controller.decisions`)."""
        for record in records:
            if record["kind"] == "note":
                self._notes.append(record["words"])
            elif record["kind"] in ("decision", "outcome", "busy"):
                self._add(record, self._cgroups.setdefault(record["cgroup"], _blank()))

    def _add(self, record: Mapping[str, Any], row: dict[str, Any]) -> None:
        from zswap_gym.controller.decisions import request_of

        if record["kind"] == "decision":
            self._by[record["by"]] = None
            proposed, allowed = request_of(record["proposed"]), request_of(record["allowed"])
            row["proposed"] += not proposed.is_nothing
            row["allowed"] += not allowed.is_nothing
            row["release_bytes"] += allowed.release
            row["held_back_by"].update(reason.split(":")[0] for reason in record["reasons"])
        elif record["kind"] == "busy":
            row["held_back_by"]["busy"] += 1
        else:
            row["written_bytes"] += record["bytes"]
            self._errnos.update(name for name in (record["errno"], record["release_errno"]) if name != "OK")

    def told(self, settings: ControllerConfig, rounds: int) -> dict[str, Any]:
        """All of it as plain values, with what was set and how many ``rounds`` there were."""
        return {
            "mode": settings.mode,
            "rounds": rounds,
            "by": list(self._by),
            "cgroups": self._cgroups,
            "errnos": dict(self._errnos),
            "notes": list(self._notes),
            "log": settings.log,
        }


def _blank() -> dict[str, Any]:
    return {"proposed": 0, "allowed": 0, "release_bytes": 0, "written_bytes": 0, "held_back_by": Counter()}
