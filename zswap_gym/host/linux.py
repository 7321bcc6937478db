"""LinuxHost: the seam over a cgroup v2 tree, or over any directory that looks like one.

Reading happens in the caller; writing in worker threads, because a write to
memory.zswap.proactive_writeback blocks at disk speed once the queue is full (groundtruth p13:
8 MiB took 2.5 s at 400 iops) and memory.reclaim for as long as it likes.
"""

from __future__ import annotations

import errno
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from zswap_gym.errors import UserError
from zswap_gym.host.cgroup_files import open_folder, read_file, write_file
from zswap_gym.host.dialects import RELEASE_FILE, STOCK, STOCK_PULSE, Dialect, Writes, probe, whole, writes
from zswap_gym.host.effective import Above, cgroup_mount
from zswap_gym.host.files import FormatError, keys_of, parse_keyed
from zswap_gym.host.hints import Hints
from zswap_gym.host.names import below_root, leaves
from zswap_gym.host.presence import NEEDED_FILES, check_memory, check_zswap
from zswap_gym.host.pulse import Pulser
from zswap_gym.host.pulse_note import restore
from zswap_gym.host.reading import read_machine, read_sample
from zswap_gym.host.types import Outcome, Request, Sample

_GONE = (errno.ENOENT, errno.ENODEV)
"""A removed cgroup: opening its files says ENOENT, a file that was already open says ENODEV."""

Levels = Literal["leaves", "listed"]
"""Whom decisions are made for: the cgroups that match and hold no other that does, or all that match."""


def boot_id(proc_root: Path | str) -> str:
    """What tells this boot from all others; "" where the kernel does not say."""
    try:
        return Path(proc_root, "sys", "kernel", "random", "boot_id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


WRITTEN_KEYS = ("zswpwb_proactive", "zswpwb")
"""Counters of pages written back, the one that counts nothing else first."""

RELEASED_KEYS = ("pgsteal_proactive", "pgsteal")
"""Counters of pages reclaimed, the one that counts nothing else (6.15) first."""


def _pages(folder: int, label: str, *keys: str) -> int:
    """What memory.stat counts so far, in the kernel's pages, under the first of ``keys`` that it has."""
    stat = parse_keyed(read_file("memory.stat", folder), f"{label}/memory.stat", keys)
    return next((stat[key] for key in keys if key in stat), 0)


@dataclass
class _Job:
    """A request on its way through a worker."""

    cgroup: str
    inode: int
    writes: Writes
    submitted_s: float
    started: bool = False
    cancelled: bool = False
    overdue: bool = False


@dataclass
class _Workers:
    """Threads that run jobs. All fields are guarded by ``lock``."""

    limit: int
    waiting: queue.SimpleQueue[_Job] = field(default_factory=queue.SimpleQueue)
    lock: threading.Lock = field(default_factory=threading.Lock)
    running: dict[str, _Job] = field(default_factory=dict)
    finished: list[tuple[str, Outcome]] = field(default_factory=list)
    threads: int = 0


class LinuxHost:
    """A real host (:class:`zswap_gym.host.types.Host`).

    Args:
        root: where cgroup v2 is mounted, or a cgroup; cgroups are named by their path below it.
        patterns: which cgroups to look at, as shell patterns over that path (``*`` matches ``/`` too);
            see :func:`zswap_gym.host.names.below_root` for what else is understood.
        levels: leaves: of those that match, the ones that hold no other that does; listed: all.
        page_size: what the kernel counts pages in; None asks the machine. For fixtures.
        proc_root, sys_root: other places for /proc and /sys, for fixtures.
        hints: the operator's hints file, or None.
        dialect: force one; None probes for each cgroup.
        state: the controller's state file, which a pulse lays its note beside; dialect stock-pulse needs it.
        pulse_psi_max: memory pressure, percent, from which there is no pulse.
        deadline_s: a request that takes longer is reported as ETIMEDOUT. The kernel cannot be made
            to let go, so its cgroup stays busy; when the write does return, a second Outcome with
            the note ``late`` tells what it did. One that no worker was free for is dropped: ECANCELED.
        workers: how many writes may block at once.

    Raises:
        UserError: no such root, no cgroup v2 memory controller in it, or a pattern outside of it.
    """

    def __init__(
        self,
        root: Path | str = "/sys/fs/cgroup",
        *,
        patterns: Sequence[str] = ("*",),
        levels: Levels = "leaves",
        page_size: int | None = None,
        proc_root: Path | str = "/proc",
        sys_root: Path | str = "/sys",
        hints: Path | str | None = None,
        dialect: Dialect | None = None,
        state: Path | str | None = None,
        pulse_psi_max: float = 5.0,
        deadline_s: float = 30.0,
        workers: int = 4,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise UserError(f"{self.root}: no such folder; mount cgroup v2 there or name another root")
        self.patterns = tuple(below_root(pattern, self.root) for pattern in patterns)
        self.levels = levels
        self.page_size = page_size or os.sysconf("SC_PAGESIZE")
        self.boot_id = boot_id(proc_root)
        self._mount = cgroup_mount(self.root)
        self._machine_roots = {"proc": Path(proc_root), "sys": Path(sys_root)}
        self._hints = Hints(hints, lambda pattern: below_root(pattern, self.root))
        self._dialect = dialect
        self._keyed: Dialect | None = None
        self._deadline_s = deadline_s
        self._wall_clock = wall_clock
        self._inodes: dict[str, int] = {}
        self._troubles: dict[str, str] = {}
        self._notes: list[str] = []
        self._workers = _Workers(workers)
        self._pulser = self._make_pulser(state, pulse_psi_max) if dialect is STOCK_PULSE else None
        warnings = (
            check_memory(self.root, self.cgroups(), self.patterns),
            check_zswap(self._read_machine_file),
        )
        self._notes += [words for words in warnings if words]

    def _make_pulser(self, state: Path | str | None, psi_max: float) -> Pulser:
        if state is None:
            raise UserError("dialect stock-pulse needs a state file: what a pulse changes is noted beside it")
        undone = restore(state, self.boot_id)
        if undone is not None:
            self._notes.append(undone)
        roots = self._machine_roots
        return Pulser(
            Path(state), self._mount, roots["proc"], roots["sys"], self.boot_id, self.page_size, psi_max
        )

    # --- looking ---------------------------------------------------------------------------------

    def cgroups(self) -> list[str]:
        """Cgroups below the root that match a pattern, sorted. The root itself never is one."""
        found, with_memory = [], []
        for folder, below, _ in os.walk(self.root):  # a folder that vanishes meanwhile is skipped by walk
            below.sort()
            name = os.path.relpath(folder, self.root)
            if name != "." and any(fnmatchcase(name, pattern) for pattern in self.patterns):
                found.append(name)
                if self.levels == "leaves" and Path(folder, NEEDED_FILES[0]).exists():
                    with_memory.append(name)
        return sorted(leaves(found, with_memory))

    def sample(self) -> list[Sample]:
        """One Sample per cgroup; those that vanished since they were listed are left out.

        A cgroup whose files cannot be read or understood is left out and noted. What a fresh
        cgroup of an old name says comes with another inode.

        Raises:
            UserError: /proc/uptime or /proc/meminfo is missing or makes no sense.
        """
        self._hints.refresh()
        if self._pulser is not None:
            self._pulser.watch()
        try:
            machine = read_machine(self._read_machine_file)
        except OSError as error:
            raise UserError(f"{error.filename}: {os.strerror(error.errno or 0).lower()}") from error
        wall_s = self._wall_clock()
        local = time.localtime(wall_s)
        time_of_day_s = local.tm_hour * 3600 + local.tm_min * 60 + local.tm_sec + wall_s % 1
        above = Above(self.root, self._mount, read_file)
        samples = []
        for name in self.cgroups():
            try:
                with open_folder(self.root / name) as folder:
                    inode = os.fstat(folder).st_ino
                    samples.append(
                        read_sample(
                            name,
                            inode,
                            lambda file, folder=folder: read_file(file, folder),  # type: ignore[misc]
                            machine,
                            above=above.settings(name),
                            page_size=self.page_size,
                            hint=self._hints.hint(name, wall_s),
                            time_of_day_s=time_of_day_s,
                        )
                    )
            except (OSError, FormatError) as error:
                self._note_trouble(name, error)
            else:
                self._troubles.pop(name, None)
        self._inodes = {sample.cgroup: sample.inode for sample in samples}
        return samples

    def read(self, cgroup: str, file: str) -> str:
        """The text of a cgroup's file, or of the machine's where ``file`` starts with a slash.

        Raises:
            FileNotFoundError: the kernel has no such file there, or has it switched off.
            OSError: it cannot be read.
        """
        return self._read_machine_file(file) if file.startswith("/") else read_file(self.root / cgroup / file)

    def _read_machine_file(self, file: str) -> str:
        top, _, rest = file.lstrip("/").partition("/")
        return read_file(self._machine_roots[top] / rest)

    def _note_trouble(self, name: str, error: OSError | FormatError) -> None:
        if isinstance(error, OSError) and error.errno in _GONE:
            return
        words = (
            str(error) if isinstance(error, FormatError) else f"{name}: {error.strerror} ({error.filename})"
        )
        if self._troubles.get(name) != words:  # once, not every tick
            self._troubles[name] = words
            self._notes.append(f"{words}; this cgroup is left out")

    def dialect(self, cgroup: str) -> Dialect:
        """What the kernel understands in this cgroup. May write ``0 KEY`` to memory.reclaim: no effect."""
        found = self._dialect or self._keyed
        if found is not None:
            return found
        folder = self.root / cgroup

        def accepts(file: str, text: str) -> bool:
            try:
                with open_folder(folder) as opened:
                    return write_file(opened, file, text) == 0
            except OSError:
                return False

        def stat_keys() -> frozenset[str]:
            try:
                return keys_of(read_file(folder / "memory.stat"))
            except OSError:
                return frozenset()

        found = probe(lambda file: (folder / file).exists(), accepts, stat_keys)
        if found.file == RELEASE_FILE:  # a key is the kernel's, not the cgroup's: ask once
            self._keyed = found
        return found

    def has_age(self, cgroup: str) -> bool:
        """Whether this kernel selects entries by age; true where it writes nothing back at all."""
        dialect = self.dialect(cgroup)
        return dialect.has_age or dialect is STOCK

    def notes(self) -> list[str]:
        """Cgroups left out and hints not used since the last call; each trouble once while it lasts."""
        notes, self._notes = self._notes + self._hints.notes(), []
        return notes

    # --- acting ----------------------------------------------------------------------------------

    def submit(self, cgroup: str, request: Request) -> bool:
        """Hand a request to a worker; False while the cgroup's previous one is in the kernel.

        The cgroup is the one the last :meth:`sample` saw: if it was replaced by another of the
        same name, nothing is written and the Outcome says ENODEV.
        """
        folder = self.root / cgroup
        try:
            inode = self._inodes.get(cgroup) or folder.stat().st_ino
        except OSError as error:
            with self._workers.lock:
                self._workers.finished.append((cgroup, _gone(error)))
            return True
        job = _Job(cgroup, inode, self._spell(cgroup, request), time.monotonic())
        with self._workers.lock:
            if cgroup in self._workers.running:
                return False
            self._workers.running[cgroup] = job
            self._workers.waiting.put(job)
            if self._workers.threads < min(self._workers.limit, len(self._workers.running)):
                self._workers.threads += 1
                # Daemon threads: a write stuck in the kernel must not keep the process from exiting.
                threading.Thread(target=self._work, name="zswap-gym-write", daemon=True).start()
        return True

    def _spell(self, cgroup: str, request: Request) -> Writes:
        dialect = self.dialect(cgroup) if whole(request).writeback_bytes else STOCK
        share = 1.0 if dialect.unit == "uncompressed" else self._compressed_share(cgroup)
        return writes(dialect, request, share, self.page_size)

    def _compressed_share(self, cgroup: str) -> float:
        keys = ("zswap", "zswapped")
        try:
            stat = parse_keyed(read_file(self.root / cgroup / "memory.stat"), f"{cgroup}/memory.stat", keys)
        except (OSError, FormatError):
            return 1.0
        return stat.get("zswap", 0) / max(stat.get("zswapped", 0), 1)

    def _work(self) -> None:
        # Signals are for the main thread: here they would end a write half-way with EINTR.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
        workers = self._workers
        while True:
            job = workers.waiting.get()
            with workers.lock:
                if job.cancelled:
                    continue
                job.started = True
            outcome = self._run(job)
            with workers.lock:
                del workers.running[job.cgroup]
                workers.finished.append((job.cgroup, outcome))

    def _run(self, job: _Job) -> Outcome:
        """Writeback, then release, in a worker. Whatever the first says, the second follows (DESIGN 2)."""
        start = time.monotonic()
        code = pages = release_code = released = 0
        notes = list(job.writes.notes)
        try:
            with open_folder(self.root / job.cgroup) as folder:
                if os.fstat(folder).st_ino != job.inode:
                    return _gone(OSError(errno.ENODEV, "replaced by another cgroup of the same name"))
                if job.writes.writeback is not None:
                    before = _pages(folder, job.cgroup, *WRITTEN_KEYS)
                    code = write_file(folder, *job.writes.writeback)
                    pages = _pages(folder, job.cgroup, *WRITTEN_KEYS) - before
                if job.writes.pulse_pages and self._pulser is not None:
                    pulsed = self._pulser.pulse(folder, self.root / job.cgroup, job.writes.pulse_pages)
                    code, pages = pulsed.errno, pulsed.pages
                    notes += pulsed.notes
                if job.writes.release is not None:
                    if time.monotonic() - job.submitted_s > self._deadline_s:
                        notes.append("past its deadline: the release was left out")
                    else:
                        with nullcontext() if self._pulser is None else self._pulser.alone():
                            before = _pages(folder, job.cgroup, *RELEASED_KEYS)
                            release_code = write_file(folder, *job.writes.release)
                            released = _pages(folder, job.cgroup, *RELEASED_KEYS) - before
        except OSError as error:
            code = code or error.errno or errno.EIO
            notes.append(str(error.strerror))
        except FormatError as error:  # how much is written cannot be told, so it is not tried
            code = code or errno.EIO
            notes.append(str(error))
        if job.overdue or time.monotonic() - job.submitted_s > self._deadline_s:
            notes.append("late")
        return Outcome(
            code,
            pages,
            pages * self.page_size,
            time.monotonic() - start,
            release_code,
            released * self.page_size,
            tuple(notes),
        )

    def outcomes(self) -> list[tuple[str, Outcome]]:
        """Requests finished, overdue or dropped since the last call, oldest first."""
        now_s = time.monotonic()
        with self._workers.lock:
            for job in list(self._workers.running.values()):
                waited_s = now_s - job.submitted_s
                if waited_s <= self._deadline_s or job.overdue:
                    continue
                job.overdue = True
                code, note = errno.ETIMEDOUT, f"still in the kernel after {waited_s:.0f} s"
                if not job.started:
                    job.cancelled = True
                    del self._workers.running[job.cgroup]
                    code = errno.ECANCELED
                    note = "dropped: every worker is blocked in the kernel; nothing was written"
                outcome = Outcome(code, duration_s=waited_s, notes=(note,))
                self._workers.finished.append((job.cgroup, outcome))
            finished, self._workers.finished = self._workers.finished, []
        return finished

    # --- time ------------------------------------------------------------------------------------

    def now(self) -> float:
        """CLOCK_BOOTTIME, as /proc/uptime counts: suspend included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def sleep(self, seconds: float) -> None:
        """Wait on the wall clock."""
        time.sleep(seconds)


def _gone(error: OSError) -> Outcome:
    return Outcome(error.errno or errno.ENODEV, notes=(f"the cgroup is gone: {error.strerror}",))
