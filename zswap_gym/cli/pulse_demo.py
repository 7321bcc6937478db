"""``zswap-gym control pulse-demo``: memory freed in a test cgroup on a stock kernel, step by step."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from zswap_gym.errors import UserError

if TYPE_CHECKING:
    from zswap_gym.host.linux import LinuxHost
    from zswap_gym.host.types import Outcome

NAME = "pulse-demo"
CGROUP = "zswap-gym-demo"
PAGES = 16384
"""Of the program in it: 64 MiB, a quarter of each page random."""
PULSES = 8
PULSE_PAGES = 1024
WAIT_S = 30.0

_PROGRAM = f"""
import mmap, os, sys
open(sys.argv[1], "w").write(str(os.getpid()))
memory = mmap.mmap(-1, {PAGES} * 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
if hasattr(mmap, "MADV_NOHUGEPAGE"):
    memory.madvise(mmap.MADV_NOHUGEPAGE)
for page in range({PAGES}):
    memory[page * 4096 : page * 4096 + 1024] = os.urandom(1024)
print("filled", flush=True)
sys.stdin.readline()
for page in range({PAGES}):
    memory[page * 4096]
print("read", flush=True)
sys.stdin.readline()
"""


def pulse_demo(root: Path = Path("/sys/fs/cgroup")) -> None:
    """Make a cgroup, fill it, move it to zswap, write it back by pulses, read it again, remove it.

    Raises:
        UserError: something this needs is missing; nothing was changed.
    """
    _check(root)
    with (
        tempfile.TemporaryDirectory() as state,
        _cgroup(root / CGROUP) as folder,
        _program(folder) as program,
    ):
        _line(f"made {folder}: a program with {PAGES // 256} MiB it will not touch again for a while", folder)
        with contextlib.suppress(OSError):  # EAGAIN: all of it but a little
            (folder / "memory.reclaim").write_text(str(PAGES * 4096))
        _line("all of it asked into zswap by memory.reclaim", folder)
        before = _current(folder)
        host = _host(root, Path(state) / "state.json")
        written = 0
        for number in range(1, PULSES + 1):
            host.sample()
            outcome = _pulse(host)
            written += outcome.pages
            because = (
                f" ({'; '.join(n for n in outcome.notes if 'no age' not in n)})" if outcome.pages == 0 else ""
            )
            _line(
                f"pulse {number}: {outcome.pages} pages written back in {outcome.duration_s * 1e3:.0f} ms, "
                f"{outcome.released_bytes // 4096} released{because}",
                folder,
            )
        freed = (before - _current(folder)) / (1 << 20)
        print(f"\n{written / 256:.1f} MiB went to the swap device, the cgroup holds {freed:.1f} MiB less")
        began, before_reads = time.monotonic(), _disk_reads(folder)
        _tell(program, "read")
        reads = _disk_reads(folder) - before_reads
        print(
            f"what it costs: read again, {reads} pages came from disk; "
            f"all {PAGES // 256} MiB took {time.monotonic() - began:.1f} s"
        )
    print("the cgroup is removed, the shrinker is off as it was; nothing of this remains")


def _check(root: Path) -> None:
    from zswap_gym.host.presence import check_zswap

    knob = Path("/sys/module/zswap/parameters/shrinker_enabled")
    trouble = check_zswap(lambda file: Path(file).read_text(encoding="utf-8"))
    if trouble:
        raise UserError(trouble)
    if not knob.exists():
        raise UserError(
            f"{knob} is missing: this kernel's zswap has no shrinker; use 6.8 or newer "
            "(Debian 13, or 12 with linux-image from backports)"
        )
    if not os.access(knob, os.W_OK) or not os.access(root / "cgroup.procs", os.W_OK):
        raise UserError(f"{knob} and {root} cannot be written; run it as root, outside of a container")
    if knob.read_text(encoding="utf-8").strip() != "N":
        raise UserError(
            f"zswap's shrinker is on, the kernel writes back by itself; to see this: echo N > {knob}"
        )
    if len(Path("/proc/swaps").read_text(encoding="utf-8").splitlines()) < 2:
        raise UserError(
            "/proc/swaps: no swap device is in use, and zswap stores nothing without one; swapon one"
        )
    if (root / CGROUP).exists():
        raise UserError(f"{root / CGROUP} exists already; rmdir it, or end the program in it")
    control = root / "cgroup.subtree_control"
    if "memory" not in control.read_text(encoding="utf-8").split():
        raise UserError(f"{control}: no memory controller; echo +memory > {control}")


def _host(root: Path, state: Path) -> LinuxHost:
    from zswap_gym.host.dialects import STOCK_PULSE
    from zswap_gym.host.linux import LinuxHost

    return LinuxHost(root, patterns=[CGROUP], dialect=STOCK_PULSE, state=state)


def _pulse(host: LinuxHost) -> Outcome:
    from zswap_gym.host.types import Request

    host.submit(CGROUP, Request(1.0, PULSE_PAGES * 4096, PULSE_PAGES * 4096))
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        for _, outcome in host.outcomes():
            return outcome
        time.sleep(0.01)
    raise UserError(
        f"a pulse took more than {WAIT_S:g} s; see dmesg, and /proc/pressure/io for the swap device"
    )


@contextmanager
def _cgroup(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    try:
        yield folder
    finally:
        for _ in range(50):  # what the program held takes a moment to go
            try:
                folder.rmdir()
                break
            except OSError:
                time.sleep(0.1)


@contextmanager
def _program(folder: Path) -> Iterator[subprocess.Popen[str]]:
    program = subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-c", _PROGRAM, str(folder / "cgroup.procs")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        _hear(program, "filled")
        yield program
    finally:
        program.kill()
        program.wait()


def _tell(program: subprocess.Popen[str], answer: str) -> None:
    assert program.stdin is not None
    program.stdin.write("\n")
    program.stdin.flush()
    _hear(program, answer)


def _hear(program: subprocess.Popen[str], answer: str) -> None:
    assert program.stdout is not None
    if program.stdout.readline().strip() != answer:
        raise UserError(
            "the program of the demo ended too early; is there enough memory? (dmesg shows OOM kills)"
        )


def _stat(folder: Path, key: str) -> int:
    from zswap_gym.host.files import parse_keyed

    return parse_keyed((folder / "memory.stat").read_text(encoding="utf-8"), "memory.stat", (key,)).get(
        key, 0
    )


def _disk_reads(folder: Path) -> int:
    from zswap_gym.host.files import parse_keyed
    from zswap_gym.host.refaults import KEYS, disk_reads

    return disk_reads(parse_keyed((folder / "memory.stat").read_text(encoding="utf-8"), "memory.stat", KEYS))


def _current(folder: Path) -> int:
    return int((folder / "memory.current").read_text(encoding="utf-8"))


def _line(words: str, folder: Path) -> None:
    zswap, zswapped = _stat(folder, "zswap"), _stat(folder, "zswapped")
    print(
        f"{words}\n    memory.current {_current(folder) / (1 << 20):6.1f} MiB, "
        f"of it zswap {zswap / (1 << 20):5.1f} for {zswapped / (1 << 20):5.1f} MiB of pages",
        flush=True,
    )
