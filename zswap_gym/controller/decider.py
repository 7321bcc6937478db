"""Who decides: an exported policy or a rule law, behind one small face.

Cgroups come and go while policies and laws think in rows of a table; here each cgroup keeps its
row (or its own copy of the law) for as long as its inode lives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from zswap_gym.errors import UserError, nearest
from zswap_gym.host.types import Request, Sample, table
from zswap_gym.policy.laws import LAWS


class Decider(Protocol):
    """Turns what was seen into one request per cgroup."""

    name: str
    """As the decision log calls it."""

    def decide(self, samples: Sequence[Sample], dt_s: float) -> list[Request]:
        """One Request per sample, in order; ``dt_s`` > 0 seconds after the decision before."""

    def describe(self) -> dict[str, Any]:
        """Name, arguments and digests as JSON values, for the log's start record."""


class LawDecider:
    """A rule law. Every cgroup has a copy of its own, so what it remembers comes and goes with it."""

    def __init__(self, name: str, arguments: Mapping[str, Any]) -> None:
        self.name = name
        self._arguments = dict(arguments)
        self._copies: dict[int, Any] = {}
        self._make()

    def _make(self) -> Any:
        try:
            law = LAWS[self.name](**self._arguments)
        except TypeError as error:
            raise UserError(f"law {self.name}: {error}") from error
        law.reset(1)
        return law

    def decide(self, samples: Sequence[Sample], dt_s: float) -> list[Request]:
        """Ask each cgroup's copy."""
        copies = {sample.inode: self._copies.get(sample.inode) or self._make() for sample in samples}
        self._copies = copies
        return [copies[sample.inode].decide(table([sample]), dt_s)[0] for sample in samples]

    def describe(self) -> dict[str, Any]:
        """Name and arguments."""
        return {"kind": "law", "name": self.name, "arguments": self._arguments}


def law_decider(name: str, arguments: Mapping[str, Any]) -> LawDecider:
    """A law by name. UserError for an unknown one or for arguments it does not take."""
    if name not in LAWS:
        raise UserError(f"law: {name!r} is unknown{nearest(name, LAWS)}; known are {', '.join(LAWS)}")
    return LawDecider(name, arguments)
