"""The loop over fixture trees and a clock that can be turned: cadence, modes, logs, signals."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from zswap_gym.controller.config import ControllerConfig
from zswap_gym.controller.decisions import read_log
from zswap_gym.controller.lock import alone
from zswap_gym.controller.loop import Controller
from zswap_gym.controller.replay import replay
from zswap_gym.controller.state import Breaker, CgroupState
from zswap_gym.errors import UserError
from zswap_gym.host.linux import LinuxHost
from zswap_gym.host.types import NOTHING, Outcome, Request, Sample

Make = Callable[..., Sample]
MIB = 1 << 20
ASK = Request(300.0, 4 * MIB)
WB, RECLAIM = "memory.zswap.proactive_writeback", "memory.reclaim"
ROOT = Path(__file__).parents[2]


class Always:
    """Proposes the same for everybody."""

    name = "always"

    def __init__(self, request: Request = ASK) -> None:
        self.request = request

    def decide(self, samples: Sequence[Sample], dt_s: float) -> list[Request]:  # noqa: ARG002
        return [self.request] * len(samples)

    def asked(self, inode: int, request: Request) -> None:
        """It does not remember."""

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}


class TurnedHost:
    """A host whose clock moves when it sleeps, and by ``takes_s`` when it is read."""

    page_size = 4096

    def __init__(self, sample: Sample) -> None:
        self.time_s = 1000.0
        self.takes_s: list[float] = []
        self.read_at: list[float] = []
        self.submitted: list[tuple[str, Request]] = []
        self.ended: list[tuple[str, Outcome]] = []
        self.boot_id = "first"
        self.busy = False
        self.broken = False
        self._sample = sample

    def cgroups(self) -> list[str]:
        return ["web"]

    def sample(self) -> list[Sample]:
        self.read_at.append(self.time_s)
        if self.broken:
            raise UserError("/proc/meminfo, line 1: 'x' is not a line of meminfo")
        found = [replace(self._sample, time_s=self.time_s)]
        self.time_s += self.takes_s.pop(0) if self.takes_s else 0.0
        return found

    def has_age(self, cgroup: str) -> bool:  # noqa: ARG002
        return True

    def submit(self, cgroup: str, request: Request) -> bool:
        if not self.busy:
            self.submitted.append((cgroup, request))
        return not self.busy

    def outcomes(self) -> list[tuple[str, Outcome]]:
        ended, self.ended = self.ended, []
        return ended

    def now(self) -> float:
        return self.time_s

    def sleep(self, seconds: float) -> None:
        self.time_s += seconds

    def notes(self) -> list[str]:
        return []


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., ControllerConfig]:
    def make(**changes: Any) -> ControllerConfig:
        mapping = {
            "mode": "act",
            "cgroups": ["*"],
            "interval": 10,
            "log": str(tmp_path / "log.jsonl"),
        } | changes
        return ControllerConfig.from_mapping(mapping)

    return make


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def turned(sample: Make) -> TurnedHost:
    return TurnedHost(sample())


def records(config: ControllerConfig, kind: str) -> list[dict[str, Any]]:
    assert config.log is not None
    return [record for record in read_log(config.log) if record["kind"] == kind]


def contents(tree: Path) -> dict[str, str]:
    return {
        str(path.relative_to(tree)): path.read_text() for path in sorted(tree.rglob("*")) if path.is_file()
    }


def linux(tree: Path, **options: Any) -> LinuxHost:
    """Every cgroup that matches, whatever it contains."""
    roots = {"proc_root": tree / "proc", "sys_root": tree / "sys"}
    return LinuxHost(tree / "cgroup", **{"levels": "listed", **roots, **options})


def move_on(tree: Path, time_s: float) -> None:
    (tree / "proc" / "uptime").write_text(f"{time_s:.2f} 0.00\n")


# --- cadence --------------------------------------------------------------------------------------


def test_ticks_come_at_a_fixed_cadence_without_drift(turned: TurnedHost, config, said: list[str]) -> None:
    turned.takes_s = [0.5, 3.0, 9.9, 0.1]
    Controller(turned, Always(NOTHING), config(), complain=said.append).run(ticks=6)
    assert turned.read_at == [1000.0, 1010.0, 1020.0, 1030.0, 1040.0, 1050.0]


def test_a_tick_that_overruns_skips_what_it_missed(turned: TurnedHost, config, said: list[str]) -> None:
    turned.takes_s = [0.0, 25.0, 0.0, 10.0, 0.0]
    Controller(turned, Always(NOTHING), config(), complain=said.append).run(ticks=5)
    assert turned.read_at == [1000.0, 1010.0, 1040.0, 1050.0, 1060.0]


def test_a_slow_reading_is_not_acted_on(turned: TurnedHost, config, said: list[str]) -> None:
    turned.takes_s = [12.0]
    Controller(turned, Always(), config(interval=60), complain=said.append).run(ticks=2)
    assert len(turned.submitted) == 1
    first, second = records(config(), "decision")
    assert first["reasons"] == ["stale: the sample is 12.0 s old"]
    assert second["reasons"] == []


# --- observe and act ------------------------------------------------------------------------------


def test_an_interval_the_policy_was_not_trained_at_is_said(
    turned: TurnedHost, config, said: list[str]
) -> None:
    class Trained(Always):
        def describe(self) -> dict[str, Any]:
            return {"name": "mine.npz", "interval_s": self.interval_s}

    for interval_s in (config().interval_s, 7.0):
        decider = Trained(NOTHING)
        decider.interval_s = interval_s
        Controller(turned, decider, config(), complain=said.append).run(1)
    assert [line.partition(" and is asked")[0] for line in said] == [
        "mine.npz was trained to decide every 7 s"
    ]
    assert said[0].endswith("set interval to 7s")
    assert [r["words"] for r in read_log(config().log) if r["kind"] == "note"] == said


def test_observe_is_the_default_and_writes_nothing(tree: Path, tmp_path: Path, said: list[str]) -> None:
    log = tmp_path / "seen.jsonl"
    config = ControllerConfig.from_mapping({"cgroups": ["*"], "log": str(log)})
    assert config.mode == "observe"
    before = contents(tree)
    controller = Controller(linux(tree), Always(), config, complain=said.append)
    (decision, *_) = controller.tick()
    assert decision.allowed == Request(300.0, 4 * MIB)
    time.sleep(0.05)
    assert contents(tree) == before
    assert {r["cgroup"] for r in records(config, "decision")} == {
        "web",
        "old",
        "batch.slice",
        "batch.slice/job1",
    }
    assert any("garbage" in words for words in said)


def test_observing_charges_budgets_as_acting_would(turned: TurnedHost, config, said: list[str]) -> None:
    plan = config(mode="observe", rails={"bytes_per_minute": "6M"})
    Controller(turned, Always(), plan, complain=said.append).run(ticks=3)
    assert [r["allowed"] and r["allowed"]["max_bytes"] for r in records(plan, "decision")] == [
        4 * MIB,
        2 * MIB,
        None,
    ]
    assert turned.submitted == []


def test_act_ends_in_the_files(tree: Path, config, said: list[str]) -> None:
    host = linux(tree)
    plan = config(cgroups=["web", "old", "batch.slice/*"], rails={"age_floor": 400})
    controller = Controller(host, Always(), plan, own="system.slice/zswap-gym.service", complain=said.append)
    controller.tick()
    time.sleep(0.2)
    move_on(tree, 172810.25)
    controller.judge.decider.request = NOTHING
    controller.tick()
    cgroup = tree / "cgroup"
    assert (cgroup / "web" / WB).read_text() == f"max={4 * MIB} 400\n"
    assert (cgroup / "web" / RECLAIM).read_text() == f"{4 * MIB}\n"
    assert (cgroup / "old" / RECLAIM).read_text() == f"{4 * MIB}\n"  # a stock kernel's cgroup
    for untouched in ("batch.slice", "batch.slice/job1", "garbage"):  # not allowed, or writeback off
        assert (cgroup / untouched / WB).read_text() == (cgroup / untouched / RECLAIM).read_text() == ""
    outcomes = {r["cgroup"]: r for r in records(plan, "outcome")}
    assert outcomes.keys() == {"web", "old"}
    assert outcomes["web"]["errno"] == outcomes["web"]["release_errno"] == "OK"
    assert outcomes["old"]["notes"] == ["stock kernel: no proactive writeback, release only"]
    reasons = {r["cgroup"]: r["reasons"] for r in records(plan, "decision") if r["tick"] == 1}
    assert reasons["web"] == ["age-floor: 300 s raised to 400 s"]
    assert reasons["batch.slice"] == ["allow-list: no pattern matches this cgroup"]
    assert any(words.startswith("writeback-disabled") for words in reasons["batch.slice/job1"])


def test_a_tree_whose_clock_stands_still_is_left_alone(tree: Path, config, said: list[str]) -> None:
    controller = Controller(linux(tree), Always(), config(cgroups=["web"]), complain=said.append)
    controller.tick()
    time.sleep(0.1)
    (tree / "cgroup" / "web" / WB).write_text("")
    controller.tick()
    time.sleep(0.1)
    assert (tree / "cgroup" / "web" / WB).read_text() == ""


def test_a_blocked_write_never_stalls_the_loop(tree: Path, config, said: list[str]) -> None:
    pipe = tree / "cgroup" / "web" / WB
    pipe.unlink()
    os.mkfifo(pipe)
    host = linux(tree, deadline_s=0.2)
    plan = config(cgroups=["web", "batch.slice"], rails={"bytes_per_minute": "1G"})
    controller = Controller(host, Always(), plan, complain=said.append)
    started = time.monotonic()
    for tick in range(4):
        move_on(tree, 172800.25 + tick)
        controller.tick()
        time.sleep(0.1)
    assert time.monotonic() - started < 20  # the pipe blocks for ever
    assert [r["cgroup"] for r in records(plan, "busy")] == ["web"] * 3
    assert [r["errno"] for r in records(plan, "outcome") if r["cgroup"] == "web"] == ["ETIMEDOUT"]
    assert (tree / "cgroup" / "batch.slice" / WB).read_text() == f"max={4 * MIB} 300\n"
    assert len([r for r in records(plan, "outcome") if r["cgroup"] == "batch.slice"]) == 3
    # What the kernel still holds stays charged; when it lets go, the charge is corrected.
    inode = (tree / "cgroup" / "web").stat().st_ino
    assert controller.judge.cgroups[inode].written_day.used(172803.25) == 4 * MIB
    threading.Thread(target=lambda: os.close(os.open(pipe, os.O_RDONLY))).start()
    time.sleep(0.1)
    move_on(tree, 172805.25)
    controller.tick()
    assert records(plan, "outcome")[-1]["cgroup"] in ("web", "batch.slice")
    late = [r for r in records(plan, "outcome") if "late" in r["notes"]]
    assert [r["inode"] for r in late if r["cgroup"] == "web"] == [inode]
    os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))


# --- trouble --------------------------------------------------------------------------------------


def test_what_cannot_be_logged_is_not_done(
    turned: TurnedHost, config, said: list[str], tmp_path: Path
) -> None:
    controller = Controller(turned, Always(), config(), complain=said.append)
    (tmp_path / "log.jsonl").mkdir()
    controller.tick()
    assert turned.submitted == []
    assert any("nothing is done this tick" in words for words in said)
    (tmp_path / "log.jsonl").rmdir()
    turned.sleep(10)
    controller.tick()
    assert len(turned.submitted) == 1


def test_a_log_that_cannot_be_written_is_said_at_once(turned: TurnedHost, config, said: list[str]) -> None:
    plan = config(log="/no/such/folder/log.jsonl")
    with pytest.raises(UserError, match="name another file under log"):
        Controller(turned, Always(), plan, complain=said.append).run(ticks=1)
    assert turned.read_at == []


def test_what_cannot_be_read_is_noted_and_the_loop_goes_on(
    turned: TurnedHost, config, said: list[str]
) -> None:
    controller = Controller(turned, Always(), config(), complain=said.append)
    turned.broken = True
    assert controller.tick() == []
    turned.broken = False
    turned.sleep(10)
    assert len(controller.tick()) == 1
    (note,) = records(config(), "note")
    assert note["words"].startswith("nothing was read: /proc/meminfo, line 1")


def test_a_busy_cgroup_is_not_charged(turned: TurnedHost, config, said: list[str]) -> None:
    controller = Controller(turned, Always(), config(), complain=said.append)
    turned.busy = True
    controller.tick()
    assert controller.judge.cgroups[7].written_day.used(1000.0) == 0
    assert [r["inode"] for r in records(config(), "busy")] == [7]


def test_an_outcome_corrects_the_charge(turned: TurnedHost, config, said: list[str]) -> None:
    controller = Controller(turned, Always(), config(), complain=said.append)
    controller.tick()
    assert controller.judge.host_day.used(1000.0) == 4 * MIB
    turned.ended = [("web", Outcome(pages=256, bytes=MIB))]
    turned.sleep(10)
    controller.judge.decider.request = NOTHING  # type: ignore[attr-defined]
    controller.tick()
    assert controller.judge.host_day.used(1010.0) == MIB


def test_what_was_released_stands_beside_what_was_asked(turned: TurnedHost, config, said: list[str]) -> None:
    controller = Controller(turned, Always(), config(), complain=said.append)
    controller.tick()
    turned.ended = [("web", Outcome(pages=256, bytes=MIB, released_bytes=3 * MIB))]
    turned.sleep(10)
    controller.tick()
    (outcome,) = records(config(), "outcome")
    assert outcome["asked"] == {"age_s": 300, "max_bytes": 4 * MIB, "release_bytes": None}
    assert (outcome["bytes"], outcome["released_bytes"]) == (MIB, 3 * MIB)
    assert controller.judge.cgroups[7].released_minute.used(1000.0) == 7 * MIB  # 4 of it run still


def test_a_cgroup_of_which_nothing_comes_is_asked_more_and_more_rarely(
    turned: TurnedHost, config, said: list[str]
) -> None:
    class Empty(TurnedHost):
        def outcomes(self) -> list[tuple[str, Outcome]]:
            ended = [("web", Outcome(errno.EAGAIN, release_errno=errno.EAGAIN))] * len(self.submitted)
            self.submitted.clear()
            return ended

    host = Empty(turned.sample()[0])
    Controller(host, Always(), config(), complain=said.append).run(ticks=16)
    decisions = records(config(), "decision")
    assert [r["tick"] for r in decisions if r["allowed"]] == [1, 3, 7, 15]
    assert {r["reasons"][0].split(":")[0] for r in decisions if not r["allowed"]} == {"backing off"}
    assert len(records(config(), "outcome")) == 4
    again = replay(config().log, lambda _: Always())
    assert (again.decisions, again.mismatches) == (16, [])


def test_an_age_that_nothing_has_reached_is_not_asked_for(
    turned: TurnedHost, config, said: list[str]
) -> None:
    turned.has_age = lambda _: False  # type: ignore[method-assign]
    Controller(turned, Always(Request(1e6, MIB, 0)), config(), complain=said.append).run(ticks=2)
    assert turned.submitted == []
    assert [r["reason"] for r in records(config(), "unasked")] == [
        "too young: nothing in zswap is 1e+06 s old"
    ] * 2
    assert replay(config().log, lambda _: Always(Request(1e6, MIB, 0))).mismatches == []


# --- the end --------------------------------------------------------------------------------------


class Slow(TurnedHost):
    """Every request ends ``write_s`` after it was handed over, having written nothing."""

    write_s = 2.0

    def submit(self, cgroup: str, request: Request) -> bool:
        self.ends_at = self.time_s + self.write_s
        return super().submit(cgroup, request)

    def outcomes(self) -> list[tuple[str, Outcome]]:
        if self.submitted and self.time_s >= self.ends_at:
            return [(self.submitted.pop()[0], Outcome(errno.EAGAIN))]
        return []


def test_the_last_rounds_outcomes_are_waited_for_and_settled(
    turned: TurnedHost, config, said: list[str], tmp_path: Path
) -> None:
    host = Slow(turned.sample()[0])
    plan = config(state=str(tmp_path / "state.json"))
    Controller(host, Always(), plan, complain=said.append).run(ticks=1)
    assert 1002.0 <= host.time_s < 1002.1
    assert [(r["tick"], r["errno"]) for r in records(plan, "outcome")] == [(1, "EAGAIN")]
    assert said == []
    saved = json.loads((tmp_path / "state.json").read_text())
    (state,) = saved["cgroups"].values()
    assert (
        state["written_day"]["spent"] == state["released_minute"]["spent"] == saved["host_day"]["spent"] == []
    )
    assert state["charged"] is None
    assert replay(plan.log, lambda _: Always()).mismatches == []


def test_the_wait_at_the_end_is_bounded_by_the_deadline(turned: TurnedHost, config, said: list[str]) -> None:
    host = Slow(turned.sample()[0])
    host.write_s = 1e9
    Controller(host, Always(), config(deadline=7), complain=said.append).run(ticks=1)
    assert 1007.0 <= host.time_s < 1007.1
    assert said == ["stopped while writes were running in web"]


# --- restarts -------------------------------------------------------------------------------------


def test_budgets_survive_a_restart(turned: TurnedHost, config, said: list[str], tmp_path: Path) -> None:
    plan = config(state=str(tmp_path / "state.json"), rails={"bytes_per_day": "6M"})
    Controller(turned, Always(), plan, complain=said.append).run(ticks=1)
    turned.sleep(120)
    Controller(turned, Always(), plan, complain=said.append).run(ticks=1)
    assert [request.max_bytes for _, request in turned.submitted] == [4 * MIB, 2 * MIB]
    turned.time_s = 5.0  # the machine booted
    Controller(turned, Always(), plan, complain=said.append).run(ticks=1)
    assert turned.submitted[-1][1].max_bytes == 4 * MIB
    assert f"{plan.state}: the machine booted since; budgets and breakers start afresh" in said


def test_a_state_file_of_another_boot_is_dropped_and_that_is_said(
    turned: TurnedHost, config, said: list[str], tmp_path: Path
) -> None:
    """Saved 60 s after an earlier boot, read 1000 s after this one: the inode is another cgroup's."""
    plan = config(state=str(tmp_path / "state.json"))
    turned.time_s = 60.0
    controller = Controller(turned, Always(), plan, complain=said.append)
    controller.judge.cgroups[7] = CgroupState(breaker=Breaker("open", 50.0, 4800.0), now_s=50.0)
    controller.run(ticks=1)
    assert turned.submitted == []  # frozen
    turned.time_s, turned.boot_id = 1000.0, "second"
    Controller(turned, Always(), plan, complain=said.append).run(ticks=1)
    assert [request for _, request in turned.submitted] == [ASK]
    words = f"{plan.state}: it was saved in another boot; budgets and breakers start afresh"
    assert words in said
    assert words in [record["words"] for record in records(plan, "note")]
    turned.sleep(120)
    Controller(turned, Always(), plan, complain=said.append).run(ticks=1)  # the same boot: taken up
    assert said.count(words) == 1


@pytest.mark.parametrize(("saved_ago_s", "taken"), [(940.0, True), (0.0, False), (86400.0, False)])
def test_a_state_file_that_names_no_boot_must_be_as_old_as_it_says(
    turned: TurnedHost, config, said: list[str], tmp_path: Path, saved_ago_s: float, taken: bool
) -> None:
    path = tmp_path / "state.json"
    plan = config(state=str(path))
    turned.time_s = 60.0
    Controller(turned, Always(), plan, complain=said.append).run(ticks=1)
    old = json.loads(path.read_text())
    del old["boot_id"]
    path.write_text(json.dumps(old))
    os.utime(path, (time.time() - saved_ago_s,) * 2)
    turned.time_s = 1000.0
    controller = Controller(turned, Always(), plan, complain=said.append)
    controller.run(ticks=1)
    assert (controller.judge.host_day.used(1000.0) == 8 * MIB) == taken
    assert any("does not say in which boot it was saved" in words for words in said) == (not taken)


def test_a_state_file_that_is_none_is_said(
    turned: TurnedHost, config, said: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "state.json"
    for text in ("{", "[]", '{"time_s": 3}'):
        path.write_text(text)
        with pytest.raises(UserError, match="not a state file"):
            Controller(turned, Always(), config(state=str(path)), complain=said.append).run(ticks=1)


# --- stopping -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_loop_cleanly(turned: TurnedHost, config, said: list[str], number: int) -> None:
    before = signal.getsignal(number)
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        turned.time_s += seconds
        if len(naps) == 3:
            signal.raise_signal(number)

    turned.sleep = sleep  # type: ignore[method-assign]
    Controller(turned, Always(), config(), complain=said.append).run()
    assert naps == [1.0, 1.0, 1.0]
    assert len(turned.read_at) == 1
    assert signal.getsignal(number) is before
    assert any("stopped while writes were running in web" in words for words in said)


def test_it_runs_beside_the_main_thread_too(turned: TurnedHost, config, said: list[str]) -> None:
    controller = Controller(turned, Always(), config(), complain=said.append)
    thread = threading.Thread(target=controller.run)
    thread.start()
    controller.stop()
    thread.join(timeout=10)
    assert not thread.is_alive()


DAEMON = """
import sys
from zswap_gym.controller.config import ControllerConfig
from zswap_gym.controller.loop import Controller
from zswap_gym.host.linux import LinuxHost
from zswap_gym.host.types import Request

class Always:
    name = "always"
    def decide(self, samples, dt_s): return [Request(300.0, 1 << 20)] * len(samples)
    def asked(self, inode, request): pass
    def describe(self): return {"name": self.name}

tree, log = sys.argv[1:]
config = ControllerConfig.from_mapping({"mode": "act", "cgroups": ["web"], "interval": "1h", "log": log})
host = LinuxHost(tree + "/cgroup", proc_root=tree + "/proc", sys_root=tree + "/sys", patterns=config.cgroups)
Controller(host, Always(), config).run()
print("stopped")
"""


def test_sigterm_ends_the_process_even_with_a_write_stuck_in_the_kernel(tree: Path, tmp_path: Path) -> None:
    pipe = tree / "cgroup" / "web" / WB
    pipe.unlink()
    os.mkfifo(pipe)
    log = tmp_path / "daemon.jsonl"
    daemon = subprocess.Popen(
        [sys.executable, "-c", DAEMON, str(tree), str(log)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 30
        while not log.exists() or '"decision"' not in log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        daemon.send_signal(signal.SIGTERM)
        out, _ = daemon.communicate(timeout=10)
    finally:
        daemon.kill()
    assert (daemon.returncode, out) == (0, "stopped\n")
    assert json.loads(log.read_text().splitlines()[-1])["words"] == "stopped while writes were running in web"


# --- one at a time --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["observe", "act"])
@pytest.mark.parametrize("key", ["log", "state"])
def test_two_never_have_the_same_file(
    turned: TurnedHost, config, tmp_path: Path, key: str, mode: str
) -> None:
    shared = tmp_path / "shared"
    with alone([shared]):
        with pytest.raises(UserError, match="shared: another controller acts with it") as caught:
            Controller(turned, Always(), config(**{key: str(shared)}, mode=mode)).run(1)
        assert "\n" not in str(caught.value)
        assert turned.read_at == []
        assert not shared.exists()
    Controller(turned, Always(), config(**{key: str(shared)})).run(1)
    assert len(turned.submitted) == 1
