"""From text to Sample: the one function both hosts use, whoever holds the files.

The caller hands in ``read(file) -> str``. ``file`` is a name inside the cgroup's directory
(``memory.stat``) or, with a leading slash, one of the machine's (``/proc/meminfo``). A file the
kernel does not have raises FileNotFoundError, and what it would have said takes the default of
the Sample's field. Which files and keys a reading needs is said here, and which of them a kernel
may lack: whatever else the files hold is not looked at.

**Pages.** The kernel counts pages of its own size. A Sample counts pages of 4 KiB, so what is counted
in pages (and faults, each of which brings a page) is multiplied here, and nothing above needs to know.

**Pressure.** Where a cgroup has no memory.pressure, what the whole machine says stands in for it. Where
that is missing too nothing is known: the fields are 0 and ``psi_unknown`` is 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from zswap_gym.host import refaults
from zswap_gym.host.effective import SETTING_FILES, UNSET, Read, Settings, read_settings, tightest
from zswap_gym.host.files import (
    MissingKeyError,
    Pressure,
    parse_keyed,
    parse_meminfo,
    parse_number,
    parse_pressure,
    parse_uptime,
)
from zswap_gym.host.hints import NO_HINT, Hint
from zswap_gym.host.types import Sample
from zswap_gym.units import PAGE_SIZE

NUMBER_FILES = {
    "swap_current": "memory.swap.current",
    "zswap_current": "memory.zswap.current",
    "memory_current": "memory.current",
}


def _keys_of(file: str) -> dict[str, str]:
    """Sample field -> key, for the fields whose metadata says they are read from ``file``."""
    origins = {f.name: str(f.metadata.get("file", "")) for f in fields(Sample)}
    return {name: o.removeprefix(file + " ") for name, o in origins.items() if o.startswith(file + " ")}


STAT_FIELDS = {name: key for name, key in _keys_of("memory.stat").items() if name != "disk_reads"}
EVENT_FIELDS = _keys_of("memory.events")
MEMINFO_FIELDS = _keys_of("/proc/meminfo")
POOL_PERCENT_FILE = "/sys/module/zswap/parameters/max_pool_percent"

PAGE_FIELDS = tuple(f.name for f in fields(Sample) if f.metadata.get("unit") in ("pages", "faults"))
"""What the kernel counts in pages of its own size, a fault being one of them."""

CGROUP_FILES: tuple[str, ...] = (
    "memory.stat",
    "memory.events",
    "memory.pressure",
    *SETTING_FILES,
    *NUMBER_FILES.values(),
)
"""Files of a cgroup that a Sample is made of."""

MACHINE_FILES: tuple[str, ...] = (
    "/proc/uptime",
    "/proc/meminfo",
    "/proc/pressure/memory",
    POOL_PERCENT_FILE,
)
"""Files of the machine that a Sample is made of."""

STAT_ALWAYS = ("anon", "inactive_anon", "active_anon", "pgfault", "pgmajfault")
"""Keys of memory.stat in every kernel that has cgroup v2."""
STAT_WITH_ZSWAP = ("zswap", "zswapped", "zswpin", "zswpout")
"""Keys of memory.stat that came together, with 5.19 and CONFIG_ZSWAP."""
STAT_BEFORE_ZSWAP = ("swapcached", "pgscan", "pgsteal", "workingset_refault_anon")
"""Keys of memory.stat that are older than those."""
STAT_WITH_SWITCH = ("zswpwb",)
"""Keys of memory.stat that came with memory.zswap.writeback, in 6.8."""
MEMINFO_ALWAYS = ("MemTotal", "MemFree", "SwapTotal", "SwapFree")
MEMINFO_WITH_ZSWAP = ("Zswap", "Zswapped")
EVENTS_ALWAYS = tuple(EVENT_FIELDS.values())


def _optional(read: Read, file: str) -> str | None:
    try:
        return read(file)
    except FileNotFoundError:
        return None


def _must_have(found: Mapping[str, int], file: str, keys: tuple[str, ...], because: str) -> None:
    for key in keys:
        if key not in found:
            raise MissingKeyError(file, key, because)


def _pressure(read: Read, file: str, label: str) -> tuple[Pressure, Pressure] | None:
    text = _optional(read, file)  # absent without CONFIG_PSI or with psi=0
    return None if text is None else parse_pressure(text, label)


def read_machine(read: Read) -> dict[str, float]:
    """The Sample fields that are the same for every cgroup of the machine; read once per tick.

    Raises:
        FileNotFoundError: no /proc/uptime or /proc/meminfo.
        FormatError: a file is not what the kernel writes.
    """
    file = "/proc/meminfo"
    meminfo = parse_meminfo(read(file), tuple(MEMINFO_FIELDS.values()))
    _must_have(meminfo, file, MEMINFO_ALWAYS, "every kernel prints it")
    if any(key in meminfo for key in MEMINFO_WITH_ZSWAP):  # absent before 5.19 and without CONFIG_ZSWAP
        _must_have(meminfo, file, MEMINFO_WITH_ZSWAP, "it comes with the other of zswap's two lines")
    values = {name: float(meminfo.get(key, 0)) for name, key in MEMINFO_FIELDS.items()}
    values["time_s"] = parse_uptime(read("/proc/uptime"))
    pressure = _pressure(read, "/proc/pressure/memory", "/proc/pressure/memory")
    values |= _told(pressure)
    if pressure is not None:
        values["host_psi_some_avg10"] = pressure[0].avg10
        values["host_psi_some_total_us"] = float(pressure[0].total_us)
    percent = _optional(read, POOL_PERCENT_FILE)
    if percent is not None:
        values["host_max_pool_percent"] = float(parse_number(percent, POOL_PERCENT_FILE))
    return values


def _told(pressure: tuple[Pressure, Pressure] | None) -> dict[str, float]:
    """A Sample's fields of pressure."""
    some, full = pressure or (Pressure(), Pressure())
    return {
        "psi_some_avg10": some.avg10,
        "psi_some_avg60": some.avg60,
        "psi_some_total_us": float(some.total_us),
        "psi_full_avg10": full.avg10,
        "psi_full_total_us": float(full.total_us),
        "psi_unknown": float(pressure is None),
    }


def read_sample(
    cgroup: str,
    inode: int,
    read: Read,
    machine: Mapping[str, float],
    *,
    above: Settings = UNSET,
    page_size: int = PAGE_SIZE,
    hint: Hint = NO_HINT,
    time_of_day_s: float = 0.0,
) -> Sample:
    """One cgroup now. ``machine`` comes from :func:`read_machine` of the same tick.

    ``above`` are the settings in force in its parent, ``page_size`` is what the kernel counts pages in.

    memory.current and memory.stat must be there: every cgroup with the memory controller but the
    root has them, so without them it is gone. They are read last, so that a cgroup that vanishes
    half-way is noticed and not taken for a kernel without zswap.

    Raises:
        FileNotFoundError: memory.current or memory.stat is missing.
        FormatError: a file is not what the kernel writes; the message names file, line and key.
    """
    values = {**machine, **tightest(above, read_settings(read, cgroup))}
    has_switch = _optional(read, "memory.zswap.writeback") is not None
    events = _optional(read, "memory.events")
    if events is not None:
        file = f"{cgroup}/memory.events"
        counted = parse_keyed(events, file, EVENTS_ALWAYS)
        _must_have(counted, file, EVENTS_ALWAYS, "every kernel prints it")
        values |= {name: float(counted[key]) for name, key in EVENT_FIELDS.items()}
    pressure = _pressure(read, "memory.pressure", f"{cgroup}/memory.pressure")
    if pressure is not None:
        values |= _told(pressure)
    for name, file in NUMBER_FILES.items():
        text = read(file) if name == "memory_current" else _optional(read, file)
        if text is not None:
            values[name] = float(parse_number(text, f"{cgroup}/{file}"))
    values |= _stat(read("memory.stat"), f"{cgroup}/memory.stat", has_switch=has_switch)
    for name in PAGE_FIELDS:
        values[name] *= page_size / PAGE_SIZE
    return Sample(
        cgroup=cgroup,
        inode=inode,
        time_of_day_s=time_of_day_s,
        hint_known=float(hint.known),
        hint_seconds_to_event=hint.seconds_to_event,
        hint_seconds_left=hint.seconds_left,
        hint_expected_bytes=hint.expected_bytes,
        **values,
    )


def _stat(text: str, file: str, *, has_switch: bool) -> dict[str, float]:
    """The fields from memory.stat, 0 for a key that this kernel does not have."""
    found = parse_keyed(text, file, (*STAT_FIELDS.values(), *refaults.KEYS))
    _must_have(found, file, STAT_ALWAYS, "every kernel prints it")
    if any(key in found for key in STAT_WITH_ZSWAP):
        _must_have(found, file, STAT_WITH_ZSWAP, "the other keys of zswap are there")
        _must_have(found, file, STAT_BEFORE_ZSWAP, "the keys of zswap are there, which are newer")
        if has_switch:
            _must_have(found, file, STAT_WITH_SWITCH, "this kernel has memory.zswap.writeback")
    values = {name: float(found.get(key, 0)) for name, key in STAT_FIELDS.items()}
    return values | {"disk_reads": float(refaults.disk_reads(found))}
