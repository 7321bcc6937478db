"""Sizes and durations that no machine has are refused, in one short line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zswap_gym.errors import UserError
from zswap_gym.units import parse_duration, parse_size


@pytest.mark.parametrize(
    ("parse", "value"),
    [
        (parse_size, "9" * 31),
        (parse_size, "9" * 5000 + "G"),
        (parse_size, "0x" + "f" * 5000),
        (parse_duration, "9" * 400 + "s"),
        (parse_duration, "9" * 5000),
        (parse_duration, 10**400),
    ],
    ids=range(6),
)
def test_digits_without_end(parse: Callable[[object], float], value: object) -> None:
    with pytest.raises(UserError, match=r"is not a (size|duration)") as caught:
        parse(value)
    assert len(str(caught.value)) < 140


def test_what_a_machine_may_have_is_taken() -> None:
    assert parse_size("16E") == 1 << 64
    assert parse_size("0xffffffffffffffff") == (1 << 64) - 1
    assert parse_duration("365d") == 365 * 86400.0
    assert parse_duration("0.123456789012345s") == 0.123456789012345
