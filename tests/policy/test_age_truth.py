"""Estimated ages of zswap entries against the true ones, which the simulated kernel can tell."""

from __future__ import annotations

import numpy as np
import pytest

from zswap_gym.host.simulated import SimulatedHost
from zswap_gym.host.types import COLUMN, Request
from zswap_gym.kernel.spec import CgroupSpec, HostSpec, StageOneSpec
from zswap_gym.policy.age import AGES_S, AgeEstimate
from zswap_gym.workloads.archetypes import ARCHETYPES, archetype_plan

PAGES, SPAN_S, WARM_S = 4096, 1200, 300


@pytest.mark.slow
@pytest.mark.parametrize("law", [None, Request(60.0, 1 << 20)], ids=["never", "fixed age"])
def test_estimated_shares_are_near_the_true_ones(law: Request | None) -> None:
    """Shares err by about 0.1 on average, and are not biased much."""
    rng = np.random.default_rng(1)
    names, dt_s = list(ARCHETYPES), 10.0
    plans = {n: archetype_plan(n, PAGES, 2 * SPAN_S * 10**6, rng, compressor="zstd") for n in names}
    tree = [CgroupSpec(name, memory_max=int(PAGES * 4096 * 0.7)) for name in names]
    spec = HostSpec(ram_bytes=1 << 30, swap_bytes=1 << 30, max_pool_percent=50)
    host = SimulatedHost((spec, tree, plans, StageOneSpec("fixed", 1_000_000, 1 << 18), []), 1)
    columns = [COLUMN[c] for c in ("zswpout", "zswpin", "zswpwb", "zswapped")]
    ages, last, errors = AgeEstimate((len(names),)), host.table()[:, columns], []
    for step in range(int(SPAN_S / dt_s)):
        if law is not None:
            for name in names:
                host.submit(name, law)
        host.sleep(dt_s)
        host.outcomes()
        now = host.table()[:, columns]
        stored, loaded, written = (now - last)[:, :3].T
        ages.update(np.full(len(names), dt_s), stored, loaded, written, now[:, 3] / 4096)
        last = now
        for i, name in enumerate(names if step * dt_s > WARM_S else ()):
            true = np.array(host.machine.zswap_ages(host.machine.index[name], [0.0, *AGES_S]), float)
            if true.sum() > 200:
                older = np.cumsum(true[::-1])[::-1][1:] / true.sum()
                errors.append([ages.older_than(age)[i] for age in AGES_S] - older)
    assert len(errors) > 200
    assert (np.abs(errors).mean(0) < [0.15, 0.15, 0.15, 0.01]).all()
    assert (np.abs(np.mean(errors, 0)) < 0.1).all()
