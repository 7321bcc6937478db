"""How a Request is spelt for a kernel: which file, which text, and what cannot be said.

No released kernel takes an age (spec/series.md 0). Version 1 of the series does; a stock kernel
has memory.reclaim alone. A dialect is data: a new interface is one more constant here.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from math import ceil
from typing import Literal

from zswap_gym.host.types import Request
from zswap_gym.units import PAGE_SIZE

AGE_LIMIT_S = (1 << 32) - 1
"""The largest age version 1 takes: a decimal u32 (lib/parser.c:match_uint())."""


@dataclass(frozen=True)
class Dialect:
    """One kernel interface for proactive writeback.

    Attributes:
        name: as decision logs and reports call it.
        file: the cgroup file a writeback is written to; None where the kernel has none.
        text: what is written, with ``{bytes}`` and, where ``has_age``, ``{age}`` filled in.
        has_age: whether entries can be selected by age. Where not, an age is dropped and noted.
        unit: what the kernel counts ``{bytes}`` in. Requests are uncompressed.
    """

    name: str
    file: str | None
    text: str
    has_age: bool
    unit: Literal["uncompressed", "compressed"]


RELEASE_FILE = "memory.reclaim"

V1 = Dialect("v1", "memory.zswap.proactive_writeback", "max={bytes} {age}", has_age=True, unit="uncompressed")
"""Version 1 of the series: ``echo "max=10M 3600" > memory.zswap.proactive_writeback``."""

V2 = Dialect("v2", RELEASE_FILE, "{bytes} zswap_writeback_only", has_age=False, unit="uncompressed")
"""Version 2: a key of memory.reclaim, no age."""

V3 = Dialect("v3", RELEASE_FILE, "{bytes} zswap_writeback_only", has_age=False, unit="uncompressed")
"""Version 3: spelt as version 2, but EAGAIN whenever less than asked was written."""

V4 = Dialect("v4", RELEASE_FILE, "{bytes} zswap_writeback_only", has_age=False, unit="compressed")
"""Version 4: the same key counts compressed bytes."""

V5 = Dialect("v5", RELEASE_FILE, "{bytes} source=zswap", has_age=False, unit="compressed")
"""Version 5, the last one posted."""

STOCK = Dialect("stock", None, "", has_age=False, unit="uncompressed")
"""A kernel without any of it: requests shrink to their release."""

STOCK_PULSE = Dialect("stock-pulse", RELEASE_FILE, "pulse", has_age=False, unit="uncompressed")
"""A stock kernel from 6.8 on, written back by pulses (host/pulse.py). Never found by probing: asked for."""

_NO_KEY = "zswap_gym_probe"

DIALECTS: dict[str, Dialect] = {d.name: d for d in (V1, V2, V3, V4, V5, STOCK, STOCK_PULSE)}
"""By name; the simulated kernel's interfaces carry the same names."""


def probe(
    exists: Callable[[str], bool],
    accepts: Callable[[str, str], bool] = lambda _file, _text: False,
    stat_keys: Callable[[], Container[str]] = tuple,
) -> Dialect:
    """The richest dialect of a cgroup, asked for in the order v1, v5, v4, v3, stock.

    Args:
        exists: whether a file exists in the cgroup. That of version 1 is absent on the root.
        accepts: whether the kernel takes a write. Only writes of 0 bytes are tried: where the key is
            known they do nothing, elsewhere they are EINVAL (spec/series.md 9). The default never
            writes and so finds version 1 or stock.
        stat_keys: the keys of the cgroup's memory.stat: versions 3 and 4 spell the key alike, and
            only the counter tells uncompressed from compressed sizes.
    """
    if V1.file is not None and exists(V1.file):
        return V1
    if not exists(RELEASE_FILE) or accepts(RELEASE_FILE, f"0 {_NO_KEY}"):  # no kernel's file takes that
        return STOCK
    if accepts(RELEASE_FILE, V5.text.format(bytes=0)):
        return V5
    if accepts(RELEASE_FILE, V4.text.format(bytes=0)):
        return V4 if "zswpwb_proactive_b" in stat_keys() else V3
    return STOCK


@dataclass(frozen=True)
class Whole:
    """A Request in the kernel's units: whole seconds and whole pages of bytes; 0 bytes = not asked for."""

    age_s: int = 0
    writeback_bytes: int = 0
    release_bytes: int = 0


def _page_bytes(size: int, page_size: int) -> int:
    """Whole pages, at least one: below a page, version 1 says EINVAL and memory.reclaim does nothing."""
    return 0 if size <= 0 else max(page_size, size // page_size * page_size)


def whole(request: Request, page_size: int = PAGE_SIZE) -> Whole:
    """Round a Request to what a kernel can be asked: age up (an entry is never younger than asked
    for), at least 1 s and at most a u32; sizes down to whole pages of the kernel's, at least one.
    """
    age, writeback = 0, 0
    if request.age_s is not None and request.max_bytes > 0:
        age = int(min(max(ceil(request.age_s), 1), AGE_LIMIT_S))
        writeback = _page_bytes(request.max_bytes, page_size)
    return Whole(age, writeback, _page_bytes(request.release, page_size))


@dataclass(frozen=True)
class Writes:
    """The writes a Request comes down to: (file, text) or None, and what could not be honoured."""

    writeback: tuple[str, str] | None
    release: tuple[str, str] | None
    notes: tuple[str, ...] = ()
    pulse_pages: int = 0
    """To write back by a pulse in the place of ``writeback``."""


def writeback_size(dialect: Dialect, size: int, compressed_share: float, page_size: int = PAGE_SIZE) -> int:
    """The number to write for ``size`` uncompressed bytes: v4 and v5 count them compressed."""
    return _page_bytes(ceil(size * compressed_share), page_size) if dialect.unit == "compressed" else size


def writes(
    dialect: Dialect, request: Request, compressed_share: float = 1.0, page_size: int = PAGE_SIZE
) -> Writes:
    """Spell a Request for a kernel.

    ``compressed_share`` is zswap / zswapped of the cgroup: what a dialect that counts compressed
    bytes needs in order to be asked for the same pages.
    """
    want = whole(request, page_size)
    notes: list[str] = []
    writeback = None
    if want.writeback_bytes and dialect.file is None:
        notes.append(f"{dialect.name} kernel: no proactive writeback, release only")
    elif want.writeback_bytes and dialect.file is not None:
        if not dialect.has_age:
            notes.append(f"{dialect.name} dialect: no age, {want.age_s} s was dropped")
        if dialect is STOCK_PULSE:
            return Writes(None, release_of(want), tuple(notes), pulse_pages=want.writeback_bytes // page_size)
        size = writeback_size(dialect, want.writeback_bytes, compressed_share, page_size)
        writeback = (dialect.file, dialect.text.format(bytes=size, age=want.age_s))
    return Writes(writeback, release_of(want), tuple(notes))


def release_of(want: Whole) -> tuple[str, str] | None:
    """The write that releases, where any is asked for."""
    return (RELEASE_FILE, str(want.release_bytes)) if want.release_bytes else None
