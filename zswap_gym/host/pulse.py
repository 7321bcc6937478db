"""The pulse: one cgroup's oldest zswap entries written back by a kernel that nobody patched.

With zswap's shrinker on, a ``memory.reclaim`` that may take no anonymous page finds nothing to take
in a cgroup without file cache, goes through all priorities, and at each the shrinker writes back
entries of that cgroup, 128 at a time and the oldest first. A watcher turns the shrinker off when the
last batch has begun; the kernel ends that batch and writes no more.

EAGAIN of that memory.reclaim is its normal end: what counts is how far ``zswpwb`` moved. The shrinker
is one switch for the whole host, so there is one pulse at a time and every condition under which
others could be hit, or the cgroup could lose something else, refuses it (:meth:`Pulser.refusal`).
Measured in experiments/pulse.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from zswap_gym.host.cgroup_files import read_file, write_file
from zswap_gym.host.files import FormatError, parse_flag, parse_keyed, parse_pressure, parse_switch
from zswap_gym.host.pulse_note import ON, Guard, Note, note_path, put_back, write_note
from zswap_gym.units import format_size

BATCH = 128
"""Entries the shrinker writes before it looks at its switch again (SHRINK_BATCH)."""

PULSE_MAX = 1024
"""Pages of one pulse at most."""

TIMEOUT_S = 5.0
"""The shrinker is turned off after this long, whatever was written."""

FILE_MAX = 1 << 20
"""Reclaimable file cache, bytes, above which there is no pulse: the reclaim would take that first."""

FLUSH_S = 2.1
"""memory.stat may lag behind by so long (mm/memcontrol.c:FLUSH_TIME), on hosts of many CPUs."""

VMSTAT_MAX = 1 << 16
"""More than /proc/vmstat holds."""

EMPTY_PASSES_MAX = 2
"""Passes in a row that may write nothing: the first only takes away second chances."""

ZERO_SWAPPINESS = "swappiness=0"
"""The key of memory.reclaim since 6.9."""


@dataclass(frozen=True)
class Pulsed:
    """What came of a pulse."""

    errno: int = 0
    """0: as much as asked was written, to a batch, or a pass only took away second chances. EAGAIN: less.
    ECANCELED: refused, nothing was touched. ETIME: stopped by the time limit."""
    pages: int = 0
    """Written back of this cgroup."""
    notes: tuple[str, ...] = ()


def rounded(pages: int) -> int:
    """What a pulse can be asked for: whole batches, one at least."""
    return min(max(pages // BATCH, 1) * BATCH, PULSE_MAX)


class _Reclaim:
    """A write to memory.reclaim in a process of its own.

    In a thread it would keep this process, and what it has open, in the world for as long as the kernel
    writes, though SIGKILL has ended all else: the guard would hear of it when all is written (measured:
    6,900 pages in the place of 1,024).
    """

    def __init__(self, folder: int, ask: str, guard: Guard) -> None:
        self._code: int | None = None
        self._pid = os.fork()
        if self._pid == 0:
            code = errno.EIO
            try:
                guard.let_go()
                code = write_file(folder, "memory.reclaim", ask)
            finally:
                os._exit(code)

    def is_running(self) -> bool:
        """False once the write has returned."""
        if self._code is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code is None

    def wait(self) -> int:
        """Its errno."""
        if self._code is None:
            _, status = os.waitpid(self._pid, 0)
            self._code = os.waitstatus_to_exitcode(status)
        return self._code


@dataclass
class Pulser:
    """Pulses on one host, one at a time.

    Args:
        state: the controller's state file; the note lies beside it.
        mount: the topmost cgroup, see :func:`zswap_gym.host.effective.cgroup_mount`.
        psi_max_percent: memory pressure, of the cgroup and of the host, from which nothing is done.
    """

    state: Path
    mount: Path
    proc_root: Path
    sys_root: Path
    boot_id: str
    page_size: int
    psi_max_percent: float = 5.0
    timeout_s: float = TIMEOUT_S
    _alone: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _kswapd: int | None = field(default=None, repr=False)
    _has_key: bool | None = field(default=None, repr=False)
    _empty_passes: dict[int, int] = field(default_factory=dict, repr=False)

    @property
    def knob(self) -> Path:
        """The shrinker's switch."""
        return self.sys_root / "module/zswap/parameters/shrinker_enabled"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No pulse while this lasts: reclaim of another cgroup would lose entries to the shrinker too."""
        with self._alone:
            yield

    def watch(self) -> None:
        """Remember what kswapd has done so far: it must have rested since when a pulse begins."""
        try:
            self._kswapd = self._vmstat("pgscan_kswapd")
        except FileNotFoundError:
            self._kswapd = None  # :meth:`refusal` says so

    # --- conditions ------------------------------------------------------------------------------

    def refusal(self, folder: int, path: Path) -> str | None:
        """Why there can be no pulse in this cgroup now, None where there can. ``condition: words``."""
        try:
            for condition in (self._host_refusal, self._pressure_refusal):
                words = condition(folder)
                if words is not None:
                    return words
            return self._cgroup_refusal(folder, path)
        except (OSError, FormatError) as error:
            return f"unreadable: {error}"

    def _host_refusal(self, folder: int) -> str | None:
        try:
            on = parse_flag(read_file(self.knob), str(self.knob))
        except FileNotFoundError:
            return f"no-shrinker: {self.knob} is missing; run a kernel from 6.8 on, with CONFIG_ZSWAP"
        if on:
            return "shrinker-on: the kernel writes back by itself, or another pulse is under way"
        if not os.access("memory.reclaim", os.W_OK, dir_fd=folder):
            return "no-reclaim: memory.reclaim is missing or not ours to write"
        return None

    def _pressure_refusal(self, folder: int) -> str | None:
        for label, file, at in (
            ("the cgroup", "memory.pressure", folder),
            ("the host", self.proc_root / "pressure/memory", None),
        ):
            try:
                some, _ = parse_pressure(read_file(file, at), label)
            except FileNotFoundError:  # the rail psi has seen to that
                continue
            if some.avg10 >= self.psi_max_percent:
                return f"psi: memory pressure of {label} is {some.avg10:.2f} %"
        try:
            scanned = self._vmstat("pgscan_kswapd")
        except FileNotFoundError as error:
            return f"kswapd: {error.filename} is missing, so whether it is at work cannot be told"
        before, self._kswapd = self._kswapd, scanned
        if before is not None and scanned > before:
            return f"kswapd: it looked at {scanned - before} pages since the last reading"
        return None

    def _cgroup_refusal(self, folder: int, path: Path) -> str | None:
        if any(entry.is_dir() for entry in os.scandir(folder)):
            return "leaf: it has cgroups below it, and all of them would be written back"
        off = self._writeback_off(path)
        if off is not None:
            return f"writeback-disabled: memory.zswap.writeback is 0 in {off}"
        stat = self._stat(folder, "inactive_file", "active_file", "zswapped")
        if stat["zswapped"] == 0:
            return "empty: nothing of it is in zswap"
        reclaimable = stat["inactive_file"] + stat["active_file"]
        if reclaimable > FILE_MAX:
            return (
                f"file-cache: {format_size(reclaimable)} of file cache would be dropped first, "
                f"more than {format_size(FILE_MAX)}"
            )
        return None

    def _writeback_off(self, path: Path) -> Path | None:
        """The cgroup, of this one and those above it, in which writeback is off."""
        while True:
            try:
                if not parse_switch(
                    read_file(path / "memory.zswap.writeback"), f"{path}/memory.zswap.writeback"
                ):
                    return path
            except FileNotFoundError:
                pass
            if path in (self.mount, path.parent):
                return None
            path = path.parent

    def _stat(self, folder: int, *keys: str) -> dict[str, int]:
        found = parse_keyed(read_file("memory.stat", folder), "memory.stat", keys)
        return {key: found.get(key, 0) for key in keys}

    def _vmstat(self, key: str) -> int:
        """A counter of the machine; these are exact at once, whatever the number of CPUs."""
        file = self.proc_root / "vmstat"
        return parse_keyed(read_file(file), str(file), (key,)).get(key, 0)

    # --- the pulse -------------------------------------------------------------------------------

    def pulse(self, folder: int, path: Path, pages: int) -> Pulsed:
        """Write back about ``pages``, in whole batches, of the cgroup at ``path``, open as ``folder``.

        OSError: the cgroup is gone.
        """
        with self.alone():
            words = self.refusal(folder, path)
            if words is not None:
                return Pulsed(errno.ECANCELED, 0, (f"no pulse: {words}",))
            with self.knob.open("rb") as knob:
                try:
                    fcntl.flock(knob, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    return Pulsed(errno.ECANCELED, 0, ("no pulse: another process is at it",))
                return self._pulse(folder, path, rounded(pages))

    def _pulse(self, folder: int, path: Path, pages: int) -> Pulsed:
        ask, note = self._ask(folder, path)
        before = self._stat(folder, "zswpwb")["zswpwb"], self._vmstat("zswpwb")
        try:
            guard = Guard(note)
        except OSError as error:
            return Pulsed(errno.ECANCELED, 0, (f"no pulse: no guard can be started ({error.strerror})",))
        try:
            write_note(note_path(self.state), note)
        except OSError as error:
            guard.dismiss()
            return Pulsed(errno.ECANCELED, 0, (f"no pulse: its note cannot be written ({error.strerror})",))
        ended_by, code, troubles = self._shrink(
            folder,
            note,
            ask,
            before[1] + max(pages - BATCH, 1),  # the batch that is under way makes it full
            guard,
        )
        if not troubles:  # else the guard tries again when this process ends, and the note stays
            note_path(self.state).unlink(missing_ok=True)
            guard.dismiss()
        pulsed = self._outcome(folder, pages, before, ended_by, code)
        return replace(pulsed, notes=(*pulsed.notes, *troubles))

    def _ask(self, folder: int, path: Path) -> tuple[str, Note]:
        """What to write to memory.reclaim, and what is changed for it.

        Without the key swappiness (before 6.9), a memory.swap.max that is full keeps anonymous pages out.
        """
        if self._has_key is None:  # 0 bytes with a key it knows: nothing happens; else EINVAL
            self._has_key = write_file(folder, "memory.reclaim", f"0 {ZERO_SWAPPINESS}") == 0
        if self._has_key:
            return f"{self.page_size} {ZERO_SWAPPINESS}", Note(self.boot_id, str(self.knob))
        swap_max = read_file("memory.swap.max", folder).strip()
        return str(self.page_size), Note(
            self.boot_id, str(self.knob), str(path / "memory.swap.max"), swap_max
        )

    def _shrink(
        self, folder: int, note: Note, ask: str, enough: int, guard: Guard
    ) -> tuple[str, int, list[str]]:
        """Shrinker on, reclaim, shrinker off: what ended it, memory.reclaim's errno, what is not put back."""
        reclaim = None
        try:
            if note.swap_max_file:
                write_file(folder, "memory.swap.max", read_file("memory.swap.current", folder).strip())
            code = write_file(None, self.knob, ON)
            if code:
                return f"the shrinker cannot be turned on ({os.strerror(code).lower()})", code, []
            reclaim = _Reclaim(folder, ask, guard)
            ended_by = self._watch_until(reclaim, enough)
        except OSError as error:
            ended_by = str(error.strerror)
        finally:
            troubles = put_back(note)
        return ended_by, 0 if reclaim is None else reclaim.wait(), troubles

    def _watch_until(self, reclaim: _Reclaim, enough: int) -> str:
        """Wait until so many pages are written on this host, or there is another reason to stop."""
        until_s = time.monotonic() + self.timeout_s
        kswapd = self._kswapd or 0
        with (self.proc_root / "vmstat").open("rb", buffering=0) as file:
            while reclaim.is_running():
                text = os.pread(file.fileno(), VMSTAT_MAX, 0)
                if _counter(text, b"\nzswpwb ") >= enough:
                    return "goal"
                if _counter(text, b"\npgscan_kswapd ") > kswapd:
                    return "kswapd"
                if time.monotonic() > until_s:
                    return "timeout"
        return "pass"

    def _outcome(
        self, folder: int, pages: int, before: tuple[int, int], ended_by: str, reclaim_errno: int
    ) -> Pulsed:
        until_s = time.monotonic() + FLUSH_S
        while True:
            everywhere = self._vmstat("zswpwb") - before[1]
            written = self._stat(folder, "zswpwb")["zswpwb"] - before[0]
            if written >= everywhere or time.monotonic() > until_s:
                break
            time.sleep(0.02)
        notes = []
        if everywhere > written:
            notes.append(f"{everywhere - written} pages of other cgroups were written back meanwhile")
        code = 0 if written >= max(pages - BATCH, 1) else errno.EAGAIN
        inode = os.fstat(folder).st_ino
        empty = self._empty_passes.pop(inode, 0)
        if ended_by == "pass" and code:
            if written == 0 and reclaim_errno in (0, errno.EAGAIN):
                self._empty_passes[inode] = empty + 1
                code = 0 if empty < EMPTY_PASSES_MAX else errno.EAGAIN
                notes.append(
                    "the pulse took away second chances and wrote nothing"
                    if code == 0
                    else f"{empty + 1} pulses in a row wrote nothing"
                )
            else:
                notes.append(f"the pulse ended by itself after {written} of {pages} pages")
        elif ended_by == "timeout":
            code = errno.ETIME
            notes.append(f"the pulse was stopped after {self.timeout_s:g} s")
        elif ended_by not in ("goal", "pass"):
            notes.append(f"the pulse was stopped: {ended_by}")
        return Pulsed(code, written, tuple(notes))


def _counter(text: bytes, key: bytes) -> int:
    """A number of /proc/vmstat, found fast: a batch takes the kernel milliseconds."""
    start = text.find(key) + len(key)
    return int(text[start : text.find(b"\n", start)]) if start >= len(key) else 0
