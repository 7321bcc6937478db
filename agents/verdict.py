"""What may be said of a result, in words that do not claim more than the intervals do."""

from __future__ import annotations

from zswap_gym.agents.results import OVERALL, Results
from zswap_gym.agents.scoring.standing import Standing
from zswap_gym.agents.statistics import Estimate


def verdicts(results: Results) -> list[str]:
    """One sentence per learned policy and scenario, then one overall; empty where nothing was learned."""
    scenarios = (*results.scenarios, OVERALL) if len(results.scenarios) > 1 else results.scenarios
    say = bill_verdict if results.objective == "bill" else promise_verdict
    return [say(results, policy, scenario) for policy in results.learned for scenario in scenarios]


def promise_verdict(results: Results, policy: str, scenario: str) -> str:
    """What ``policy`` saves, whether it keeps the promise, and how the best rule compares."""
    ours, rule = results.standing(policy, scenario), results.best_rule(scenario)
    begin = f"{policy} {_where(scenario)} saves {_percent(ours.saved_pct)} of memory"
    if rule is None:
        return f"{begin} and {_keeping(ours)}; no rule took part, so no more can be said."
    theirs = results.standing(rule, scenario)
    if ours.kept != theirs.kept:
        stands = (
            f"stands {'above' if ours.kept else 'below'} the best rule ({rule}), which {_keeping(theirs)}"
        )
        return f"{begin}, {_keeping(ours)} and {stands}: {_percent(theirs.saved_pct)}."
    difference = results.difference(policy, rule, scenario)
    chance = 100.0 * results.improvement(policy, rule, scenario)
    return (
        f"{begin} and {_keeping(ours)}. It {_compared(difference)} the best rule ({rule}): "
        f"{_percent(difference, ' points')}, more on {chance:.0f} % of the runs."
    )


def bill_verdict(results: Results, policy: str, scenario: str) -> str:
    """How ``policy`` compares with the best rule and with the reference, by reward."""
    rule = results.best_rule(scenario)
    where = _where(scenario)
    if rule is None:
        return f"{policy} {where}: no rule took part, so nothing can be said."
    against = results.difference(policy, rule, scenario)
    sentence = f"{policy} {_compared(against)} the best rule ({rule}) {where}: {_percent(against)}"
    if rule != results.reference:
        plain = results.difference(policy, results.reference, scenario)
        sentence += f"; against {results.reference}: {_percent(plain)}"
    ours, theirs = results.standing(policy, scenario), results.standing(rule, scenario)
    if theirs.kept and not ours.kept:
        sentence += f". It {_keeping(ours)}, which the rule keeps"
    return sentence + "."


def _where(scenario: str) -> str:
    return "over all scenarios" if scenario == OVERALL else f"on {scenario}"


def _keeping(standing: Standing) -> str:
    if standing.kept:
        return "keeps the promise"
    missing = standing.cgroups - standing.keeping
    return f"breaks the promise in {missing} of {standing.cgroups} cgroups"


def _compared(difference: Estimate) -> str:
    if not difference.excludes_zero:
        return "cannot be told apart from"
    return "beats" if difference.value > 0 else "does worse than"


def _percent(e: Estimate, unit: str = " %") -> str:
    return f"{e.value:+.2f}{unit} [{e.low:+.2f}, {e.high:+.2f}]"
