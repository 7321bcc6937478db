"""What DAMON saw, from the texts its tools print: damo's raw form and the kernel's trace events.

Raw form is ``damo report access --raw_form`` (and the older ``damo report raw``): blocks of header lines and
``ADDR-ADDR (SIZE) NR AGE``, a colon after the bracket in older versions. Trace events are lines with
``damon_aggregated`` or ``damon_region_aggregated`` as ``perf script``, ``trace-cmd report`` and tracefs
print them.

A recording may hold several targets whose addresses mean nothing to each other, so they are never mixed:
each keeps to pages of its own, laid beside the others' as if all were one program.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from zswap_gym.errors import UserError
from zswap_gym.units import PAGE_SIZE

RAW_FORM = "damo's raw form"
LONGEST_S = 1e10
ADDRESS_BITS = 57
"""Addresses are below 2 to this, with five levels of page tables."""
BESIDE = 1 << ADDRESS_BITS - 12
"""Pages between the same address of one target and of the next."""
ONE_PRINTING_S = 0.01
"""The events of one aggregation of a target come within this."""

_UNIT_S = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BASES = ("base_time_absolute", "start_time")
_TIMES = ("monitoring_start", "monitoring_end", "monitoring_duration", "rel time")
_HEADER = re.compile(rf"^\s*({'|'.join((*_BASES, *_TIMES, 'target_id', 'nr_regions'))}):\s*(.*?)\s*$")
_REGION_BEGINS = re.compile(r"^\s*(?:0x)?[0-9a-f]{4,}\s*-\s*(?:0x)?[0-9a-f]{4,}", re.IGNORECASE)
_REGION = re.compile(
    r"^\s*(?:0x)?([0-9a-f]{1,16})\s*-\s*(?:0x)?([0-9a-f]{1,16})\s*\([^()]*\)\s*:?\s*(\d{1,10})(?:\s|$)",
    re.IGNORECASE,
)
_IS_EVENT = re.compile(r"\bdamon(?:_region)?_aggregated\b")
_EVENT = re.compile(
    r"^(?P<head>.*?)\s(?:damon:)?damon(?:_region)?_aggregated:\s+target_id=(?P<target>\d{1,20})"
    r"\s+nr_regions=(?P<regions>\d{1,10})\s+(?P<first>[0-9a-fx]{1,20})-(?P<end>[0-9a-fx]{1,20}):"
    r"\s+(?P<accesses>\d{1,10})(?:\s|$)"
)
_THREAD = re.compile(r"^\s*\S.*?[-\s](\d{1,10})(?:/\d+)?\s")
_STAMP = re.compile(r"(?:^|\s)(\d{1,12}(?:\.\d{1,12})?):\s*$")


@dataclass
class Snapshot:
    """One aggregation of one target.

    Attributes:
        time_s: its end.
        target: the id that the text gives it.
        source: the record or the thread it comes from; two of these may use the same target ids.
        announced: regions there were, says the text.
        regions: those the text holds.
        touched: page ranges [first, end) of those with accesses.
        latest: first address of the region read last.
    """

    time_s: float
    target: str
    source: int
    announced: int
    regions: int = 0
    touched: list[tuple[int, int]] = field(default_factory=list)
    latest: int = 0

    def take(self, where: str, first: int, end: int, accesses: int) -> None:
        """One more region of ``first`` to ``end`` bytes. UserError where there can be none such."""
        if not first < end <= 1 << ADDRESS_BITS:
            raise UserError(f"{where}: a region from {first:#x} to {end:#x}; report again")
        self.regions += 1
        self.latest = first
        if accesses:
            self.touched.append((first // PAGE_SIZE, -(-end // PAGE_SIZE)))


@dataclass
class Looks:
    """The snapshots of all targets as the looks of one recording.

    Attributes:
        format, targets: what was recognised.
        spacing_s: between two snapshots of a target, the median.
        snapshots, missing: how many snapshots there were, and how many announced regions are not in the text.
        times_s, touched: end of each look, and the page ranges accessed since the one before.
    """

    format: str
    targets: list[str]
    spacing_s: float
    snapshots: int
    missing: int
    times_s: list[float] = field(default_factory=list)
    touched: list[list[tuple[int, int]]] = field(default_factory=list)


def recognise(lines: list[str]) -> str:
    """The name of the format, or nothing where it is none of DAMON's."""
    if any(_IS_EVENT.search(line) and not line.startswith("#") for line in lines):
        if any("damon:damon_" in line for line in lines):
            return "DAMON events of perf script"
        tracefs = any(line.startswith("# tracer:") for line in lines)
        return f"DAMON events of {'tracefs' if tracefs else 'trace-cmd report'}"
    if any((found := _HEADER.match(line)) and found[1] in _TIMES for line in lines):
        return RAW_FORM
    return ""


def read(path: Path, lines: list[str], interval_s: float, target: str | None) -> Looks:
    """All looks in a text that :func:`recognise` knows.

    Args:
        path: named in errors.
        lines: of the text.
        interval_s: snapshots that come more often are joined to looks of about this length.
        target: the only one to take; None lays all of them beside each other.

    Raises:
        UserError: a line that cannot be read, no snapshot at all, or no such target; names it.
    """
    known = recognise(lines)
    parse = _raw_form if known == RAW_FORM else _events
    snapshots = sorted(parse(path, lines), key=lambda snapshot: snapshot.time_s)
    _name_apart(snapshots)
    targets = sorted({s.target for s in snapshots}, key=lambda name: (len(name), name))
    if target is not None:
        if target not in targets:
            raise UserError(f"{path}: holds no target {target!r}; its targets are {', '.join(targets)}")
        targets = [target]
        snapshots = [s for s in snapshots if s.target == target]
    spacing_s = _spacing(snapshots)
    missing = sum(max(0, s.announced - s.regions) for s in snapshots)
    looks = Looks(known, targets, spacing_s, len(snapshots), missing)
    place = {name: i * BESIDE for i, name in enumerate(targets)}
    for time_s, members in _joined(_rounds(snapshots, spacing_s), interval_s - spacing_s / 2):
        looks.times_s.append(time_s)
        looks.touched.append(
            [(first + place[s.target], end + place[s.target]) for s in members for first, end in s.touched]
        )
    return looks


# --- the two formats -----------------------------------------------------------------------------------

Line = tuple[int, str]
"""Its number, and what it says."""


def _raw_form(path: Path, lines: list[str]) -> Iterator[Snapshot]:
    base_s = lasted_s = 0.0
    record, target, ended = 0, "0", dict[tuple[int, str], float]()
    for head, regions in _blocks(lines):
        times = {key: _seconds(path, *head[key]) for key in (*_BASES, *_TIMES) if key in head}
        for key in _BASES:
            if key in times:
                base_s, record = times.pop(key), record + 1
        if not times and not regions:
            continue
        target = head["target_id"][1] if "target_id" in head else target
        lasted_s = times.get("monitoring_duration", lasted_s)
        if "monitoring_end" in times:
            time_s = base_s + times["monitoring_end"]
        elif "monitoring_start" in times:
            time_s = base_s + times["monitoring_start"] + lasted_s
        elif "rel time" in times:
            time_s = base_s + times["rel time"]
        elif not ended:
            number = min(number for number, _ in (*head.values(), *regions))
            raise UserError(f"{path}: line {number}: a snapshot before any time; report again")
        if time_s < ended.get((record, target), -np.inf):  # times start again with the next record
            record += 1
        ended[record, target] = time_s
        announced = head.get("nr_regions", (0, ""))[1]
        now = Snapshot(time_s, target, record, int(announced[:9]) if announced.isdecimal() else 0)
        for number, line in regions:
            if (region := _REGION.match(line)) is None:
                raise _unreadable(path, number, line)
            now.take(f"{path}: line {number}", int(region[1], 16), int(region[2], 16), int(region[3]))
        yield now


def _blocks(lines: list[str]) -> Iterator[tuple[dict[str, Line], list[Line]]]:
    """The headers and the regions of each snapshot: a header after regions, or again, begins the next."""
    head, regions = dict[str, Line](), list[Line]()
    for number, line in enumerate(lines, 1):
        if (found := _HEADER.match(line)) is not None:
            if regions or found[1] in head or found[1] in _BASES:
                yield head, regions
                head, regions = {}, []
            head[found[1]] = number, found[2]
        elif _REGION_BEGINS.match(line):
            regions.append((number, line))
    yield head, regions


def _seconds(path: Path, number: int, text: str) -> float:
    """``8 m 59.809 s``, ``104.599 ms`` or plain nanoseconds."""
    words = text.replace(",", "").split()
    try:
        if len(words) == 1:
            seconds = float(words[0]) * 1e-9
        else:
            seconds = sum(float(a) * _UNIT_S[b] for a, b in zip(words[::2], words[1::2], strict=True))
    except (ValueError, KeyError):
        seconds = np.nan
    if not words or not 0 <= seconds < LONGEST_S:
        raise UserError(f"{path}: line {number}: {text!r} is not a time of damo's; report again")
    return seconds


def _events(path: Path, lines: list[str]) -> Iterator[Snapshot]:
    found = []
    for number, line in enumerate(lines, 1):
        if _IS_EVENT.search(line) and not line.startswith("#"):
            event = _EVENT.match(line)
            stamp = None if event is None else _STAMP.search(event["head"])
            if event is None or stamp is None:
                raise _unreadable(path, number, line)
            found.append((number, event, float(stamp[1])))
    # The kernel prints addresses in decimal; where a tool made them hexadecimal, some have letters.
    base = 16 if any(not _decimal(event[end]) for _, event, _ in found for end in ("first", "end")) else 10
    now: dict[tuple[int, str], Snapshot] = {}
    for number, event, time_s in found:
        thread = _THREAD.match(event["head"])
        key = int(thread[1]) if thread else 0, event["target"]
        try:
            first, end = (
                int(text, 16 if text.startswith("0x") else base) for text in event.group("first", "end")
            )
        except ValueError:
            raise _unreadable(path, number, event[0]) from None
        snapshot = now.get(key)
        if snapshot is None or first < snapshot.latest or time_s - snapshot.time_s > ONE_PRINTING_S:
            if snapshot is not None:
                yield snapshot
            snapshot = now[key] = Snapshot(time_s, key[1], key[0], int(event["regions"]))
        snapshot.take(f"{path}: line {number}", first, end, int(event["accesses"]))
    yield from now.values()


def _decimal(address: str) -> bool:
    return address.isdecimal() or address.startswith("0x")


def _unreadable(path: Path, number: int, line: str) -> UserError:
    return UserError(
        f"{path}: line {number}: {line.strip()[:120]!r} is no region as damo, perf script, trace-cmd report "
        "or tracefs print it; print it again, or take the line out"
    )


# --- from snapshots to looks ---------------------------------------------------------------------------


def _name_apart(snapshots: list[Snapshot]) -> None:
    """Give targets of the same id names of their own where their sources ran at the same time.

    Each kdamond counts its targets from 0. One that was stopped and started again goes on with the same ones.
    """
    spans: dict[str, dict[int, tuple[float, float]]] = {}
    for s in snapshots:
        sources = spans.setdefault(s.target, {})
        sources[s.source] = sources.get(s.source, (s.time_s, 0.0))[0], s.time_s
    apart: dict[tuple[str, int], str] = {}
    for target, sources in spans.items():
        ordered = sorted(sources, key=lambda source: sources[source])
        if any(sources[a][1] >= sources[b][0] for a, b in pairwise(ordered)):
            apart |= {(target, source): f"{target}/{i}" for i, source in enumerate(sorted(sources))}
    for s in snapshots:
        s.target = apart.get((s.target, s.source), s.target)


def _spacing(snapshots: list[Snapshot]) -> float:
    """Seconds between two snapshots of a target, the median; 0 where there is one of each."""
    before: dict[str, float] = {}
    steps = []
    for s in snapshots:
        if s.target in before and s.time_s > before[s.target]:
            steps.append(s.time_s - before[s.target])
        before[s.target] = s.time_s
    return float(np.median(steps)) if steps else 0.0


def _rounds(snapshots: list[Snapshot], spacing_s: float) -> Iterator[list[Snapshot]]:
    """Snapshots, in order of time, by rounds: each target once, or not at all where one is missing."""
    now: list[Snapshot] = []
    for s in snapshots:
        since = s.time_s - now[0].time_s if now else 0.0
        if since > 0 and (since > 0.9 * spacing_s or any(s.target == other.target for other in now)):
            yield now
            now = []
        now.append(s)
    yield now


def _joined(rounds: Iterable[list[Snapshot]], least_s: float) -> Iterator[tuple[float, list[Snapshot]]]:
    """The time and the snapshots of each look: rounds joined until the next is ``least_s`` after the first.

    With half a spacing less than the interval wanted, that is as many rounds as come nearest to it, however
    they jitter, and a spacing as long as the interval stays what it is.
    """
    members: list[Snapshot] = []
    time_s = 0.0
    for now in rounds:
        if members and now[0].time_s - members[0].time_s >= least_s:
            yield time_s, members
            members = []
        members = [*members, *now]
        time_s = now[0].time_s
    yield time_s, members
