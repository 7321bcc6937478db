"""Compare policies: every one meets every scenario on every seed, so that differences are paired."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from zswap_gym.agents.contestants import Contestant, contestant
from zswap_gym.agents.provenance import provenance
from zswap_gym.agents.railed import Rails
from zswap_gym.agents.results import Episode, Results, check_pairs
from zswap_gym.controller.rails import Limits
from zswap_gym.envs.reward import TERMS, RewardWeights
from zswap_gym.envs.warmstart import scenario_digest
from zswap_gym.envs.writeback import WritebackEnv
from zswap_gym.errors import UserError
from zswap_gym.policy.laws import Law
from zswap_gym.policy.promise import Promise
from zswap_gym.policy.runtime import Policy
from zswap_gym.workloads.scenario import Scenario, load_scenario

REFERENCE = "never"

Tick = Callable[[str], None]


def evaluate(
    policies: Mapping[str, str | Path | Policy | Law] | Sequence[str],
    scenarios: Sequence[str | Path | Scenario],
    seeds: Sequence[int],
    *,
    reference: str = REFERENCE,
    reward: RewardWeights | Mapping[str, float] | None = None,
    promise: Promise | Mapping[str, float] | None = None,
    release: bool | None = None,
    episode_s: float | None = None,
    rails: Limits | None = None,
    on_episode: Tick | None = None,
) -> Results:
    """Run every policy through every scenario on every seed.

    Every seed draws its own instance of a scenario (sizes, device, events) and its own warm start:
    nothing of a training run's pool is met again.

    Args:
        policies: by name, what :func:`zswap_gym.agents.contestants.contestant` understands. A plain list
            names each after its text.
        scenarios: names, files or Scenarios.
        seeds: the same for all.
        reference: whom the others are compared with; added where it is not among the policies.
        reward: weights, the same for all; as WritebackEnv takes them. None = what the trained policies
            among them were trained for, the defaults where there are none.
        promise: what broken minutes are counted by, the same for all.
        release: whether a writeback is followed by a release; None = as the scenario says.
        episode_s: length of the episodes, s; None = the scenario's.
        rails: the controller's, kept by those marked ``+rails``; None = its defaults.
        on_episode: called with a short text after each episode, for a progress bar.

    Raises:
        UserError: an unknown law, a file that is no policy, a policy of another contract, a scenario
            that does not load, no seeds, policies trained for different rewards and no word on which.
    """
    named = dict(policies) if isinstance(policies, Mapping) else {str(spec): spec for spec in policies}
    if reference not in named:
        named = {reference: reference, **named}
    loaded = [s if isinstance(s, Scenario) else load_scenario(s) for s in scenarios]
    _check(loaded, seeds)
    who = {name: contestant(spec) for name, spec in named.items()}
    if reward is None:
        reward = _trained_for(who)
    episodes = []
    for scenario in loaded:
        envs = {
            name: WritebackEnv(
                one.scenario(scenario),
                n_max=one.n_max,
                release=release,
                reward=reward,
                episode_s=episode_s,
                snapshots=0,
                promise=promise,
            )
            for name, one in who.items()
        }
        for seed in seeds:
            for name, one in who.items():
                episodes.append(run_episode(name, one, envs[name], scenario.name, seed, rails or Limits()))
                if on_episode is not None:
                    on_episode(f"{scenario.name} seed {seed} {name}")
    results = Results(
        episodes=tuple(episodes),
        policies=tuple(who),
        scenarios=tuple(s.name for s in loaded),
        seeds=tuple(seeds),
        reference=reference,
        learned=tuple(name for name, one in who.items() if one.learned),
        provenance=_facts(named, loaded, reward),
    )
    check_pairs(results.episodes, results.policies, results.scenarios, results.seeds)
    return results


def run_episode(
    name: str, one: Contestant, env: WritebackEnv, scenario: str, seed: int, limits: Limits
) -> Episode:
    """One policy through one episode."""
    obs, _ = env.reset(seed=seed)
    one.driver.start(env, obs)
    rails = Rails(limits, env) if one.railed else None
    sums = dict.fromkeys(TERMS, 0.0)
    reward = refaults = psi = 0.0
    broken = steps = 0
    taken = []
    over = False
    while not over:
        before = time.perf_counter()
        decision = one.driver.decide(env, obs)
        taken.append(time.perf_counter() - before)
        requests = one.driver.requests(env, decision)
        obs, value, _, over, info = env.step_requests(rails.allow(env, requests) if rails else requests)
        if rails:
            rails.settle(info)
        reward += value
        steps += 1
        for term, amount in info["terms"].items():
            sums[term] += amount
        refaults += info["cost"]["refault_pct_wss_min"]
        psi += info["cost"]["psi_some_pct"]
        broken += info["cost"]["broken_minutes"] > 0
    return Episode(
        policy=name,
        scenario=scenario,
        seed=seed,
        steps=steps,
        hours=steps * env.interval_s / 3600.0,
        reward=reward,
        terms=sums,
        refault_pct_wss_min=refaults / steps,
        psi_some_pct=psi / steps,
        violation_share=broken / steps,
        decide_us=median(taken) * 1e6,
    )


def _trained_for(who: Mapping[str, Contestant]) -> RewardWeights | None:
    """The weights all trained policies that remember theirs were trained with."""
    known = {name: RewardWeights.of(one.weights) for name, one in who.items() if one.weights}
    if len(set(known.values())) > 1:
        told = "; ".join(
            f"{name}: {', '.join(f'{k}={v:g}' for k, v in weights.changed().items()) or 'the defaults'}"
            for name, weights in known.items()
        )
        raise UserError(f"the policies were trained for different rewards ({told}); give one with --price")
    return next(iter(known.values()), None)


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
    reward: RewardWeights | Mapping[str, float] | None,
) -> dict[str, Any]:
    said = {
        name: str(spec) if isinstance(spec, (str, Path)) else type(spec).__name__
        for name, spec in named.items()
    }
    return {
        **provenance(),
        "policies": said,
        "scenarios": {s.name: scenario_digest(s) for s in scenarios},
        "weights": RewardWeights.of(reward).as_dict(),
    }
