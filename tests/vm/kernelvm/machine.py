"""A guest under QEMU: boot it, call functions in it, power it off. No KVM is needed, and none is used:
emulated time differs from machine to machine, counters do not.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Self

from kernelvm.image import Parts, code_disk, tool

BOOT_S = 180.0
LATE_TIMER = "no_timer_check"
"""On a busy machine the emulated timer is late for the kernel's check of it, and the kernel stops."""


class GuestError(Exception):
    """A call failed in the guest, or the guest did not answer."""


class Guest:
    """A running guest.

    Args:
        parts: what it boots from.
        folder: for its disks and console; what is on ``state.ext4`` there outlives it.
        memory_mib: of RAM.
        iops: most operations a second of the swap disk; None = as fast as it goes.
        own_time: the guest's clock counts its instructions, a nanosecond each, and skips what nobody waits
            for: how busy this machine is changes nothing in it, and an idle hour takes seconds.
    """

    def __init__(
        self,
        parts: Parts,
        folder: Path,
        *,
        memory_mib: int = 1024,
        iops: int | None = None,
        cpu: str = "max,la57=off",
        own_time: bool = False,
    ) -> None:
        self.console = folder / "console.txt"
        state, swap = folder / "state.ext4", folder / "swap.img"
        if not state.exists():
            subprocess.run(
                tool(parts.tools, "mkfs.ext4", "-q", state, "32M"), check=True, capture_output=True
            )
        swap.unlink(missing_ok=True)
        with swap.open("wb") as file:
            file.truncate(1 << 30)
        path = folder / "port"
        path.unlink(missing_ok=True)
        limit = "" if iops is None else f",throttling.iops-total={iops}"
        clock = ["-icount", "shift=0,sleep=off"] if own_time else []
        threads = "single" if own_time else "multi"
        disks = (
            f"file={parts.root},snapshot=on",
            f"file={swap},cache=unsafe{limit}",
            f"file={code_disk(folder / 'code.tar')},snapshot=on",
            f"file={state}",
        )
        command = tool(
            parts.tools, "qemu-system-x86_64",
            "-L", parts.tools / "usr/share/qemu", "-L", parts.tools / "usr/share/seabios",
            "-accel", f"tcg,thread={threads}", *clock, "-cpu", cpu, "-m", str(memory_mib), "-smp", "2",
            "-nodefaults", "-nographic", "-no-reboot", "-serial", f"file:{self.console}",
            "-kernel", parts.kernel, "-initrd", parts.initrd,
            "-append", f"console=ttyS0 quiet panic=-1 mitigations=off {LATE_TIMER}",
            *(word for disk in disks for word in ("-drive", f"{disk},if=virtio,format=raw")),
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=port,path={path},server=on,wait=off",
            "-device", "virtserialport,chardev=port",
        )  # fmt: skip
        # A test run that is killed takes its guest with it.
        with_us = [found, "--pdeathsig", "KILL"] if (found := shutil.which("setpriv")) else []
        modules = {"QEMU_MODULE_DIR": str(parts.tools / "usr/lib/x86_64-linux-gnu/qemu")}
        with (folder / "qemu.txt").open("wb") as said:
            self._process = subprocess.Popen([*with_us, *command], stderr=said, env=os.environ | modules)
        self._rest = b""
        try:
            self._socket = self._connect(path)
            self._line(BOOT_S * (10 if own_time else 1))
        except GuestError:
            self._process.kill()
            self._process.wait()
            raise

    def _connect(self, path: Path) -> socket.socket:
        until = time.monotonic() + 20
        while True:
            try:
                port = socket.socket(socket.AF_UNIX)
                port.connect(str(path))
                return port
            except OSError:
                if time.monotonic() > until or self._process.poll() is not None:
                    raise GuestError(f"QEMU did not start; see {self.console.parent}/qemu.txt") from None
                time.sleep(0.1)

    def _line(self, timeout_s: float) -> dict[str, Any]:
        self._socket.settimeout(timeout_s)
        while b"\n" not in self._rest:
            try:
                got = self._socket.recv(1 << 16)
            except OSError:  # in time, or at all
                got = b""
            if not got:
                raise GuestError(
                    f"no answer from the guest in {timeout_s:.0f} s; its console: {self._tail()}"
                )
            self._rest += got
        line, _, self._rest = self._rest.partition(b"\n")
        return dict(json.loads(line))

    def _tail(self) -> str:
        return self.console.read_text(encoding="utf-8", errors="replace")[-2000:]

    def call(self, function: str, *, timeout_s: float = 300.0, **arguments: Any) -> Any:
        """What a function of inside/checks.py returns.

        Raises:
            GuestError: it raised (the message holds the traceback), or there was no answer in time.
        """
        self._socket.sendall(json.dumps({"call": function, "with": arguments}).encode() + b"\n")
        answer = self._line(timeout_s)
        if "error" in answer:
            raise GuestError(f"{function}: {answer['error']}")
        return answer.get("value")

    def cut_power(self) -> None:
        """Off, from one moment to the next."""
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def close(self) -> None:
        """Power off, at once where the guest does not."""
        if self._process.poll() is None:
            try:
                self._socket.sendall(b'{"call": "exit", "with": {}}\n')
                self._process.wait(20)
            except (OSError, subprocess.TimeoutExpired):
                self._process.kill()
                self._process.wait()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
