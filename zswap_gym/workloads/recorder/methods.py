"""Three ways to see what a program touches, and which of them this machine allows.

pageout     process_madvise(MADV_PAGEOUT) each interval; a page that is present again at the next look was
            read or written (mm/madvise.c:madvise_pageout(), kernel 5.10). 4 KiB pages, needs swap.
split       each chunk a VMA of its own (`inject`), then clear_refs and Referenced: of /proc/PID/smaps
            (fs/proc/task_mmu.c:clear_refs_write()). Needs ptrace and vm.max_map_count; no swap.
mglru       ages of a cgroup's pages from /sys/kernel/debug/lru_gen (mm/vmscan.c:lru_gen_seq_show()). Coarse.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zswap_gym.errors import UserError
from zswap_gym.units import PAGE_SIZE
from zswap_gym.workloads.recorder.guardian import ZRAM, Guardian
from zswap_gym.workloads.recorder.processes import Process

SYS_PROCESS_MADVISE, MADV_PAGEOUT = 440, 21
PAGE_CLUSTER, MAX_MAP_COUNT = Path("/proc/sys/vm/page-cluster"), Path("/proc/sys/vm/max_map_count")
MODULES = Path("/lib/modules")
LRU_GEN = Path("/sys/kernel/debug/lru_gen")
SPARE_MAPS = 65536
LEAST_SWAP = 2 << 30
"""zram allocates what is stored, not its size: room for a program that has yet to grow. In a full swap
device pages stay where they are and look touched at every look."""
SMAPS = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) |^Referenced: +(\d+)", re.MULTILINE)

Look = tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class Probe:
    """Whether a method works here, why not, and what it costs."""

    method: str
    problem: str
    """Empty where it works."""
    cost: str


class IoVec(ctypes.Structure):
    """struct iovec."""

    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class PageOut:
    """Send everything to swap, see what comes back."""

    name = "pageout"
    unit = PAGE_SIZE

    def __init__(self, guardian: Guardian, processes: Sequence[Process]) -> None:
        pages = sum(len(process.pages(process.areas())[0]) for process in processes)
        self.note = "no swap added"
        # Without readahead a fault brings back one page, not eight.
        guardian.ask("sysctl", path=str(PAGE_CLUSTER), value="0")
        if ZRAM.exists() or not _swap_there():
            size = max(LEAST_SWAP, 2 * pages * PAGE_SIZE)
            self.note = f"swap on {guardian.ask('zram', size=size)} while recording"
        self._libc = ctypes.CDLL(None, use_errno=True)

    def arm(self, process: Process) -> None:
        """Page everything out."""
        for start, end in process.areas():
            position = start
            while position < end:
                vector = IoVec(position, end - position)
                done = self._libc.syscall(
                    SYS_PROCESS_MADVISE,
                    process.pidfd,
                    ctypes.byref(vector),
                    ctypes.c_size_t(1),
                    MADV_PAGEOUT,
                    0,
                )
                if done <= 0:
                    number = ctypes.get_errno()
                    if number in _GONE:
                        raise ProcessLookupError(number, "gone")
                    if number in _FORBIDDEN:
                        raise UserError(
                            f"PID {process.pid}: process_madvise: {os.strerror(number).lower()}; run as root "
                            "or use --method split"
                        )
                    break  # part of the area cannot be paged out: locked, or just unmapped
                position += done

    def look(self, process: Process) -> Look:
        """(allocated page numbers, whether each was touched since it was armed)."""
        return process.pages(process.areas())


_GONE, _FORBIDDEN = {3}, {1, 13, 38}  # ESRCH; EPERM, EACCES, ENOSYS


class Split:
    """A VMA per chunk, so that the kernel's accessed bits can be read chunk by chunk."""

    name = "split"

    def __init__(self, guardian: Guardian, processes: Sequence[Process], chunk_pages: int) -> None:
        self.unit = chunk_pages * PAGE_SIZE
        self.note = f"VMAs split to {self.unit >> 10} KiB while recording"
        self._guardian = guardian
        maps = max(sum(b - a for a, b in process.areas()) // self.unit for process in processes)
        guardian.ask("sysctl", path=str(MAX_MAP_COUNT), value=str(2 * maps + SPARE_MAPS), at_least=True)

    def arm(self, process: Process) -> None:
        """Split what has grown, then clear all accessed bits."""
        large = [[a, b] for a, b in process.areas() if b - a >= 2 * self.unit]
        if large:
            self._guardian.ask("split", pid=process.pid, areas=large, chunk=self.unit)
        Path(f"/proc/{process.pid}/clear_refs").write_text("1")

    def look(self, process: Process) -> Look:
        """As PageOut; every allocated page of a touched chunk counts as touched."""
        content = Path(f"/proc/{process.pid}/smaps").read_bytes()
        start, end, hot = [], [], []
        for found in SMAPS.finditer(content):
            if found[1]:
                area = int(found[1], 16), int(found[2], 16)
            elif found[3] != b"0":
                start.append(area[0] // PAGE_SIZE)
                end.append(area[1] // PAGE_SIZE)
                hot.append(int(found[3]))
        pages, _ = process.pages(process.areas())
        if not start:
            return pages, np.zeros(len(pages), bool)
        at = np.searchsorted(start, pages, side="right") - 1
        return pages, (at >= 0) & (pages < np.array(end)[at])


def probe(processes: Sequence[Process]) -> list[Probe]:
    """What this machine allows, the best first. The list always has every method."""
    return [
        Probe(
            "pageout",
            _pageout_problem(),
            "the program waits 10 us per page it touches; reads and writes, 4 KiB",
        ),
        Probe(
            "split", _split_problem(processes), "a VMA per chunk: 1 s per 256 MiB and look; reads and writes"
        ),
        Probe("mglru", _mglru_problem(), "nothing for the program; ages per cgroup only, no pages"),
    ]


def choose(method: str, processes: Sequence[Process]) -> str:
    """The method to use: the one asked for, or the first that works.

    Raises:
        UserError: it does not work here, or none does; says why.
    """
    found = {probe.method: probe for probe in probe(processes)}
    if method != "auto":
        if found[method].problem:
            raise UserError(f"--method {method}: {found[method].problem}")
        return method
    for name in ("pageout", "split"):
        if not found[name].problem:
            return name
    reasons = "; ".join(f"{p.method}: {p.problem}" for p in found.values() if p.problem)
    raise UserError(f"no method to record pages works here ({reasons})")


def _swap_there() -> bool:
    return len(Path("/proc/swaps").read_text().splitlines()) > 1


def _pageout_problem() -> str:
    if os.geteuid() != 0:
        return "needs root to page another program out; run as root"
    if not (ZRAM.exists() or _swap_there() or MODULES.joinpath(os.uname().release).exists()):
        return "no swap, and no zram to make some of; add a swap device or use --method split"
    return ""


def _split_problem(processes: Sequence[Process]) -> str:
    if platform.machine() != "x86_64":
        return f"is written for x86-64, this is {platform.machine()}"
    if os.geteuid() != 0:
        return "needs root to raise vm.max_map_count; run as root"
    for process in processes:
        status = Path(f"/proc/{process.pid}/status").read_text()
        if (tracer := re.search(r"^TracerPid:\s*(\d+)", status, re.MULTILINE)) and tracer[1] != "0":
            return f"PID {process.pid} is being traced by PID {tracer[1]}; detach that first"
    return ""


def _mglru_problem() -> str:
    if not LRU_GEN.exists():
        return "no /sys/kernel/debug/lru_gen: the kernel has no MGLRU, or debugfs is not mounted"
    if not os.access(LRU_GEN, os.R_OK):
        return "/sys/kernel/debug/lru_gen cannot be read; run as root"
    return ""
