"""Processes that hold memory in cgroups and touch it when they are told to."""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
import time
from pathlib import Path

from counters import CGROUPS, stat, vmstat

PAGE = 4096
ONE_PATTERN = b"\x5a" * 4
NOISE = os.urandom(1 << 20)
MCL_CURRENT = 1


def make_cgroup(name: str) -> Path:
    """A cgroup with the memory controller, and those above it."""
    folder = CGROUPS
    for part in Path(name).parts:
        (folder / "cgroup.subtree_control").write_text("+memory")
        folder /= part
        folder.mkdir(exist_ok=True)
    return folder


class Hog:
    """A child in a cgroup with ``pages`` of anonymous memory, ``share`` of each incompressible."""

    def __init__(self, cgroup: str, pages: int, share: float = 0.25) -> None:
        self.cgroup, self.pages = cgroup, pages
        make_cgroup(cgroup)
        down, self._down = os.pipe()
        self._up, up = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._down)
            os.close(self._up)
            try:
                _serve(cgroup, pages, share, down, up)
            finally:
                os._exit(0)
        os.close(down)
        os.close(up)

    def do(self, command: str, first: int, end: int) -> dict[str, int]:
        """fill, read or write the pages from ``first`` to before ``end``: faults and counters meanwhile."""
        os.write(self._down, f"{command} {first} {end}\n".encode())
        words = os.read(self._up, 4096).split()
        return dict(zip(("major", "minor", "zswpin", "pswpin"), map(int, words), strict=True))

    def kill(self) -> None:
        """End it and wait for it."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._down)
        os.close(self._up)


def _serve(cgroup: str, pages: int, share: float, down: int, up: int) -> None:
    (CGROUPS / cgroup / "cgroup.procs").write_text(str(os.getpid()))
    ctypes.CDLL(None).mlockall(MCL_CURRENT)  # its own pages stay, so that counts are those of the memory
    memory = mmap.mmap(-1, pages * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    noise = int(PAGE * share)
    rest = ONE_PATTERN * ((PAGE - noise) // 4)
    with os.fdopen(down) as commands:
        for line in commands:
            command, first, end = line.split()
            before, used = (
                (stat(cgroup, "zswpin"), vmstat("pswpin")),
                resource.getrusage(resource.RUSAGE_SELF),
            )
            for page in range(int(first), int(end)):
                at = page * PAGE
                if command == "fill":
                    start = page * 97 % (len(NOISE) - noise)
                    memory[at : at + PAGE] = NOISE[start : start + noise] + rest
                elif command == "write":
                    memory[at + 16] = (memory[at + 16] + 1) & 255
                else:
                    memory[at + 16]
            now = resource.getrusage(resource.RUSAGE_SELF)
            after = stat(cgroup, "zswpin"), vmstat("pswpin")
            told = (
                now.ru_majflt - used.ru_majflt, now.ru_minflt - used.ru_minflt,
                after[0] - before[0], after[1] - before[1],
            )  # fmt: skip
            os.write(up, " ".join(map(str, told)).encode())


def remove(name: str) -> None:
    """Remove an empty cgroup; what was charged to it may take a moment to go."""
    for _ in range(50):
        try:
            (CGROUPS / name).rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
