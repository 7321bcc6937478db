"""control --check: every gap of a host is named, with what follows and what to do, wherever it is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from zswap_gym.controller.decisions import read_log
from zswap_gym.controller.gaps import GAPS
from zswap_gym.controller.replay import replay
from zswap_gym.controller.survey import FACTS

STAT = [
    "anon", "file", "kernel", "zswap", "zswapped", "swapcached", "inactive_anon", "active_anon",
    "inactive_file", "active_file", "workingset_refault_anon", "workingset_activate_anon",
    "workingset_restore_anon", "pgscan", "pgsteal", "pgfault", "pgmajfault", "zswpin", "zswpout", "zswpwb",
    "zswpwb_proactive",
]  # fmt: skip
PSI = "".join(f"{kind} avg10=0.00 avg60=0.00 avg300=0.00 total=100\n" for kind in ("some", "full"))
EVENTS = "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n"
SWAPS = "Filename\tType\tSize\tUsed\tPriority\n"
WB = "memory.zswap.proactive_writeback"

CGROUP: dict[str, str] = {
    **dict.fromkeys(("memory.max", "memory.high", "memory.swap.max", "memory.zswap.max"), "max\n"),
    **dict.fromkeys(("memory.current", "memory.swap.current", "memory.zswap.current"), "402653184\n"),
    "cgroup.controllers": "memory\n", "memory.zswap.writeback": "1\n", "memory.events": EVENTS,
    "memory.pressure": PSI, "memory.stat": "".join(f"{key} 67108864\n" for key in STAT),
    "memory.reclaim": "", WB: "",
}  # fmt: skip
MACHINE: dict[str, str] = {
    "cgroup/cgroup.controllers": "memory\n",
    "proc/uptime": "90000.00 180000.00\n",
    "proc/sys/kernel/osrelease": "6.12.117-test\n",
    "proc/pressure/memory": PSI,
    "proc/self/cgroup": "0::/system.slice/zswap-gym.service\n",
    "proc/swaps": f"{SWAPS}/dev/vda2 partition 8388604 0 -2\n",
    "proc/meminfo": "".join(
        f"{name}: {size} kB\n"
        for name, size in {
            "MemTotal": 16384000, "MemFree": 4096000, "SwapTotal": 8388604, "SwapFree": 8000000,
            "Zswap": 65536, "Zswapped": 196608,
        }.items()
    ),
    **{
        f"sys/module/zswap/parameters/{name}": f"{value}\n"
        for name, value in {
            "enabled": "Y", "max_pool_percent": 20, "shrinker_enabled": "N", "compressor": "zstd"
        }.items()
    },
}  # fmt: skip

Host = Callable[..., Path]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """``host(without=..., settings, **files)``: a machine that lacks nothing, changed; its config.

    The cgroups are web and db. Files are named by their path, ``without`` lists what is taken away.
    """

    def make(files: dict[str, str] | None = None, without: tuple[str, ...] = (), **settings: Any) -> Path:
        tree = {f"cgroup/{name}/{file}": text for name in ("web", "db") for file, text in CGROUP.items()}
        tree |= MACHINE | (files or {})
        for name, text in tree.items():
            if not any(Path(name).match(pattern) for pattern in without):
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_text(text)
        config = {
            "cgroups": ["*"],
            "law": "fixed_age(age_s=600, max_bytes=8M)",
            "log": str(tmp_path / "log.jsonl"),
            **{f"{root}_root": str(tmp_path / root) for root in ("cgroup", "proc", "sys")},
        }
        path = tmp_path / "controller.yaml"
        path.write_text(yaml.safe_dump(config | settings))
        return path

    return make


def stat_without(*prefixes: str) -> str:
    return "".join(f"{key} 67108864\n" for key in STAT if not key.startswith(prefixes))


OLD_STAT = stat_without("zswap", "zswp")
STOCK_STAT = stat_without("zswpwb_proactive")
PARAMETERS = "sys/module/zswap/parameters"
INNER = {f"cgroup/web/inner/{file}": text for file, text in CGROUP.items()}
PULSED: dict[str, Any] = {"dialect": "stock-pulse", "state": "state.json"}

# gap: (what makes it, the cgroups that have it)
MADE: dict[str, tuple[dict[str, Any], list[str]]] = {
    "own-cgroup-unknown": ({"without": ("self/cgroup",)}, []),
    "no-psi": ({"without": ("pressure/memory", "memory.pressure")}, []),
    "no-zswap": ({"without": ("parameters/*",)}, []),
    "zswap-off": ({"files": {f"{PARAMETERS}/enabled": "N\n"}}, []),
    "shrinker-on": ({"files": {f"{PARAMETERS}/shrinker_enabled": "Y\n"}}, []),
    "no-counters": (
        {"files": dict.fromkeys(("cgroup/web/memory.stat", "cgroup/db/memory.stat"), OLD_STAT)}, []),
    "no-swap": ({"files": {"proc/swaps": SWAPS}}, []),
    "swap-is-zram": ({"files": {"proc/swaps": f"{SWAPS}/dev/zram0 partition 8388604 0 100\n"}}, []),
    "swap-is-rotational": (
        {"files": {"proc/swaps": f"{SWAPS}/dev/sda2 partition 8388604 0 -2\n",
                   "sys/block/sda/queue/rotational": "1\n"}}, []),
    "no-writeback": (
        {"without": (WB,),
         "files": dict.fromkeys(("cgroup/web/memory.stat", "cgroup/db/memory.stat"), STOCK_STAT)}, []),
    "no-pulses": (PULSED | {"without": ("parameters/shrinker_enabled",)}, []),
    "pulses-refused": (PULSED | {"files": {f"{PARAMETERS}/shrinker_enabled": "Y\n"}}, []),
    "no-cgroups": ({"cgroups": ["nosuch"]}, []),
    "unreadable": ({"files": {"cgroup/db/memory.current": "much\n"}}, ["db"]),
    "is-own": ({"files": {"proc/self/cgroup": "0::/web\n"}}, ["web"]),
    "writeback-off": ({"files": {"cgroup/db/memory.zswap.writeback": "0\n"}}, ["db"]),
    "no-reclaim": ({"without": ("web/memory.reclaim",)}, ["web"]),
    "no-cgroup-pressure": ({"without": ("web/memory.pressure",)}, ["web"]),
    "no-cgroup-counters": ({"files": {"cgroup/db/memory.stat": OLD_STAT}}, ["db"]),
    "contains-others": ({"files": INNER}, ["web"]),
    "decided-at-two-levels": ({"files": INNER, "levels": "listed"}, ["web"]),
}  # fmt: skip


def test_a_machine_that_lacks_nothing_has_no_findings(cli, host: Host) -> None:
    status, out, err = cli("control", host(), "--check", "--json", "--mode", "act")
    told = json.loads(out)
    assert (status, err, told["findings"], told["may_run"]) == (0, "", [], True)
    facts = {name: fact["value"] for name, fact in told["facts"].items()}
    assert list(facts) == [f.name for f in FACTS]
    assert facts["kernel"] == "6.12.117-test"
    assert facts["own_cgroup"] == "system.slice/zswap-gym.service"
    assert facts["cgroups"] == ["db", "web"]
    assert (facts["dialect"], facts["has_age"], facts["counters"], facts["psi"]) == ("v1", True, True, True)
    assert (facts["zswap"], facts["compressor"], facts["shrinker"]) == (True, "zstd", False)
    assert (facts["pool_bytes"], facts["max_pool_percent"]) == (64 << 20, 20)
    assert told["facts"]["pool_bytes"]["unit"] == "B"


def test_every_gap_has_a_machine_here() -> None:
    assert [gap.name for gap in GAPS] == list(MADE)


@pytest.mark.parametrize("name", MADE)
def test_a_gap_is_named_in_json_table_run_and_log_alike(cli, host: Host, tmp_path: Path, name: str) -> None:
    changes, cgroups = MADE[name]
    path = host(**changes)
    status, out, err = cli("control", path, "--check", "--json")
    assert (status, err) == (0, "")
    found = {finding["name"]: finding for finding in json.loads(out)["findings"]}
    assert found[name]["cgroups"] == cgroups
    gap = next(gap for gap in GAPS if gap.name == name)
    assert gap.about in {f.name for f in FACTS}

    table = " ".join(cli("control", path, "--check")[1].split())
    for cell in ("what", "consequence", "remedy"):
        words = {word for word in found[name][cell].split() if "/" not in word}  # paths are folded
        assert words <= set(table.split()), cell
    assert not (tmp_path / "log.jsonl").exists()  # a check leaves nothing behind

    _, out, err = cli("control", path, "--decisions", "1", "--json")
    (line,) = [line for line in err.splitlines() if found[name]["what"] in line]
    assert found[name]["consequence"] in line
    assert err.count("control --check says what to do") == 1
    kinds = [record["kind"] for record in read_log(tmp_path / "log.jsonl")]
    assert kinds[:2] == ["start", "survey"]
    (survey,) = [record for record in read_log(tmp_path / "log.jsonl") if record["kind"] == "survey"]
    assert survey["findings"] == json.loads(out)["findings"] == list(found.values())
    assert replay(tmp_path / "log.jsonl").mismatches == []


@pytest.mark.parametrize("name", ["own-cgroup-unknown", "no-psi"])
def test_acting_with_a_blind_rail_is_refused_unless_the_config_says_so(
    cli, host: Host, tmp_path: Path, name: str
) -> None:
    path = host(**MADE[name][0])
    for args in (("--check", "--json"), ("--decisions", 1)):
        status, out, err = cli("control", path, "--mode", "act", *args)
        assert (status, err.count("\n")) == (2, 1)
        assert "mode act does not start" in err
        assert {"no-psi": "set psi: ignore", "own-cgroup-unknown": "set own_cgroup: PATH"}[name] in err
    assert out == ""
    assert list(tmp_path.glob("*log.jsonl*")) == list(tmp_path.glob(".*log.jsonl*")) == []
    assert cli("control", path, "--decisions", 1)[0] == 0  # observing is no danger
    waiver = {"no-psi": {"psi": "ignore"}, "own-cgroup-unknown": {"own_cgroup": "web"}}[name]
    path = host(**MADE[name][0], **waiver)
    status, out, _ = cli("control", path, "--check", "--json", "--mode", "act")
    assert (status, json.loads(out)["may_run"]) == (0, True)
    assert cli("control", path, "--mode", "act", "--decisions", 1, "--json")[0] == 0


def test_observing_and_checking_write_to_no_file_of_a_stock_host(cli, host: Host, tmp_path: Path) -> None:
    path = host(**MADE["no-writeback"][0])
    roots = [tmp_path / root for root in ("cgroup", "proc", "sys")]
    before = {file: file.read_bytes() for root in roots for file in root.rglob("*") if file.is_file()}
    cli("control", path, "--check")
    cli("control", path, "--decisions", 1)
    assert {file: file.read_bytes() for root in roots for file in root.rglob("*") if file.is_file()} == before


def test_a_kernel_that_cannot_write_back_is_asked_for_releases(cli, host: Host, tmp_path: Path) -> None:
    path = host(**MADE["no-writeback"][0])
    _, out, _ = cli("control", path, "--decisions", 1, "--json")
    (decision,) = [r for r in read_log(tmp_path / "log.jsonl") if r.get("cgroup") == "web"]
    assert decision["proposed"] == {"age_s": 600, "max_bytes": 8 << 20, "release_bytes": None}
    assert decision["allowed"] == {"age_s": None, "max_bytes": 0, "release_bytes": 8 << 20}
    assert json.loads(out)["cgroups"]["web"]["held_back_by"] == {"no writeback": 1}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"law": "never"}, "not wanted"),
        ({"law": "never", **MADE["no-counters"][0]}, "no counters"),
        ({"law": "never",
          "files": {"cgroup/web/memory.stat": stat_without("zswap") + "zswap 0\nzswapped 0\n"}},
         "nothing in zswap"),
        (MADE["writeback-off"][0] | {"files": {"cgroup/web/memory.zswap.writeback": "0\n"}},
         "writeback-disabled"),
        (MADE["no-psi"][0], "psi"),
        (MADE["is-own"][0], "own-cgroup"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_round_in_which_nothing_is_asked_for_has_a_reason(
    cli, host: Host, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    path = host(**changes)
    _, out, _ = cli("control", path, "--decisions", 1, "--json")
    assert json.loads(out)["cgroups"]["web"]["nothing_because"] == {reason: 1}
    (decision,) = [r for r in read_log(tmp_path / "log.jsonl") if r.get("cgroup") == "web"]
    assert decision["allowed"] is None
    assert decision["reasons"][-1].startswith(f"{reason}:")
    assert f"{reason} x1" in " ".join(cli("control", path, "--decisions", 1)[1].split())


def test_a_simulated_machine_is_checked_too(cli, tmp_path: Path) -> None:
    config = {"host": {"kind": "simulated", "scenario": "demo-test"}, "cgroups": ["*"]}
    (tmp_path / "simulated.yaml").write_text(yaml.safe_dump(config))
    status, out, err = cli("control", "simulated.yaml", "--check", "--json")
    told = json.loads(out)
    assert (status, err, told["findings"]) == (0, "", [])
    assert told["facts"]["dialect"]["value"] == "v1"
