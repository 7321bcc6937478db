from __future__ import annotations

import numpy as np
import pytest

from zswap_gym.kernel.access import NEVER
from zswap_gym.workloads.phases import steps
from zswap_gym.workloads.plan import Part, Sweep, assemble, working_set


def part(n, **given):
    return Part(rate=np.full(n, 0.1), page_class=np.zeros(n, np.uint8), **given)


def clen(n):
    return np.arange(n, dtype=np.uint16)


def test_regions_segments_and_frees_are_laid_end_to_end():
    a = part(10, phases=steps([0, 5, 9], [1.0, 2.0, 0.5]), frees=[(50, 2, 3), (20, 0, 10)])
    b = part(5, frees=[(30, 1, 2)], write_share=0.7)
    plan = assemble([a, part(0), b], clen(15), 1000, np.random.default_rng(0))
    assert plan.regions["first_page"].tolist() == [0, 10]
    assert plan.regions["n_pages"].tolist() == [10, 5]
    assert plan.regions["seg_start"].tolist() == [0, 3]
    assert plan.regions["seg_count"].tolist() == [3, 1]
    assert plan.seg_integral.tolist() == pytest.approx([0, 5e-6, 13e-6, 0])
    assert plan.region.tolist() == [0] * 10 + [1] * 5
    assert plan.frees.tolist() == [(20, 0, 10), (30, 11, 2), (50, 2, 3)]
    assert plan.regions["write_share"].tolist() == [0, 0.7]
    assert len(plan.trace_offset) == 0


def test_traced_and_untraced_parts_share_one_offset_table():
    trace = (np.array([0, 2, 3]), np.array([5, 9, 7]), np.array([1, 0, 1], np.uint8))
    plan = assemble([part(3), part(2, trace=trace), part(1)], clen(6), 1000, np.random.default_rng(0))
    assert plan.trace_offset.tolist() == [0, 0, 0, 0, 2, 3, 3]
    assert plan.trace_time.tolist() == [5, 9, 7]
    assert plan.regions["traced"].tolist() == [0, 1, 0]


def test_what_exists_at_the_start_is_touched_within_a_second():
    plan = assemble([part(100)], clen(100), 1000, np.random.default_rng(0))
    assert plan.first_touch.max() < 1_000_000
    assert (np.diff(plan.first_touch) > 0).all()


def test_working_set_counts_what_is_ever_allocated():
    late = np.full(4, NEVER)
    swept = part(4, first_touch=late, sweep=Sweep(0, 100, 100, 1))
    far = part(4, first_touch=late, sweep=Sweep(5_000_000, 100, 100, 1))
    traced = part(
        4,
        first_touch=late,
        trace=(np.array([0, 1, 1, 1, 2]), np.array([3, 4]), np.zeros(2, np.uint8)),
    )
    after = part(4, first_touch=np.full(4, 5_000_000))
    plan = assemble([part(4), swept, far, traced, after], clen(20), 2_000_000, np.random.default_rng(0))
    assert working_set(plan) == 4 + 4 + 0 + 2 + 0


def test_sizes_must_match_pages():
    with pytest.raises(ValueError, match="3 sizes for 4 pages"):
        assemble([part(4)], clen(3), 1000, np.random.default_rng(0))
