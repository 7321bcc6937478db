"""The contract between a policy and what feeds it: names, bounds, order, scale.

A policy trained on other features, bounds or action meanings gives numbers that look fine and
mean something else. So every exported policy carries its contract, and whoever loads it compares.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from zswap_gym.errors import UserError
from zswap_gym.policy.actions import ActionSpec
from zswap_gym.policy.features import FEATURES, FEATURES_VERSION, HOST_FEATURES, Feature

CONTRACT_VERSION = 1


def _rows(features: tuple[Feature, ...]) -> tuple[tuple[str, str, float, float], ...]:
    return tuple((f.name, f.unit, float(f.low), float(f.high)) for f in features)


@dataclass(frozen=True)
class Contract:
    """What a policy assumes. Two equal contracts are interchangeable.

    ``n_max`` binds only policies with a flat network; a shared network drives any number.
    """

    n_max: int
    decision_interval_s: float
    action: ActionSpec = field(default_factory=ActionSpec)
    features: tuple[tuple[str, str, float, float], ...] = _rows(FEATURES)
    host_features: tuple[tuple[str, str, float, float], ...] = _rows(HOST_FEATURES)
    features_version: int = FEATURES_VERSION
    version: int = CONTRACT_VERSION

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "policy") -> Contract:
        """Read the JSON form. UserError naming ``where`` if it is not a contract."""
        try:
            rows = {
                key: tuple((str(n), str(u), float(lo), float(hi)) for n, u, lo, hi in data[key])
                for key in ("features", "host_features")
            }
            return cls(
                n_max=int(data["n_max"]),
                decision_interval_s=float(data["decision_interval_s"]),
                action=ActionSpec(**data["action"]),
                features_version=int(data["features_version"]),
                version=int(data["version"]),
                **rows,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where}: not a policy contract ({error}); export the policy again") from error

    def digest(self) -> str:
        """Short hash of everything in the contract."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:12]

    def check(self, other: Contract, where: str = "policy", *, any_n: bool = True) -> None:
        """Raise a UserError naming the first entry in which ``other`` (the policy's) differs from this.

        The decision interval may differ: it is a feature. ``any_n``: the number of cgroups too.
        """
        mine, theirs = self.to_dict(), other.to_dict()
        for key in ("version", "features_version", "features", "host_features", "action"):
            if mine[key] != theirs[key]:
                detail = _first_difference(mine[key], theirs[key])
                raise UserError(
                    f"{where}: its contract differs in {key}{detail}; train or export it again with this version"
                )
        if not any_n and self.n_max != other.n_max:
            raise UserError(
                f"{where}: a flat policy for {other.n_max} cgroups cannot drive {self.n_max}; "
                f"use n_max {other.n_max} or train a shared policy"
            )


def _first_difference(mine: Any, theirs: Any) -> str:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for key in mine:
            if mine[key] != theirs.get(key):
                return f".{key}: it has {theirs.get(key)!r}, this version {mine[key]!r}"
    if isinstance(mine, (list, tuple)) and isinstance(theirs, (list, tuple)):
        for i, (a, b) in enumerate(zip(mine, theirs, strict=False)):
            if a != b:
                return f"[{i}]: it has {b!r}, this version {a!r}"
        return f": it has {len(theirs)} entries, this version {len(mine)}"
    return f": it has {theirs!r}, this version {mine!r}"
