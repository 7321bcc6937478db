"""Hosts as people have them: what the controller reads there and what it is kept from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path
from typing import Any

import pytest

from zswap_gym.controller.config import ControllerConfig
from zswap_gym.controller.decider import from_config
from zswap_gym.controller.decisions import Decision
from zswap_gym.controller.loop import Controller
from zswap_gym.controller.preconditions import on_this_host, own_cgroup
from zswap_gym.errors import UserError
from zswap_gym.host.linux import LinuxHost
from zswap_gym.host.types import COLUMN, Request, table
from zswap_gym.policy.features import INDEX, FeatureExtractor

Make = Callable[..., dict[str, Any]]
MIB = 1 << 20
LIMITED = {
    "memory.max": f"{512 * MIB}\n",
    "memory.swap.max": f"{300 * MIB}\n",
    "memory.zswap.max": f"{100 * MIB}\n",
}


class Run:
    """One or more rounds of a controller over a tree; time moves on by a minute between them."""

    def __init__(self, settings: Mapping[str, Any], decider: Any = None) -> None:
        self.config = on_this_host(ControllerConfig.from_mapping(settings))
        self.own = own_cgroup(self.config)
        self.host = LinuxHost(
            self.config.cgroup_root,
            patterns=self.config.cgroups,
            levels=self.config.levels,
            page_size=self.config.page_size,
            proc_root=self.config.proc_root,
            sys_root=self.config.sys_root,
        )
        self.said: list[str] = []
        decider = decider or from_config(self.config)
        self.controller = Controller(
            self.host, decider, self.config, own=self.own.name, complain=self.said.append
        )
        self.uptime_s = 90000.0

    def round(self) -> dict[str, Decision]:
        decisions = {decision.sample.cgroup: decision for decision in self.controller.tick()}
        self.uptime_s += 60
        Path(self.config.proc_root, "uptime").write_text(f"{self.uptime_s:.2f} 0.00\n")
        return decisions

    def rails(self) -> dict[str, list[str]]:
        return {name: [r.split(":")[0] for r in d.reasons] for name, d in self.round().items()}


class Asks:
    """Always the same."""

    name = "asks"

    def __init__(self, size: int) -> None:
        self.request = Request(600.0, size)

    def decide(self, samples: Any, dt_s: float) -> list[Request]:  # noqa: ARG002
        return [self.request] * len(samples)

    def asked(self, inode: int, request: Request) -> None:
        """It does not remember."""

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}


# --- settings in force along the path -------------------------------------------------------------

OFF = {"memory.zswap.writeback": "0\n"}


@pytest.mark.parametrize(
    ("cgroups", "top", "root"),
    [
        ({"app.slice": OFF, "app.slice/web": {}}, {}, ""),
        ({"app.slice": OFF, "app.slice/a": {}, "app.slice/a/b": {}, "app.slice/a/b/web": {}}, {}, ""),
        ({"app.slice": {}, "app.slice/web": {}}, OFF, ""),  # the root has the file too
        ({"app.slice": OFF, "app.slice/web": {}}, {}, "app.slice"),  # what is above cgroup_root counts
        ({"app.slice": {}, "app.slice/web": {}}, OFF, "app.slice"),
        ({"app.slice": {}, "app.slice/web": OFF}, {}, ""),
    ],
)
def test_writeback_that_is_off_above_is_off(make_host_tree: Make, cgroups: Any, top: Any, root: str) -> None:
    run = Run(make_host_tree(cgroups, top=top, root=root))
    (decision,) = run.round().values()
    assert decision.allowed.is_nothing
    assert decision.reasons[0].startswith("writeback-disabled: memory.zswap.writeback is 0 here or")
    rows = FeatureExtractor(1.0, (1,)).update(table([decision.sample]))
    assert rows[0, INDEX["writeback_on"]] == 0


def test_writeback_that_is_on_all_the_way_is_on(make_host_tree: Make) -> None:
    run = Run(make_host_tree({"app.slice": {}, "app.slice/web": {}}, top={"memory.zswap.writeback": "1\n"}))
    (decision,) = run.round().values()
    assert (decision.allowed.max_bytes, decision.reasons) == (8 * MIB, ())
    assert FeatureExtractor(1.0, (1,)).update(table([decision.sample]))[0, INDEX["writeback_on"]] == 1


def test_a_limit_is_the_least_on_the_path(make_host_tree: Make) -> None:
    cgroups = {"s": LIMITED, "s/t": {"memory.high": f"{450 * MIB}\n", "memory.max": "max\n"}, "s/t/web": {}}
    run = Run(make_host_tree(cgroups))
    sample = run.round()["s/t/web"].sample
    limits = (sample.memory_max, sample.memory_high, sample.swap_max, sample.zswap_max)
    assert limits == (512 * MIB, 450 * MIB, 300 * MIB, 100 * MIB)
    fill = FeatureExtractor(1.0, (1,)).update(table([sample]))[0, INDEX["limit_fill"]]
    assert fill == pytest.approx(402653184 / (450 * MIB))
    own = Run(make_host_tree({"s": {"memory.max": "max\n"}})).round()
    assert own["s/t/web"].sample.memory_max == inf


def test_swap_max_above_counts_for_the_swap_rail(make_host_tree: Make) -> None:
    run = Run(make_host_tree({"s": {"memory.swap.max": "201326592\n"}, "s/web": {}}))
    assert run.rails() == {"s/web": ["swap"]}


# --- the controller's own cgroup ------------------------------------------------------------------

BELOW = {"system.slice": {}, "system.slice/zswap-gym.service": {}, "system.slice/db.service": {}}


@pytest.mark.parametrize("levels", ["leaves", "listed"])
@pytest.mark.parametrize("root", ["", "system.slice"])
@pytest.mark.parametrize("suffix", ["", " (deleted)"])
def test_the_controller_never_acts_on_itself(
    make_host_tree: Make, root: str, levels: str, suffix: str
) -> None:
    text = f"9:name=systemd:/x\n1:memory:/y\n0::/system.slice/zswap-gym.service{suffix}\n"  # v1 beside v2
    run = Run(make_host_tree(BELOW, root=root, levels=levels, proc={"self/cgroup": text}))
    rails = run.rails()
    above = {"system.slice": ["own-cgroup"]} if levels == "listed" and not root else {}
    prefix = "" if root else "system.slice/"
    assert rails == {f"{prefix}db.service": [], f"{prefix}zswap-gym.service": ["own-cgroup"], **above}


@pytest.mark.parametrize(
    "written", ["zswap-gym.service", "/system.slice/zswap-gym.service", "{root}/zswap-gym.service"]
)
def test_own_cgroup_can_be_said(make_host_tree: Make, written: str) -> None:
    settings = make_host_tree(BELOW, root="system.slice", proc={"self/cgroup": "0::/\n"})
    assert Run(settings).own.name is None
    settings["own_cgroup"] = written.format(root=settings["cgroup_root"])
    run = Run(settings)
    assert run.own.name == "zswap-gym.service"
    assert run.rails()["zswap-gym.service"] == ["own-cgroup"]
    assert Run(settings | {"own_cgroup": "/"}).own.name == ""


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("nosuch", "nosuch: no such cgroup"),
        ("/user.slice/x", "is not below /system.slice"),
        ("", "must be text"),
    ],
)
def test_an_own_cgroup_that_is_not_there_is_refused(make_host_tree: Make, written: str, words: str) -> None:
    with pytest.raises(UserError, match=f"own_cgroup: .*{words}"):
        Run(make_host_tree(BELOW, root="system.slice", own_cgroup=written))


# --- pages of other sizes -------------------------------------------------------------------------


@pytest.mark.parametrize("page_size", [4096, 16384, 65536])
def test_what_the_kernel_counts_in_pages_is_counted_in_its_pages(
    make_host_tree: Make, page_size: int
) -> None:
    """32 MiB written back are 32 MiB, in the budget, the breaker and the sample, whatever a page is."""
    tree = make_host_tree({"a": {}}, mode="act", page_size=page_size, law="never")
    run = Run(tree, Asks(32 * MIB))
    sample = run.round()["a"].sample
    assert (sample.zswpwb, sample.zswpin, sample.pgmajfault) == tuple(
        n * page_size / 4096 for n in (50, 900, 1000)
    )
    assert sample.zswapped == 201326592  # bytes are bytes
    stat = Path(tree["cgroup_root"], "a", "memory.stat")
    pages = 32 * MIB // page_size
    before = stat.read_text()
    stat.write_text(before.replace("zswpwb 50\n", f"zswpwb {50 + pages}\n"))
    later = run.round()["a"].sample
    assert (later.zswpwb - sample.zswpwb) * 4096 == 32 * MIB
    state = run.controller.judge.cgroups[later.inode]
    assert state.breaker.written == 32 * MIB / 4096
    assert run.controller.judge.limits.page_size == page_size


def test_requests_are_whole_pages_of_the_machines(make_host_tree: Make) -> None:
    tree = make_host_tree(
        {"a": {}}, mode="act", page_size="64K", law="never", rails={"bytes_per_minute": "100K"}
    )
    run = Run(tree, Asks(96 << 10))
    decision = run.round()["a"]
    assert decision.allowed.max_bytes == 96 << 10
    while not (ended := run.host.outcomes()):
        pass
    assert ended[0][1].errno == 0
    folder = Path(tree["cgroup_root"], "a")
    assert (folder / "memory.zswap.proactive_writeback").read_text() == "max=65536 600\n"
    assert (folder / "memory.reclaim").read_text() == "65536\n"
    inode = decision.sample.inode
    assert run.controller.judge.cgroups[inode].written_day.used(90000.0) == 65536
    # 36 KiB are left in the minute: less than a page
    Path(tree["proc_root"], "uptime").write_text("90010.00 0.00\n")
    second = run.controller.tick()[0]
    assert second.allowed.is_nothing
    assert second.reasons[0].startswith("bytes-per-minute: 64.0 KiB in the last 60 s; 0 B allowed")


@pytest.mark.parametrize("size", [0, 1000, 4095, 6144, "2M", -4096, True, "big"])
def test_a_page_size_no_kernel_has_is_refused(size: Any) -> None:
    with pytest.raises(UserError, match="page_size: "):
        ControllerConfig.from_mapping({"page_size": size})


# --- files with lines nobody needs ----------------------------------------------------------------

MEMINFO = "MemTotal: 16384000 kB\nMemFree: 4096000 kB\nSwapTotal: 8388604 kB\nSwapFree: 8000000 kB\n"


@pytest.mark.parametrize(
    "meminfo",
    [
        MEMINFO.replace("SwapTotal", "\nSwapTotal"),
        "        total:    used:    free:  shared: buffers:  cached:\n"
        "Mem:  1055760384 1041887232 13873152        0 100417536 711233536\n" + MEMINFO,
        MEMINFO + "HugePages_Total:       0\nDirectMap4k:  a b c\nNode 0 MemFree: 5 kB 3\n???\n",
        MEMINFO.replace(" kB", "\tkB  \r"),
    ],
)
def test_lines_nobody_needs_change_nothing(make_host_tree: Make, meminfo: str) -> None:
    run = Run(make_host_tree({"a": {}}, proc={"meminfo": meminfo}))
    decision = run.round()["a"]
    assert (decision.sample.host_mem_total, decision.sample.host_swap_free) == (16384000 << 10, 8000000 << 10)
    assert (decision.allowed.max_bytes, run.said) == (8 * MIB, [])


@pytest.mark.parametrize(
    ("more", "words"),
    [("\nnode0 1 2 3\nfoo -1\n\n", None), ("zswpin 900\n", None), ("zswpin 901\n", "line 20: 'zswpin 901'")],
)
def test_a_line_more_in_memory_stat(make_host_tree: Make, more: str, words: str | None) -> None:
    tree = make_host_tree({"a": {}, "b": {}})
    stat = Path(tree["cgroup_root"], "a", "memory.stat")
    stat.write_text(stat.read_text() + more)
    run = Run(tree)
    assert sorted(run.round()) == (["a", "b"] if words is None else ["b"])
    assert [words in note and "a/memory.stat" in note for note in run.said] == (
        [] if words is None else [True]
    )


# --- pressure -------------------------------------------------------------------------------------

LOUD = "some avg10=60.00 avg60=60.00 avg300=9.00 total=100\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=50\n"


def test_without_a_file_of_its_own_a_cgroup_has_the_machines_pressure(make_host_tree: Make) -> None:
    cgroups = {"a": {"memory.pressure": None}, "b": {}}
    run = Run(make_host_tree(cgroups, proc={"pressure/memory": LOUD}))
    decisions = run.round()
    assert decisions["a"].sample.psi_some_avg10 == 60.0
    assert decisions["a"].reasons == ("psi: memory pressure 60.00 % is not below 5 %",)
    assert decisions["b"].reasons == ()  # it has its own, and is calm


@pytest.mark.parametrize("law", ["fixed_age(age_s=600)", "tmo", "release_only"])
def test_without_any_pressure_nothing_is_done_unless_that_is_ignored(make_host_tree: Make, law: str) -> None:
    tree = make_host_tree({"a": {"memory.pressure": None}}, proc={"pressure/memory": None}, law=law)
    decision = Run(tree).round()["a"]
    assert decision.sample.psi_unknown == 1
    assert decision.allowed.is_nothing
    ignoring = Run(tree | {"psi": "ignore"}).round()["a"]
    assert ignoring.allowed.is_nothing == (law == "tmo")  # which has nothing else to go by


# --- levels ---------------------------------------------------------------------------------------

NESTED = {"pods": {}, "pods/pod1": {}, "pods/pod1/container": {}, "pods/pod1/container/leaf": {}}


@pytest.mark.parametrize("levels", ["leaves", "listed"])
def test_the_same_memory_is_charged_once(make_host_tree: Make, levels: str) -> None:
    """Four levels of one container, 16 MiB a minute: in one round and the next no more than that."""
    tree = make_host_tree(NESTED, levels=levels, rails={"bytes_per_minute": "16M"}, law="never")
    run = Run(tree, Asks(16 * MIB))
    first = run.round()
    assert sorted(first) == (sorted(NESTED) if levels == "listed" else ["pods/pod1/container/leaf"])
    assert sum(decision.allowed.max_bytes for decision in first.values()) == 16 * MIB
    Path(tree["proc_root"], "uptime").write_text("90030.00 0.00\n")
    assert sum(decision.allowed.max_bytes for decision in run.controller.tick()) == 0
    assert run.controller.judge.host_day.used(90030.0) == 16 * MIB


def test_siblings_have_budgets_of_their_own_within_their_parents(make_host_tree: Make) -> None:
    cgroups = {"pods": {}, "pods/a": {}, "pods/b": {}, "pods/c": {}}
    rails = {"bytes_per_minute": "16M"}
    alone = Run(make_host_tree(cgroups, rails=rails, law="never"), Asks(12 * MIB)).round()
    assert [d.allowed.max_bytes for d in alone.values()] == [12 * MIB] * 3
    both = Run(make_host_tree({}, rails=rails, law="never", levels="listed"), Asks(12 * MIB)).round()
    assert {name: d.allowed.max_bytes for name, d in both.items()} == {
        "pods": 12 * MIB, "pods/a": 4 * MIB, "pods/b": 0, "pods/c": 0,
    }  # fmt: skip


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    [
        "system.slice/db.service", "/system.slice/db.service", "0::/system.slice/db.service",
        "/sys/fs/cgroup/system.slice/db.service", "{mount}/system.slice/db.service",
        "/system.slice/db.service/", "/system.slice/d*", "./system.slice//db.service",
    ],
)  # fmt: skip
def test_patterns_as_people_copy_them(make_host_tree: Make, pattern: str) -> None:
    tree = make_host_tree(BELOW)
    run = Run(tree | {"cgroups": [pattern.format(mount=tree["cgroup_root"])]})
    assert [(name, d.reasons) for name, d in run.round().items()] == [("system.slice/db.service", ())]


@pytest.mark.parametrize(
    "pattern", ["db.service", "/system.slice/db.service", "{mount}/system.slice/db.service"]
)
def test_patterns_below_a_root_that_is_not_the_mount(make_host_tree: Make, pattern: str) -> None:
    tree = make_host_tree(BELOW, root="system.slice")
    mount = Path(tree["cgroup_root"]).parent
    run = Run(tree | {"cgroups": [pattern.format(mount=mount)]})
    assert list(run.round()) == ["db.service"]
    with pytest.raises(UserError, match=r"cgroups: '/db.service' is not below /system.slice.*drop it"):
        Run(tree | {"cgroups": ["/db.service"]})


# --- kernels without zswap's counters --------------------------------------------------------------


def test_a_kernel_that_counts_nothing_of_zswap_is_read_all_the_same(make_host_tree: Make) -> None:
    """RHEL 8 and 5.x: no zswap keys in memory.stat, no memory.zswap.*"""
    stat = "anon 268435456\ninactive_anon 5\nactive_anon 5\npgfault 7\npgmajfault 1\nworkingset_refault 3\n"
    files = {
        "memory.stat": stat,
        **dict.fromkeys(("memory.zswap.current", "memory.zswap.max", "memory.zswap.writeback")),
    }
    decision = Run(make_host_tree({"a": files})).round()["a"]
    assert (decision.sample.zswapped, decision.sample.zswap_writeback) == (0, 1)
    assert decision.proposed.is_nothing


def test_every_column_of_a_plain_host_is_known(make_host_tree: Make) -> None:
    sample = Run(make_host_tree({"a": {}})).round()["a"].sample
    assert table([sample])[0, COLUMN["psi_unknown"]] == 0
    assert (sample.zswpwb, sample.zswapped, sample.host_pool_bytes) == (50, 201326592, 64 * MIB)
