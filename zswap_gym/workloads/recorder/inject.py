"""Split and merge another process's VMAs by having it call madvise() itself (x86-64, ptrace).

``madvise(MADV_DONTDUMP)`` on every other chunk gives neighbours different flags, so that each chunk is a VMA
of its own (mm/madvise.c:madvise_update_vma()) and has its own ``Referenced:`` in /proc/PID/smaps;
``MADV_DODUMP`` over all makes them alike again and the kernel merges them. The calls run as a loop in one
page mapped for it and unmapped afterwards; no byte of the program is changed, and its main thread stands
still for about 2 us a chunk. Signals sent to it meanwhile wait in the kernel, blocked.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
from contextlib import suppress
from pathlib import Path
from typing import Self

from zswap_gym.errors import UserError
from zswap_gym.units import PAGE_SIZE

MADV_DONTDUMP, MADV_DODUMP = 16, 17
SEIZE, INTERRUPT, GETREGS, SETREGS, CONT, SINGLESTEP, DETACH = 0x4206, 0x4207, 12, 13, 7, 9, 17
GETSIGMASK, SETSIGMASK, SIGSET_BYTES = 0x420A, 0x420B, 8
WALL = 0x40000000
EVENT_STOP = 128
"""A stop for INTERRUPT or for job control, no signal of the program's own."""
FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS)
NOT_BLOCKED = (*FAULTS, signal.SIGTRAP)
"""A fault takes its handler away where it is blocked (kernel/signal.c:force_sig_info_to_task())."""
SYS_MMAP, SYS_MUNMAP = 9, 11
PROT_READ_EXEC, MAP_PRIVATE_ANONYMOUS = 5, 0x22
NAMES = (
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi",
    "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs",
)  # fmt: skip
# again: mov rdi,r12; mov rsi,r13; mov edx,ebx; mov eax,28 (madvise); syscall; add r12,r14; cmp r12,r15;
# jb again; int3. r12 address, r13 length, r14 stride, r15 end, ebx advice. Errors (a hole) are passed over.
LOOP = bytes.fromhex("4c89e7 4c89ee 89da b81c000000 0f05 4d01f4 4d39fc 72e9 cc")


class Regs(ctypes.Structure):
    """struct user_regs_struct."""

    _fields_ = [(name, ctypes.c_ulonglong) for name in NAMES]


class Tracee:
    """A process stopped in ``with``; it goes on afterwards where it was."""

    def __init__(self, pid: int) -> None:
        if platform.machine() != "x86_64":
            raise UserError(
                f"splitting VMAs is written for x86-64, this is {platform.machine()}; use --method pageout"
            )
        self.pid = pid
        self._ptrace = ctypes.CDLL(None, use_errno=True).ptrace
        self._ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        self._ptrace.restype = ctypes.c_long

    def _call(self, request: int, data: object = None, address: object = None) -> None:
        if self._ptrace(request, self.pid, address, data) < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"ptrace: {os.strerror(number).lower()}")

    def __enter__(self) -> Self:
        self._later: list[int] = []
        self._syscall_at = self._find_syscall()
        self._call(SEIZE)
        try:
            self._halt()
        except BaseException:
            with suppress(OSError):
                self._call(DETACH)  # or it would stand still for as long as its tracer lives
            raise
        return self

    def _halt(self) -> None:
        """Stop it, remember where it was and block its signals."""
        self._call(INTERRUPT)
        number, event = self._stopped()
        while event != EVENT_STOP:
            self._call(CONT, number)  # it is still its own program: let it have its signal
            number, event = self._stopped()
        self.saved = self.regs()
        self._mask = ctypes.c_uint64()
        self._call(GETSIGMASK, ctypes.addressof(self._mask), SIGSET_BYTES)
        blocked = ((1 << 64) - 1) & ~sum(1 << (number - 1) for number in NOT_BLOCKED)
        self._block(ctypes.c_uint64(self._mask.value | blocked))

    def __exit__(self, *_: object) -> None:
        try:
            self._set(self.saved)
            self._block(self._mask)
            self._call(DETACH)
        except OSError as error:
            if Path(f"/proc/{self.pid}").exists():
                raise UserError(f"PID {self.pid}: could not be let go ({error})") from None
        for number in self._later:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _block(self, mask: ctypes.c_uint64) -> None:
        """Set its mask of blocked signals.

        What is blocked waits in the kernel with all it carries, and SIGCONT and the stop signals still take
        each other back (kernel/signal.c:prepare_signal()). Caught here and sent again afterwards, a SIGTSTP
        could come after the SIGCONT that was to end it, and the program would stay stopped.
        """
        self._call(SETSIGMASK, ctypes.addressof(mask), SIGSET_BYTES)

    def regs(self) -> Regs:
        """Its registers."""
        regs = Regs()
        self._call(GETREGS, ctypes.addressof(regs))
        return regs

    def _set(self, regs: Regs) -> None:
        self._call(SETREGS, ctypes.addressof(regs))

    def _stopped(self) -> tuple[int, int]:
        """Wait for its next stop: (signal, event)."""
        _, status = os.waitpid(self.pid, WALL)
        if not os.WIFSTOPPED(status):
            raise UserError(f"PID {self.pid}: ended while it was being looked at")
        return os.WSTOPSIG(status), status >> 16

    def _go(self, request: int, until: int) -> None:
        """Let it run to the trap at ``until``, however often signals and job control stop it before."""
        own = 0
        while True:
            self._call(request, own)
            number, event = self._stopped()
            if event == 0 and number == signal.SIGTRAP and self.regs().rip == until:
                return
            if event == 0 and number in FAULTS:
                raise UserError(f"PID {self.pid}: cannot be made to call madvise; use --method pageout")
            own = 0
            if event == 0 and number == signal.SIGSTOP:
                # Takes effect at once, and lasts when it is let go (kernel/ptrace.c:__ptrace_unlink()).
                own = number
            elif event == 0:
                self._later.append(number)

    def _find_syscall(self) -> int:
        """Address of a ``syscall`` instruction in its own code."""
        with Path(f"/proc/{self.pid}/mem").open("rb", buffering=0) as memory:
            for line in Path(f"/proc/{self.pid}/maps").read_text().splitlines():
                span, mode = line.split()[:2]
                if "x" in mode and "r" in mode and "vsyscall" not in line:
                    start, end = (int(x, 16) for x in span.split("-"))
                    memory.seek(start)
                    at = memory.read(min(end - start, 8 << 20)).find(b"\x0f\x05")
                    if at >= 0:
                        return start + at
        raise UserError(f"PID {self.pid}: no syscall instruction found in its code; use --method pageout")

    def syscall(self, number: int, *arguments: int) -> int:
        """Have it make a system call; the result, negative for an error."""
        regs = Regs.from_buffer_copy(self.saved)
        regs.rip, regs.rax, regs.orig_rax = self._syscall_at, number, (1 << 64) - 1
        for name, value in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), arguments, strict=False):
            setattr(regs, name, value & ((1 << 64) - 1))
        self._set(regs)
        self._go(SINGLESTEP, self._syscall_at + 2)
        result: int = struct.unpack("q", struct.pack("Q", self.regs().rax))[0]
        return result

    def run(self, page: int, code: bytes, **registers: int) -> None:
        """Run code from a page of its own up to the int3 at its end."""
        with Path(f"/proc/{self.pid}/mem").open("r+b", buffering=0) as memory:
            memory.seek(page)
            memory.write(code)
        regs = Regs.from_buffer_copy(self.saved)
        regs.rip, regs.orig_rax = page, (1 << 64) - 1
        for name, value in registers.items():
            setattr(regs, name, value)
        self._set(regs)
        self._go(CONT, page + len(code))


def _advise(pid: int, runs: list[tuple[int, int, int, int, int]]) -> None:
    """Call madvise in the process: (start, length, stride, end, advice) each."""
    with Tracee(pid) as tracee:
        page = tracee.syscall(SYS_MMAP, 0, PAGE_SIZE, PROT_READ_EXEC, MAP_PRIVATE_ANONYMOUS, (1 << 64) - 1, 0)
        if -4096 < page < 0:
            raise UserError(f"PID {pid}: could not map a page in it ({os.strerror(-page).lower()})")
        try:
            for start, length, stride, end, advice in runs:
                tracee.run(page, LOOP, r12=start, r13=length, r14=stride, r15=end, rbx=advice)
        finally:
            tracee.syscall(SYS_MUNMAP, page, PAGE_SIZE)


def split(pid: int, areas: list[tuple[int, int]], chunk: int) -> None:
    """Make every ``chunk`` bytes of the areas a VMA of their own."""
    runs = []
    for start, end in areas:
        whole = start + (end - start) // chunk * chunk
        if whole - start > chunk:
            runs.append((start, chunk, 2 * chunk, whole, MADV_DONTDUMP))
    if runs:
        _advise(pid, runs)


def merge(pid: int, areas: list[tuple[int, int]]) -> None:
    """Make the areas dumpable throughout: the kernel merges what is alike."""
    if areas:
        _advise(pid, [(start, end - start, end - start, end, MADV_DODUMP) for start, end in areas])
