"""From text to Sample: the one function both hosts use, whoever holds the files.

The caller hands in ``read(file) -> str``. ``file`` is a name inside the cgroup's directory
(``memory.stat``) or, with a leading slash, one of the machine's (``/proc/meminfo``). A file the
kernel does not have raises FileNotFoundError, and what it would have said takes the default of
the Sample's field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields

from zswap_gym.host.files import (
    Pressure,
    parse_keyed,
    parse_limit,
    parse_meminfo,
    parse_number,
    parse_pressure,
    parse_uptime,
)
from zswap_gym.host.hints import NO_HINT, Hint
from zswap_gym.host.types import Sample

Read = Callable[[str], str]
"""``read(file)``: the text of a file. FileNotFoundError: this kernel or cgroup has no such file."""

LIMIT_FILES = {
    "memory_max": "memory.max",
    "memory_high": "memory.high",
    "swap_max": "memory.swap.max",
    "zswap_max": "memory.zswap.max",
}
NUMBER_FILES = {
    "swap_current": "memory.swap.current",
    "zswap_current": "memory.zswap.current",
    "zswap_writeback": "memory.zswap.writeback",
    "memory_current": "memory.current",
}


def _keys_of(file: str) -> dict[str, str]:
    """Sample field -> key, for the fields whose metadata says they are read from ``file``."""
    origins = {f.name: str(f.metadata.get("file", "")) for f in fields(Sample)}
    return {name: o.removeprefix(file + " ") for name, o in origins.items() if o.startswith(file + " ")}


STAT_FIELDS = _keys_of("memory.stat")
EVENT_FIELDS = _keys_of("memory.events")
MEMINFO_FIELDS = _keys_of("/proc/meminfo")
POOL_PERCENT_FILE = "/sys/module/zswap/parameters/max_pool_percent"

CGROUP_FILES: tuple[str, ...] = (
    "memory.stat",
    "memory.events",
    "memory.pressure",
    *LIMIT_FILES.values(),
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


def _optional(read: Read, file: str) -> str | None:
    try:
        return read(file)
    except FileNotFoundError:
        return None


def _pressure(read: Read, file: str, label: str) -> tuple[Pressure, Pressure]:
    text = _optional(read, file)  # absent without CONFIG_PSI or with psi=0
    return (Pressure(), Pressure()) if text is None else parse_pressure(text, label)


def read_machine(read: Read) -> dict[str, float]:
    """The Sample fields that are the same for every cgroup of the machine; read once per tick.

    Raises:
        FileNotFoundError: no /proc/uptime or /proc/meminfo.
        FormatError: a file is not what the kernel writes.
    """
    meminfo = parse_meminfo(read("/proc/meminfo"))
    # Zswap and Zswapped are absent before 5.19 and without CONFIG_ZSWAP.
    values = {name: float(meminfo.get(key, 0)) for name, key in MEMINFO_FIELDS.items()}
    values["time_s"] = parse_uptime(read("/proc/uptime"))
    some, _ = _pressure(read, "/proc/pressure/memory", "/proc/pressure/memory")
    values["host_psi_some_avg10"] = some.avg10
    values["host_psi_some_total_us"] = float(some.total_us)
    percent = _optional(read, POOL_PERCENT_FILE)
    if percent is not None:
        values["host_max_pool_percent"] = float(parse_number(percent, POOL_PERCENT_FILE))
    return values


def read_sample(
    cgroup: str,
    inode: int,
    read: Read,
    machine: Mapping[str, float],
    *,
    hint: Hint = NO_HINT,
    time_of_day_s: float = 0.0,
) -> Sample:
    """One cgroup now. ``machine`` comes from :func:`read_machine` of the same tick.

    memory.current and memory.stat must be there: every cgroup with the memory controller but the
    root has them, so without them it is gone. They are read last, so that a cgroup that vanishes
    half-way is noticed and not taken for a kernel without zswap.

    Raises:
        FileNotFoundError: memory.current or memory.stat is missing.
        FormatError: a file is not what the kernel writes; the message names file and line.
    """
    values = dict(machine)
    for name, file in LIMIT_FILES.items():
        text = _optional(read, file)
        if text is not None:
            values[name] = parse_limit(text, f"{cgroup}/{file}")
    events = _optional(read, "memory.events")
    counted = {} if events is None else parse_keyed(events, f"{cgroup}/memory.events")
    values.update({name: float(counted.get(key, 0)) for name, key in EVENT_FIELDS.items()})
    some, full = _pressure(read, "memory.pressure", f"{cgroup}/memory.pressure")
    values["psi_some_avg10"], values["psi_some_avg60"] = some.avg10, some.avg60
    values["psi_some_total_us"] = float(some.total_us)
    values["psi_full_avg10"], values["psi_full_total_us"] = full.avg10, float(full.total_us)
    for name, file in NUMBER_FILES.items():
        text = read(file) if name == "memory_current" else _optional(read, file)
        if text is not None:
            values[name] = float(parse_number(text, f"{cgroup}/{file}"))
    stat = parse_keyed(read("memory.stat"), f"{cgroup}/memory.stat")
    values.update({name: float(stat.get(key, 0)) for name, key in STAT_FIELDS.items()})
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
