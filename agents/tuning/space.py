"""Where to look: a law's parameters as its fields declare them, those that were given left as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zswap_gym.errors import UserError
from zswap_gym.policy.laws import LAWS, make_law
from zswap_gym.policy.laws.parameters import Range, parameters_of, ranges_of

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Parameters = Mapping[str, float]


@dataclass(frozen=True)
class Space:
    """The search space of a law."""

    law: str
    given: Parameters
    """Parameters that are not searched."""
    ranges: Mapping[str, Range]
    """Those that are."""

    @classmethod
    def of(cls, spec: str | Mapping[str, Any]) -> Space:
        """The space of a law from ``"name"`` or ``"name(key=value,...)"``; what is given is fixed.

        Raises:
            UserError: an unknown law or parameter, a value out of range, or nothing left to search.
        """
        law: Any = make_law(spec)
        kind = LAWS[law.name]
        usual: Any = kind()
        given = {p: getattr(law, p) for p in parameters_of(kind) if getattr(law, p) != getattr(usual, p)}
        ranges = {p: span for p, span in ranges_of(kind).items() if p not in given}
        if not ranges:
            raise UserError(f"law {law.name}: has no parameter left to tune; leave one to the search")
        return cls(law.name, given, ranges)

    @property
    def start(self) -> dict[str, float]:
        """The untuned law: what is searched, as it is by default."""
        usual: Any = LAWS[self.law]()
        return {name: getattr(usual, name) for name in self.ranges}

    def suggest(self, trial: BaseTrial) -> dict[str, float]:
        """What a trial is to try."""
        found: dict[str, float] = {}
        for name, span in self.ranges.items():
            if span.whole:
                found[name] = trial.suggest_int(name, int(span.low), int(span.high), log=span.log)
            else:
                found[name] = trial.suggest_float(name, span.low, span.high, log=span.log)
        return found

    def spec(self, found: Parameters) -> dict[str, Any]:
        """The law with these values, as :func:`zswap_gym.policy.laws.make_law` takes it."""
        return {"law": self.law, **self.given, **self.rounded(found)}

    def rounded(self, found: Parameters) -> dict[str, float]:
        """Values as they are measured and written: four digits are all a search can mean."""
        return {name: x if self.ranges[name].whole else float(f"{x:.4g}") for name, x in found.items()}

    def describe(self) -> dict[str, Any]:
        """JSON-able: two spaces that differ differ here."""
        spans = {name: [s.low, s.high, s.log, s.whole] for name, s in self.ranges.items()}
        return {"law": self.law, "given": dict(self.given), "ranges": spans}
