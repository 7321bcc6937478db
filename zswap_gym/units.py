"""Sizes, durations and page arithmetic, spelt the way the kernel and people spell them."""

from __future__ import annotations

import re
from math import isfinite
from numbers import Real

from zswap_gym.errors import UserError

PAGE_SIZE = 4096
"""Bytes per real page; everything here models x86-64 with 4 KiB pages."""

US_PER_S = 1_000_000

_DIGITS_MAX = 30
"""More digits are no size on any machine, and would not fit a float either."""

_SIZE_SUFFIX = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50, "E": 60}
_DURATION_SECONDS = {
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}


def parse_size(text: str | int) -> int:
    """Bytes of ``"10M"``, ``"0x1000"`` or a plain integer, as the kernel's memparse() reads it.

    Suffixes are K M G T P E, powers of 1024, either case. Raises :class:`UserError`.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    match = re.fullmatch(r"\s*(0[xX][0-9a-fA-F]+|\d+)\s*([KMGTPEkmgtpe]?)(?:i?[bB])?\s*", str(text))
    if match is None or len(match.group(1)) > _DIGITS_MAX:
        raise UserError(f"{_short(text)} is not a size; write bytes or a number with K, M, G or T")
    digits, suffix = match.groups()
    return int(digits, 0 if digits[:2].lower() == "0x" else 10) << _SIZE_SUFFIX[suffix.upper()]


def format_size(size: float) -> str:
    """A short human form, e.g. ``"1.5 MiB"``."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def parse_duration(text: str | float) -> float:
    """Seconds of ``"30s"``, ``"5m"``, ``"1.5h"`` or a plain number. Raises :class:`UserError`."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        try:
            return float(text)
        except OverflowError:
            raise UserError("a number of hundreds of digits is not a duration; write a smaller one") from None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", str(text))
    known = match is not None and (match.group(2) or "s") in _DURATION_SECONDS
    if match is None or not known or len(match.group(1)) > _DIGITS_MAX:
        raise UserError(f"{_short(text)} is not a duration; write seconds or a number with s, m, h or d")
    return float(match.group(1)) * _DURATION_SECONDS[match.group(2) or "s"]


def _short(text: object) -> str:
    """For a message: what somebody wrote, its middle left out where it is very long."""
    words = repr(text)
    return words if len(words) <= 60 else f"{words[:30]}...{words[-10:]}"


def is_finite(value: object) -> bool:
    """Whether it is a number, of Python's or numpy's, and neither NaN nor beyond what a float holds."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def pages(size: int) -> int:
    """Whole real pages in ``size`` bytes, rounded down as page_counter_memparse() does."""
    return size // PAGE_SIZE
