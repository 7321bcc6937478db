"""What a cgroup earns: cases worked out by hand, in minutes' worth of its memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from zswap_gym.agents.learning.prices import OVER_MOST, UNAVOIDABLE, Prices, earned
from zswap_gym.policy.promise import GIB, SUMS, Promise

PROMISE = Promise(psi_added_pct=0.1, cpu_pct_per_gib=0.25)
PRICES = Prices(broken_low=0.1, broken_high=10.0, over=2.0, margin=0.8)
MINUTE_US = 60e6
Array = npt.NDArray[np.float64]


def sums(minutes: float, held: float = 1.0, **others: float) -> Array:
    """Sums (1, 1, len(SUMS)) of one cgroup: ``held`` GiB for so long, of a footprint of 2 GiB."""
    elapsed = minutes * MINUTE_US
    named = {
        "elapsed_us": elapsed,
        "minutes": minutes,
        "held_byte_us": held * GIB * elapsed,
        "footprint_byte_us": 2 * GIB * elapsed,
        **others,
    }
    found = np.zeros((1, 1, len(SUMS)))
    for name, value in named.items():
        found[..., SUMS.index(name)] = value
    return found


class Episode:
    """One cgroup's, step by step."""

    def __init__(self, prices: Prices = PRICES) -> None:
        self.prices = prices
        self.total, self.reference = sums(0), sums(0)
        self.due = np.zeros((1, 1))

    def step(self, mine: Array, nothing: Array, caution: float = 0.0) -> float:
        before = self.reference
        self.total, self.reference = self.total + mine, self.reference + nothing
        found = earned(
            mine, self.total, self.reference, before, np.full((1, 1), caution), self.due, PROMISE, self.prices
        )
        assert found.shape == (1, 1)
        return float(found[0, 0])


def test_nothing_done_earns_nothing() -> None:
    episode = Episode()
    for caution in (0.0, 0.5, 1.0):
        same = sums(0.5, held=3.0, stalled_us=1e6, cpu_us=2e6)
        assert episode.step(same, same, caution) == 0.0


def test_memory_not_held_earns_its_share_for_as_long() -> None:
    assert Episode().step(sums(0.5, held=0.75), sums(0.5)) == pytest.approx(0.25 * 0.5)
    assert Episode().step(sums(2.0, held=1.5), sums(2.0)) == pytest.approx(-0.5 * 2.0)
    # as a share of what the cgroup holds: a small one earns as much as a large one
    assert Episode().step(sums(1.0, held=0.001), sums(1.0, held=0.002)) == pytest.approx(0.5)


@pytest.mark.parametrize(("caution", "price"), [(0.0, 0.1), (0.25, 10**-0.5), (0.5, 1.0), (1.0, 10.0)])
def test_a_broken_minute_costs_by_caution(caution: float, price: float) -> None:
    found = Episode().step(sums(1.0, held=0.9, broken=1.0), sums(1.0), caution)
    assert found == pytest.approx(0.1 - price)
    three = Episode().step(sums(3.0, broken=3.0), sums(3.0), caution)
    assert three == pytest.approx(-3.0 * price)


def test_a_minute_that_breaks_by_itself_costs_less() -> None:
    both = Episode().step(sums(1.0, broken=1.0), sums(1.0, broken=1.0), 0.5)
    assert both == pytest.approx(-(1.0 - UNAVOIDABLE))
    assert both > Episode().step(sums(1.0, broken=1.0), sums(1.0), 0.5)
    # and one that is saved from breaking earns nothing extra: kept is kept
    assert Episode().step(sums(1.0), sums(1.0, broken=1.0), 0.5) == 0.0


def test_pressure_and_cpu_are_free_up_to_the_margin_and_cost_from_there() -> None:
    psi, cpu = 0.1, 2 * 0.25  # what is promised: percent of the time, percent of a core for 2 GiB
    for share, excess in ((0.5, 0.0), (0.8, 0.0), (1.0, 0.2), (2.0, 1.2)):
        stalled = sums(1.0, stalled_us=share * psi / 100 * MINUTE_US)
        assert Episode().step(stalled, sums(1.0)) == pytest.approx(-2.0 * excess)
        spent = sums(1.0, cpu_us=share * cpu / 100 * MINUTE_US)
        assert Episode().step(spent, sums(1.0)) == pytest.approx(-2.0 * excess)
        assert Episode().step(stalled + spent - sums(1.0), sums(1.0)) == pytest.approx(-4.0 * excess)
    # against what the host has with nothing done
    own = sums(1.0, stalled_us=0.05 * MINUTE_US)
    assert Episode().step(own, own) == 0.0


def test_beyond_six_times_the_promise_nothing_is_worse() -> None:
    found = [Episode().step(sums(1.0, stalled_us=share * MINUTE_US), sums(1.0)) for share in (0.5, 1.0)]
    assert found == [pytest.approx(-2.0 * OVER_MOST)] * 2


def test_an_excess_is_paid_as_it_grows_and_comes_back_as_it_is_made_good() -> None:
    """So that what an episode paid is what it is over at its end, whatever the way there."""
    random = np.random.default_rng(3)
    episode, paid = Episode(), 0.0
    for _ in range(40):
        stalled = float(random.choice([0.0, 0.0, 0.01])) * MINUTE_US
        paid += episode.step(sums(0.5, stalled_us=stalled), sums(0.5))
        elapsed, stalled = (episode.total[0, 0, SUMS.index(n)] for n in ("elapsed_us", "stalled_us"))
        excess = min(max(100.0 * stalled / elapsed / 0.1 - 0.8, 0.0), OVER_MOST)
        assert paid == pytest.approx(-2.0 * excess * elapsed / MINUTE_US)
    assert paid < -1.0
    while episode.due[0, 0] > 0.0:
        paid += episode.step(sums(5.0), sums(5.0))
    assert paid == pytest.approx(0.0, abs=1e-9)


def test_a_cgroup_that_holds_nothing_earns_nothing() -> None:
    assert Episode().step(sums(1.0, held=0.0, broken=1.0), sums(1.0, held=0.0), 1.0) == 0.0


def test_cgroups_have_nothing_to_do_with_each_other() -> None:
    cases = [
        (sums(1.0, held=0.5), sums(1.0), 0.0),
        (sums(1.0, broken=1.0), sums(1.0), 0.7),
        (sums(1.0, stalled_us=1e6, cpu_us=1e6), sums(1.0), 0.3),
    ]
    mine, nothing = (np.concatenate([case[k] for case in cases], axis=1) for k in (0, 1))
    caution = np.array([[case[2] for case in cases]])
    both = [np.concatenate([part, part[:, ::-1]]) for part in (mine, nothing)]
    found = earned(
        both[0], both[0], both[1], np.zeros_like(both[1]), np.concatenate([caution, caution[:, ::-1]]),
        np.zeros((2, 3)), PROMISE, PRICES,
    )  # fmt: skip
    alone = [Episode().step(*case) for case in cases]
    np.testing.assert_allclose(found, [alone, alone[::-1]])
    assert len(set(alone)) == 3
