"""The programs to record: found, checked, and their private anonymous memory read off /proc.

``/proc/PID/maps`` gives the areas, ``/proc/PID/pagemap`` (fs/proc/task_mmu.c:pagemap_read()) one 64-bit
word a page: bit 63 present, 62 swapped, 61 file or shared.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zswap_gym.errors import UserError
from zswap_gym.units import PAGE_SIZE

PROC = Path("/proc")
PRESENT, SWAPPED, FILE = (np.uint64(1) << np.uint64(bit) for bit in (63, 62, 61))
LARGEST_AREA = 64 << 30
"""Bigger areas are reservations (sanitizers, garbage collectors) with hardly a page in them."""
SLOT_BITS = 36
"""Virtual page numbers have 35 bits; a process's place in the recording stands above them."""


@dataclass
class Process:
    """One process under observation."""

    pid: int
    slot: int
    name: str
    pagemap: int = field(default=-1, repr=False)
    pidfd: int = field(default=-1, repr=False)

    def close(self) -> None:
        """Close what is open."""
        for descriptor in (self.pagemap, self.pidfd):
            if descriptor >= 0:
                os.close(descriptor)
        self.pagemap = self.pidfd = -1

    def areas(self) -> list[tuple[int, int]]:
        """(start, end) of its private, anonymous, readable memory. OSError when it is gone."""
        out = []
        for line in (PROC / str(self.pid) / "maps").read_text().splitlines():
            span, mode, _, _, inode, *rest = line.split(None, 5)
            start, end = (int(x, 16) for x in span.split("-"))
            name = rest[0] if rest else ""
            special = name.startswith("[v")  # vvar, vdso, vsyscall
            if (
                inode == "0"
                and not special
                and mode[0] == "r"
                and mode[3] == "p"
                and end - start <= LARGEST_AREA
            ):
                out.append((start, end))
        return out

    def pages(self, areas: list[tuple[int, int]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """(page numbers, present) of the allocated anonymous pages in some areas."""
        numbers, present = [], []
        for start, end in areas:
            words = self._words(start, end)
            here = np.flatnonzero((words & (PRESENT | SWAPPED) != 0) & (words & FILE == 0))
            numbers.append(here + start // PAGE_SIZE)
            present.append(words[here] & PRESENT != 0)
        if not numbers:
            return np.zeros(0, np.int64), np.zeros(0, bool)
        return np.concatenate(numbers).astype(np.int64), np.concatenate(present)

    def _words(self, start: int, end: int) -> npt.NDArray[np.uint64]:
        wanted, parts, offset = (end - start) // PAGE_SIZE * 8, [], start // PAGE_SIZE * 8
        while wanted > 0:
            part = os.pread(self.pagemap, min(wanted, 8 << 20), offset)
            if not part:
                break
            parts.append(part)
            wanted, offset = wanted - len(part), offset + len(part)
        return np.frombuffer(b"".join(parts), np.uint64)


def open_process(pid: int, slot: int = 0) -> Process:
    """The process, ready to be recorded.

    Raises:
        UserError: no such process, a zombie, a kernel thread, this process, no rights, or a machine whose
            pages are not of 4 KiB: its maps and pagemap count others than a recording does.
    """
    if os.sysconf("SC_PAGESIZE") != PAGE_SIZE:
        raise UserError(
            f"this machine's pages are {os.sysconf('SC_PAGESIZE') >> 10} KiB, a recording is of 4 KiB pages; "
            "record with DAMON and 'zswap-gym import', or on a machine with pages of 4 KiB"
        )
    status = _status(pid)
    name = status.get("Name", "?")
    who = f"PID {pid} ({name})"
    if status.get("State", "").startswith(("Z", "X")):
        raise UserError(f"{who}: has ended and only waits for its parent; name a running process")
    if "VmSize" not in status:
        raise UserError(f"{who}: a kernel thread has no memory of its own; name a program")
    if pid == os.getpid():
        raise UserError(f"{who}: is this recorder; name another process")
    process = Process(pid, slot, name)
    try:
        process.pagemap = os.open(PROC / str(pid) / "pagemap", os.O_RDONLY)
        process.areas()
        process.pidfd = os.pidfd_open(pid)
    except PermissionError:
        process.close()
        what = "it is protected even from root" if os.geteuid() == 0 else "run as root, or as its user"
        raise UserError(f"{who}: no rights to look into its memory; {what}") from None
    except OSError as error:
        process.close()
        raise UserError(f"{who}: cannot be looked at ({os.strerror(error.errno or 0).lower()})") from None
    return process


def _status(pid: int) -> dict[str, str]:
    if pid <= 0:
        raise UserError(f"PID {pid}: process numbers are above 0; see ps")
    try:
        text = (PROC / str(pid) / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        raise UserError(f"PID {pid}: no such process; it may have ended, see ps") from None
    except PermissionError:
        raise UserError(f"PID {pid}: no rights to look at it; run as root, or as its user") from None
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def processes_of(cgroup: Path) -> list[int]:
    """PIDs in a cgroup and below it.

    Raises:
        UserError: no such cgroup, or nobody in it.
    """
    if not (cgroup / "cgroup.procs").exists():
        raise UserError(f"{cgroup}: is no cgroup; give the folder of one, e.g. /sys/fs/cgroup/system.slice")
    found: set[int] = set()
    for file in [cgroup / "cgroup.procs", *cgroup.rglob("cgroup.procs")]:
        try:
            found |= {int(line) for line in file.read_text().split()}
        except OSError:
            continue  # it went away, or is threaded and its domain lists its processes
    return sorted(found - {0, os.getpid()})
