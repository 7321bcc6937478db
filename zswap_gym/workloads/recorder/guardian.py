"""A second process that changes the system for the recorder and undoes it, whatever becomes of the recorder.

The recorder sends commands as JSON lines and gets one line back for each. When it says so, or when its end
of the pipe closes because it was killed, every change is taken back in reverse order. Signals meant for the
recorder's terminal do not reach it. So there is one way to undo, and it is always the same one.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from zswap_gym.errors import UserError
from zswap_gym.units import PAGE_SIZE

ZRAM = Path("/sys/class/zram-control")
PRIORITY = 32767
SWAP_FLAG_PREFER = 0x8000
SECONDS_TO_UNDO = 300.0
SECONDS_TO_SWAPOFF = 60.0


class Guardian:
    """The recorder's side: start it, ask it for changes, have them undone."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "zswap_gym.workloads.recorder.guardian"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._asked = 0

    def ask(self, op: str, **arguments: Any) -> Any:
        """Have a change made; what it returned. Raises :class:`UserError` where it could not be made."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._asked += 1
        answer: dict[str, Any] = {}
        try:
            self._child.stdin.write(json.dumps({"id": self._asked, "op": op, **arguments}) + "\n")
            self._child.stdin.flush()
            # What was asked before Ctrl-C came may still be answered first.
            while answer.get("id") != self._asked:
                answer = json.loads(self._child.stdout.readline())
        except (BrokenPipeError, ValueError):
            answer = {"error": "the guardian has ended"}
        if "error" in answer:
            raise UserError(answer["error"])
        return answer["value"]

    def undo(self) -> list[str]:
        """Take every change back; what could not be, in words."""
        if self._child.poll() is not None:
            return []
        troubles: list[str] = self.ask("undo")
        self._child.wait(SECONDS_TO_UNDO)
        return troubles


# --- the other side ------------------------------------------------------------------------------


def set_sysctl(path: str, value: str, at_least: bool = False) -> tuple[Any, Callable[[], None]]:
    """Write a file below /proc/sys; undone only if nobody has written it since."""
    file = Path(path)
    old = file.read_text().strip()
    if old == value or (at_least and int(old) >= int(value)):
        return old, lambda: None
    file.write_text(value)

    def undo() -> None:
        if file.read_text().strip() == value:
            file.write_text(old)

    return old, undo


def add_zram(size: int) -> tuple[Any, Callable[[], None]]:
    """A compressed RAM disk as the first choice for swapping; its device."""
    if not ZRAM.exists():
        modprobe = shutil.which("modprobe") or "/sbin/modprobe"
        subprocess.run([modprobe, "zram", "num_devices=0"], check=False, capture_output=True)  # noqa: S603
    number = int((ZRAM / "hot_add").read_text())
    device, block = f"/dev/zram{number}", Path(f"/sys/block/zram{number}")
    libc = ctypes.CDLL(None, use_errno=True)

    def undo() -> None:
        in_use = any(line.split()[0] == device for line in Path("/proc/swaps").read_text().splitlines()[1:])
        if in_use:
            _swap_off(libc, device)
        (block / "reset").write_text("1")
        (ZRAM / "hot_remove").write_text(str(number))

    try:
        (block / "disksize").write_text(str(size))
        if not Path(device).exists():
            major, minor = map(int, (block / "dev").read_text().split(":"))
            os.mknod(device, 0o600 | 0o060000, os.makedev(major, minor))
        _make_swap(device, size)
        _checked(libc.swapon(device.encode(), SWAP_FLAG_PREFER | PRIORITY), "swapon", device)
    except BaseException:
        undo()
        raise
    return device, undo


def _checked(result: int, what: str, device: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number).lower()}", device)


def _swap_off(libc: ctypes.CDLL, device: str) -> None:
    """swapoff(2), again where it gave up half-way.

    A page that the program faults in at that moment makes it fail with ENOMEM
    (mm/swapfile.c:unuse_pte_range), a signal with EINTR. What was read back stays so, and the next try has
    less to do. One in thirty recordings of a busy program met this.
    """
    end = time.monotonic() + SECONDS_TO_SWAPOFF
    while True:
        try:
            return _checked(libc.swapoff(device.encode()), "swapoff", device)
        except OSError as error:
            if error.errno not in (errno.ENOMEM, errno.EINTR) or time.monotonic() > end:
                raise
        time.sleep(0.1)


def _make_swap(device: str, size: int) -> None:
    """A swap header, as mkswap writes it (include/linux/swap.h:union swap_header)."""
    header = bytearray(PAGE_SIZE)
    struct.pack_into("<III", header, 1024, 1, size // PAGE_SIZE - 1, 0)
    header[-10:] = b"SWAPSPACE2"
    with Path(device).open("r+b", buffering=0) as file:
        file.write(header)


def split_areas(pid: int, areas: list[list[int]], chunk: int) -> tuple[Any, Callable[[], None]]:
    """Split areas of a process into VMAs of ``chunk`` bytes; undone by merging them."""
    from zswap_gym.workloads.recorder.inject import merge, split

    def undo() -> None:
        if Path(f"/proc/{pid}").exists():
            merge(pid, [(start, end) for start, end in areas])

    try:
        split(pid, [(start, end) for start, end in areas], chunk)
    except BaseException:
        undo()
        raise
    return None, undo


COMMANDS: dict[str, Callable[..., tuple[Any, Callable[[], None]]]] = {
    "sysctl": set_sysctl,
    "zram": add_zram,
    "split": split_areas,
}


def serve() -> None:
    """Read commands until told to undo or left alone."""
    for caught in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(caught, signal.SIG_IGN)
    undos: list[Callable[[], None]] = []
    number = 0
    for line in sys.stdin:
        command = json.loads(line)
        op, number = command.pop("op"), command.pop("id")
        if op == "undo":
            break
        try:
            value, undo = COMMANDS[op](**command)
            undos.append(undo)
            _answer({"id": number, "value": value})
        except (OSError, UserError, ValueError) as error:
            _answer({"id": number, "error": f"{op}: {error}"})
    troubles = []
    for undo in reversed(undos):
        try:
            undo()
        except (OSError, UserError) as error:
            troubles.append(str(error))
    if not _answer({"id": number, "value": troubles}):
        with suppress(OSError):
            for trouble in troubles:
                print(f"zswap-gym record: could not be put back: {trouble}", file=sys.stderr)


def _answer(answer: dict[str, Any]) -> bool:
    """Whether it arrived: where the recorder was killed nobody listens, and what is left to do is to undo."""
    try:
        print(json.dumps(answer), flush=True)
    except BrokenPipeError:
        return False
    return True


if __name__ == "__main__":
    serve()
