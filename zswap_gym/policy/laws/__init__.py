"""The rules the field knows, as laws over the same samples and requests as a learned policy.

A law is made by name and parameters, ``fixed_age(age_s=60,max_bytes=8M)``, and asked at every
decision. Each states its formula and its source. Shrinker on, pool limit only and the stage-one
reclaimer are arms of the scenario, not laws.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from zswap_gym.errors import UserError, nearest
from zswap_gym.host.types import Request, Table
from zswap_gym.policy.laws.aimd import AimdRefault
from zswap_gym.policy.laws.arms import ArmsBatches
from zswap_gym.policy.laws.damos import DamosQuota
from zswap_gym.policy.laws.fixed import FixedAge, Never, ReleaseOnly
from zswap_gym.policy.laws.katalyst import KatalystRefault
from zswap_gym.policy.laws.parameters import parameters_of
from zswap_gym.policy.laws.promotion import PromotionRate
from zswap_gym.policy.laws.senpai import SenpaiSizes
from zswap_gym.policy.laws.tmo import Tmo
from zswap_gym.policy.laws.trackers import PromiseTrackers

__all__ = [
    "LAWS", "AimdRefault", "ArmsBatches", "DamosQuota", "FixedAge", "KatalystRefault", "Law", "Never",
    "PromiseTrackers", "PromotionRate", "ReleaseOnly", "SenpaiSizes", "Tmo", "make_law",
]  # fmt: skip


class Law(Protocol):
    """What every rule can do."""

    def reset(self, n: int) -> None:
        """Forget the past; ``n`` cgroups follow."""

    def decide(self, table: Table, dt_s: float) -> list[Request]:
        """One Request per row of a sample table (N, K), ``dt_s`` > 0 seconds after the last one.

        A row with NaN is an absent cgroup and gets NOTHING. N may change: rows keep their past by
        position, so whoever moves cgroups between rows resets.
        """


LAWS: Mapping[str, Callable[..., Law]] = {
    "never": Never,
    "release_only": ReleaseOnly,
    "fixed_age": FixedAge,
    "aimd": AimdRefault,
    "tmo": Tmo,
    "promise": PromiseTrackers,
    "senpai": SenpaiSizes,
    "promotion": PromotionRate,
    "damos": DamosQuota,
    "arms": ArmsBatches,
    "katalyst": KatalystRefault,
}
"""Every law by name. Parameters are keyword arguments: numbers, or texts such as 8M and 30s."""


def make_law(spec: str | Mapping[str, Any]) -> Law:
    """A law from ``"name"``, ``"name(key=value,...)"`` or ``{"law": name, key: value}``.

    Durations end in ``_s`` and may be written 30s or 5m; sizes hold ``bytes`` and may be written
    8M. UserError names an unknown law or parameter and the nearest known one, or a bad value.
    """
    name, parameters = _parse(spec) if isinstance(spec, str) else _split(spec)
    if name not in LAWS:
        raise UserError(f"law {name!r}: unknown{nearest(name, LAWS)}; known laws: {', '.join(LAWS)}")
    known = parameters_of(LAWS[name])
    for key in parameters:
        if key not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise UserError(f"law {name}: unknown parameter {key!r}{nearest(key, known)}; {takes}")
    return LAWS[name](**parameters)


def _parse(text: str) -> tuple[str, dict[str, Any]]:
    match = re.fullmatch(r"\s*([\w-]+)\s*(?:\(([^()]*)\))?\s*", text)
    if match is None:
        raise UserError(f"law {text!r}: write it as NAME or NAME(key=value,...)")
    parameters: dict[str, Any] = {}
    for part in (match[2] or "").split(","):
        if part.strip():
            key, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals or not value:
                raise UserError(f"law {text!r}: {part.strip()!r} is no key=value; write NAME(key=value,...)")
            if key in parameters:
                raise UserError(f"law {text!r}: {key} is given twice; give it once")
            parameters[key] = value
    return match[1], parameters


def _split(spec: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    parameters = dict(spec)
    name = parameters.pop("law", None)
    if not isinstance(name, str):
        raise UserError(f"law {spec!r}: has no name; write law: NAME, one of {', '.join(LAWS)}")
    return name, parameters
