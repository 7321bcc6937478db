"""The oracle: look ahead on cloned machines, with the actions a policy has and the promise it has to keep.

It begins with the best there is - for each cgroup hindsight's setting or the requests of the rule that
saved most on this very seed - and changes them by :mod:`rollouts <zswap_gym.agents.oracle.rollout>`.

**What it knows.** A cloned machine goes on with the same random stream: it sees phases, bursts, arrivals and
the next access of every page, and even how dice will fall. So what it saves is nothing that can be reached
by a policy, and it says what is left at most *as far as it searches*: a search of finite effort proves that
so much can be had, not that more cannot. It keeps the promise on every seed by itself; rules are judged over
all seeds together, which is the weaker demand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from zswap_gym.agents.oracle.combine import Choice, combine
from zswap_gym.agents.oracle.episode import Episode, Plan
from zswap_gym.agents.oracle.hindsight import hindsight
from zswap_gym.agents.oracle.rollout import PASSES, Search
from zswap_gym.agents.oracle.settings import Floats
from zswap_gym.agents.oracle.store import Arrays, Place
from zswap_gym.law_file import read_law, tuned_laws
from zswap_gym.policy import laws
from zswap_gym.policy.laws import LAWS, Law, make_law
from zswap_gym.policy.laws.parameters import parameters_of
from zswap_gym.policy.promise import Account, Promise
from zswap_gym.workloads.scenario import Scenario


@dataclass(frozen=True)
class Found:
    """What the oracle found on one seed."""

    plan: Plan
    account: Account
    """(N,): of the plan."""
    start: Account
    """(N,): of the plan it began with."""


def search(scenario: Scenario, seed: int, promise: Promise) -> Found:
    """The plan for one seed, from the cache where it has been there before.

    A search that was broken off goes on after its last whole pass, and ends where it would have ended.

    Args:
        scenario: with the length of its episodes.
        seed: of the episode.
        promise: what each cgroup is promised.
    """
    rules = starting_rules()
    place = Place.of("oracle", scenario, seed, promise, facts(rules))
    saved = place.load()
    if saved is None:
        saved = _search(Episode(scenario, seed, promise), rules, place.part)
        place.save(saved)
        place.part.remove()
    return Found(saved["best"], Account.of(saved["best_sums"]), Account.of(saved["start_sums"]))


def starting_rules() -> dict[str, Law]:
    """Every rule, tuned where it has been tuned: what the oracle is never below."""
    tuned = tuned_laws()
    return {name: read_law(tuned[name]) if name in tuned else make_law(name) for name in LAWS}


def facts(rules: Mapping[str, Law]) -> list[object]:
    """JSON-able: all that decides what is found, besides scenario, seed and promise."""
    parameters = {
        name: {key: getattr(law, key) for key in parameters_of(LAWS[name])} for name, law in rules.items()
    }
    return [sources_digest(), [asdict(each) for each in PASSES], parameters]


@cache
def sources_digest() -> str:
    """Hex digest of the sources of this search and of the rules: others find another plan."""
    digest = hashlib.sha256()
    for place in (Path(__file__).parent, Path(laws.__file__).parent):
        for path in sorted(place.glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _search(episode: Episode, rules: Mapping[str, Law], part: Place) -> Arrays:
    state = part.load()
    if state is None:
        plan, account = _start(episode, rules)
        begun = Search(episode, plan, account)
        state = _state(0, begun, account.sums)
        part.save(state)
    search_ = Search(episode, state["plan"], Account.of(state["plan_sums"]))
    search_.best, search_.best_account = state["best"], Account.of(state["best_sums"])
    for number in range(int(state["passes"]), len(PASSES)):
        search_.go_through(PASSES[number], np.random.default_rng([episode.seed, number]))
        state = _state(number + 1, search_, state["start_sums"])
        part.save(state)
    return state


def _state(passes: int, search_: Search, start: Floats) -> Arrays:
    return {
        "passes": np.array(passes),
        "plan": search_.plan,
        "plan_sums": search_.account.sums,
        "best": search_.best,
        "best_sums": search_.best_account.sums,
        "start_sums": start,
    }


def _start(episode: Episode, rules: Mapping[str, Law]) -> tuple[Plan, Account]:
    """For each cgroup the best of nothing, hindsight and all rules, as they do together."""
    chosen = hindsight(episode.scenario, episode.seed, episode.promise)
    options = [(np.zeros_like(chosen.plan), episode.nothing), (chosen.plan, chosen.account)]
    options += [episode.of_law(law) for law in rules.values()]
    plans = np.stack([plan for plan, _ in options], axis=1)
    verdict = episode.judge(Account.stack([account for _, account in options]))

    def run(which: Choice) -> tuple[Plan, Account]:
        plan = plans[:, which, :, np.arange(episode.size)].transpose(1, 2, 0)
        return plan, episode.plan_of(plan)

    _, plan, account = combine(episode, verdict, run)
    return plan, account
