"""Kernel versions as data: which counters memory.stat has, which keys the files take."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zswap_gym.host.files import parse_keyed
from zswap_gym.host.simulated import SimulatedHost
from zswap_gym.host.simulated_files import stat_keys
from zswap_gym.kernel.spec import INTERFACES, KERNELS

Make = Callable[..., SimulatedHost]
NEW = {
    "6.12": set(),
    "6.18": {"pswpin", "pswpout", "pgscan_proactive", "pgsteal_proactive", "pgdemote_proactive"},
    "7.3": {
        "pswpin", "pswpout", "pgscan_proactive", "pgsteal_proactive", "pgdemote_proactive", "zswap_incomp",
    },
}  # fmt: skip


@pytest.mark.parametrize("kernel", list(KERNELS))
def test_keys_of_memory_stat(make_host: Make, kernel: str) -> None:
    stock = set(stat_keys(make_host(kernel="6.12", interface="stock").machine))
    assert set(stat_keys(make_host(kernel=kernel, interface="stock").machine)) - stock == NEW[kernel]


@pytest.mark.parametrize("interface", list(INTERFACES))
def test_the_counter_of_the_series(make_host: Make, interface: str) -> None:
    host = make_host(interface=interface)
    keys = list(parse_keyed(host.read(host.cgroups()[0], "memory.stat"), "memory.stat"))
    mine = [key for key in keys if key.startswith("zswpwb_")]
    assert mine == {"v1": 1, "v2": 1, "v3": 1}.get(interface, 0) * ["zswpwb_proactive"] + {
        "v4": 1,
        "v5": 1,
    }.get(interface, 0) * ["zswpwb_proactive_b"]
    if interface in ("v4", "v5"):  # among the gauges, before the events
        assert keys.index("zswpwb_proactive_b") < keys.index("zswpwb")


@pytest.mark.parametrize("kernel", ["6.12", "6.18"])
def test_who_reclaims(make_host: Make, kernel: str) -> None:
    """6.12 counts memory.reclaim as direct reclaim; later kernels by its own name."""
    host = make_host(kernel=kernel)
    host.sleep(30)
    stat = parse_keyed(host.read("db", "memory.stat"), "memory.stat")
    assert stat["pgscan"] > 0
    parts = ["pgscan_kswapd", "pgscan_direct"] + (["pgscan_proactive"] if kernel != "6.12" else [])
    assert sum(stat[key] for key in parts) == stat["pgscan"]
    if kernel == "6.18":
        assert stat["pgscan_proactive"] > 0


def test_swappiness_max_came_in_6_16(make_host: Make) -> None:
    for kernel, code in (("6.12", 22), ("6.18", 0), ("7.3", 0)):
        host = make_host(kernel=kernel)
        host.sleep(1)
        assert host.write("db", "memory.reclaim", "64K swappiness=max") == code


def test_swap_events_and_peaks_are_files(make_host: Make) -> None:
    host = make_host()
    host.sleep(10)
    events = parse_keyed(host.read("db", "memory.swap.events"), "memory.swap.events")
    assert list(events) == ["high", "max", "fail"]
    assert int(host.read("db", "memory.swap.peak")) >= int(host.read("db", "memory.swap.current")) > 0
    assert host.read("db", "memory.oom.group") == "0\n"
    assert host.write("db", "memory.oom.group", "1") == 0
    assert host.read("db", "memory.oom.group") == "1\n"
    assert host.write("db", "memory.low", "1M") == 0
    assert host.read("db", "memory.low") == "1048576\n"
