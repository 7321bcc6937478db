"""SimulatedHost: the seam over the simulated kernel. Time passes only in ``sleep`` and ``write``."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from zswap_gym.host import simulated_files
from zswap_gym.host.dialects import DIALECTS, V1, Dialect, whole, writeback_size, writes
from zswap_gym.host.effective import UNSET, Settings, read_settings, tightest
from zswap_gym.host.hints import NO_HINT, Hint
from zswap_gym.host.reading import read_machine, read_sample
from zswap_gym.host.simulated_table import DAY_S, TableReader
from zswap_gym.host.types import COLUMN, COLUMNS, Outcome, Request, Sample, Table
from zswap_gym.kernel.machine import Machine
from zswap_gym.units import PAGE_SIZE, US_PER_S

if TYPE_CHECKING:
    from zswap_gym.kernel.access import AccessPlan
    from zswap_gym.kernel.spec import CgroupSpec, HostSpec, StageOneSpec
    from zswap_gym.workloads.events import RealisedEvent
    from zswap_gym.workloads.instance import Realised
    from zswap_gym.workloads.scenario import Scenario

    Parts = tuple[HostSpec, list[CgroupSpec], Mapping[str, AccessPlan], StageOneSpec, Sequence[RealisedEvent]]


@dataclass(frozen=True)
class _Announced:
    """Announced events of one cgroup, sorted: seconds since boot."""

    start_s: tuple[float, ...]
    end_s: tuple[float, ...]
    expected_bytes: tuple[float, ...]

    def at(self, now_s: float) -> Hint:
        """The event that is on, else the next one, else nothing known."""
        for start, end, size in zip(self.start_s, self.end_s, self.expected_bytes, strict=True):
            if now_s < start:
                return Hint(True, start - now_s, 0.0, size)
            if now_s < end:
                return Hint(True, 0.0, end - now_s, size)
        return NO_HINT


class SimulatedHost:
    """A simulated host (:class:`zswap_gym.host.types.Host`).

    Args:
        scenario: a Scenario, realised with ``seed``, or what ``Scenario.realise`` returned.
        seed: of everything random: what the scenario leaves open, and the machine.
        cgroups: which to sample, in this order; None = every cgroup with a workload.
        dialect: how to spell requests; None = as the scenario's kernel understands. STOCK refuses
            writebacks and notes it.
        time_of_day_s: local time at boot, seconds after midnight.
    """

    def __init__(
        self,
        scenario: Scenario | Realised | Parts,
        seed: int,
        *,
        cgroups: Sequence[str] | None = None,
        dialect: Dialect | None = None,
        time_of_day_s: float = 0.0,
    ) -> None:
        if isinstance(scenario, tuple):
            spec, tree, plans, stage_one, events = scenario
        else:
            spec, tree, plans, stage_one, events = scenario.realise(np.random.default_rng(seed))
        self.machine = Machine(spec, tree, plans, seed=seed, stage_one=stage_one)
        self.dialect = _spoken(spec) if dialect is None else dialect
        names = [name for name in self.machine.names if name in plans] if cgroups is None else list(cgroups)
        unknown = [name for name in names if not name or name not in self.machine.index]
        if unknown:
            raise ValueError(f"no cgroups to sample called {unknown}")
        self._names = names
        self._index = [self.machine.index[name] for name in names]
        self._reader = TableReader(self.machine, self._index)
        self.page_size = PAGE_SIZE
        """What its kernel counts pages in."""
        self.boot_id = "simulated"
        self.boot_us = spec.boot_us
        """Boot time at which the simulation began, microseconds."""
        self.time_of_day_s = time_of_day_s
        """Local time then, seconds after midnight."""
        self._announced = {name: _announced(name, events) for name in names}
        self.announces = any(event.start_s for event in self._announced.values())
        """Whether any hint will ever be given."""
        self._notes_of: dict[str, tuple[str, ...]] = {}

    def over(self, machine: Machine) -> SimulatedHost:
        """This host over another machine, which must be in the same state."""
        twin = copy.copy(self)
        twin.machine, twin._reader = machine, TableReader(machine, self._index)  # noqa: SLF001
        twin._notes_of = dict(self._notes_of)  # noqa: SLF001
        return twin

    @property
    def rows(self) -> list[int]:
        """Indices in the machine of the sampled cgroups."""
        return list(self._index)

    # --- looking ---------------------------------------------------------------------------------

    def cgroups(self) -> list[str]:
        """Names of the sampled cgroups, in the order of every sample and table."""
        return list(self._names)

    def table(self) -> Table:
        """All samples as a table (N, len(COLUMNS)), straight from the model's arrays: the fast way."""
        out = self._reader.read(self.clock)
        tell_hints([self], out[None], np.array([self.machine.now_us]))
        return out

    @property
    def clock(self) -> npt.NDArray[np.float64]:
        """Boot time at which the simulation began, us, and local time then, s: for `fill_tables`."""
        return np.array([self.boot_us, self.time_of_day_s], np.float64)

    def tell_hints(self, table: Table, since_boot_s: float) -> None:
        """Write the hints of that time into a table (N, K)."""
        for i, name in enumerate(self._names):
            hint = self._announced[name].at(since_boot_s)
            if hint.known:
                table[i, _HINT_COLUMNS] = (
                    1.0,
                    hint.seconds_to_event,
                    hint.seconds_left,
                    hint.expected_bytes,
                )

    def sample(self, *, via_text: bool = False) -> list[Sample]:
        """One Sample per cgroup.

        ``via_text``: go the way a real host goes, model -> text of the files -> parsers. Slower,
        and equal to the last bit.
        """
        if not via_text:
            rows = self.table().tolist()
            return [
                Sample(name, c, **dict(zip(COLUMNS, row, strict=True)))
                for name, c, row in zip(self._names, self._index, rows, strict=True)
            ]
        since_boot_s = self._since_boot_s()
        machine = read_machine(lambda file: self.read("", file))
        return [
            read_sample(
                name,
                c,
                lambda file, name=name: self.read(name, file),  # type: ignore[misc]
                machine,
                above=self._settings_above(c),
                hint=self._announced[name].at(since_boot_s),
                time_of_day_s=(self.time_of_day_s + since_boot_s) % DAY_S,
            )
            for name, c in zip(self._names, self._index, strict=True)
        ]

    def _settings_above(self, c: int) -> Settings:
        parent = int(self.machine.state.cgs["parent"][c])
        if parent < 0:
            return UNSET
        name = self.machine.names[parent]
        own = read_settings(lambda file: self.read(name, file), name)
        return tightest(self._settings_above(parent), own)

    def _since_boot_s(self) -> float:
        return float(self.machine.now_us - self.boot_us) / US_PER_S

    def read(self, cgroup: str, file: str) -> str:
        """The text of a cgroup's file, or of the machine's where ``file`` starts with a slash.

        Raises:
            FileNotFoundError: the kernel has no such file there, or there is no such cgroup.
            OSError: EINVAL for a file that can only be written.
        """
        return simulated_files.read(self.machine, cgroup, file)

    def mount(self, path: Path | str) -> None:
        """Write the whole tree as it is now below ``path``: ``cgroup/``, ``proc/``, ``sys/``.

        LinuxHost reads it with ``root=path/"cgroup"`` and so on; call again to bring it up to date.
        """
        simulated_files.mount(self.machine, Path(path))

    def notes(self) -> list[str]:
        """Nothing goes wrong in a simulation."""
        return []

    # --- acting ----------------------------------------------------------------------------------

    def write(self, cgroup: str, file: str, text: str) -> int:
        """Write to a file as a shell would, waiting until the write returns; its errno, 0 = well."""
        if file.startswith("/"):
            return simulated_files.write_parameter(self.machine, file, text)
        return self.machine.write(cgroup, file, text).errno

    def pulse(self, cgroup: str, pages: int) -> int:
        """Write back by a pulse, waiting until it ends; its errno (host/pulse.py)."""
        return self.machine.pulse(cgroup, pages).errno

    def has_age(self, cgroup: str) -> bool:  # noqa: ARG002 - one kernel, one dialect
        """Whether the dialect selects entries by age; true where it writes nothing back at all."""
        return self.dialect.has_age or self.dialect.file is None

    def submit(self, cgroup: str, request: Request) -> bool:
        """Start a request; it makes progress while :meth:`sleep` lets time pass."""
        c = self.machine.index[cgroup]
        want = whole(request)
        amount = self.amount(c, want.writeback_bytes)
        release = want.release_bytes // PAGE_SIZE
        if amount and not self.machine.host.release_after_writeback:
            release = 0  # the ablation: a pair without its second half
        age_us = want.age_s * US_PER_S if amount else -1
        if not self.machine.request(c, age_us, amount, release):
            return False
        notes = () if self.dialect is V1 else writes(self.dialect, request).notes  # V1 honours all of it
        self._notes_of[cgroup] = notes
        return True

    def amount(self, c: int, size: int) -> int:
        """``size`` uncompressed bytes of the machine's cgroup ``c`` as its kernel's interface counts them."""
        if self.dialect.file is None:
            return 0
        if self.dialect is V1:
            return size // PAGE_SIZE
        cg = self.machine.state.cgs[c]
        share = int(cg["zbytes"]) / max(int(cg["zpages"]) * PAGE_SIZE, 1)
        return self.machine.budget(writeback_size(self.dialect, size, share))

    def outcomes(self) -> list[tuple[str, Outcome]]:
        """Requests that ended since the last call, in order of their end."""
        ended = []
        for done in self.machine.finished():
            name = self.machine.names[done.cgroup]
            outcome = Outcome(
                done.errno,
                done.pages,
                done.pages * PAGE_SIZE,
                done.duration_us / US_PER_S,
                done.release_errno,
                done.released * PAGE_SIZE,
                self._notes_of.pop(name, ()),
            )
            ended.append((name, outcome))
        return ended

    # --- time ------------------------------------------------------------------------------------

    def now(self) -> float:
        """Simulated CLOCK_BOOTTIME in seconds."""
        return self.machine.now_us / US_PER_S

    def sleep(self, seconds: float) -> None:
        """Let simulated time pass, to the microsecond."""
        self.machine.advance(self.machine.now_us + round(seconds * US_PER_S))


def tell_hints(hosts: Sequence[SimulatedHost], tables: Table, now_us: npt.NDArray[np.int64]) -> None:
    """Write into tables (E, N, K) what each host's hints file says at boot time ``now_us`` (E,)."""
    for e, host in enumerate(hosts):
        if host.announces:
            host.tell_hints(tables[e], float(now_us[e] - host.boot_us) / US_PER_S)


def _spoken(spec: HostSpec) -> Dialect:
    """The dialect of a simulated kernel; rules of one's own are spelt like the version they look like."""
    if isinstance(spec.interface, str):
        return DIALECTS[spec.interface]
    key = spec.interface.key
    return V1 if key is None else next(d for d in DIALECTS.values() if d.text.endswith(f" {key}"))


_HINT_COLUMNS = [
    COLUMN[name]
    for name in ("hint_known", "hint_seconds_to_event", "hint_seconds_left", "hint_expected_bytes")
]


def _announced(cgroup: str, events: Sequence[RealisedEvent]) -> _Announced:
    mine = sorted((e.start_s, e.end_s, float(e.bytes)) for e in events if e.announced and e.cgroup == cgroup)
    return _Announced(tuple(e[0] for e in mine), tuple(e[1] for e in mine), tuple(e[2] for e in mine))
