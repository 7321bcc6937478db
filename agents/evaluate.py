"""Compare policies: every one meets every scenario on every seed, so that differences are paired."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zswap_gym.agents.contestants import Contestant, contestant
from zswap_gym.agents.parallel import InProcess, Workers
from zswap_gym.agents.provenance import provenance
from zswap_gym.agents.results import Results, check_pairs
from zswap_gym.agents.scoring.trial import Conditions, Trial, chunks, run_trials
from zswap_gym.controller.rails import Limits
from zswap_gym.envs.objective import objective_named
from zswap_gym.envs.reward import RewardWeights
from zswap_gym.envs.warmstart import scenario_digest
from zswap_gym.errors import UserError
from zswap_gym.policy.laws import Law
from zswap_gym.policy.promise import Promise
from zswap_gym.policy.runtime import Policy
from zswap_gym.workloads.scenario import Scenario, load_scenario

REFERENCE = "never"

Tick = Callable[[int, str], None]
"""Told how many episodes have ended, and of what."""


def evaluate(
    policies: Mapping[str, str | Path | Policy | Law | Contestant] | Sequence[str],
    scenarios: Sequence[str | Path | Scenario],
    seeds: Sequence[int],
    *,
    reference: str = REFERENCE,
    objective: str = "promise",
    promise: Promise | Mapping[str, Any] | str | None = None,
    reward: RewardWeights | Mapping[str, float] | None = None,
    release: bool | None = None,
    episode_s: float | None = None,
    rails: Limits | None = None,
    untold: bool = True,
    workers: Workers | None = None,
    on_episodes: Tick | None = None,
) -> Results:
    """Run every policy through every scenario on every seed.

    Args:
        policies: by name, what :func:`zswap_gym.agents.contestants.contestant` understands. A plain list
            names each after its text.
        scenarios: names, files or Scenarios.
        seeds: the same for all.
        reference: whom the others are compared with; added where it is not among the policies.
        objective: ``promise`` or ``bill``: what they are ranked by.
        promise: what each cgroup is promised, as :meth:`Promise.of` takes it; None = the usual one.
        reward: weights, the same for all; as WritebackEnv takes them. None = the defaults.
        release: whether a writeback is followed by a release; None = as the scenario says.
        episode_s: length of the episodes, s; None = the scenario's.
        rails: the controller's, kept by those marked ``+rails``; None = its defaults.
        untold: whether scenarios that announce events are met once more with nobody to announce them.
        workers: who runs it; None = this process. They change nothing but the time it takes.
        on_episodes: called as episodes end, for a progress bar.

    Raises:
        UserError: an unknown law, a file that is no policy, a policy of another contract, a scenario
            that does not load, no seeds, an unknown objective, a promise that means nothing.
    """
    objective_named(objective, "objective")
    named = dict(policies) if isinstance(policies, Mapping) else {str(spec): spec for spec in policies}
    if reference not in named:
        named = {reference: reference, **named}
    loaded = [s if isinstance(s, Scenario) else load_scenario(s) for s in scenarios]
    _check(loaded, seeds)
    contestants = {name: contestant(spec) for name, spec in named.items()}
    for scenario in loaded:
        for each in contestants.values():
            each.scenario(scenario)  # an arm that does not fit is told before anything runs
    weights = RewardWeights.of(reward)
    conditions = Conditions(Promise.of(promise), weights, release, episode_s, rails or Limits())
    work = workers or InProcess()
    silent = [u for u in (without_hints(s) for s in loaded) if u is not None] if untold else []
    jobs = _jobs([*loaded, *silent], seeds, contestants, conditions, work.count)

    def tick(number: int) -> None:
        if on_episodes is not None:
            _, scenario, portion, _ = jobs[number].arguments
            on_episodes(
                len(portion) * len(contestants), f"{scenario.name} seeds {portion[0]} to {portion[-1]}"
            )

    parts = work.run(run_trials, [job.arguments for job in jobs], tick)
    trials = _joined(jobs, parts, len(loaded))
    results = Results(
        trials=tuple(trials[0]),
        policies=tuple(contestants),
        scenarios=tuple(s.name for s in loaded),
        seeds=tuple(seeds),
        reference=reference,
        learned=tuple(name for name, who in contestants.items() if who.learned),
        foreseeing=tuple(name for name, who in contestants.items() if who.foresees),
        promise=conditions.promise,
        objective=objective,
        untold=tuple(trials[1]),
        provenance=_facts(named, loaded, weights),
    )
    check_pairs(results.trials, results.policies, results.scenarios, results.seeds)
    return results


def count_episodes(scenarios: Sequence[Scenario], seeds: int, policies: int) -> int:
    """How many episodes an evaluation runs, those with nobody to announce events among them."""
    silent = sum(without_hints(scenario) is not None for scenario in scenarios)
    return (len(scenarios) + silent) * seeds * policies


def without_hints(scenario: Scenario) -> Scenario | None:
    """The scenario with nobody to announce its events, the same draws; None where nothing is announced."""
    if not any(event.announced for cgroup in scenario.cgroups for event in cgroup.events):
        return None
    cgroups = []
    for cgroup in scenario.cgroups:
        events = [event.model_copy(update={"announced": False}) for event in cgroup.events]
        cgroups.append(cgroup.model_copy(update={"events": events}))
    return scenario.model_copy(update={"cgroups": cgroups})


@dataclass(frozen=True)
class _Job:
    """A portion of the seeds of one scenario, for all contestants."""

    place: int
    """Of the scenario, in the order of all that are run."""
    arguments: tuple[Mapping[str, Contestant], Scenario, tuple[int, ...], Conditions]
    """Of :func:`run_trials`."""


def _jobs(
    scenarios: Sequence[Scenario],
    seeds: Sequence[int],
    contestants: Mapping[str, Contestant],
    conditions: Conditions,
    workers: int,
) -> list[_Job]:
    return [
        _Job(place, (contestants, scenario, portion, conditions))
        for place, scenario in enumerate(scenarios)
        for portion in chunks(seeds, workers)
    ]


def _joined(
    jobs: Sequence[_Job], parts: Sequence[list[Trial]], first: int
) -> tuple[list[Trial], list[Trial]]:
    """Portions put together: the trials of the ``first`` scenarios, and those of the others."""
    found: dict[tuple[int, str], list[Trial]] = {}
    for job, part in zip(jobs, parts, strict=True):
        for trial in part:
            found.setdefault((job.place, trial.policy), []).append(trial)
    both: tuple[list[Trial], list[Trial]] = ([], [])
    for (place, _), portions in found.items():
        both[place >= first].append(Trial.join(portions))
    return both


def _check(scenarios: Sequence[Scenario], seeds: Sequence[int]) -> None:
    if not scenarios or not seeds:
        raise UserError("an evaluation needs at least one scenario and one seed")
    names = [s.name for s in scenarios]
    for kind, values in (("scenario", names), ("seed", list(seeds))):
        twice = next((value for value in values if values.count(value) > 1), None)  # type: ignore[arg-type]
        if twice is not None:
            raise UserError(f"{kind} {twice!r} is given twice; each counts once")
    if min(seeds) < 0:
        raise UserError(f"seed {min(seeds)}: seeds are 0 or more")


def _facts(
    named: Mapping[str, Any],
    scenarios: Sequence[Scenario],
    weights: RewardWeights,
) -> dict[str, Any]:
    specs = {
        name: str(spec) if isinstance(spec, (str, Path)) else type(spec).__name__
        for name, spec in named.items()
    }
    return {
        **provenance(),
        "policies": specs,
        "scenarios": {s.name: scenario_digest(s) for s in scenarios},
        "weights": weights.as_dict(),
    }
