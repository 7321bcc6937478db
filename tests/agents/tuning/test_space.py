"""Where a tuning looks."""

from __future__ import annotations

import optuna
import pytest

from zswap_gym.agents.tuning.space import Space
from zswap_gym.errors import UserError
from zswap_gym.policy.laws import LAWS, make_law
from zswap_gym.policy.laws.parameters import ranges_of

TUNABLE = [name for name, law in LAWS.items() if ranges_of(law)]


@pytest.mark.parametrize("name", TUNABLE)
def test_whatever_is_suggested_is_a_law_within_its_ranges(name: str) -> None:
    space = Space.of(name)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(20):
        spec = space.spec(space.suggest(study.ask()))
        make_law(spec)
        for key, span in space.ranges.items():
            assert span.low * 0.999 <= spec[key] <= span.high * 1.001
            assert isinstance(spec[key], int) == span.whole


@pytest.mark.parametrize("name", TUNABLE)
def test_the_start_is_the_law_as_it_is_untuned(name: str) -> None:
    space = Space.of(name)
    for key, value in space.spec(space.start).items():
        if key != "law":
            assert value == pytest.approx(getattr(make_law(name), key), rel=1e-3)


def test_what_is_given_stays() -> None:
    space = Space.of("promise(writeback=0,gain=0.2)")
    assert space.given == {"writeback": 0.0, "gain": 0.2}
    assert "gain" not in space.ranges
    assert space.spec({"up": 0.0123456})["up"] == 0.01235
    assert space.spec({})["writeback"] == 0.0


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("never", "no parameter left"),
        ("release_only(share=0.02)", "no parameter left"),
        ("aimd(tagret=1)", "did you mean 'target'"),
        ("amd", "did you mean 'aimd'"),
    ],
)
def test_mistakes_are_one_line(spec: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        Space.of(spec)
    assert "\n" not in str(caught.value)
