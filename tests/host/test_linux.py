"""LinuxHost over fixture trees: what it reads, what it leaves out, what it writes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from math import inf
from pathlib import Path

import pytest

from zswap_gym.errors import UserError
from zswap_gym.host import reading
from zswap_gym.host.dialects import STOCK, V1, Dialect
from zswap_gym.host.linux import LinuxHost
from zswap_gym.host.types import NOTHING, Outcome, Request, Sample

WB, RECLAIM = "memory.zswap.proactive_writeback", "memory.reclaim"
NOON = 1_795_608_000.0


def host_of(tree: Path, **options) -> LinuxHost:
    return LinuxHost(
        tree / "cgroup", proc_root=tree / "proc", sys_root=tree / "sys", wall_clock=lambda: NOON, **options
    )


def by_name(host: LinuxHost) -> dict[str, Sample]:
    return {sample.cgroup: sample for sample in host.sample()}


def wait_for(host: LinuxHost, count: int = 1) -> list[tuple[str, Outcome]]:
    found: list[tuple[str, Outcome]] = []
    end = time.monotonic() + 10
    while len(found) < count:
        assert time.monotonic() < end, f"only {found}"
        found += host.outcomes()
        time.sleep(0.005)
    return found


def text_of(tree: Path, cgroup: str, file: str) -> str:
    return (tree / "cgroup" / cgroup / file).read_text()


# --- reading ------------------------------------------------------------------------------------


def test_lists_what_matches_but_never_the_root(tree: Path) -> None:
    every = ["batch.slice", "batch.slice/job1", "dying", "garbage", "old", "web"]
    assert host_of(tree, levels="listed").cgroups() == every
    assert host_of(tree).cgroups() == every[1:]  # decisions are made for leaves
    assert host_of(tree, patterns=["batch.slice"]).cgroups() == ["batch.slice"]  # it alone was named
    assert host_of(tree, patterns=["batch.slice/*", "w?b"]).cgroups() == ["batch.slice/job1", "web"]


def test_every_field_of_a_sample(tree: Path) -> None:
    sample = by_name(host_of(tree))["web"]
    assert sample.inode == (tree / "cgroup" / "web").stat().st_ino
    expected = {
        "time_s": 172800.25, "memory_current": 62914560, "memory_max": 67108864, "memory_high": inf,
        "swap_current": 58720256, "swap_max": inf, "zswap_current": 13316000, "zswap_max": inf,
        "zswap_writeback": 1, "anon": 43057152, "swapcached": 8192, "zswap": 13316000, "zswapped": 50331648,
        "inactive_anon": 41000960, "active_anon": 2064384, "pgfault": 61010, "pgmajfault": 26522,
        "pgscan": 85577, "pgsteal": 37911, "workingset_refault_anon": 26522, "workingset_activate_anon": 1604,
        "workingset_restore_anon": 12, "zswpin": 25111, "zswpout": 37911, "zswpwb": 1411,
        "zswpwb_proactive": 1280, "events_high": 3, "events_max": 1095, "events_oom": 0, "events_oom_kill": 0,
        "psi_some_avg10": 0.12, "psi_some_avg60": 0.05, "psi_some_total_us": 483123, "psi_full_avg10": 0.01,
        "psi_full_total_us": 120001, "host_mem_total": 1 << 30, "host_mem_free": 500 << 20,
        "host_swap_total": 1 << 30, "host_swap_free": 900 << 20, "host_pool_bytes": 14 << 20,
        "host_zswapped": 48 << 20, "host_max_pool_percent": 20, "host_psi_some_avg10": 0.30,
        "host_psi_some_total_us": 900000, "hint_known": 0, "hint_seconds_to_event": inf,
        "hint_seconds_left": 0, "hint_expected_bytes": 0, "psi_unknown": 0, "disk_reads": 0,
    }  # fmt: skip
    local = time.localtime(NOON)
    expected["time_of_day_s"] = local.tm_hour * 3600 + local.tm_min * 60 + local.tm_sec
    from zswap_gym.host.types import COLUMNS

    assert {name: getattr(sample, name) for name in COLUMNS} == expected


def test_a_kernel_without_zswap_gives_the_defaults(tree: Path) -> None:
    sample = by_name(host_of(tree))["old"]
    blank = Sample("old")
    for name in (
        "swap_current",
        "swap_max",
        "zswap_current",
        "zswap_max",
        "zswap_writeback",
        "zswpwb",
        "zswap",
    ):
        assert getattr(sample, name) == getattr(blank, name), name
    assert sample.psi_some_avg10 == 0.30  # the machine's stands in for it
    assert sample.memory_current == 62914560


def test_a_machine_without_zswap_or_pressure(tree: Path) -> None:
    shutil.rmtree(tree / "sys")
    (tree / "proc" / "pressure" / "memory").unlink()
    host = host_of(tree)
    sample = by_name(host)["web"]
    assert (sample.host_max_pool_percent, sample.host_psi_some_total_us) == (20, 0)
    assert any("this kernel has no zswap" in note for note in host.notes())


@pytest.mark.parametrize(("text", "words"), [("N\n", "zswap is off"), ("perhaps\n", "is not Y or N")])
def test_zswap_that_is_off_is_said_once(tree: Path, text: str, words: str) -> None:
    (tree / "sys" / "module" / "zswap" / "parameters" / "enabled").write_text(text)
    host = host_of(tree, patterns=["web"])
    assert words in host.notes()[0]
    host.sample()
    assert host.notes() == []


def test_what_cannot_be_read_is_left_out_and_noted_once(tree: Path) -> None:
    host = host_of(tree)
    names = set(by_name(host))
    assert names == {"batch.slice/job1", "old", "web"}  # dying and garbage are missing
    (note,) = host.notes()
    assert note.startswith("garbage/memory.stat, line 2: 'zswap twelve' is not a key and a number")
    host.sample()
    assert host.notes() == []
    (tree / "cgroup" / "garbage" / "memory.stat").write_text(text_of(tree, "old", "memory.stat"))
    assert "garbage" in by_name(host)


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_number_without_end_leaves_its_cgroup_out(tree: Path, digits: int) -> None:
    (tree / "cgroup" / "web" / "memory.current").write_text("9" * digits)
    host = host_of(tree, patterns=["web", "old"])
    assert sorted(by_name(host)) == ["old"]
    assert any("web/memory.current, line 1" in note for note in host.notes())


def test_a_cgroup_may_vanish_between_list_and_read(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = host_of(tree)
    listed = host.cgroups()
    shutil.rmtree(tree / "cgroup" / "web")
    monkeypatch.setattr(host, "cgroups", lambda: listed)
    assert "web" not in by_name(host)
    assert not any("web" in note for note in host.notes())


def test_a_cgroup_may_vanish_while_it_is_read(tree: Path) -> None:
    """Optional files are read first, so a removed cgroup is not taken for an old kernel's."""

    def read(file: str) -> str:
        if file in ("memory.current", "memory.stat"):
            raise FileNotFoundError(file)
        return (tree / "cgroup" / "web" / file).read_text()

    with pytest.raises(FileNotFoundError):
        reading.read_sample("web", 1, read, {})


@pytest.mark.parametrize("file", ["uptime", "meminfo"])
def test_a_missing_proc_is_the_operators_mistake(tree: Path, file: str) -> None:
    (tree / "proc" / file).unlink()
    with pytest.raises(UserError, match=file):
        host_of(tree).sample()


def test_garbage_in_proc_is_named(tree: Path) -> None:
    (tree / "proc" / "meminfo").write_text("MemTotal: lots\n")
    with pytest.raises(UserError, match="/proc/meminfo, line 1"):
        host_of(tree).sample()


def test_a_missing_root_is_said() -> None:
    with pytest.raises(UserError, match="mount cgroup v2"):
        LinuxHost("/no/such/folder")


def test_hints_reach_the_sample(tree: Path) -> None:
    path = tree / "hints.json"
    path.write_text(json.dumps({"w*": {"at": NOON + 90, "expected_bytes": "1M"}}))
    host = host_of(tree, hints=path)
    samples = by_name(host)
    web = samples["web"]
    assert (web.hint_known, web.hint_seconds_to_event, web.hint_expected_bytes) == (1, 90, 1 << 20)
    assert samples["old"].hint_known == 0
    path.write_text("}")
    host.sample()
    assert any(str(path) in note for note in host.notes())


# --- writing ------------------------------------------------------------------------------------


def test_writeback_then_release_end_in_the_files(tree: Path) -> None:
    host = host_of(tree)
    host.sample()
    assert host.submit("web", Request(59.5, 10 << 20))
    ((name, outcome),) = wait_for(host)
    assert (name, outcome.errno, outcome.release_errno, outcome.notes) == ("web", 0, 0, ())
    assert text_of(tree, "web", WB) == "max=10485760 60\n"
    assert text_of(tree, "web", RECLAIM) == "10485760\n"


def test_release_only_and_nothing(tree: Path) -> None:
    host = host_of(tree)
    assert host.submit("web", Request(None, 8192))
    assert host.submit("batch.slice", NOTHING)
    assert {name: outcome.errno for name, outcome in wait_for(host, 2)} == {"web": 0, "batch.slice": 0}
    assert text_of(tree, "web", RECLAIM) == "8192\n"
    assert text_of(tree, "web", WB) == text_of(tree, "batch.slice", RECLAIM) == ""


def test_a_stock_kernel_only_releases(tree: Path) -> None:
    host = host_of(tree)
    assert (host.dialect("web"), host.dialect("old")) == (V1, STOCK)
    assert host.submit("old", Request(60, 1 << 20))
    ((_, outcome),) = wait_for(host)
    assert outcome.notes == ("stock kernel: no proactive writeback, release only",)
    assert text_of(tree, "old", RECLAIM) == "1048576\n"
    assert not (tree / "cgroup" / "old" / WB).exists()


def test_a_dialect_of_compressed_bytes_asks_for_the_same_pages(tree: Path) -> None:
    v5 = Dialect("v5", "memory.reclaim", "{bytes} source=zswap", has_age=False, unit="compressed")
    host = host_of(tree, dialect=v5)
    host.submit("web", Request(60, 4096 * 1000, 0))
    wait_for(host)
    pages = -(-4096 * 1000 * 13316000 // 50331648) // 4096
    assert text_of(tree, "web", RECLAIM) == f"{pages * 4096} source=zswap\n"


def test_pages_are_what_the_counter_grew_by(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zswap_gym.host import linux

    stat = tree / "cgroup" / "web" / "memory.stat"

    def kernel(folder: int, file: str, text: str) -> int:  # noqa: ARG001
        if file == WB:
            grown = stat.read_text().replace("zswpwb 1411", "zswpwb 2000")
            stat.write_text(grown.replace("zswpwb_proactive 1280", "zswpwb_proactive 1536"))
        return 0

    monkeypatch.setattr(linux, "write_file", kernel)
    host = host_of(tree)
    host.submit("web", Request(60, 1 << 20))
    ((_, outcome),) = wait_for(host)
    assert (outcome.pages, outcome.bytes) == (256, 1 << 20)
    # without the series' counter, the general one
    stat.write_text(
        stat.read_text().replace("zswpwb_proactive 1536\n", "").replace("zswpwb 2000", "zswpwb 1411")
    )
    host.submit("web", Request(60, 1 << 20))
    ((_, outcome),) = wait_for(host)
    assert outcome.pages == 2000 - 1411


@pytest.mark.parametrize("key", ["pgsteal_proactive", "pgsteal"])
def test_what_was_released_is_what_reclaim_took(
    tree: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """Of the proactive kind where the kernel counts it, and only while memory.reclaim ran."""
    from zswap_gym.host import linux

    stat = tree / "cgroup" / "web" / "memory.stat"
    counted = {"pgsteal": 5000, key: 300}
    lines = [line for line in stat.read_text().splitlines() if not line.startswith("pgsteal")]

    def tell() -> None:
        stat.write_text("\n".join([*lines, *(f"{k} {v}" for k, v in counted.items())]) + "\n")

    def kernel(folder: int, file: str, text: str) -> int:  # noqa: ARG001
        counted["pgsteal"] += 64  # kswapd, and what writeback makes it do
        if file == RECLAIM:
            counted[key] += 100
        tell()
        return errno.EAGAIN if file == RECLAIM else 0

    tell()
    monkeypatch.setattr(linux, "write_file", kernel)
    host = host_of(tree, dialect=V1)
    host.submit("web", Request(60, 1 << 20))
    ((_, outcome),) = wait_for(host)
    grown = 100 if key == "pgsteal_proactive" else 164
    assert (outcome.release_errno, outcome.released_bytes) == (errno.EAGAIN, grown * 4096)


@pytest.mark.parametrize("page_size", [4096, 16384, 65536])
def test_pages_are_of_the_machines_size(tree: Path, monkeypatch: pytest.MonkeyPatch, page_size: int) -> None:
    """32 MiB written back and released are 32 MiB, whatever the kernel counts them in."""
    from zswap_gym.host import linux

    stat, pages = tree / "cgroup" / "web" / "memory.stat", (32 << 20) // page_size

    def kernel(folder: int, file: str, text: str) -> int:  # noqa: ARG001
        before, after = ("zswpwb_proactive 1280", f"zswpwb_proactive {1280 + pages}")
        if file != WB:
            before, after = ("pgsteal 37911", f"pgsteal {37911 + pages}")
        stat.write_text(stat.read_text().replace(before, after))
        return 0

    monkeypatch.setattr(linux, "write_file", kernel)
    host = host_of(tree, page_size=page_size)
    host.submit("web", Request(60, 32 << 20))
    ((_, outcome),) = wait_for(host)
    assert (outcome.pages, outcome.bytes, outcome.released_bytes) == (pages, 32 << 20, 32 << 20)


def test_an_errno_comes_back_and_the_release_still_follows(tree: Path) -> None:
    (tree / "cgroup" / "web" / WB).unlink()
    host = host_of(tree, dialect=V1)
    host.submit("web", Request(60, 1 << 20))
    ((_, outcome),) = wait_for(host)
    assert (outcome.errno, outcome.release_errno) == (errno.ENOENT, 0)
    assert text_of(tree, "web", RECLAIM) == "1048576\n"


def test_a_replaced_cgroup_is_not_written_to(tree: Path) -> None:
    host = host_of(tree)
    host.sample()
    (tree / "cgroup" / "web").rename(tree / "cgroup" / "was-web")
    shutil.copytree(tree / "cgroup" / "was-web", tree / "cgroup" / "web")
    host.submit("web", Request(60, 1 << 20))
    ((_, outcome),) = wait_for(host)
    assert outcome.errno == errno.ENODEV
    assert text_of(tree, "web", WB) == text_of(tree, "was-web", WB) == ""


def test_a_vanished_cgroup_is_an_outcome(tree: Path) -> None:
    host = host_of(tree)
    host.sample()
    shutil.rmtree(tree / "cgroup" / "web")
    assert host.submit("web", Request(60, 1 << 20))
    assert host.submit("never-was", Request(60, 1 << 20))
    assert {name: outcome.errno for name, outcome in wait_for(host, 2)} == dict.fromkeys(
        ("web", "never-was"), errno.ENOENT
    )


@pytest.fixture
def blocked(tree: Path):
    """``blocked(cgroup)``: its writeback blocks (a pipe nobody reads) until what this returns is called."""
    pipes: list[Path] = []

    def make(cgroup: str) -> Callable[[], None]:
        pipe = tree / "cgroup" / cgroup / WB
        pipe.unlink()
        os.mkfifo(pipe)
        pipes.append(pipe)
        return lambda: os.close(os.open(pipe, os.O_RDONLY))

    yield make
    for pipe in pipes:  # let stuck threads go
        os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))


def test_a_blocked_write_makes_its_cgroup_busy_and_no_other(tree: Path, blocked) -> None:
    release = blocked("web")
    host = host_of(tree)
    assert host.submit("web", Request(60, 1 << 20))
    assert not host.submit("web", Request(60, 1 << 20))
    assert host.submit("batch.slice", Request(60, 1 << 20))
    ((name, _),) = wait_for(host)
    assert name == "batch.slice"
    threading.Thread(target=release).start()
    ((name, _),) = wait_for(host)
    assert name == "web"
    assert host.submit("web", Request(None, 4096))
    wait_for(host)


def test_past_its_deadline_a_request_is_reported_and_later_reported_again(tree: Path, blocked) -> None:
    release = blocked("web")
    host = host_of(tree, deadline_s=0.05)
    host.submit("web", Request(60, 1 << 20))
    ((_, outcome),) = wait_for(host)
    assert outcome.errno == errno.ETIMEDOUT
    time.sleep(0.1)
    assert host.outcomes() == []  # once
    assert not host.submit("web", Request(60, 1 << 20))
    threading.Thread(target=release).start()
    ((_, outcome),) = wait_for(host)
    assert outcome.errno != errno.ETIMEDOUT
    assert "late" in outcome.notes
    assert text_of(tree, "web", RECLAIM) == ""  # the release was left out


def test_a_request_no_worker_is_free_for_is_dropped(tree: Path, blocked) -> None:
    blocked("web")
    host = host_of(tree, deadline_s=0.05, workers=1)
    host.submit("web", Request(60, 1 << 20))
    time.sleep(0.02)  # the one worker takes it
    host.submit("batch.slice", Request(60, 1 << 20))
    codes = {name: outcome.errno for name, outcome in wait_for(host, 2)}
    assert codes == {"web": errno.ETIMEDOUT, "batch.slice": errno.ECANCELED}
    assert text_of(tree, "batch.slice", WB) == ""
    assert host.submit("batch.slice", NOTHING)  # not busy any more


def test_now_counts_as_proc_uptime_does(tree: Path) -> None:
    host = host_of(tree)
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    assert abs(host.now() - uptime) < 5
    before = host.now()
    host.sleep(0.01)
    assert host.now() >= before + 0.01
