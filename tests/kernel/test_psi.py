"""Pressure averages follow the kernel's fixed-point law (kernel/sched/psi.c: calc_avgs())."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from zswap_gym.host.files import psi_percent
from zswap_gym.kernel.psi import PERIOD_US

Make = Callable[..., Any]
EXP = (1677, 1981, 2034)
FIXED = 1 << 11


def calc_load(load: int, exp: int, active: int) -> int:
    """include/linux/sched/loadavg.h, in its own words: active is in fixed point."""
    new = load * exp + active * (FIXED - exp)
    if active >= load:
        new += FIXED - 1
    return new // FIXED


def test_averages_of_random_pressure(make: Make) -> None:
    """Per cgroup, 2 s periods, samples capped at the period and the excess carried over."""
    rng = np.random.default_rng(5)
    b = make({"g": 16})
    state = b.machine.state
    cg = state.cgs[1]
    averages, owed = [0, 0, 0], 0
    for _ in range(400):
        pressed = int(rng.choice([0, 0, rng.integers(PERIOD_US), 5 * PERIOD_US]))
        state.cgs["some_us"][1] += pressed
        owed += pressed
        sample = min(owed, PERIOD_US)
        owed -= sample
        active = 100 * sample // PERIOD_US * FIXED
        averages = [calc_load(a, e, active) for a, e in zip(averages, EXP, strict=True)]
        b.run(2)
        assert cg["avg"][:3].tolist() == averages
        assert cg["avg"][3:].tolist() == [0, 0, 0]
    assert 0 < psi_percent(averages[2]) < 100


def test_constant_pressure_reaches_its_share(make: Make) -> None:
    b = make({"g": 16})
    for _ in range(3000):
        b.machine.state.cgs["some_us"][1] += PERIOD_US // 4
        b.run(2)
    assert [psi_percent(int(a)) for a in b.machine.state.cgs[1]["avg"][:3]] == pytest.approx([25] * 3, abs=1)
