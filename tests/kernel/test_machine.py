"""The machine's face to Python refuses what compiled code would not notice."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("cgroup", [-1, 2, 100_000])
def test_a_cgroup_that_is_not_there_is_refused(make, make_plan, cgroup):
    """Compiled code would write past its arrays."""
    machine = make({"g": make_plan(64)}).machine
    with pytest.raises(IndexError, match=f"cgroup {cgroup}: this machine has 2"):
        machine.request(cgroup, 0, 64, 0)
    with pytest.raises(IndexError, match=f"cgroup {cgroup}"):
        machine.zswap_ages(cgroup, [0.0])
    assert machine.request(machine.index["g"], 0, 64, 0)
