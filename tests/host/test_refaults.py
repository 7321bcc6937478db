"""Pages read from the swap device, with the kernel's counter and without it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zswap_gym.host.files import parse_keyed
from zswap_gym.host.refaults import KEYS, disk_reads
from zswap_gym.host.simulated import SimulatedHost

REDIS = {"pgmajfault": 2587, "workingset_refault_anon": 1471, "zswpin": 600, "zswpwb": 0}
"""A redis in which nothing was ever written back, up to zswpin: 465 pages from disk, 406 of zeros, 1116
faults on files (Debian 6.12, experiments/pulse)."""


def test_what_the_kernel_counts_is_taken() -> None:
    assert disk_reads({**REDIS, "pswpin": 465, "swpin_zero": 406}) == 465


def test_neither_file_faults_nor_zeros_nor_own_writebacks_count() -> None:
    assert disk_reads({**REDIS, "swpin_zero": 406}) == 465
    written = {**REDIS, "swpin_zero": 406, "zswpwb": 5000, "workingset_refault_anon": 1471 + 5000}
    assert disk_reads(written) == 465


def test_a_kernel_without_the_keys_counts_what_it_can() -> None:
    assert disk_reads({"pgmajfault": 30, "zswpin": 10}) == 20
    assert disk_reads({"pgmajfault": 5, "zswpin": 10}) == 0
    assert disk_reads({**REDIS, "workingset_refault_anon": 3}) == 0


@pytest.mark.parametrize("kernel", ["6.12", "6.18", "7.3"])
def test_the_simulated_kernels_agree_with_what_was_read(
    make_host: Callable[..., SimulatedHost], kernel: str
) -> None:
    host = make_host(kernel=kernel, interface="v1")
    host.sleep(120)
    for _ in range(6):
        for name in host.cgroups():
            host.write(name, "memory.zswap.proactive_writeback", "max=4M 1")
            host.write(name, "memory.reclaim", "4M")
        host.sleep(60)
    for name, sample in zip(host.cgroups(), host.sample(), strict=True):
        stat = parse_keyed(host.read(name, "memory.stat"), "memory.stat", KEYS)
        truth = host.machine.counter(name, "pswpin")
        assert ("pswpin" in stat) == (kernel != "6.12")
        assert truth > 100
        assert sample.disk_reads == disk_reads(stat)
        assert abs(sample.disk_reads - truth) <= max(2, 0.01 * truth)
