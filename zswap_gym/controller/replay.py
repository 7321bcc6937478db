"""Make the decisions of a log again and compare: does each follow from what was seen?

A log can be replayed from a ``start`` record on, because features, laws, budgets and breakers
remember earlier ticks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from zswap_gym.controller.config import ControllerConfig
from zswap_gym.controller.decider import Decider, LawDecider, from_config
from zswap_gym.controller.decisions import (
    Decision,
    outcome_of,
    read_log,
    request_of,
    request_record,
    sample_of,
)
from zswap_gym.controller.judge import Judge, Offers


@dataclass(frozen=True)
class Mismatch:
    """A decision that came out differently."""

    tick: int
    cgroup: str
    what: str
    """``by``, ``proposed``, ``allowed``, ``reasons``, ``minutes`` or ``broken_minutes``."""
    logged: Any
    replayed: Any


@dataclass
class Replay:
    """Result of :func:`replay`."""

    decisions: int = 0
    skipped: int = 0
    """Decisions before the first ``start`` record."""
    mismatches: list[Mismatch] = field(default_factory=list)


@dataclass
class _Tick:
    """Records of one tick, until the next one begins."""

    records: list[dict[str, Any]] = field(default_factory=list)
    not_asked: set[int] = field(default_factory=set)
    """Inodes of what was allowed and not handed over."""


def replay(path: Path | str, make_decider: Callable[[ControllerConfig], Decider] = from_config) -> Replay:
    """Replay a decision log.

    Args:
        path: the log.
        make_decider: builds the policy or law from the logged configuration; another one shows
            what it would have decided in the same place.

    Raises:
        UserError: the file is no decision log, or its policy cannot be loaded.
    """
    result = Replay()
    judge: Judge | None = None
    tick = _Tick()
    for record in read_log(path):
        kind = record["kind"]
        if kind == "decision" and judge is None:
            result.skipped += 1
            continue
        over = tick.records and record.get("tick") != tick.records[0]["tick"]
        if kind == "start" or over:
            _finish(judge, tick, result)
            tick = _Tick()
        if kind == "start":
            judge = _judge(record, make_decider)
        elif kind == "decision":
            tick.records.append(record)
        elif kind in ("busy", "unasked"):
            tick.not_asked.add(record["inode"])
        elif kind == "outcome" and record["inode"] is not None and judge is not None:
            _finish(judge, tick, result)  # outcomes of the end of a run come after its last tick
            tick = _Tick()
            judge.settle(record["inode"], outcome_of(record), request_of(record["asked"]))
    _finish(judge, tick, result)
    return result


def _judge(start: Mapping[str, Any], make_decider: Callable[[ControllerConfig], Decider]) -> Judge:
    config = ControllerConfig.from_mapping(start["config"], "the log's start record")
    judge = Judge(
        make_decider(config),
        LawDecider(config.law_spec),
        config.limits(start["own_cgroup"]),
        config.interval_s,
        Offers(**start.get("offers", {})),
    )
    judge.recall(start["state"], inf)
    return judge


def _finish(judge: Judge | None, tick: _Tick, result: Replay) -> None:
    if judge is None or not tick.records:
        return
    samples = [sample_of(record) for record in tick.records]
    decisions, _ = judge.decide(samples, tick.records[0]["sample_age_s"])
    for record, decision in zip(tick.records, decisions, strict=True):
        result.decisions += 1
        result.mismatches += _compare(record, decision)
        if not decision.allowed.is_nothing and decision.sample.inode not in tick.not_asked:
            judge.charge(decision.sample.inode, decision.allowed)


def _compare(record: Mapping[str, Any], decision: Decision) -> list[Mismatch]:
    again = {
        "by": decision.by,
        "proposed": request_record(decision.proposed),
        "allowed": request_record(decision.allowed),
        "reasons": list(decision.reasons),
        "minutes": decision.minutes[0],
        "broken_minutes": decision.minutes[1],
    }
    return [
        Mismatch(record["tick"], record["cgroup"], what, record[what], value)
        for what, value in again.items()
        if record.get(what, value) != value
    ]
