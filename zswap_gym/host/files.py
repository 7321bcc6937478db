"""The kernel's files as text: parsers and, for the simulated host, formatters.

Each format is pasted above its parser (kernel 6.12, mm/memcontrol.c unless said). Keys are
matched whole: ``zswpwb`` is not ``zswpwb_proactive``. A key or file the kernel does not have is
the caller's to default; text that is not what the kernel writes is a :class:`FormatError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from zswap_gym.errors import UserError

PSI_FIXED = 2048
"""One, in the fixed point of the pressure averages (include/linux/sched/loadavg.h: FIXED_1)."""


DIGITS_MAX = 20
"""Of the largest number a kernel prints, 2**64 - 1."""


class FormatError(UserError):
    """A kernel file holds something the kernel would not write."""

    def __init__(self, file: str, line: int, text: str, expected: str) -> None:
        super().__init__(f"{file}, line {line}: {text[:60]!r} is not {expected}; is this the kernel's file?")


def _count(word: str, file: str, line: int, whole: str, expected: str) -> int:
    # Not int(): it takes "1_000", "+1" and non-ASCII digits, which no kernel prints.
    if not (word.isascii() and word.isdigit() and len(word) <= DIGITS_MAX):
        raise FormatError(file, line, whole, expected)
    return int(word)


# --- one number ---------------------------------------------------------------------------------
# memory.current, memory.zswap.writeback, /sys/module/zswap/parameters/max_pool_percent:
#   62914560
# memory.max, memory.high, memory.swap.max, memory.zswap.max (seq_puts_memcg_tunable()):
#   max


def parse_number(text: str, file: str) -> int:
    """The one number of a file such as memory.current. FormatError otherwise."""
    return _count(text.strip(), file, 1, text, "a number")


def parse_limit(text: str, file: str) -> float:
    """Bytes, or inf for ``max``, of a limit such as memory.max. FormatError otherwise."""
    return inf if text.strip() == "max" else float(_count(text.strip(), file, 1, text, "a number or max"))


def format_number(value: float) -> str:
    """What the kernel prints for a number or an unset limit (inf): with its line end."""
    return "max\n" if value == inf else f"{int(value)}\n"


# /sys/module/zswap/parameters/enabled, shrinker_enabled (kernel/params.c:param_get_bool()):
#   Y


def parse_flag(text: str, file: str) -> bool:
    """A boolean module parameter. FormatError otherwise."""
    if text.strip() not in ("Y", "N"):
        raise FormatError(file, 1, text, "Y or N")
    return text.strip() == "Y"


def format_flag(on: bool) -> str:
    """What the kernel prints for a boolean module parameter."""
    return "Y\n" if on else "N\n"


# --- one key and one number per line ------------------------------------------------------------
# memory.stat, memory.events:
#   anon 43057152
#   ...
#   zswpwb 12288
#   zswpwb_proactive 12288                        (version 1 of the series only)


def parse_keyed(text: str, file: str) -> dict[str, int]:
    """``{key: value}`` of memory.stat or memory.events. FormatError names the bad line."""
    found: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        key, _, value = line.partition(" ")
        if not key:
            raise FormatError(file, number, line, "a key and a number")
        found[key] = _count(value, file, number, line, "a key and a number")
    return found


STAT_KEYS: tuple[str, ...] = (
    "anon", "file", "kernel", "kernel_stack", "pagetables", "sec_pagetables", "percpu", "sock", "vmalloc",
    "shmem", "zswap", "zswapped", "zswap_incomp", "zswpwb_proactive_b", "file_mapped", "file_dirty",
    "file_writeback", "swapcached", "anon_thp", "file_thp", "shmem_thp", "inactive_anon", "active_anon",
    "inactive_file", "active_file", "unevictable", "slab_reclaimable", "slab_unreclaimable", "slab",
    "workingset_refault_anon", "workingset_refault_file", "workingset_activate_anon",
    "workingset_activate_file", "workingset_restore_anon", "workingset_restore_file",
    "workingset_nodereclaim", "pgdemote_kswapd", "pgdemote_direct", "pgdemote_khugepaged",
    "pgdemote_proactive", "pgscan", "pgsteal", "pswpin", "pswpout", "pgscan_kswapd", "pgscan_direct",
    "pgscan_khugepaged", "pgscan_proactive", "pgsteal_kswapd", "pgsteal_direct", "pgsteal_khugepaged",
    "pgsteal_proactive", "pgfault", "pgmajfault", "pgrefill", "pgactivate", "pgdeactivate", "pglazyfree",
    "pglazyfreed", "swpin_zero", "swpout_zero", "zswpin", "zswpout", "zswpwb", "zswpwb_proactive",
    "thp_fault_alloc", "thp_collapse_alloc", "thp_swpout", "thp_swpout_fallback",
)  # fmt: skip
"""Keys of memory.stat in the kernel's order: memory_stats[], then memcg_stat_format()'s events.

All that any kernel of kernel/spec.py prints; :func:`stat_keys` says which one prints what. The two
counters of the series are where its versions put them.
"""

SINCE_6_13 = ("pswpin", "pswpout")
SINCE_6_15 = ("pgdemote_proactive", "pgscan_proactive", "pgsteal_proactive")
SINCE_7_1 = ("zswap_incomp",)
OF_THE_SERIES = ("zswpwb_proactive", "zswpwb_proactive_b")

SWAP_EVENT_KEYS: tuple[str, ...] = ("high", "max", "fail")
"""Keys of memory.swap.events in the kernel's order (swap_events_show())."""

EVENT_KEYS: tuple[str, ...] = ("low", "high", "max", "oom", "oom_kill", "oom_group_kill")
"""Keys of memory.events in the kernel's order (__memory_events_show())."""


def format_keyed(values: Mapping[str, float], keys: Sequence[str]) -> str:
    """Lines of ``keys`` in their order; a key without a value is 0, as for memory of a kind nobody uses."""
    return "".join(f"{key} {int(values.get(key, 0))}\n" for key in keys)


# --- pressure -----------------------------------------------------------------------------------
# memory.pressure, /proc/pressure/memory (kernel/sched/psi.c:psi_show()):
#   some avg10=0.12 avg60=0.05 avg300=0.01 total=483123
#   full avg10=0.00 avg60=0.00 avg300=0.00 total=120001


@dataclass(frozen=True)
class Pressure:
    """One line of a pressure file: averages in percent, the total in microseconds."""

    avg10: float = 0.0
    avg60: float = 0.0
    avg300: float = 0.0
    total_us: int = 0


def _pressure_line(line: str, number: int, file: str) -> Pressure:
    expected = "a pressure line (some avg10=0.00 avg60=0.00 avg300=0.00 total=0)"
    averages: dict[str, float] = {}
    total = 0
    for word in line.split(" ")[1:]:
        key, _, value = word.partition("=")
        if key == "total":
            total = _count(value, file, number, line, expected)
            continue
        whole, _, hundredths = value.partition(".")
        if len(hundredths) != 2:
            raise FormatError(file, number, line, expected)
        _count(whole + hundredths, file, number, line, expected)
        averages[key] = float(value)
    if not {"avg10", "avg60", "avg300"} <= averages.keys():
        raise FormatError(file, number, line, expected)
    return Pressure(averages["avg10"], averages["avg60"], averages["avg300"], total)


def parse_pressure(text: str, file: str) -> tuple[Pressure, Pressure]:
    """The ``some`` and ``full`` lines. A missing line is zero pressure; FormatError on others."""
    lines = {"some": Pressure(), "full": Pressure()}
    for number, line in enumerate(text.splitlines(), start=1):
        kind = line.partition(" ")[0]
        if kind not in lines:
            raise FormatError(file, number, line, "a pressure line")
        lines[kind] = _pressure_line(line, number, file)
    return lines["some"], lines["full"]


def psi_percent(average: Any) -> Any:
    """Percent, as printed, of a fixed-point average (int or integer array): LOAD_FRAC() cuts, not rounds."""
    return (average // PSI_FIXED * 100 + average % PSI_FIXED * 100 // PSI_FIXED) / 100


def format_pressure(some: Pressure, full: Pressure) -> str:
    """A pressure file; the averages are percent with two decimals (see :func:`psi_percent`)."""
    return "".join(
        f"{kind} avg10={p.avg10:.2f} avg60={p.avg60:.2f} avg300={p.avg300:.2f} total={p.total_us}\n"
        for kind, p in (("some", some), ("full", full))
    )


# --- /proc --------------------------------------------------------------------------------------
# /proc/meminfo (fs/proc/meminfo.c): the value is right-aligned in 8 columns
#   MemTotal:       24683656 kB
#   Zswap:              5124 kB
#   HugePages_Total:       0                      (no unit: a count)
# /proc/uptime (fs/proc/uptime.c): boot time, idle time of all CPUs, s, cut to hundredths
#   172800.25 340010.11


def parse_meminfo(text: str, file: str = "/proc/meminfo") -> dict[str, int]:
    """``{name: bytes}``; lines without ``kB`` are counts and stay as they are."""
    found: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        name, colon, rest = line.partition(":")
        words = rest.split()
        if not colon or len(words) not in (1, 2) or words[1:] not in ([], ["kB"]):
            raise FormatError(file, number, line, "a line of meminfo")
        value = _count(words[0], file, number, line, "a line of meminfo")
        found[name] = value * 1024 if len(words) == 2 else value
    return found


def format_meminfo(values: Mapping[str, float]) -> str:
    """Lines of /proc/meminfo in the order given; bytes are cut to kB."""
    return "".join(f"{name + ':':<16}{int(value) // 1024:>8} kB\n" for name, value in values.items())


def parse_uptime(text: str, file: str = "/proc/uptime") -> float:
    """Seconds since boot, suspend included (CLOCK_BOOTTIME), in hundredths."""
    word = text.split(" ", maxsplit=1)[0].strip()
    whole, point, hundredths = word.partition(".")
    if not point or len(hundredths) != 2:
        raise FormatError(file, 1, text, "an uptime")
    _count(whole + hundredths, file, 1, text, "an uptime")
    return float(word)


def format_uptime(boot_us: int, idle_us: int = 0) -> str:
    """/proc/uptime at boot time ``boot_us`` microseconds."""
    up, idle = boot_us // 10_000, idle_us // 10_000
    return f"{up // 100}.{up % 100:02d} {idle // 100}.{idle % 100:02d}\n"
