"""Record a sandbox while somebody wakes it at irregular times. See README.md.

    python experiments/sandboxes/record.py browser|python|node [--duration 330] [--interval 3] [--out FOLDER]

Needs root and a writable cgroup v2 tree (--cgroups). The sandbox lives in a cgroup of its own;
`zswap-gym record --cgroup` watches all its processes. Beside the recording a JSON file holds when it was
woken and how long each answer took.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from programs import SANDBOXES

CALLS = (1, 4)
"""Tool calls of one wake."""
THINK_S = 0.7
"""Mean time between two calls of one wake: the model reads the answer."""
IDLE_S = (12.0, 70.0)
"""Between two wakes, log-uniform: as long as a recording of minutes allows."""


def watch(sandbox: object, recorder: subprocess.Popen, rng: random.Random) -> list[dict[str, float]]:
    """Wake the sandbox until the recorder ends; when and for how long, seconds since the first arming."""
    begun = time.monotonic()
    woken = []
    while recorder.poll() is None:
        at = time.monotonic()
        if not woken:
            sandbox.start()
        calls = []
        for _ in range(rng.randint(*CALLS)):
            before = time.monotonic()
            sandbox.work(rng)
            calls.append(round(time.monotonic() - before, 3))
            time.sleep(rng.expovariate(1 / THINK_S))
        woken.append(
            {"at_s": round(at - begun, 2), "busy_s": round(time.monotonic() - at, 2), "calls_s": calls}
        )
        idle = IDLE_S[0] * (IDLE_S[1] / IDLE_S[0]) ** rng.random()
        until = time.monotonic() + idle
        while time.monotonic() < until and recorder.poll() is None:
            time.sleep(0.2)
    return woken


def main() -> None:
    """One recording."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sandbox", choices=SANDBOXES)
    parser.add_argument("--duration", type=float, default=330)
    parser.add_argument("--interval", type=float, default=3)
    parser.add_argument("--method", default="pageout")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument("--cgroups", type=Path, default=Path("/sys/fs/cgroup"))
    args = parser.parse_args()
    cgroup = args.cgroups / f"sandbox-{args.sandbox}-{os.getpid()}"
    home = args.cgroups / "cgroup.procs"
    cgroup.mkdir()
    try:
        (cgroup / "cgroup.procs").write_text(str(os.getpid()))  # children are born there
        sandbox = SANDBOXES[args.sandbox]()
        home.write_text(str(os.getpid()))
        recorder = subprocess.Popen(  # noqa: S603 - a fixed command
            [
                str(Path(sys.executable).with_name("zswap-gym")), "record", "--cgroup", str(cgroup),
                "--method", args.method, "--interval", f"{args.interval}s", "--duration", f"{args.duration}s",
                "-o", str(args.out / f"agent_{args.sandbox}.npz"),
            ]
        )  # fmt: skip
        try:
            time.sleep(args.interval)
            woken = watch(sandbox, recorder, random.Random(args.seed))
        except BaseException:
            recorder.send_signal(signal.SIGINT)
            raise
        finally:
            recorder.wait(60)
        (args.out / f"woken_{args.sandbox}.json").write_text(json.dumps(woken, indent=1) + "\n")
        sandbox.close()
    finally:
        time.sleep(0.5)
        cgroup.rmdir()


if __name__ == "__main__":
    main()
