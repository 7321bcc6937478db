"""Parameters of laws: fields of a dataclass, read from numbers or from what people write."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from math import isfinite, nan
from typing import Any

from zswap_gym.errors import UserError
from zswap_gym.units import parse_duration, parse_size


def parameters_of(law: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the parameters a law (a dataclass) takes."""
    return tuple(f.name for f in dataclasses.fields(law) if f.init)  # type: ignore[arg-type]


def read_parameters(law: Any) -> None:
    """Turn the parameters of a law into numbers in place; called by its ``__post_init__``.

    The name tells the unit: ``*_s`` seconds (30s, 5m), ``*bytes*`` a size (8M), anything else a
    plain number. UserError for anything that is no such number, is negative, or is out of the bounds
    of its :func:`setting`.
    """
    for field in dataclasses.fields(law):
        if field.init:
            value = _number(f"law {law.name}: {field.name}", field.name, getattr(law, field.name))
            if field.metadata.get("positive") and value <= 0:
                raise UserError(f"law {law.name}: {field.name} = {value:g}; must be more than 0")
            most = field.metadata.get("most")
            if most is not None and value > most:
                raise UserError(f"law {law.name}: {field.name} = {value:g}; must be at most {most:g}")
            setattr(law, field.name, value)


def setting(
    default: float,
    low: float | None = None,
    high: float | None = None,
    *,
    log: bool = True,
    positive: bool = False,
    most: float | None = None,
) -> Any:
    """A parameter.

    Args:
        default: its value unless told otherwise.
        low: least value a tuner may try; None = it is left as it is.
        high: largest value a tuner may try.
        log: whether it looks by ratios rather than by differences.
        positive: whether it must be more than 0.
        most: what it may be at most.
    """
    return dataclasses.field(
        default=default,
        metadata={"low": low, "high": high, "log": log, "positive": positive, "most": most},
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """Where a tuner may look for a parameter of a law."""

    low: float
    high: float
    log: bool
    whole: bool
    """Bytes: whole numbers."""


def ranges_of(law: Callable[..., Any]) -> dict[str, Range]:
    """The parameters of a law that can be tuned, by name."""
    return {
        f.name: Range(f.metadata["low"], f.metadata["high"], f.metadata["log"], "bytes" in f.name)
        for f in dataclasses.fields(law)  # type: ignore[arg-type]
        if f.init and f.metadata.get("low") is not None
    }


def _number(where: str, name: str, value: Any) -> float:
    size, duration = "bytes" in name, name.endswith("_s") and "bytes" not in name
    hint = "a size such as 8M" if size else "a duration such as 30s" if duration else "a number"
    number: float
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            number = nan
        elif size:
            number = parse_size(value if isinstance(value, str) else int(value))
        elif duration:
            number = parse_duration(value)
        else:
            number = float(value)
    except (UserError, ValueError, OverflowError):
        raise UserError(f"{where} = {value!r}; write {hint}") from None
    if not isfinite(number) or number < 0:
        raise UserError(f"{where} = {value!r}; write {hint}, not below 0")
    return number
