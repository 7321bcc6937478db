"""What may be said of a result, in words that do not claim more than the intervals do."""

from __future__ import annotations

from agents.results import OVERALL, Results
from agents.statistics import Estimate


def verdicts(results: Results) -> list[str]:
    """One sentence per learned policy and scenario, then one overall; empty where nothing was learned."""
    said = []
    for policy in results.learned:
        for scenario in (*results.scenarios, OVERALL) if len(results.scenarios) > 1 else results.scenarios:
            said.append(verdict(results, policy, scenario))
    return said


def verdict(results: Results, policy: str, scenario: str) -> str:
    """How ``policy`` compares with the best rule and with the reference on ``scenario``."""
    rule = results.best_rule(scenario)
    where = "over all scenarios" if scenario == OVERALL else f"on {scenario}"
    if rule is None:
        return f"{policy} {where}: no rule took part, so nothing can be said."
    against = results.difference(policy, rule, scenario)
    sentence = f"{policy} {_compared(against)} the best rule ({rule}) {where}: {_percent(against)}"
    if rule != results.reference:
        sentence += f"; against {results.reference}: {_percent(results.difference(policy, results.reference, scenario))}"
    summary = results.summary(policy, scenario)
    other = results.summary(rule, scenario)
    if summary.violation_share.low > other.violation_share.high:
        sentence += (
            f". It breaks the service level more often ({100 * summary.violation_share.value:.0f} % of decisions "
            f"against {100 * other.violation_share.value:.0f} %)"
        )
    return sentence + "."


def _compared(difference: Estimate) -> str:
    if not difference.excludes_zero:
        return "cannot be told apart from"
    return "beats" if difference.value > 0 else "does worse than"


def _percent(e: Estimate) -> str:
    return f"{e.value:+.2f} % [{e.low:+.2f}, {e.high:+.2f}]"
