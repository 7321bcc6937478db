"""What tests call in the guest. Everything is told in JSON values."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from counters import CGROUPS, KNOB, knob, reclaim, stat, vmstat
from hogs import Hog, make_cgroup, remove

HOGS: dict[str, Hog] = {}
STATE = "/var/lib/zswap-gym/state.json"
sys.path.insert(0, "/opt/code")


def kernel() -> str:
    """The release."""
    return os.uname().release


def shell(line: str, timeout_s: float = 120.0) -> dict[str, Any]:
    """Run a line in the shell."""
    ran = subprocess.run(
        ["/bin/sh", "-c", line], capture_output=True, text=True, timeout=timeout_s, check=False
    )
    return {"rc": ran.returncode, "out": ran.stdout, "err": ran.stderr}


def read(path: str) -> str:
    """A file."""
    return Path(path).read_text(encoding="utf-8")


# --- memory ---------------------------------------------------------------------------------------


def fill(cgroup: str, batches: int, pages: int = 4096, resident: int = 0) -> dict[str, int]:
    """A cgroup with ``batches`` of so many pages in zswap, stored one after the other, and some resident."""
    if cgroup not in HOGS:
        HOGS[cgroup] = Hog(cgroup, batches * pages + resident)
    hog = HOGS[cgroup]
    for batch in range(batches):
        hog.do("fill", batch * pages, (batch + 1) * pages)
        reclaim(cgroup, pages * 4096)
    if resident:
        hog.do("fill", batches * pages, batches * pages + resident)
    return {"zswapped": stat(cgroup, "zswapped") // 4096, "anon": stat(cgroup, "anon") // 4096}


def touch(cgroup: str, command: str, first: int, end: int) -> dict[str, int]:
    """What a hog's command says."""
    return HOGS[cgroup].do(command, first, end)


def empty() -> None:
    """End all hogs and remove their cgroups; zswap's settings as at boot."""
    for hog in HOGS.values():
        hog.kill()
    for name in sorted(HOGS, reverse=True):
        remove(name)
    HOGS.clear()
    if KNOB.exists():
        KNOB.write_text("N")
    Path(f"{STATE}.pulse").unlink(missing_ok=True)


# --- the product ----------------------------------------------------------------------------------


def _host(patterns: list[str], state: str = STATE, **options: Any) -> Any:
    from zswap_gym.host.dialects import STOCK_PULSE
    from zswap_gym.host.linux import LinuxHost

    return LinuxHost(patterns=patterns, dialect=STOCK_PULSE, state=state, **options)


def _one(host: Any, cgroup: str, pages: int, release: int = 0) -> Any:
    from zswap_gym.host.types import Request

    assert host.submit(cgroup, Request(1.0, pages * 4096, release * 4096))
    while True:
        for _, outcome in host.outcomes():
            return outcome
        time.sleep(0.005)


def _break(pulser: Any, what: str | None) -> None:
    """Make a pulser wrong in one way, as a bug would."""
    if what == "writes-elsewhere":
        whole = pulser._shrink
        top = os.open(CGROUPS / next(iter(HOGS)).split("/")[0], os.O_RDONLY)
        pulser._shrink = lambda _, *rest: whole(top, *rest)
    elif what == "overshoots":
        watch = pulser._watch_until
        pulser._watch_until = lambda reclaim, enough: watch(reclaim, enough + 512)
    elif what == "leaves-the-knob-on":
        from zswap_gym.host import pulse

        pulse.put_back = lambda _: []


def pulses(
    asked: list[tuple[str, int]], release: bool = True, broken: str | None = None
) -> list[dict[str, Any]]:
    """Pulses one after the other, through LinuxHost: what each wrote, by the kernel's counters."""
    host = _host(sorted({cgroup for cgroup, _ in asked}))
    _break(host._pulser, broken)
    host.sample()
    told = []
    names = sorted(HOGS)
    for cgroup, pages in asked:
        host.sample()
        before = {name: stat(name, "zswpwb") for name in names}, vmstat("zswpwb")
        start = time.monotonic()
        outcome = _one(host, cgroup, pages, pages if release else 0)
        took = time.monotonic() - start
        wrote = {name: stat(name, "zswpwb") - before[0][name] for name in names}
        told.append(
            {
                "cgroup": cgroup, "asked": pages, "said": outcome.pages, "errno": outcome.errno,
                "notes": list(outcome.notes), "written": wrote.pop(cgroup),
                "elsewhere": sum(wrote.values()), "host": vmstat("zswpwb") - before[1],
                "released": outcome.released_bytes // 4096, "knob": knob(), "ms": round(took * 1e3, 1),
            }
        )  # fmt: skip
    return told


def broken_pulses(asked: list[tuple[str, int]], broken: str) -> list[dict[str, Any]]:
    """The same with a bug, in a process of its own."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with os.fdopen(write, "w") as file:
                json.dump(pulses(asked, release=False, broken=broken), file)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        told = json.load(file)
    os.waitpid(pid, 0)
    KNOB.write_text("N")
    return list(told)


def spoil(cgroup: str, how: str) -> None:
    """Make a condition of the pulse fail, or ("") hold again."""
    (CGROUPS / cgroup / "memory.zswap.writeback").write_text("0" if how == "writeback" else "1")
    above = CGROUPS / cgroup.split("/", maxsplit=1)[0] / "memory.zswap.writeback"
    above.write_text("0" if how == "writeback-above" else "1")
    KNOB.write_text("Y" if how == "shrinker" else "N")
    below = CGROUPS / cgroup / "below"
    if how == "leaf":
        below.mkdir()
    elif below.exists():
        below.rmdir()
    if how == "file":
        pid = os.fork()
        if pid == 0:
            (CGROUPS / cgroup / "cgroup.procs").write_text(str(os.getpid()))
            with Path("/dev/vda").open("rb") as disk:
                disk.seek(600 << 20)
                for _ in range(16):
                    disk.read(1 << 20)
            os._exit(0)
        os.waitpid(pid, 0)


# --- processes that die ---------------------------------------------------------------------------

_DAEMON = """
import sys
sys.path[:0] = ["/opt/code/inside"]
import checks
host = checks._host([{cgroup!r}])
host.sample()
print("ready", flush=True)
while True:
    host.sample()
    checks._one(host, {cgroup!r}, 1024, 0)
"""


def kill_daemon(cgroup: str, at: str, delay_ms: float, guard: bool = True) -> dict[str, Any]:
    """SIGKILL a pulsing process ``delay_ms`` after ``at``: note, knob or first-page. What is left behind.

    ``guard`` False: its guard is killed in the same moment, as when a whole service is.
    """
    daemon = subprocess.Popen(
        [sys.executable, "-c", _DAEMON.format(cgroup=cgroup)], stdout=subprocess.PIPE, start_new_session=True
    )
    assert daemon.stdout is not None
    daemon.stdout.readline()
    note = Path(f"{STATE}.pulse")
    before = stat(cgroup, "zswpwb")
    reached = {
        "note": note.exists,
        "knob": lambda: knob() == "Y",
        "first-page": lambda: knob() == "Y" and stat(cgroup, "zswpwb") > before,
    }[at]
    until = time.monotonic() + 30
    while not reached() and time.monotonic() < until:
        before = before if at == "first-page" and knob() == "Y" else stat(cgroup, "zswpwb")
    time.sleep(delay_ms / 1e3)
    written = stat(cgroup, "zswpwb")
    guards = _children(daemon.pid)
    daemon.kill()
    if not guard:
        for pid in guards:
            os.kill(pid, signal.SIGKILL)
    daemon.wait()
    time.sleep(0.7)
    return {
        "reached": time.monotonic() < until, "knob": knob(), "note": note.exists(), "guards": len(guards),
        "after": stat(cgroup, "zswpwb") - written,
    }  # fmt: skip


def _children(pid: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1]) == pid:
                found.append(int(folder.name))
        except OSError:
            continue
    return found


# --- the command ----------------------------------------------------------------------------------

COMMAND = f"{sys.executable} -m zswap_gym.cli"


def command(arguments: str, timeout_s: float = 120.0) -> dict[str, Any]:
    """zswap-gym, as on a host it is installed on, run in a cgroup of its own."""
    make_cgroup("sys/ctl")
    return shell(f"cd /run; echo 0 > {CGROUPS}/sys/ctl/cgroup.procs; exec {COMMAND} {arguments}", timeout_s)


def config(text: str, path: str = "/run/control.yaml") -> str:
    """Write a config."""
    Path(path).write_text(text, encoding="utf-8")
    return path


def run_and(config_path: str, seconds: float, meanwhile: str = "", signal_number: int = 15) -> dict[str, Any]:
    """Run the controller for a while, do something half-way, end it by a signal."""
    make_cgroup("sys/ctl")
    line = f"cd /run; echo 0 > {CGROUPS}/sys/ctl/cgroup.procs; exec {COMMAND} control {config_path} --json"
    before = {name: stat(name, "zswpwb") for name in HOGS}
    memory = {name: int(read(f"{CGROUPS}/{name}/memory.current")) for name in HOGS}
    daemon = subprocess.Popen(
        ["/bin/sh", "-c", line], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    time.sleep(seconds / 2)
    if meanwhile in HOGS:
        HOGS.pop(meanwhile).kill()
        remove(meanwhile)
    elif meanwhile:
        shell(meanwhile)
    time.sleep(seconds / 2)
    daemon.send_signal(signal_number)
    out, err = daemon.communicate(timeout=60)
    return {
        "rc": daemon.returncode, "out": out, "err": err, "knob": knob(),
        "written": {name: stat(name, "zswpwb") - before[name] for name in HOGS},
        "freed": {name: memory[name] - int(read(f"{CGROUPS}/{name}/memory.current")) for name in HOGS},
    }  # fmt: skip


def samples(cgroups: list[str]) -> dict[str, Any]:
    """Every field of a Sample between a raw read before and one after: {field: [before, sample, after]}."""
    from zswap_gym.host.types import COLUMNS

    host = _host(cgroups)
    host.sample()
    told: dict[str, Any] = {"outside": {}, "checked": 0}
    for name in cgroups:
        before = raw(name)
        sample = next(s for s in host.sample() if s.cgroup == name)
        after = raw(name)
        for field in COLUMNS:
            if field not in before or field not in after:
                continue
            told["checked"] += 1
            low, high = sorted((before[field], after[field]))
            if not low <= getattr(sample, field) <= high:
                told["outside"][f"{name} {field}"] = [before[field], getattr(sample, field), after[field]]
    return told


def raw(cgroup: str) -> dict[str, float]:
    """What the files say, read in the plainest way, by the names of a Sample's fields."""
    from dataclasses import fields

    from zswap_gym.host.types import Sample

    found: dict[str, float] = {}
    for field in fields(Sample):
        origin = str(field.metadata.get("file", ""))
        file, *keys = origin.split() or [""]
        if not file.startswith(("/", "memory.")):
            continue
        path = Path(file) if file.startswith("/") else CGROUPS / cgroup / file
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        if not keys:
            word = lines[0].split()[0]
            found[field.name] = float("inf") if word == "max" else float(word)
        elif "pressure" in file:
            line = next(line for line in lines if line.startswith(keys[0]))
            found[field.name] = float(dict(word.split("=") for word in line.split()[1:])[keys[1]])
        else:
            for line in lines:
                words = line.replace(":", " ").split()
                if words[0] == keys[0]:
                    found[field.name] = float(words[1]) * (1024 if words[2:] == ["kB"] else 1)
    return found


def replayed(path: str) -> dict[str, Any]:
    """What the replay of a decision log finds."""
    from zswap_gym.controller.replay import replay

    told = replay(path)
    return {"decisions": told.decisions, "mismatches": [str(m) for m in told.mismatches]}
