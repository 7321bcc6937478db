"""policy/rowwise.py and memory.py compiled and plain: a controller sees what training saw, to the bit."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import numpy as np
import pytest

from zswap_gym.envs import warmstart  # noqa: F401 - compiles the functions for everybody
from zswap_gym.envs.compiled import JUDGED, cost_steps, earn, whole_requests
from zswap_gym.envs.reward import COSTS, step_costs
from zswap_gym.host.dialects import AGE_LIMIT_S
from zswap_gym.host.types import COLUMN, COLUMNS
from zswap_gym.policy import memory, rowwise
from zswap_gym.policy.actions import ActionSpec, decode
from zswap_gym.policy.features import FEATURES, MEMORY, FeatureExtractor
from zswap_gym.policy.promise import SUMS, Account, Promise, judge_hosts
from zswap_gym.units import US_PER_S

HOSTS, CGROUPS = 3, 4
GROWING = (
    "pgmajfault",
    "zswpin",
    "zswpout",
    "zswpwb",
    "disk_reads",
    "pgsteal",
    "psi_some_total_us",
    "host_psi_some_total_us",
)


CALLED = {rowwise: ("increase", "advance", "observe", "observe_hosts", "decode"), memory: ("remember",)}


@pytest.fixture(scope="module")
def plain() -> dict[ModuleType, ModuleType]:
    """The same files once more, as a controller loads them."""
    return {module: again(module) for module in CALLED}


def again(module: ModuleType) -> ModuleType:
    assert module.__file__
    spec = importlib.util.spec_from_file_location(f"plain_{module.__name__}", module.__file__)
    assert spec
    assert spec.loader
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    for name in CALLED[module]:
        assert not hasattr(getattr(fresh, name), "overloads")
        assert hasattr(getattr(module, name), "overloads")
    return fresh


def tables(steps: int) -> list[np.ndarray]:
    """What files might say: counters that grow, now and then a new or an absent cgroup."""
    draw = np.random.default_rng(1)
    table, told = draw.uniform(0, 1e9, (HOSTS, CGROUPS, len(COLUMNS))), []
    for step in range(steps):
        table = table.copy()
        table[..., COLUMN["time_s"]] = step * (10.0 + (step == 3))
        for name in GROWING:
            table[..., COLUMN[name]] += draw.integers(0, 1000, (HOSTS, CGROUPS))
        table[..., COLUMN["zswapped"]] = draw.uniform(0, 1e8, (HOSTS, CGROUPS))
        table[..., COLUMN["memory_max"]] = np.inf
        if step == 5:
            table[0, 1, COLUMN["pgsteal"]] = 0.0
        told.append(table.copy())
        if step % 4 == 2:
            told[-1][1, 2] = np.nan
    return told


def observations() -> list[np.ndarray]:
    draw, extractor = np.random.default_rng(7), FeatureExtractor(10.0, (HOSTS, CGROUPS))
    seen = []
    for table in tables(40):
        seen.append(extractor.observe(table))
        extractor.asked(*draw.uniform(0, 1e7, (3, HOSTS, CGROUPS)))
    return seen


def test_observations_are_the_same_bits(
    plain: dict[ModuleType, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_environment = observations()
    for module, names in CALLED.items():
        for name in names:
            monkeypatch.setattr(module, name, getattr(plain[module], name))
    by_controller = observations()
    remembered = by_controller[-1].reshape(HOSTS, -1)[:, : CGROUPS * len(FEATURES)]
    assert len(np.unique(by_controller[-1])) > 50
    assert (np.ptp(remembered.reshape(-1, len(FEATURES))[:, MEMORY:], axis=0) > 0).all()
    for one, other in zip(by_controller, by_environment, strict=True):
        np.testing.assert_array_equal(one, other)


def test_actions_are_the_same_bits(
    plain: dict[ModuleType, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, table = tables(3)
    action = np.random.default_rng(2).uniform(-1.2, 1.2, (200, HOSTS, CGROUPS, 3))
    action[0] = np.nan
    table = np.broadcast_to(table, (200, *table.shape))
    compiled = decode(action, table, ActionSpec())
    monkeypatch.setattr(rowwise, "decode", plain[rowwise].decode)
    for one, other in zip(compiled, decode(action, table, ActionSpec()), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_age_beyond_every_clock_is_the_oldest_there_is() -> None:
    """Not one that wrapped round: that would write back everything."""
    age_s = np.array([[np.inf, 1e30, 0.2, np.nan, 12.5]])
    age_us, pages, release = (np.empty(age_s.shape, np.int64) for _ in range(3))
    size = np.full(age_s.shape, 8192.0)
    whole_requests(age_s, size, size, float(AGE_LIMIT_S), age_us, pages, release)
    assert age_us.tolist() == [[AGE_LIMIT_S * US_PER_S, AGE_LIMIT_S * US_PER_S, US_PER_S, -1, 13 * US_PER_S]]
    assert pages.tolist() == [[2, 2, 2, 0, 2]]
    assert release.tolist() == [[2] * 5]


def accounts(draw: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Accounts that keep and break each clause of the usual promise, some of nothing at all."""
    sums = draw.uniform(0, 1, (*shape, len(SUMS)))
    sums[..., 0] = 600e6
    sums[..., 1] = 10
    sums[..., 2] = draw.integers(0, 4, shape)
    sums[..., 3] *= 2e6
    sums[..., 4] *= 1e6
    sums[..., 5:7] *= 600e6 * (1 << 30)
    sums[..., 7:] = draw.integers(0, 1000, (*shape, 2))
    sums[0, ..., 1:] = 0.0
    return sums


def test_what_was_earned_is_what_the_promise_says() -> None:
    draw = np.random.default_rng(3)
    promise, penalty, at = Promise(), 20.0, np.array([0, 1, 2, 2, 1], np.int64)
    mine, steps = accounts(draw, (5, 3)), accounts(draw, (5, 3))
    nothing, held = accounts(draw, (5, 3, 3)), draw.uniform(1e18, 2e18, (5, 3))
    due = draw.uniform(0, 9, 5)
    before = due.copy()
    limits = np.array([promise.may_break_pct, promise.psi_added_pct, promise.cpu_pct_per_gib])
    rewards, verdicts = np.empty(5), np.empty((5, len(JUDGED)))
    earn(mine, steps, nothing, held, at, limits, penalty, due, rewards, verdicts)

    base = nothing[np.arange(5), at]
    verdict = judge_hosts(Account.of(mine), Account.of(base), promise)
    assert 0 < verdict.kept.sum() < 5 or (verdict.breach > 0).any()
    for k, name in enumerate(JUDGED):
        np.testing.assert_array_equal(verdicts[:, k], getattr(verdict, name), err_msg=name)
    np.testing.assert_array_equal(due, penalty * at * verdict.breach)
    saved = held[np.arange(5), at] - np.add.accumulate(steps[..., 5], axis=-1)[:, -1]
    np.testing.assert_array_equal(rewards, 100.0 * saved / held[:, 0] - (due - before))


def test_costs_of_steps_are_those_of_the_reward() -> None:
    draw = np.random.default_rng(4)
    steps, samples = accounts(draw, (6, 4)), draw.uniform(0, 1e8, (6, 4, len(COLUMNS)))
    samples[0, 0, COLUMN["anon"]] = 0.0
    costs = np.empty((6, len(COSTS)))
    cost_steps(steps, samples, COLUMN["anon"], costs)
    np.testing.assert_array_equal(costs, step_costs(Account.of(steps), samples[..., COLUMN["anon"]]))
