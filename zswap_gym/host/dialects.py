"""How a Request is spelt for a kernel: which file, which text, and what cannot be said.

No released kernel takes an age (spec/series.md 0). Version 1 of the series does; a stock kernel
has memory.reclaim alone. A dialect is data: a new interface is one more constant here.
"""

from __future__ import annotations

from collections.abc import Callable
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


V1 = Dialect("v1", "memory.zswap.proactive_writeback", "max={bytes} {age}", has_age=True, unit="uncompressed")
"""Version 1 of the series: ``echo "max=10M 3600" > memory.zswap.proactive_writeback``."""

STOCK = Dialect("stock", None, "", has_age=False, unit="uncompressed")
"""A kernel without any of it: requests shrink to their release."""

RELEASE_FILE = "memory.reclaim"


def probe(exists: Callable[[str], bool]) -> Dialect:
    """The richest dialect of a cgroup, given whether a file exists in it.

    The file of version 1 is absent on the root cgroup, so ask about any other.
    """
    for dialect in (V1,):
        if dialect.file is not None and exists(dialect.file):
            return dialect
    return STOCK


@dataclass(frozen=True)
class Whole:
    """A Request in the kernel's units: whole seconds and whole pages of bytes; 0 bytes = not asked for."""

    age_s: int = 0
    writeback_bytes: int = 0
    release_bytes: int = 0


def _page_bytes(size: int) -> int:
    """Whole pages, at least one: below a page, version 1 says EINVAL and memory.reclaim does nothing."""
    return 0 if size <= 0 else max(PAGE_SIZE, size // PAGE_SIZE * PAGE_SIZE)


def whole(request: Request) -> Whole:
    """Round a Request to what a kernel can be asked: age up (an entry is never younger than asked
    for), at least 1 s and at most a u32; sizes down to whole pages, at least one.
    """
    age, writeback = 0, 0
    if request.age_s is not None and request.max_bytes > 0:
        age = int(min(max(ceil(request.age_s), 1), AGE_LIMIT_S))
        writeback = _page_bytes(request.max_bytes)
    return Whole(age, writeback, _page_bytes(request.release))


@dataclass(frozen=True)
class Writes:
    """The writes a Request comes down to: (file, text) or None, and what could not be honoured."""

    writeback: tuple[str, str] | None
    release: tuple[str, str] | None
    notes: tuple[str, ...] = ()


def writes(dialect: Dialect, request: Request, compressed_share: float = 1.0) -> Writes:
    """Spell a Request for a kernel.

    ``compressed_share`` is zswap / zswapped of the cgroup: what a dialect that counts compressed
    bytes needs in order to be asked for the same pages.
    """
    want = whole(request)
    notes: list[str] = []
    writeback = None
    if want.writeback_bytes and dialect.file is None:
        notes.append(f"{dialect.name} kernel: no proactive writeback, release only")
    elif want.writeback_bytes and dialect.file is not None:
        if not dialect.has_age:
            notes.append(f"{dialect.name} dialect: no age, {want.age_s} s was dropped")
        size = want.writeback_bytes
        if dialect.unit == "compressed":
            size = _page_bytes(ceil(size * compressed_share))
        writeback = (dialect.file, dialect.text.format(bytes=size, age=want.age_s))
    release = (RELEASE_FILE, str(want.release_bytes)) if want.release_bytes else None
    return Writes(writeback, release, tuple(notes))
