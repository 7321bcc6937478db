"""The contract between a policy and what feeds it: names, bounds, order, scale.

A policy trained on other features, bounds or action meanings gives numbers that look fine and
mean something else. So every exported policy carries its contract, and whoever loads it compares.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import inf
from typing import Any

from zswap_gym.errors import UserError, nearest
from zswap_gym.policy.actions import ActionSpec
from zswap_gym.policy.features import FEATURES, FEATURES_VERSION, HOST_FEATURES, Feature
from zswap_gym.policy.promise import Promise

CONTRACT_VERSION = 2
"""Raised whenever the contract itself gains, loses or redefines an entry."""

Row = tuple[str, str, float, float]
"""A feature in a contract: name, unit, low, high."""


def _rows(features: tuple[Feature, ...]) -> tuple[Row, ...]:
    return tuple((f.name, f.unit, float(f.low), float(f.high)) for f in features)


@dataclass(frozen=True)
class Contract:
    """What a policy assumes. The defaults are this program's.

    ``promise`` is what its features count minutes and CPU by; it may be judged by another.
    ``scenario`` is the digest of what the policy was trained for; empty = says nothing.
    """

    decision_interval_s: float
    action: ActionSpec = field(default_factory=ActionSpec)
    promise: Promise = field(default_factory=Promise)
    features: tuple[Row, ...] = _rows(FEATURES)
    host_features: tuple[Row, ...] = _rows(HOST_FEATURES)
    features_version: int = FEATURES_VERSION
    version: int = CONTRACT_VERSION
    scenario: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "policy") -> Contract:
        """Read the JSON form. UserError naming ``where`` if it is not a contract of this version."""
        again = "export the policy again with this version of zswap-gym"
        try:
            version = int(data["version"])
            if version != CONTRACT_VERSION:
                raise UserError(
                    f"{where}: contract version {version}, this program has {CONTRACT_VERSION}; {again}"
                )
            rows = {
                key: tuple((str(n), str(u), float(lo), float(hi)) for n, u, lo, hi in data[key])
                for key in ("features", "host_features")
            }
            return cls(
                decision_interval_s=_interval(data),
                action=_action(data["action"]),
                promise=_promise(data["promise"], where),
                features_version=int(data["features_version"]),
                version=version,
                scenario=str(data["scenario"]),
                **rows,
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{where}: not a policy contract ({error!r}); {again}") from error

    def digest(self) -> str:
        """12 hex digits over everything in the contract."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:12]

    def check(self, other: Contract, where: str = "policy") -> None:
        """Raise a UserError naming the first entry in which ``other`` (the policy's) differs from this.

        ``where`` names the policy in the message. Scenarios are compared where both name one.
        """
        mine, theirs = self.to_dict(), other.to_dict()
        for key in ("version", "features_version", "features", "host_features", "action"):
            if mine[key] != theirs[key]:
                entry, here, there = _first_difference(key, mine[key], theirs[key])
                raise UserError(
                    f"{where}: its contract differs in {entry}: it has {there!r}, this program {here!r}; "
                    "train it again with this version, or run it with the version it was trained with"
                )
        if self.decision_interval_s != other.decision_interval_s:
            raise UserError(
                f"{where}: its contract differs in decision_interval_s: it decides every "
                f"{other.decision_interval_s:g} s, {self.decision_interval_s:g} s is wanted; "
                f"set the interval to {other.decision_interval_s:g} s, or train it for this one"
            )
        if self.scenario and other.scenario and self.scenario != other.scenario:
            raise UserError(
                f"{where}: its contract differs in scenario: it was trained for {other.scenario}, this is "
                f"{self.scenario}; train it for this scenario, or compare without naming one"
            )


def _interval(data: Mapping[str, Any]) -> float:
    interval_s = float(data["decision_interval_s"])
    if not 0 < interval_s < inf:
        raise ValueError(f"decision_interval_s = {interval_s}; it is above 0 and finite")
    return interval_s


def _action(data: Mapping[str, Any]) -> ActionSpec:
    """The bounds of actions in a contract; ValueError where one is unknown or out of its own bounds.

    Compared with this program's they may differ, so nobody else would notice that they mean nothing.
    """
    names = [f.name for f in fields(ActionSpec)]
    unknown = next((name for name in data if name not in names), None)
    if unknown is not None:
        raise ValueError(f"action.{unknown} is unknown{nearest(str(unknown), names)}")
    problem = ActionSpec(**{name: data[name] for name in names}).problem()  # before float() takes a text
    if problem:
        raise ValueError(f"action.{problem}")
    bounds = {name: float(data[name]) for name in names}
    return ActionSpec(**bounds | {"min_bytes": int(data["min_bytes"])})  # type: ignore[arg-type] # is whole


def _promise(data: Mapping[str, Any], where: str) -> Promise:
    """The promise in a contract; UserError where it means nothing, KeyError where some of it is missing."""
    named = {f.name: data[f.name] for f in fields(Promise)}
    return Promise.of({**data, **named}, f"{where}: promise of its contract")


def _first_difference(key: str, mine: Any, theirs: Any) -> tuple[str, Any, Any]:
    """Name of the first entry that differs below ``key``, and its two values."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        name = next(name for name in mine if mine[name] != theirs[name])
        return f"{key}.{name}", mine[name], theirs[name]
    if isinstance(mine, tuple) and isinstance(theirs, tuple):
        for i, (a, b) in enumerate(zip(mine, theirs, strict=False)):
            if a != b:
                return f"{key}[{i}]", a, b
        return f"number of {key}", len(mine), len(theirs)
    return key, mine, theirs
