from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from zswap_gym.kernel import access, jit, rng
from zswap_gym.kernel.access import NEVER
from zswap_gym.workloads.coldness import bitmaps, cold_share, hashed_uniform, sweep_times, touched
from zswap_gym.workloads.phases import steps
from zswap_gym.workloads.plan import Part, Sweep, assemble

S = 1_000_000
kernels_hash = jit.entry(rng.hashed_uniform.py_func)
"""`hashed_uniform` of the kernel model, for Python to call."""


def one_part(n, rate=0.0, **given):
    part = Part(np.full(n, float(rate)), np.zeros(n, np.uint8), **given)
    return assemble([part], np.full(n, 1000, np.uint16), 1000 * S, np.random.default_rng(0))


def test_hash_is_the_kernels():
    blocks = np.array([0, 1, 77, 123456])
    for seed, epoch in ((0, 0), (1 << 61, 3), (12345, 1 << 20)):
        expected = [kernels_hash(seed, epoch, int(block)) for block in blocks]
        assert hashed_uniform(seed, epoch, blocks).tolist() == expected


@pytest.mark.parametrize(
    "sweep",
    [
        Sweep(-3 * S, 20 * S, 5 * S, seed=5),
        Sweep(2 * S, 20 * S, 18 * S, seed=1 << 60, shuffled_block=16, share=0.6),
    ],
)
def test_sweeps_come_when_the_kernel_model_says(sweep, monkeypatch):
    monkeypatch.setattr(access, "hashed_uniform", kernels_hash)
    plan = one_part(100, sweep=sweep)
    pages = np.zeros(100, np.dtype([("region", np.uint16)]))
    state = SimpleNamespace(
        regions=plan.regions.view(np.recarray),
        pages=pages.view(np.recarray),
        source_at=np.zeros(100, np.int64),
    )
    times = np.array([sweep_times(plan.regions[0], epoch) for epoch in range(60)])
    for page in range(0, 100, 7):
        now = 0
        for _ in range(3):
            expected = access._sweep_after.py_func(state, page, now)
            ahead = times[:, page][(times[:, page] > now) & (times[:, page] < NEVER)]
            assert ahead.min() == expected
            now = expected


def test_poisson_pages_are_touched_as_often_as_their_integral_says():
    plan = one_part(20_000, rate=0.1, phases=steps([0, 10 * S], [1.0, 3.0]))
    seen = touched(plan, np.array([2, 10, 12]) * S, np.random.default_rng(1))
    assert seen[1].mean() == pytest.approx(1 - np.exp(-0.8), abs=0.012)
    assert seen[2].mean() == pytest.approx(1 - np.exp(-0.6), abs=0.012)


def test_a_freed_page_is_gone_until_touched_again():
    plan = one_part(
        10,
        frees=[(5 * S, 0, 6)],
        first_touch=np.zeros(10, np.int64),
        trace=(
            np.array([0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2]),
            np.array([4 * S + S // 2, 9 * S]),
            np.zeros(2, np.uint8),
        ),
    )
    seen, there = bitmaps(plan, np.array([2, 4, 6, 8, 10]) * S, np.random.default_rng(0))
    assert there[:, 0].tolist() == [True, True, False, False, False]
    assert not seen[2, 0]  # accessed just before it was freed: no sign is left
    assert there[:, 1].tolist() == [True, True, False, False, True]
    assert there[:, 7].all()


def test_a_page_that_waits_for_its_sweep_is_not_there_before():
    plan = one_part(
        100, rate=5.0, first_touch=np.full(100, NEVER), sweep=Sweep(10 * S, 100 * S, 10 * S, 1, fresh=True)
    )
    _, there = bitmaps(plan, np.array([5, 15, 25]) * S, np.random.default_rng(0))
    assert there.sum(1).tolist() == [0, 51, 100]


def test_cold_share_by_hand():
    seen = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0]], bool)
    there = np.array([[1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]], bool)
    # idle: page 1 is 2, then 4 s at scans 1 and 2; page 2 appears at scan 2 with age 0, then 2 s.
    shares = cold_share(seen, there, [0, 2, 4, 6], [2, 4])
    assert shares[0] == pytest.approx(np.mean([1 / 2, 1 / 3, 1 / 3]))
    assert shares[1] == pytest.approx(np.mean([1 / 3, 0]))
    assert np.isnan(cold_share(seen, there, [0, 2, 4, 6], [60])[0])
