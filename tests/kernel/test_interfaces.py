"""Grammar of what is written to the files: sizes, limits, version 1's age and max, memory.reclaim."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from zswap_gym.kernel.interfaces import (
    UNLIMITED,
    BadWrite,
    Proactive,
    memparse,
    parse_limit,
    parse_proactive,
    parse_reclaim,
)
from zswap_gym.kernel.layout import INF_PAGES

MIB = 1 << 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", (0, "")),
        ("4096", (4096, "")),
        ("1k", (1024, "")),
        ("1K", (1024, "")),
        ("3m", (3 * MIB, "")),
        ("2G", (2 << 30, "")),
        ("1t", (1 << 40, "")),
        ("1P", (1 << 50, "")),
        ("1e", (1 << 60, "")),
        ("16E", (0, "")),  # 64 bits, as in the kernel
        ("18446744073709551616", (0, "")),
        ("0x10", (16, "")),
        ("0XfF", (255, "")),
        ("0x10K", (16384, "")),
        ("010", (8, "")),
        ("010K", (8192, "")),
        ("08", (0, "8")),
        ("0x", (0, "x")),
        ("10MB", (10 * MIB, "B")),
        ("10 M", (10, " M")),
        ("1.5G", (1, ".5G")),
        ("max", (0, "max")),
        ("-1", (0, "-1")),
        ("+1", (0, "+1")),
        (" 1", (0, " 1")),
        ("K", (0, "K")),
        ("", (0, "")),
    ],
)
def test_memparse(text: str, expected: tuple[int, str]) -> None:
    assert memparse(text) == expected


@pytest.mark.parametrize(
    ("text", "pages"),
    [
        ("max", INF_PAGES),
        (" max\n", INF_PAGES),
        ("0", 0),
        ("4095", 0),
        ("4096\n", 1),
        ("10K", 2),
        ("64M", 16384),
        ("0x2000", 2),
        ("7E", INF_PAGES),
        ("", 0),  # page_counter_memparse() sees no junk in it
        ("\n", 0),
    ],
)
def test_limits(text: str, pages: int) -> None:
    assert parse_limit(text) == pages


@pytest.mark.parametrize("text", ["MAX", "max 1", "maximum", "64MB", "-1", "1 2", "0.5G", "1\t2", "08"])
def test_malformed_limits(text: str) -> None:
    with pytest.raises(BadWrite, match="EINVAL"):
        parse_limit(text)


@pytest.mark.parametrize(
    ("text", "pages", "age"),
    [
        ("10", UNLIMITED, 10),
        ("10\n", UNLIMITED, 10),
        ("  10  ", UNLIMITED, 10),
        ("max=10M 3600", 2560, 3600),
        ("3600 max=10M", 2560, 3600),
        (" max=1G  max=10M 5 ", 2560, 5),
        ("max=1G 5 max=10M", 2560, 5),
        ("max=0 max=8K 5", 2, 5),
        ("max=0x1000 5", 1, 5),
        ("max=4096 5", 1, 5),
        ("max=8191 5", 1, 5),
        ("max=010000 5", 1, 5),
        ("max=7E 1", UNLIMITED, 1),
        ("010", UNLIMITED, 10),  # consumed as octal, read as decimal
        ("4294967295", UNLIMITED, 4294967295),
    ],
)
def test_proactive(text: str, pages: int, age: int) -> None:
    assert parse_proactive(text) == Proactive(pages, age)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "\n", "max=10M", "0", "00", "max=10M 0", "max=0 5", "max=4095 10", "max=1k 10", "max= 10",
        "max=10MB 10", "max=max 10", "max=-1 5", "max=16E 5", "max 5", "MAX=1M 5", "max =1M 5", "max= 1M 5",
        "10 20", "10 10", "10 max=1M 20", "0x10", "08", "09", "3600s", "1.5", "-5", "+5", "abc", "5 abc",
        "4294967296", "99999999999999999999", "max=1M\t10", "10\tmax=1M", "10\nmax=1M", "10,20", "\u0661",
    ],
)  # fmt: skip
def test_malformed_proactive(text: str) -> None:
    with pytest.raises(BadWrite, match="EINVAL") as refused:
        parse_proactive(text)
    assert refused.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    ("text", "pages"),
    [
        ("0", 0),
        ("4095", 0),
        ("10M", 2560),
        ("10M\n", 2560),
        ("10M swappiness=0", 2560),
        ("10M swappiness=200", 2560),
        ("10M  swappiness=60", 2560),
        ("0x10000", 16),
    ],
)
def test_reclaim(text: str, pages: int) -> None:
    assert parse_reclaim(text).pages == pages


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "max", "swappiness=60", "swappiness=60 10M", "10M swappiness=201", "10M swappiness=-1",
        "10M swappiness=", "10M swappiness=max", "10M source=zswap", "10M zswap_writeback_only",
        "1M swappiness=60 source=zswap", "10MB", "-10M", "10M 10M", "10M foo=1",
    ],
)  # fmt: skip
def test_malformed_reclaim(text: str) -> None:
    """6.12 knows no key but swappiness: how a controller finds out which dialect there is."""
    with pytest.raises(BadWrite, match="EINVAL"):
        parse_reclaim(text)


WB = "memory.zswap.proactive_writeback"


@pytest.mark.parametrize(
    ("cgroup", "file", "text", "code"),
    [
        ("", WB, "max=1M 5", errno.ENOENT),  # CFTYPE_NOT_ON_ROOT
        ("", "memory.max", "1G", errno.ENOENT),
        ("", "memory.high", "1G", errno.ENOENT),
        ("", "memory.zswap.max", "1G", errno.ENOENT),
        ("", "memory.swap.max", "1G", errno.ENOENT),
        ("", "memory.reclaim", "4K", 0),
        ("", "memory.reclaim", "bad", errno.EINVAL),
        ("", "memory.zswap.writeback", "1", 0),
        ("g", "memory.zswap.writeback", "0\n", 0),
        ("g", "memory.zswap.writeback", "2", errno.EINVAL),
        ("g", "memory.zswap.writeback", "yes", errno.EINVAL),
        ("g", "memory.reclaim", "0", 0),
        ("g", "memory.zswap.max", "1G", 0),
        ("g", "memory.swap.max", "nope", errno.EINVAL),
        ("g", "memory.current", "1", errno.ENOENT),
        ("gone", "memory.max", "1G", errno.ENOENT),
    ],
)
def test_which_files_there_are(
    make: Callable[..., Any], cgroup: str, file: str, text: str, code: int
) -> None:
    b = make({"g": 128})
    b.run(1)
    assert b.write(cgroup, text, file).errno == code


@pytest.mark.parametrize(
    ("file", "field"),
    [
        ("memory.max", "max"),
        ("memory.high", "high"),
        ("memory.swap.max", "swap_max"),
        ("memory.zswap.max", "zswap_max"),
    ],
)
def test_limits_are_kept_in_pages(make: Callable[..., Any], file: str, field: str) -> None:
    b = make({"g": 16})
    for text, pages in (("10M", 2560), ("max", INF_PAGES), ("40959", 9)):
        assert b.write("g", text, file).errno == 0
        assert b.record("g")[field] == pages
    assert b.write("g", "junk", file).errno == errno.EINVAL
    assert b.record("g")[field] == 9
