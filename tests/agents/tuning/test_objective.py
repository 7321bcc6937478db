"""What a setting is worth."""

from __future__ import annotations

import pytest

from zswap_gym.agents.tuning.objective import Bench, Outcome, join, long_enough
from zswap_gym.errors import UserError
from zswap_gym.policy.promise import Promise
from zswap_gym.workloads.scenario import load_scenario


@pytest.fixture
def bench(tiny: str) -> Bench:
    return Bench([load_scenario(tiny)], Promise())


def test_whoever_keeps_the_promise_is_above_whoever_does_not() -> None:
    kept = [Outcome(saved, 0.0, 2, 2) for saved in (-50.0, 0.0, 12.0)]
    broken = [Outcome(90.0, beyond, 1, 2) for beyond in (40.0, 0.5, 1e-9)]
    values = [outcome.value for outcome in [*broken, *kept]]
    assert values == sorted(values)
    assert len(set(values)) == len(values)


def test_tuning_and_evaluation_agree_on_who_keeps_the_promise(bench: Bench) -> None:
    nothing = bench.nothing((3, 4))
    for spec in ({"law": "never"}, {"law": "fixed_age", "age_s": 5}, {"law": "release_only", "share": 0.5}):
        trials = bench.measure(spec, (3, 4))
        outcome, standing = bench.outcome(trials, nothing), bench.standings(trials, nothing)[-1]
        assert outcome.kept == standing.kept
        assert (outcome.keeping, outcome.cgroups) == (standing.keeping, standing.cgroups)
    assert bench.outcome(nothing, nothing) == Outcome(0.0, 0.0, 2, 2)


def test_seeds_in_portions_are_seeds(bench: Bench) -> None:
    spec = {"law": "fixed_age", "age_s": 5}
    apart = join([bench.measure(spec, (1,)), bench.measure(spec, (2,))])
    together = bench.measure(spec, (1, 2))
    nothing = join([bench.nothing((1,)), bench.nothing((2,))])
    assert bench.outcome(apart, nothing) == bench.outcome(together, bench.nothing((1, 2)))


def test_scenarios_too_short_for_a_promise_about_minutes_are_left_out(tiny: str) -> None:
    said: list[str] = []
    short, long = load_scenario(tiny), load_scenario("kv-and-sidecar")
    assert long_enough([short, long], Promise(), said.append) == [long]
    assert "tiny" in said[0]
    assert long_enough([short, long], Promise(minutes=0.2), said.append) == [short, long]
    with pytest.raises(UserError, match="1200 s"):
        long_enough([short], Promise(), said.append)
