"""Record the programs of programs.py outside the guest, all at once, with the product's own recorder.

    python experiments/reality/record.py [--seconds 420] [--programs kv agent]     # root; recordings/NAME.npz

They run from the very packages of the guest (its redis-server, its Python), unpacked into the cache.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from programs import PROGRAMS, REDIS

from zswap_gym.workloads.recorder.processes import SLOT_BITS, open_process
from zswap_gym.workloads.recorder.session import record
from zswap_gym.workloads.recording_file import Recorded, save_recording

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "vm"))
INTERVAL_S = 2.0
SAMPLES = 8000
READY_S = 120


def start(tree: Path, line: str, folder: Path) -> subprocess.Popen[bytes]:
    """One line of PROGRAMS, with the guest's programs."""
    from kernelvm.image import tool

    what, *rest = shlex.split(line.format(folder=folder))
    if what == "redis":
        name, *words = shlex.split(REDIS.format(socket=rest[0], folder=folder))
    else:
        name, words = "python3.11", [str(HERE / "programs.py"), what, *rest, "--folder", str(folder)]
    home = {"PYTHONHOME": str(tree / "usr"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(tool(tree, name, *words), env=os.environ | home, stdout=subprocess.DEVNULL)  # noqa: S603


def part(whole: Recorded, slots: list[int], name: str) -> Recorded:
    """What a recording of several processes holds of those with these slots."""
    mine = np.isin(whole.vpn >> SLOT_BITS, slots)
    page, kind, size = whole.sizes
    measured = np.isin(page >> SLOT_BITS, slots)
    return replace(
        whole,
        name=name,
        vpn=whole.vpn[mine],
        touched=whole.touched[:, mine],
        allocated=whole.allocated[:, mine],
        sizes=(page[measured], kind[measured], size[measured]),
    )


def main() -> None:
    """One session."""
    from kernelvm.image import ROOT_PACKAGES
    from kernelvm.packages import Release, cache, unpack

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--seconds", type=float, default=420)
    parser.add_argument("--out", type=Path, default=HERE / "recordings")
    args = parser.parse_args()
    tree = unpack(Release("bookworm").closure(ROOT_PACKAGES), cache() / "programs")
    args.out.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        lines = [(name, line) for name in args.programs for line in PROGRAMS[name]]
        running = [(name, line, start(tree, line, folder)) for name, line in lines]
        try:
            until = time.monotonic() + READY_S
            wanted = sum(not line.startswith("redis") for _, line in lines)
            while len(list(folder.glob("ready-*"))) < wanted and time.monotonic() < until:
                time.sleep(0.2)
            watched = [(name, process.pid) for name, line, process in running if not line.startswith("load")]
            processes = [open_process(pid, slot) for slot, (_, pid) in enumerate(watched)]
            (folder / "go").touch()
            whole, troubles = record(
                processes, "pageout", interval_s=INTERVAL_S, duration_s=args.seconds, samples=SAMPLES
            )
            late = {path.name: path.read_text().strip() for path in folder.glob("late-*")}
        finally:
            for _, _, process in running:
                process.kill()
                process.wait()
    for name in args.programs:
        mine = part(whole, [slot for slot, (owner, _) in enumerate(watched) if owner == name], name)
        saved = save_recording(mine, args.out / f"{name}.npz")
        print(
            f"{name}: {mine.allocated[-1].sum() * 4 / 1024:.1f} MiB, {saved.stat().st_size >> 10} KiB, "
            f"{100 * mine.touched.sum(axis=1).mean() / len(mine.vpn):.1f} % touched a look"
        )
    print(*troubles, *(f"{name}: {seconds} s" for name, seconds in late.items()), sep="\n")


if __name__ == "__main__":
    main()
