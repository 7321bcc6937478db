"""Parsing of writes to cgroup files, with the kernel's check order and errno.

Grammar of version 1 of the series: spec/series.md 1.2; of the keys the later versions add to
memory.reclaim: 2 to 4. Sizes: lib/cmdline.c:memparse().
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass

from zswap_gym.kernel.layout import INF_PAGES

UNLIMITED = int(INF_PAGES)
_SUFFIX = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50, "E": 60}
_SIZE = re.compile(r"(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)([KMGTPEkmgtpe]?)")
_U32_MAX = (1 << 32) - 1
_U64_MAX = (1 << 64) - 1


class BadWrite(Exception):  # noqa: N818 - it is an answer, not a failure
    """A write the kernel refuses; ``errno`` says how."""

    def __init__(self, code: int) -> None:
        super().__init__(errno.errorcode[code])
        self.errno = code


def memparse(text: str) -> tuple[int, str]:
    """Base-0 integer with an optional suffix: (bytes mod 2^64, what follows). No digits = 0."""
    match = _SIZE.match(text)
    if match is None:
        return 0, text
    digits, suffix = match.groups()
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits[0] == "0" and len(digits) > 1 else 10
    return int(digits, base) << _SUFFIX[suffix.upper()] & _U64_MAX, text[match.end() :]


def parse_limit(text: str) -> int:
    """page_counter_memparse(): ``max`` or bytes, floored to pages. EINVAL on junk; nothing is 0."""
    text = text.strip()
    if text == "max":
        return UNLIMITED
    size, rest = memparse(text)
    if rest:
        raise BadWrite(errno.EINVAL)
    return min(size >> 12, UNLIMITED)


@dataclass(frozen=True)
class Proactive:
    """A parsed v1 write."""

    max_pages: int
    age_s: int


def _parse_age(token: str) -> int:
    """match_uint(): consumed whole by strtoul base 0, then parsed as a decimal u32."""
    if not re.fullmatch(r"[0-9]+", token) or int(token) > _U32_MAX:
        raise BadWrite(errno.EINVAL)
    if token[0] == "0" and len(token) > 1 and not re.fullmatch(r"0[0-7]*", token):
        raise BadWrite(errno.EINVAL)
    return int(token, 10)


def parse_proactive(text: str) -> Proactive:
    """``"max=10M 3600"``: any order, spaces only, last max wins, age required once and not 0."""
    max_pages = UNLIMITED
    age: int | None = None
    for token in text.strip().split(" "):
        if not token:
            continue
        if token.startswith("max="):
            size, rest = memparse(token[4:])
            if rest or len(token) == 4:
                raise BadWrite(errno.EINVAL)
            max_pages = size >> 12
        else:
            if age is not None:
                raise BadWrite(errno.EINVAL)
            age = _parse_age(token)
    if not age or max_pages == 0:
        raise BadWrite(errno.EINVAL)
    return Proactive(min(max_pages, UNLIMITED), age)


@dataclass(frozen=True)
class Reclaim:
    """A parsed write to memory.reclaim."""

    size: int
    """Bytes."""
    proactive: bool = False
    """The key of a proactive writeback interface was given: write back, do not reclaim."""

    @property
    def pages(self) -> int:
        """The size, floored to pages."""
        return self.size >> 12


def parse_reclaim(text: str, *, key: str | None = None, swappiness_max: bool = False) -> Reclaim:
    """user_proactive_reclaim(): ``SIZE [swappiness=N] [KEY]``, the size first, keys in any order.

    ``key`` is the word the kernel's proactive writeback interface knows (None: it has none); it
    cannot be combined with swappiness. ``swappiness_max``: the kernel takes ``swappiness=max``.
    Swappiness is checked and has no effect: see kernel/file_lru.py.
    """
    words = text.strip().split(" ")
    size, rest = memparse(words[0])
    if rest or not words[0] or not words[0][0].isdigit():
        raise BadWrite(errno.EINVAL)
    proactive = swappiness = False
    for word in filter(None, words[1:]):
        match = re.fullmatch(r"swappiness=([0-9]+)", word)
        if key is not None and word == key:
            proactive = True
        elif (match is not None and int(match.group(1)) <= 200) or (
            swappiness_max and word == "swappiness=max"
        ):
            swappiness = True
        else:
            raise BadWrite(errno.EINVAL)
    if proactive and swappiness:
        raise BadWrite(errno.EINVAL)
    return Reclaim(size, proactive)
