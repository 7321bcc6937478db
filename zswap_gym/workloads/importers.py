"""Read what other tools recorded: what DAMON's tools print, and a plain text format anybody can write.

The plain format, one statement a line, ``#`` starts a comment, numbers decimal or 0x:

    scan SECONDS            a look begins; seconds increase, the first one is time 0
    alloc ADDRESS BYTES     allocated from this scan on (what is touched is allocated anyway)
    free ADDRESS BYTES      freed before this scan
    touch ADDRESS BYTES     accessed since the scan before
    size ADDRESS LZO LZ4 ZSTD1 ZSTD3    compressed bytes of the page there; 0 0 0 0 = all zero

What DAMON saw (:mod:`zswap_gym.workloads.damon`) has regions instead of pages: every page of a region with
accesses counts as touched, and what never was in such a region is left out, since DAMON does not say
whether it is allocated. So it is as coarse as its regions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zswap_gym.errors import UserError
from zswap_gym.units import PAGE_SIZE
from zswap_gym.workloads import damon
from zswap_gym.workloads.compress import archetype_sizes, draw_sizes
from zswap_gym.workloads.recording_file import Recorded
from zswap_gym.workloads.traces import CLASS_MIDDLE, COMP_COLUMNS, KIND_OTHER, KIND_ZERO

MOST_PAGES = 1 << 22
SAMPLES = 4000
STATEMENTS = ("scan", "alloc", "free", "touch", "size")
PLAIN = "the plain format"
UNDERSTOOD = (
    "damo report access --raw_form, perf script, trace-cmd report or tracefs' trace of damon_aggregated, "
    "and the plain format (see zswap-gym import --help)"
)


@dataclass
class Heard:
    """What a text said about one interval, in page ranges [first, end)."""

    time_s: float
    touched: list[tuple[int, int]] = field(default_factory=list)
    allocated: list[tuple[int, int]] = field(default_factory=list)
    freed: list[tuple[int, int]] = field(default_factory=list)


def import_text(
    path: Path, *, interval_s: float = 5.0, contents: str | None = None, target: str | None = None
) -> Recorded:
    """The recording in a text file; which format it is shows in its lines.

    ``meta`` of what is returned says what was recognised: ``format``, ``targets``, ``interval_s`` and, of
    DAMON, ``spacing_s``, ``snapshots`` and ``missing`` (regions announced and not in the text).

    Args:
        path: what DAMON saw, or the plain format.
        interval_s: DAMON's snapshots are joined to intervals of about this length, if they come more often.
        contents: archetype whose compressed sizes to draw where the text has none.
        target: which of DAMON's targets to take; None lays all of them beside each other, as one program.

    Raises:
        UserError: unreadable, of no format understood, malformed (with the line), too short, no such target,
            or no sizes and no ``contents``.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give a text file") from None
    sizes: dict[int, list[int]] = {}
    known: dict[str, Any] = {"format": PLAIN, "targets": []}
    if damon.recognise(lines):
        looks = damon.read(path, lines, interval_s, target)
        heard = [Heard(*look) for look in zip(looks.times_s, looks.touched, strict=True)]
        known = {
            "format": looks.format,
            "targets": looks.targets,
            "spacing_s": looks.spacing_s,
            "snapshots": looks.snapshots,
            "missing": looks.missing,
        }
    else:
        _expect_plain(path, lines)
        if target is not None:
            raise UserError(f"{path}: --target {target}: the plain format has no targets; leave it out")
        heard = list(_plain(path, lines, sizes))
    if len(heard) < 3:
        raise UserError(
            f"{path}: {known['format']}: {len(heard)} intervals are too few for a recording; "
            + ("record for longer, or give a shorter --interval" if known["targets"] else "record for longer")
        )
    return _recorded(path, heard, sizes, contents, known)


def _expect_plain(path: Path, lines: list[str]) -> None:
    """UserError where the first statement is none, so that this is no plain format and not a wrong one."""
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if words and words[0] not in STATEMENTS:
            shown = line.strip()[:80]
            raise UserError(
                f"{path}: line {number}: {shown!r}: this format is not understood; "
                f"those that are: {UNDERSTOOD}"
            )
        if words:
            return
    raise UserError(f"{path}: holds nothing; formats understood: {UNDERSTOOD}")


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
    if word not in STATEMENTS:
        raise ValueError(f"no statement; use {', '.join(STATEMENTS)}")
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


def _recorded(
    path: Path,
    heard: list[Heard],
    sizes: dict[int, list[int]],
    contents: str | None,
    known: dict[str, Any],
) -> Recorded:
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
            **known,
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
