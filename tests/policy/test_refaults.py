"""Disk refaults from a cgroup's own counters."""

from __future__ import annotations

import numpy as np

from zswap_gym.policy.refaults import disk_refaults


def test_what_zswap_had_is_no_refault_and_less_than_nothing_is_nothing() -> None:
    pages = disk_refaults(np.array([100.0, 100.0, 40.0]), np.array([0.0, 60.0, 50.0]))
    assert pages.tolist() == [100.0, 40.0, 0.0]
