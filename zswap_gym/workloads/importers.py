"""Read what other tools recorded: DAMON's text reports, and a plain text format anybody can write.

The plain format, one statement a line, ``#`` starts a comment, numbers decimal or 0x:

    scan SECONDS            a look begins; seconds increase, the first one is time 0
    alloc ADDRESS BYTES     allocated from this scan on (what is touched is allocated anyway)
    free ADDRESS BYTES      freed before this scan
    touch ADDRESS BYTES     accessed since the scan before
    size ADDRESS LZO LZ4 ZSTD1 ZSTD3    compressed bytes of the page there; 0 0 0 0 = all zero

A DAMON report (``damo report access --raw_form``, or ``perf script`` of damon:damon_aggregated) has regions
instead of pages: every page of a region with accesses counts as touched, and what never was in such a
region is left out, since DAMON does not say whether it is allocated. So it is as coarse as its regions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from zswap_gym.errors import UserError
from zswap_gym.units import PAGE_SIZE
from zswap_gym.workloads.compress import archetype_sizes, draw_sizes
from zswap_gym.workloads.recording_file import Recorded
from zswap_gym.workloads.traces import CLASS_MIDDLE, COMP_COLUMNS, KIND_OTHER, KIND_ZERO

MOST_PAGES = 1 << 22
SAMPLES = 4000
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_END = re.compile(r"^monitoring_end:\s+(.+)$")
_REGION = re.compile(r"^\s*([0-9a-f]+)-([0-9a-f]+)\s*\(.*?\):\s*(\d+)")
_PERF = re.compile(
    r"\s(\d+\.\d+):\s+damon:damon_aggregated:\s+target_id=\d+\s+nr_regions=\d+\s+(\d+)-(\d+):\s+(\d+)"
)


@dataclass
class Heard:
    """What a text said about one interval, in page ranges [first, end)."""

    time_s: float
    touched: list[tuple[int, int]] = field(default_factory=list)
    allocated: list[tuple[int, int]] = field(default_factory=list)
    freed: list[tuple[int, int]] = field(default_factory=list)


def import_text(path: Path, *, interval_s: float = 5.0, contents: str | None = None) -> Recorded:
    """The recording in a text file; which format it is shows in its first lines.

    Args:
        path: a DAMON report or the plain format.
        interval_s: a DAMON report's snapshots are joined to intervals of about this length.
        contents: archetype whose compressed sizes to draw where the text has none.

    Raises:
        UserError: unreadable, malformed (with the line), too short, or no sizes and no ``contents``.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give a text file") from None
    sizes: dict[int, list[int]] = {}
    if any(line.startswith("monitoring_end:") for line in lines):
        heard = _joined(list(_raw_form(path, lines)), interval_s)
    elif any("damon_aggregated" in line for line in lines):
        heard = _joined(list(_perf_script(lines)), interval_s)
    else:
        heard = list(_plain(path, lines, sizes))
    if len(heard) < 3:
        raise UserError(f"{path}: {len(heard)} intervals are too few for a recording; record for longer")
    return _recorded(path, heard, sizes, contents)


def _raw_form(path: Path, lines: list[str]) -> Iterator[Heard]:
    now: Heard | None = None
    for number, line in enumerate(lines, 1):
        if (end := _END.match(line)) is not None:
            if now is not None:
                yield now
            now = Heard(_seconds(path, number, end[1]))
        elif (region := _REGION.match(line)) is not None and now is not None and region[3] != "0":
            now.touched.append((int(region[1], 16) // PAGE_SIZE, -(-int(region[2], 16) // PAGE_SIZE)))
    if now is not None:
        yield now


def _seconds(path: Path, number: int, text: str) -> float:
    """``8 m 59.809 s``, ``104.599 ms`` or plain nanoseconds."""
    words = text.replace(",", "").split()
    try:
        if len(words) == 1:
            return float(words[0]) * 1e-9
        return sum(float(a) * _UNIT_S[b] for a, b in zip(words[::2], words[1::2], strict=True))
    except (ValueError, KeyError):
        raise UserError(f"{path}: line {number}: {text!r} is not a time of damo's; report again") from None


def _perf_script(lines: list[str]) -> Iterator[Heard]:
    now: Heard | None = None
    for line in lines:
        if (found := _PERF.search(line)) is None:
            continue
        time_s = float(found[1])
        if now is None or time_s - now.time_s > 0.01:  # one aggregation prints its regions at once
            if now is not None:
                yield now
            now = Heard(time_s)
        if found[4] != "0":
            now.touched.append((int(found[2]) // PAGE_SIZE, -(-int(found[3]) // PAGE_SIZE)))
    if now is not None:
        yield now


def _joined(heard: list[Heard], interval_s: float) -> list[Heard]:
    """Snapshots of a fraction of a second as intervals of about ``interval_s``."""
    if not heard:
        return []
    out: list[Heard] = []
    due = heard[0].time_s + interval_s
    for one in heard:
        if not out or one.time_s > due:
            out.append(Heard(one.time_s))
            due = one.time_s + interval_s
        out[-1].touched += one.touched
    for joined in out:
        joined.time_s -= heard[0].time_s
    return out


def _plain(path: Path, lines: list[str], sizes: dict[int, list[int]]) -> Iterator[Heard]:
    now: Heard | None = None
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            began = _statement(words, now, sizes)
        except ValueError as error:
            raise UserError(f"{path}: line {number}: {line.strip()!r}: {error}; see --help") from None
        if began is not None:
            if now is not None:
                yield now
            now = began
    if now is not None:
        yield now


def _statement(words: list[str], now: Heard | None, sizes: dict[int, list[int]]) -> Heard | None:
    """Take in one statement; the interval it begins, if it does. ValueError says what is wrong."""
    word, values = words[0], words[1:]
    if word == "scan":
        time_s = float(values[0]) if len(values) == 1 else np.nan
        if not np.isfinite(time_s) or (now is not None and time_s <= now.time_s):
            raise ValueError("give one time in seconds, and times must increase")
        return Heard(time_s)
    if word not in ("touch", "alloc", "free", "size"):
        raise ValueError("no statement; use scan, alloc, free, touch or size")
    if now is None:
        raise ValueError("the first statement must be a scan")
    numbers = [int(value, 0) for value in values]
    if any(value < 0 for value in numbers):
        raise ValueError("numbers are 0 or more")
    if word == "size":
        if len(numbers) != 1 + len(COMP_COLUMNS) or max(numbers[1:]) > 2 * PAGE_SIZE:
            raise ValueError("give the address and four sizes of at most 8192: lzo lz4 zstd1 zstd3")
        sizes[numbers[0] // PAGE_SIZE] = numbers[1:]
        return None
    if len(numbers) != 2:
        raise ValueError("give an address and a number of bytes")
    span = numbers[0] // PAGE_SIZE, -(-(numbers[0] + numbers[1]) // PAGE_SIZE)
    {"touch": now.touched, "alloc": now.allocated, "free": now.freed}[word].append(span)
    return None


def _recorded(path: Path, heard: list[Heard], sizes: dict[int, list[int]], contents: str | None) -> Recorded:
    spans = [span for one in heard for span in (*one.touched, *one.allocated)]
    if not spans:
        raise UserError(f"{path}: nothing in it was accessed; check that the right program was recorded")
    if sum(b - a for a, b in _union(spans)) > MOST_PAGES:
        raise UserError(
            f"{path}: more than {MOST_PAGES} pages were accessed; report a part of the address space"
        )
    vpn = np.concatenate([np.arange(a, b) for a, b in _union(spans)])
    touched = np.zeros((len(heard), len(vpn)), bool)
    allocated = np.zeros_like(touched)
    born = any(one.allocated for one in heard)
    now = np.full(len(vpn), not born)
    for k, one in enumerate(heard):
        for kind, value in ((one.freed, False), (one.allocated, True), (one.touched, True)):
            for a, b in kind:
                now[np.searchsorted(vpn, a) : np.searchsorted(vpn, b)] = value
        for a, b in one.touched:
            touched[k, np.searchsorted(vpn, a) : np.searchsorted(vpn, b)] = True
        allocated[k] = now
    return Recorded(
        name=path.stem,
        vpn=vpn,
        touched=touched,
        allocated=allocated,
        times_s=np.array([one.time_s - heard[0].time_s for one in heard]),
        sizes=_sizes(path, vpn, sizes, contents),
        note=f"imported from {path.name}" + ("" if sizes else f", compressed sizes of {contents}"),
        meta={
            "kernel": "",
            "backend": "import",
            "interval_s": float(np.median(np.diff([h.time_s for h in heard]))),
        },
    )


def _union(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for a, b in sorted(spans):
        if out and a <= out[-1][1]:
            out[-1] = out[-1][0], max(out[-1][1], b)
        elif b > a:
            out.append((a, b))
    return out


def _sizes(
    path: Path, vpn: np.ndarray, sizes: dict[int, list[int]], contents: str | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(page, kind, bytes (m, 4)): those given, or a draw from an archetype's."""
    if sizes:
        page, table = np.array(list(sizes)), np.array(list(sizes.values()))
        kind = np.where(table.any(axis=1), KIND_OTHER, KIND_ZERO)
        return page, kind, table
    if contents is None:
        raise UserError(
            f"{path}: says nothing about compressed sizes; name the archetype whose to use, "
            "e.g. --contents py_service"
        )
    page = np.sort(np.random.default_rng(0).choice(vpn, min(SAMPLES, len(vpn)), replace=False))
    model, middle = archetype_sizes(contents), np.full(len(page), CLASS_MIDDLE, np.uint8)
    # The same generator state gives a page the same rank under every compressor.
    drawn = {
        name: draw_sizes(model, middle, np.random.default_rng(1), name) for name in ("lzo", "lz4", "zstd")
    }
    table = np.stack([drawn["lzo"], drawn["lz4"], drawn["zstd"], drawn["zstd"]], axis=1)
    kind = np.where(table.any(axis=1), KIND_OTHER, KIND_ZERO)
    return page, kind, table
