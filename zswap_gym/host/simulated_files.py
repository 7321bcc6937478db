"""The simulated kernel's files as text, byte for byte as its Linux version prints them.

With the parsers in ``files`` this closes the circle model -> text -> Sample, which the parity test
compares with the fast way, model -> table. It also lets any tool that reads cgroup v2 look at
a simulated machine (:func:`mount`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from math import inf
from pathlib import Path

from zswap_gym.host.files import (
    EVENT_KEYS,
    OF_THE_SERIES,
    SINCE_6_13,
    SINCE_6_15,
    SINCE_7_1,
    STAT_KEYS,
    SWAP_EVENT_KEYS,
    Pressure,
    format_flag,
    format_keyed,
    format_meminfo,
    format_number,
    format_pressure,
    format_uptime,
    psi_percent,
)
from zswap_gym.kernel.layout import INF_PAGES, STAT
from zswap_gym.kernel.machine import GAUGES, LIMIT_FILES, Machine
from zswap_gym.kernel.spec import COMPRESSORS, KERNELS
from zswap_gym.units import PAGE_SIZE

PROACTIVE = "memory.zswap.proactive_writeback"
WRITE_ONLY = ("memory.reclaim", PROACTIVE)
ON_ROOT = ("memory.stat", "memory.pressure", "memory.zswap.writeback", "memory.reclaim")
"""The cgroup files the root has too (spec/memcg-model.md 1, zswap-model.md 9)."""

_GAUGE_FILES = {
    "memory.current": "memory_current",
    "memory.peak": "peak",
    "memory.swap.current": "swap_current",
    "memory.swap.peak": "swap_peak",
    "memory.zswap.current": "zswap",
}
PARAMETERS = "/sys/module/zswap/parameters/"


def _counted(machine: Machine, c: int) -> dict[str, float]:
    """Counters and gauges of cgroup c by name, hierarchical."""
    counters = dict(zip(STAT, machine.counters()[c].tolist(), strict=True))
    return counters | dict(zip(GAUGES, machine.gauges()[c].tolist(), strict=True))


def stat_keys(machine: Machine) -> list[str]:
    """Keys of memory.stat in this machine's kernel, in its order."""
    kernel = KERNELS[machine.host.kernel]
    absent = {key for key in OF_THE_SERIES if machine.rules is None or key != machine.rules.stat}
    absent |= set(() if kernel.counts_swap_per_cgroup else SINCE_6_13)
    absent |= set(() if kernel.counts_proactive_reclaim else SINCE_6_15)
    absent |= set(() if kernel.counts_incompressible else SINCE_7_1)
    return [key for key in STAT_KEYS if key not in absent]


def _stat(machine: Machine, c: int) -> str:
    values = _counted(machine, c)
    for counter in ("pgscan", "pgsteal"):
        proactive = values[f"{counter}_proactive"]
        if not KERNELS[machine.host.kernel].counts_proactive_reclaim:  # it counts as direct reclaim there
            proactive = 0
        values[f"{counter}_direct"] = values[counter] - values[f"{counter}_kswapd"] - proactive
    if KERNELS[machine.host.kernel].counts_incompressible:
        values["zswap_incomp"] = machine.incompressible(c) * PAGE_SIZE
    zswap_pages = -(-int(values["zswap"]) // PAGE_SIZE)
    values["kernel"] = (int(machine.state.cgs["base"][c]) + zswap_pages) * PAGE_SIZE
    return format_keyed(values, stat_keys(machine))


def _events(machine: Machine, c: int) -> str:
    values = _counted(machine, c)
    return format_keyed({key: values.get(f"events_{key}", 0) for key in EVENT_KEYS}, EVENT_KEYS)


def _swap_events(machine: Machine, c: int) -> str:
    values = _counted(machine, c)
    found = {"high": values["swap_event_high"], "max": values["swap_event_max"], "fail": values["swap_fail"]}
    return format_keyed(found, SWAP_EVENT_KEYS)


def _pressure(machine: Machine, c: int) -> str:
    cg = machine.state.cgs[c]
    average = [psi_percent(int(value)) for value in cg["avg"]]
    some = Pressure(average[0], average[1], average[2], int(cg["some_us"]))
    return format_pressure(some, Pressure(average[3], average[4], average[5], int(cg["full_us"])))


def _limit(machine: Machine, c: int, field: str) -> str:
    pages = int(machine.state.cgs[field][c])
    return format_number(inf if pages >= INF_PAGES else pages * PAGE_SIZE)


def _cgroup_readers() -> dict[str, Callable[[Machine, int], str]]:
    readers: dict[str, Callable[[Machine, int], str]] = {
        "memory.stat": _stat,
        "memory.events": _events,
        "memory.swap.events": _swap_events,
        "memory.pressure": _pressure,
        "memory.oom.group": lambda machine, c: format_number(int(machine.state.cgs["oom_group"][c])),
        "memory.zswap.writeback": lambda machine, c: format_number(int(machine.state.cgs["writeback"][c])),
    }
    for file, field in LIMIT_FILES.items():
        readers[file] = lambda machine, c, field=field: _limit(machine, c, field)  # type: ignore[misc]
    for file, gauge in _GAUGE_FILES.items():
        column = GAUGES.index(gauge)
        readers[file] = lambda m, c, column=column: format_number(m.gauges()[c, column])  # type: ignore[misc]
    return readers


_CGROUP_READERS = _cgroup_readers()
CGROUP_FILES = (*_CGROUP_READERS, *WRITE_ONLY)
"""Every file a simulated cgroup may have."""


def cgroup_files(machine: Machine, c: int) -> tuple[str, ...]:
    """The files of cgroup c: all but version 1's where the kernel has another interface or none."""
    has_v1 = machine.rules is not None and machine.rules.file == PROACTIVE
    return tuple(f for f in (CGROUP_FILES if c else ON_ROOT) if has_v1 or f != PROACTIVE)


def max_pool_percent(machine: Machine) -> int:
    """The module parameter in force; the machine keeps the page limit it led to (a floor)."""
    host = machine.state.host[0]
    return -(-int(host["max_pool_pages"]) * 100 // int(host["ram_pages"]))


def meminfo(machine: Machine) -> dict[str, float]:
    """What /proc/meminfo says, bytes. MemFree: RAM less resident pages, unreclaimable ones, pool and zram."""
    host, root = machine.state.host[0], machine.state.cgs[0]
    pool = int(host["pool_pages"])
    zram = -(-int(host["zram_bytes"]) // PAGE_SIZE)
    free = int(host["ram_pages"]) - int(root["resident"]) - int(root["base"]) - pool - zram
    return {
        "MemTotal": int(host["ram_pages"]) * PAGE_SIZE,
        "MemFree": max(free, 0) * PAGE_SIZE,
        "Cached": int(root["file"]) * PAGE_SIZE,
        "SwapCached": int(root["swapcached"]) * PAGE_SIZE,
        "SwapTotal": int(host["swap_pages"]) * PAGE_SIZE,
        "SwapFree": int(host["swap_pages"] - host["slots_used"]) * PAGE_SIZE,
        "Zswap": pool * PAGE_SIZE,
        "Zswapped": int(root["zpages"]) * PAGE_SIZE,
    }


def _compressor(machine: Machine) -> str:
    names = [name for name, spec in COMPRESSORS.items() if spec == machine.host.compressor]
    return f"{names[0] if names else '(null)'}\n"


_MACHINE_READERS: dict[str, Callable[[Machine], str]] = {
    "/proc/uptime": lambda machine: format_uptime(machine.now_us),
    "/proc/meminfo": lambda machine: format_meminfo(meminfo(machine)),
    "/proc/pressure/memory": lambda machine: _pressure(machine, 0),
    f"{PARAMETERS}enabled": lambda machine: format_flag(machine.zswap_enabled),
    f"{PARAMETERS}shrinker_enabled": lambda machine: format_flag(bool(machine.state.host[0]["shrinker"])),
    f"{PARAMETERS}max_pool_percent": lambda machine: format_number(max_pool_percent(machine)),
    f"{PARAMETERS}accept_threshold_percent": lambda m: format_number(m.host.accept_threshold_percent),
    f"{PARAMETERS}compressor": _compressor,
}
MACHINE_FILES = tuple(_MACHINE_READERS)
"""Every file of a simulated machine outside its cgroups."""


def read(machine: Machine, cgroup: str, file: str) -> str:
    """The text of a file: of ``cgroup``, or of the machine where ``file`` starts with a slash.

    Raises:
        FileNotFoundError: no such cgroup or file, as for most files on the root ("").
        OSError: EINVAL for a file that can only be written.
    """
    if file in _MACHINE_READERS:
        return _MACHINE_READERS[file](machine)
    c = machine.index.get(cgroup)
    if c is None or machine.state.cgs["offline"][c] or file not in cgroup_files(machine, c):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{cgroup}/{file}")
    if file in WRITE_ONLY:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), f"{cgroup}/{file}")
    return _CGROUP_READERS[file](machine, c)


def write_parameter(machine: Machine, file: str, text: str) -> int:
    """Write a module parameter; an errno as kernel/params.c would return it."""
    name, value = file.removeprefix(PARAMETERS), text.strip()
    if name in ("enabled", "shrinker_enabled"):
        if value.lower()[:1] not in ("y", "n", "1", "0"):  # kstrtobool()
            return errno.EINVAL
        on = value.lower()[0] in ("y", "1")
        machine.set_zswap(**{"enabled" if name == "enabled" else "shrinker": on})
        return 0
    if name == "max_pool_percent" and value.isdecimal():
        machine.set_zswap(max_pool_percent=int(value))
        return 0
    return errno.EINVAL if name == "max_pool_percent" else errno.ENOENT


def folder_of(machine: Machine, cgroup: str) -> str:
    """Path of a cgroup below the cgroup mount: its ancestors' names and its own."""
    parts: list[str] = []
    name: str | None = cgroup
    parents = {spec.name: spec.parent for spec in machine.specs}
    while name:
        parts.insert(0, name)
        name = parents[name]
    return "/".join(parts)


def mount(machine: Machine, path: Path) -> None:
    """Write every file below ``path``: ``cgroup/``, ``proc/`` and ``sys/``, replacing each whole.

    Files that can only be written are created empty once and then left alone: what a tool
    writes to them stays.
    """
    for file in MACHINE_FILES:
        _replace(path / file.lstrip("/"), read(machine, "", file))
    for c, cgroup in enumerate(machine.names):
        if machine.state.cgs["offline"][c]:
            continue
        folder = path / "cgroup" / folder_of(machine, cgroup)
        for file in cgroup_files(machine, c):
            if file not in WRITE_ONLY:
                _replace(folder / file, read(machine, cgroup, file))
            elif not (folder / file).exists():
                _replace(folder / file, "")


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
