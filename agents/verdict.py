"""What may be said of a result, in words that do not claim more than the intervals do."""

from __future__ import annotations

from zswap_gym.agents.results import OVERALL, Results
from zswap_gym.agents.statistics import Estimate


def verdicts(results: Results) -> list[str]:
    """One sentence per learned policy and scenario, then one overall; empty where nothing was learned."""
    scenarios = (*results.scenarios, OVERALL) if len(results.scenarios) > 1 else results.scenarios
    return [verdict(results, policy, scenario) for policy in results.learned for scenario in scenarios]


def verdict(results: Results, policy: str, scenario: str) -> str:
    """How ``policy`` compares with the best rule and with the reference on ``scenario``."""
    rule = results.best_rule(scenario)
    where = "over all scenarios" if scenario == OVERALL else f"on {scenario}"
    if rule is None:
        return f"{policy} {where}: no rule took part, so nothing can be said."
    against = results.difference(policy, rule, scenario)
    sentence = f"{policy} {_compared(against)} the best rule ({rule}) {where}: {_percent(against)}"
    if rule != results.reference:
        plain = results.difference(policy, results.reference, scenario)
        sentence += f"; against {results.reference}: {_percent(plain)}"
    ours = results.summary(policy, scenario).violation_share
    theirs = results.summary(rule, scenario).violation_share
    if ours.low > theirs.high:
        sentence += (
            f". It breaks the promise more often: after {100 * ours.value:.0f} % of decisions, "
            f"the rule after {100 * theirs.value:.0f} %"
        )
    return sentence + "."


def _compared(difference: Estimate) -> str:
    if not difference.excludes_zero:
        return "cannot be told apart from"
    return "beats" if difference.value > 0 else "does worse than"


def _percent(e: Estimate) -> str:
    return f"{e.value:+.2f} % [{e.low:+.2f}, {e.high:+.2f}]"
