"""SimulatedHost: both ways of reading agree, requests run beside the caller, hints only if announced."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest

from zswap_gym.host import reading, simulated_files
from zswap_gym.host.dialects import STOCK
from zswap_gym.host.linux import LinuxHost
from zswap_gym.host.simulated import SimulatedHost
from zswap_gym.host.types import COLUMN, COLUMNS, NOTHING, Request, table
from zswap_gym.workloads.events import RealisedEvent
from zswap_gym.workloads.scenario import Scenario

Make = Callable[..., SimulatedHost]
WB = "memory.zswap.proactive_writeback"


def event(
    cgroup: str, start_s: float, duration_s: float, size: int = 0, announced: bool = True
) -> RealisedEvent:
    return RealisedEvent(cgroup, "arrival", start_s, start_s + duration_s, size, announced)


# --- two ways to the same sample ------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("page_scale", [1, 4])
def test_text_and_arrays_give_the_same_row(make_host: Make, seed: int, page_scale: int) -> None:
    """Every field, exactly, over a stretch in which all of them move."""
    host = make_host(
        seed, [event("web", 20.0, 30.0, 5 << 20)], page_scale=page_scale, cgroups=["apps", "web", "db"]
    )
    first = host.table()
    for step in range(12):
        host.sleep(4.987654)
        host.submit("web", Request(3.0, 1 << 20))
        host.submit("db", Request(None, 2 << 20))
        if step == 6:
            host.write("db", "memory.high", "8M")
            host.write("web", "memory.zswap.writeback", "0")
            host.write("", "/sys/module/zswap/parameters/max_pool_percent", "7")
        if step == 8:  # what holds above holds below
            host.write("web", "memory.zswap.writeback", "1")
            for file, text in (
                ("max", "5M"),
                ("swap.max", "64M"),
                ("zswap.max", "8M"),
                ("zswap.writeback", "0"),
            ):
                assert host.write("apps", f"memory.{file}", text) == 0
        samples = host.sample(via_text=True)
        assert samples == host.sample()
        assert np.array_equal(table(samples), host.table())
    web = samples[1]
    limits = (web.memory_max, web.swap_max, web.zswap_max, web.zswap_writeback)
    assert limits == (5 << 20, 64 << 20, 8 << 20, 0)
    moved = (host.table() != first).any(axis=0)
    # What cannot move here: limits nobody writes, OOM kills, totals of the machine.
    still = {
        "events_oom", "events_oom_kill", "host_mem_total",
        "host_swap_total", "psi_unknown",
    }  # fmt: skip
    stuck = {name for name in COLUMNS if not moved[COLUMN[name]]} - still
    assert stuck <= {
        "psi_full_avg10",
        "psi_some_avg10",
        "psi_some_avg60",
        "host_psi_some_avg10",
        "hint_seconds_left",
    }


def test_the_text_way_reads_every_file_a_sample_is_made_of(make_host: Make) -> None:
    host = make_host()
    asked = set()

    def read(cgroup: str, file: str) -> str:
        asked.add(file)
        return SimulatedHost.read(host, cgroup, file)

    host.read = read  # type: ignore[method-assign]
    host.sample(via_text=True)
    assert asked == {*reading.CGROUP_FILES, *reading.MACHINE_FILES}


def test_a_mounted_machine_reads_the_same(make_host: Make, tmp_path: Path) -> None:
    host = make_host(page_scale=2)
    for _ in range(2):  # the second call brings it up to date
        host.sleep(30)
        host.mount(tmp_path)
    linux = LinuxHost(
        tmp_path / "cgroup",
        proc_root=tmp_path / "proc",
        sys_root=tmp_path / "sys",
        patterns=["apps/web", "db"],
    )
    mounted = linux.sample()
    assert [sample.cgroup for sample in mounted] == ["apps/web", "db"]
    for here, there in zip(host.sample(), mounted, strict=True):
        same = replace(there, cgroup=here.cgroup, inode=here.inode, time_of_day_s=here.time_of_day_s)
        assert same == here
    assert not list(tmp_path.rglob(".*.new"))


def test_what_a_tool_writes_into_a_mounted_machine_stays(make_host: Make, tmp_path: Path) -> None:
    host = make_host()
    host.mount(tmp_path)
    file = tmp_path / "cgroup" / "db" / WB
    assert file.read_text() == ""
    file.write_text("max=4096 5\n")
    host.mount(tmp_path)
    assert file.read_text() == "max=4096 5\n"
    assert not (tmp_path / "cgroup" / WB).exists()  # the root has no such file
    assert (tmp_path / "cgroup" / "memory.stat").exists()


def test_files(make_host: Make) -> None:
    host = make_host()
    host.sleep(20)
    assert host.read("web", "memory.max") == f"{6 << 20}\n"
    assert host.read("db", "memory.max") == "max\n"
    assert host.read("", "memory.stat").startswith("anon ")
    assert host.read("", "/sys/module/zswap/parameters/compressor") == "zstd\n"
    for cgroup, file in (
        ("", "memory.current"),
        ("web", "memory.none"),
        ("nobody", "memory.stat"),
        ("", "/proc/x"),
    ):
        with pytest.raises(FileNotFoundError):
            host.read(cgroup, file)
    for file in simulated_files.WRITE_ONLY:
        with pytest.raises(OSError, match="Invalid argument"):
            host.read("web", file)
    for file in set(simulated_files.CGROUP_FILES) - set(simulated_files.WRITE_ONLY):
        assert host.read("web", file).endswith("\n")


def test_module_parameters(make_host: Make) -> None:
    host = make_host()
    top = "/sys/module/zswap/parameters"
    assert [host.read("", f"{top}/{name}") for name in ("enabled", "shrinker_enabled")] == ["Y\n", "N\n"]
    assert host.write("", f"{top}/enabled", "N") == host.write("", f"{top}/shrinker_enabled", "1\n") == 0
    assert [host.read("", f"{top}/{name}") for name in ("enabled", "shrinker_enabled")] == ["N\n", "Y\n"]
    for percent in (0, 1, 33, 100):
        assert host.write("", f"{top}/max_pool_percent", f"{percent}") == 0
        assert host.read("", f"{top}/max_pool_percent") == f"{percent}\n"
    assert host.write("", f"{top}/max_pool_percent", "many") == errno.EINVAL
    assert host.write("", f"{top}/enabled", "maybe") == errno.EINVAL
    assert host.write("", f"{top}/nonsense", "1") == errno.ENOENT


# --- acting ---------------------------------------------------------------------------------------


def test_a_request_runs_while_time_passes(make_host: Make) -> None:
    host = make_host()
    host.sleep(60)
    before = host.now()
    assert host.submit("db", Request(5.0, 1 << 20))
    assert host.now() == before
    assert not host.submit("db", Request(5.0, 1 << 20))
    assert host.outcomes() == []
    host.sleep(5)
    ((name, outcome),) = host.outcomes()
    assert (name, outcome.errno, outcome.notes) == ("db", 0, ())
    assert outcome.bytes == outcome.pages * 4096 >= 1 << 20
    assert 0 < outcome.duration_s < 5
    (sample,) = (s for s in host.sample() if s.cgroup == "db")
    assert sample.zswpwb_proactive == outcome.pages
    assert host.outcomes() == []


def test_every_request_has_one_outcome(make_host: Make) -> None:
    host = make_host()
    host.sleep(30)
    requests = [
        NOTHING,
        Request(None, 1 << 20),
        Request(5.0, 1 << 20, 0),
        Request(1e9, 1 << 20),  # beyond uptime: a success that does nothing
        Request(1e9, 1 << 20, 0),
        Request(3600.0, 1 << 20, 0),  # nobody is that old
    ]
    codes = []
    for request in requests:
        assert host.submit("db", request)
        host.sleep(20)
        ((_, outcome),) = host.outcomes()
        codes.append(outcome.errno)
    assert codes == [0, 0, 0, 0, 0, errno.EAGAIN]


def test_a_refused_writeback_still_releases(make_host: Make) -> None:
    host = make_host()
    host.sleep(30)
    assert host.write("db", "memory.zswap.writeback", "0") == 0
    steal = host.table()[1, COLUMN["pgsteal"]]
    host.submit("db", Request(5.0, 1 << 20))
    host.sleep(0.5)
    ((_, outcome),) = host.outcomes()
    assert (outcome.errno, outcome.release_errno) == (errno.EINVAL, 0)
    taken = host.table()[1, COLUMN["pgsteal"]] - steal
    assert 1 << 20 <= outcome.released_bytes <= taken * 4096


def test_without_release_after_writeback_the_pair_is_half(make_host: Make) -> None:
    """The ablation of the scenario; a release asked for alone stays what it is."""
    stolen = {}
    for pair in (True, False):
        host = make_host(release_after_writeback=pair)
        host.sleep(30.5)
        before = host.table()[1, COLUMN["pgsteal"]]
        host.submit("db", Request(5.0, 1 << 20))
        host.sleep(0.3)  # stage one is not due
        assert len(host.outcomes()) == 1
        stolen[pair] = host.table()[1, COLUMN["pgsteal"]] - before
    assert stolen[True] >= 256
    assert stolen[False] < stolen[True] / 2
    host.submit("db", Request(None, 1 << 20))
    host.sleep(0.1)
    assert host.table()[1, COLUMN["pgsteal"]] - before >= 256


def test_a_stock_kernel_only_releases(make_host: Make) -> None:
    host = make_host(dialect=STOCK)
    host.sleep(30)
    host.submit("db", Request(5.0, 1 << 20))
    host.sleep(5)
    ((_, outcome),) = host.outcomes()
    assert outcome.notes == ("stock kernel: no proactive writeback, release only",)
    assert outcome.released_bytes >= 1 << 20
    assert host.table()[1, COLUMN["zswpwb"]] == 0


def test_writes_return_the_kernels_errno(make_host: Make) -> None:
    host = make_host()
    host.sleep(30)
    assert host.write("db", WB, "max=1M 5") == 0
    assert host.write("db", WB, "max=1M") == errno.EINVAL
    assert host.write("", WB, "max=1M 5") == errno.ENOENT
    assert host.write("db", "memory.reclaim", "1M") == 0


def test_equal_seeds_give_equal_runs(make_host: Make) -> None:
    hosts = [make_host(seed) for seed in (5, 5, 6)]
    for host in hosts:
        host.sleep(30)
        host.submit("web", Request(2.0, 1 << 20))
        host.sleep(30)
    one, same, other = (host.table() for host in hosts)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_sleeping_in_naps_changes_nothing(make_host: Make) -> None:
    """The controller sleeps a second at a time."""
    whole, naps = make_host(), make_host()
    whole.sleep(30)
    for _ in range(30):
        naps.sleep(1)
    assert np.array_equal(whole.table(), naps.table())


# --- clock and hints ------------------------------------------------------------------------------


def test_time_of_day_goes_round(make_host: Make) -> None:
    host = make_host(time_of_day_s=86_390.0)
    assert host.sample()[0].time_of_day_s == 86_390.0
    host.sleep(20)
    assert host.sample()[0].time_of_day_s == pytest.approx(10.0)


def test_hints_follow_announced_events_only(make_host: Make) -> None:
    events = [
        event("web", 20.0, 10.0, 1 << 20),
        event("web", 5.0, 3.0, 2 << 20, announced=False),
        event("web", 50.0, 10.0, 3 << 20),
        event("db", 1.0, 1.0, announced=False),
    ]
    host = make_host(events=events)
    seen = []
    for _ in range(7):
        web, db = host.sample()
        seen.append(
            (web.hint_known, web.hint_seconds_to_event, web.hint_seconds_left, web.hint_expected_bytes)
        )
        assert (db.hint_known, db.hint_seconds_to_event) == (0, inf)
        host.sleep(10)
    assert seen == [
        (1, 20, 0, 1 << 20),
        (1, 10, 0, 1 << 20),
        (1, 0, 10, 1 << 20),
        (1, 20, 0, 3 << 20),
        (1, 10, 0, 3 << 20),
        (1, 0, 10, 3 << 20),
        (0, inf, 0, 0),
    ]


def test_which_cgroups_are_sampled(make_host: Make) -> None:
    assert make_host().cgroups() == ["web", "db"]
    assert make_host(cgroups=["db", "apps"]).cgroups() == ["db", "apps"]
    for wrong in ("", "nobody"):
        with pytest.raises(ValueError, match="no cgroups to sample"):
            make_host(cgroups=[wrong])


def test_a_scenario_is_realised_with_the_seed() -> None:
    scenario = Scenario.model_validate(
        {
            "name": "small",
            "episode": {"warmup": 20, "length": 60},
            "cgroups": [
                {"name": "apps"},
                {
                    "name": "kv",
                    "parent": "apps",
                    "workload": {"archetype": "kv_zipf", "pages": 2048},
                    "memory_max": 0.6,
                    "events": [
                        {"kind": "arrival", "at": 10, "duration": 20, "bytes": 1 << 20, "multiplier": 2.0},
                        {"kind": "critical", "at": 40, "duration": 10, "announced": False},
                    ],
                },
            ],
            "randomise": {"sizes": [0.7, 1.4]},
        }
    )
    host, again, other = (SimulatedHost(scenario, seed) for seed in (1, 1, 2))
    assert host.cgroups() == ["kv"]
    (kv,) = host.sample()
    assert (kv.hint_known, kv.hint_seconds_to_event) == (1, 30)  # the warm-up counts
    for each in (host, again, other):
        each.sleep(35)
    assert np.array_equal(host.table(), again.table())
    assert host.sample()[0].memory_max != other.sample()[0].memory_max
    (kv,) = host.sample(via_text=True)
    assert (kv.hint_known, kv.hint_seconds_to_event, kv.hint_seconds_left) == (1, 0, 15)
    host.sleep(20)
    assert host.sample()[0].hint_known == 0
