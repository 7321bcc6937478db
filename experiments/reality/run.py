"""The programs under the real controller: on Debian's kernel in QEMU, and their recordings in the model.

    python experiments/reality/run.py guest never tuned:aimd promotion.yaml --seconds 300 --repeats 3
    python experiments/reality/run.py model never tuned:aimd promotion.yaml --seconds 300 --repeats 3
    python experiments/reality/run.py scenario              # what `model` runs, for zswap-gym tune

A policy is a law, ``tuned:NAME``, a law's file, ``builtin:NAME`` or an exported policy (.npz). Both append to
runs.csv, a row per run and program. All programs are in one guest, side by side, each in a cgroup of its
own; the controller acts by stock-pulse and release, with the same config, in the guest and in the model.
"""

from __future__ import annotations

import argparse
import base64
import csv
import itertools
import json
import math
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from programs import LIMITS, PROGRAMS, RECLAIM_S, REDIS

from zswap_gym.controller.decisions import read_log, sample_of
from zswap_gym.host.types import Sample
from zswap_gym.law_file import law_file, read_spec

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "vm"))
RUNS = HERE.parents[1] / "runs" / "reality"

INTERVAL_S = 10
RATE = 128 << 10
"""What stage one reclaims of each program, bytes a second."""
START_S = 6.5
"""From ``go`` to the controller's first look, as it was in the guest: there Python takes so long to start."""
READY_S = 240
"""Of the guest's time, until memory is filled, and for the controller to end."""
WAIT_S = 3600.0
"""Of ours, for one answer: on a busy machine the guest's time goes slowly."""
GUEST_LOG = "/run/log.jsonl"
STATE = "/var/lib/zswap-gym/state.json"


@dataclass(frozen=True)
class Row:
    """What one run did to one program."""

    where: str
    policy: str
    run: int
    program: str
    seconds: float
    held_mib: float
    """memory.current, mean over time."""
    disk_reads: int
    """Pages."""
    written: int
    """Pages, zswpwb."""
    stored: int
    """Pages, zswpout."""
    loaded: int
    """Pages, zswpin."""
    minutes: int
    broken: int
    """Of these, as the controller counts them."""


# --- the controller -------------------------------------------------------------------------------


def law_keys(policy: str) -> dict[str, Any]:
    """The policy as keys of a controller's config; a file of a law is written out."""
    if policy.endswith(".npz") or policy.startswith("builtin:"):
        return {"policy": policy}
    file = law_file(policy) or law_file(str(HERE / policy))
    if file is None:
        return {"law": policy}
    spec = read_spec(file)
    return {"law": spec.pop("law"), "law_arguments": spec}


def config(policy: str, cgroups: list[str], log: str, state: str, **more: Any) -> str:
    """A controller's config (JSON is YAML). Ages of minutes are allowed, since runs last minutes; emulated
    pressure is many times a machine's.
    """
    rails = {
        "age_floor": "20s", "bytes_per_write": "4M", "bytes_per_minute": "16M", "psi_max_percent": 60,
    }  # fmt: skip
    keys = {
        "mode": "act", "interval": f"{INTERVAL_S}s", "cgroups": cgroups, "dialect": "stock-pulse",
        "log": log, "state": state, "rails": rails,
    }  # fmt: skip
    return json.dumps(keys | law_keys(policy) | more)


def rows(log: Path, where: str, policy: str, run: int) -> list[Row]:
    """What a decision log says of each program."""
    looks: dict[str, list[tuple[Sample, dict[str, Any]]]] = defaultdict(list)
    for record in read_log(log):
        if record["kind"] == "decision":
            looks[record["cgroup"]].append((sample_of(record), record))
    return [_row(name.rpartition("/")[2], seen, where, policy, run) for name, seen in sorted(looks.items())]


def _row(
    program: str, looks: Sequence[tuple[Sample, dict[str, Any]]], where: str, policy: str, run: int
) -> Row:
    samples = [sample for sample, _ in looks]
    first, last = samples[0], samples[-1]
    seconds = last.time_s - first.time_s
    held = sum(
        now.memory_current * (now.time_s - before.time_s) for before, now in itertools.pairwise(samples)
    )
    grown = {
        name: round(getattr(last, name) - getattr(first, name))
        for name in ("disk_reads", "zswpwb", "zswpout", "zswpin")
    }
    ended = looks[-1][1]
    return Row(
        where, policy, run, program, round(seconds, 1), round(held / max(seconds, 1e-9) / 2**20, 3),
        grown["disk_reads"], grown["zswpwb"], grown["zswpout"], grown["zswpin"],
        ended["minutes"], ended["broken_minutes"],
    )  # fmt: skip


# --- in the guest ---------------------------------------------------------------------------------


class Session:
    """The programs in a guest."""

    def __init__(self, guest: Any, programs: Sequence[str], thp: str) -> None:
        self._guest, self._programs = guest, programs
        guest.call("config", text=(HERE / "programs.py").read_text(encoding="utf-8"), path="/run/programs.py")
        self._shell(f"echo {thp} > /sys/kernel/mm/transparent_hugepage/enabled")
        # Files that all share are charged to whoever reads them first; let that be nobody's cgroup.
        self._shell("python3.11 -c 'import sqlite3, json, socket, random'; redis-server --version")
        self._shell("cd /sys/fs/cgroup; echo +memory > cgroup.subtree_control; mkdir -p app sys")
        self._shell("cd /sys/fs/cgroup; for c in app sys; do echo +memory > $c/cgroup.subtree_control; done")

    def _shell(self, line: str) -> str:
        return str(self._guest.call("shell", line=line, timeout_s=WAIT_S)["out"])

    def _wait(self, condition: str, seconds: float) -> bool:
        """Whether a shell's condition came true within so many of the guest's seconds."""
        wait = f"n=0; until {condition}; do n=$((n+1)); [ $n -gt 60 ] && exit 1; sleep 1; done"
        for _ in range(math.ceil(seconds / 60)):  # a call of the guest's may take two minutes
            if self._guest.call("shell", line=wait, timeout_s=WAIT_S)["rc"] == 0:
                return True
        return False

    def _start(self, cgroup: str, line: str, name: str) -> None:
        path = f"/sys/fs/cgroup/{cgroup}"
        self._shell(
            f"mkdir -p {path}; (echo 0 > {path}/cgroup.procs; cd /run; exec {line}) > /run/said-{name} 2>&1 &"
        )

    def begin(self) -> None:
        """Start all programs and wait until their memory is filled."""
        self._shell("rm -f /run/go /run/ready-* /run/late-*")
        wanted = 1
        for program in self._programs:
            for number, line in enumerate(PROGRAMS[program]):
                what, _, rest = line.format(folder="/run").partition(" ")
                cgroup = "sys/load" if what == "load" else f"app/{program}"
                command = f"python3.11 /run/programs.py {what} {rest}"
                if what == "redis":
                    command = REDIS.format(socket=rest, folder="/run")
                wanted += what != "redis"
                self._start(cgroup, command, f"{program}{number}")
            if program in LIMITS:
                self._shell(f"echo {LIMITS[program]} > /sys/fs/cgroup/app/{program}/memory.max")
        leaves = " ".join(f"/sys/fs/cgroup/app/{program}" for program in self._programs)
        self._start("sys/load", f"python3.11 /run/programs.py reclaim {leaves} --rate {RATE}", "reclaim")
        if not self._wait(f"[ $(ls /run | grep -c ready-) -ge {wanted} ]", READY_S):
            raise SystemExit(f"not all of {wanted} were ready: {self._shell('ls /run; cat /run/said-*')}")

    def control(self, policy: str, seconds: float) -> str:
        """Let them run, and the controller over them; its log."""
        if policy.endswith(".npz"):
            packed = base64.b64encode(Path(policy).read_bytes()).decode()
            unpack = (
                "import base64, sys; open('/run/policy.npz', 'wb').write(base64.b64decode(sys.stdin.read()))"
            )
            self._guest.call("config", text=packed, path="/run/policy.b64")
            self._shell(f'python3.11 -c "{unpack}" < /run/policy.b64')
            policy = "/run/policy.npz"
        self._shell(f"rm -f {GUEST_LOG} {STATE} {STATE}.pulse /run/ended")
        self._guest.call("config", text=config(policy, ["app/*"], GUEST_LOG, STATE), path="/run/c.yaml")
        rounds = math.ceil(seconds / INTERVAL_S) + 1
        line = f"python3.11 -m zswap_gym.cli control /run/c.yaml --decisions {rounds}"
        counters = "grep -E '^(pswpin|pswpout|zswpwb|zswpin) ' /proc/vmstat | tr '\\n' ' '"
        print(policy, "before:", self._shell(counters), flush=True)
        print("go at", self._shell("touch /run/go; cat /proc/uptime"), flush=True)
        self._start("sys/ctl", f"sh -c '{line}; touch /run/ended'", "control")
        if not self._wait("[ -e /run/ended ]", seconds + READY_S):
            raise SystemExit(f"the controller did not end: {self._shell('cat /run/said-control')}")
        print("after:", self._shell(counters), self._shell("grep . /run/late-*"), flush=True)
        return str(self._guest.call("read", path=GUEST_LOG))

    def end(self) -> None:
        """Kill them all; their memory goes with them."""
        self._shell("for c in app sys; do echo 1 > /sys/fs/cgroup/$c/cgroup.kill; done; sleep 2")
        self._shell("cd /sys/fs/cgroup; rmdir app/* sys/*")


def in_guest(args: argparse.Namespace) -> Iterator[tuple[str, int, Path]]:
    """Logs of all runs; policies in turn, so that what changes over time hits all alike."""
    from kernelvm.image import parts
    from kernelvm.machine import Guest

    with (
        tempfile.TemporaryDirectory() as folder,
        Guest(parts(args.kernel), Path(folder), own_time=True) as guest,
    ):
        session = Session(guest, args.programs, args.thp)
        for run in range(args.first, args.first + args.repeats):
            for policy in args.policies:
                session.begin()
                text = session.control(policy, args.seconds)
                session.end()
                log = RUNS / f"guest-{Path(policy).stem.replace(':', '-')}-{run}.jsonl"
                log.write_text(text, encoding="utf-8")
                yield policy, run, log


# --- in the model ---------------------------------------------------------------------------------


def scenario(programs: Sequence[str], seconds: float) -> dict[str, Any]:
    """The guest as a scenario, with the recordings for programs."""
    return {
        "name": "reality", "description": "recorded programs in the guest of experiments/reality",
        "dialect": "stock-pulse",
        "host": {"ram": "1G", "swap": "1G", "compressor": "zstd", "device": "nvme"},
        "stage_one": {"kind": "fixed", "rate": RATE, "interval": float(RECLAIM_S)},
        "cgroups": [
            {
                "name": name, "memory_max": LIMITS.get(name),
                "workload": {"trace": str(HERE / "recordings" / f"{name}.npz")},
            }
            for name in programs
        ],
        "episode": {
            "decision_interval": float(INTERVAL_S), "length": float(seconds), "warmup": float(START_S),
            "snapshots": 1,
        },
    }  # fmt: skip


def in_model(args: argparse.Namespace) -> Iterator[tuple[str, int, Path]]:
    """Logs of all runs, by the same controller over a simulated host; a run's number is its seed."""
    from zswap_gym.cli.control import read_config, run_controller

    file = RUNS / "scenario.yaml"
    file.write_text(json.dumps(scenario(args.programs, args.seconds)), encoding="utf-8")
    for run in range(args.first, args.first + args.repeats):
        for policy in args.policies:
            log = RUNS / f"model-{Path(policy).stem.replace(':', '-')}-{run}.jsonl"
            state = RUNS / "state.json"
            for path in (log, state):
                path.unlink(missing_ok=True)
            host = {"kind": "simulated", "scenario": str(file), "seed": run}
            settings = RUNS / "model.yaml"
            settings.write_text(config(policy, ["*"], str(log), str(state), host=host), encoding="utf-8")
            section, read = read_config(settings)
            run_controller(read, section, str(settings), math.ceil(args.seconds / INTERVAL_S) + 1)
            yield policy, run, log


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("where", choices=("guest", "model", "scenario"))
    parser.add_argument("policies", nargs="*", default=["never"])
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="number of the first run")
    parser.add_argument("--kernel", default="6.12")
    parser.add_argument(
        "--thp", default="never", help="transparent huge pages in the guest; Debian has always"
    )
    parser.add_argument("--out", type=Path, default=HERE / "runs.csv")
    args = parser.parse_args()
    RUNS.mkdir(parents=True, exist_ok=True)
    if args.where == "scenario":
        print(json.dumps(scenario(args.programs, args.seconds), indent=1))
        return
    for policy, run, log in (in_guest if args.where == "guest" else in_model)(args):
        append(args.out, rows(log, args.where, policy, run))


def append(path: Path, found: Sequence[Row]) -> None:
    """Add rows to a table, with its head where it is new."""
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        if new:
            writer.writeheader()
        writer.writerows(asdict(row) for row in found)
    for row in found:
        print(row, flush=True)


if __name__ == "__main__":
    main()
