"""The kernel's files as text: parsers and, for the simulated host, formatters.

Each format is pasted above its parser (kernel 6.12, mm/memcontrol.c unless said). Keys are
matched whole: ``zswpwb`` is not ``zswpwb_proactive``. A caller names the keys it needs. Their lines
must be what the kernel writes, whole and said once, or there is a :class:`FormatError`; every other
line is passed over, whatever it holds. A key or file the kernel does not have is the caller's to
default.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from zswap_gym.errors import UserError

PSI_FIXED = 2048
"""One, in the fixed point of the pressure averages (include/linux/sched/loadavg.h: FIXED_1)."""


LARGEST = 2**64 - 1
"""The largest number a kernel prints."""


class FormatError(UserError):
    """A kernel file holds something the kernel would not write."""

    def __init__(self, file: str, line: int, text: str, expected: str) -> None:
        super().__init__(f"{file}, line {line}: {text[:60]!r} is not {expected}; is this the kernel's file?")


class MissingKeyError(FormatError):
    """A kernel file lacks a key that it must have."""

    def __init__(self, file: str, key: str, because: str) -> None:
        UserError.__init__(self, f"{file}: no {key}, though {because}; is this the kernel's file?")


def _count(word: str, file: str, line: int, whole: str, expected: str) -> int:
    # Not int() alone: it takes "1_000", "+1", "07" and non-ASCII digits, which no kernel prints.
    if not (word.isascii() and word.isdigit() and len(word) <= len(str(LARGEST)) and int(word) <= LARGEST):
        raise FormatError(file, line, whole, expected)
    if word[0] == "0" and word != "0":
        raise FormatError(file, line, whole, expected)
    return int(word)


def _hundredths(word: str, file: str, line: int, whole: str, expected: str) -> float:
    digits, point, rest = word.partition(".")
    if not point or len(rest) != 2 or not (rest.isascii() and rest.isdigit()):
        raise FormatError(file, line, whole, expected)
    _count(digits, file, line, whole, expected)
    return float(word)


def _lines_of(
    text: str, file: str, keys: Collection[str] | None, separator: str | None, expected: str
) -> dict[str, tuple[int, str, list[str]]]:
    """``{key: (line number, line, words after the key)}`` of the lines with one of ``keys``; None: of all.

    ``separator`` ends the key; None: blanks do. FormatError: the file ends in the middle of such a
    line, or two of them say different things.
    """
    found: dict[str, tuple[int, str, list[str]]] = {}
    lines = text.split("\n")  # not splitlines(), which also breaks lines where no kernel does
    for number, line in enumerate(lines, start=1):
        key, _, rest = line.partition(separator) if separator else " ".join(line.split()).partition(" ")
        key, words = key.strip(), rest.split()
        if (not line and number == len(lines)) or (keys is not None and key not in keys):
            continue
        if number == len(lines):
            raise FormatError(file, number, line, f"{expected}, ended by a newline")
        if key in found and found[key][2] != words:
            raise FormatError(file, number, line, f"the {key} of line {found[key][0]}")
        found[key] = number, line, words
    return found


# --- one number ---------------------------------------------------------------------------------
# memory.current, /sys/module/zswap/parameters/max_pool_percent:
#   62914560
# memory.max, memory.high, memory.swap.max, memory.zswap.max (seq_puts_memcg_tunable()):
#   max
# memory.zswap.writeback:
#   1


def _word(text: str, file: str, expected: str) -> str:
    """The one word of a file; a number without its line end may be the first half of one."""
    if not text.endswith("\n"):
        raise FormatError(file, 1, text, f"{expected}, ended by a newline")
    return text.strip()


def parse_number(text: str, file: str) -> int:
    """The one number of a file such as memory.current. FormatError otherwise."""
    return _count(_word(text, file, "a number"), file, 1, text, "a number")


def parse_limit(text: str, file: str) -> float:
    """Bytes, or inf for ``max``, of a limit such as memory.max. FormatError otherwise."""
    word = _word(text, file, "a number or max")
    return inf if word == "max" else float(_count(word, file, 1, text, "a number or max"))


def parse_switch(text: str, file: str) -> float:
    """0.0 or 1.0, of memory.zswap.writeback. FormatError otherwise."""
    if text.strip() not in ("0", "1"):
        raise FormatError(file, 1, text, "0 or 1")
    return float(text.strip())


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


def parse_keyed(text: str, file: str, keys: Collection[str] | None = None) -> dict[str, int]:
    """``{key: value}`` of memory.stat or memory.events: of those of ``keys`` that are there; None: of all.

    FormatError names the bad line.
    """
    expected = "a key and a number"
    found = {}
    for key, (number, line, words) in _lines_of(text, file, keys, None, expected).items():
        if len(words) != 1:
            raise FormatError(file, number, line, expected)
        found[key] = _count(words[0], file, number, line, expected)
    return found


def keys_of(text: str) -> frozenset[str]:
    """The first word of every line: the keys that a memory.stat has."""
    return frozenset(line.split(maxsplit=1)[0] for line in text.split("\n") if line.strip())


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


def _pressure_of(words: list[str], number: int, line: str, file: str) -> Pressure:
    expected = "a pressure line (some avg10=0.00 avg60=0.00 avg300=0.00 total=0)"
    said: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition("=")
        if said.setdefault(key, value) != value:
            raise FormatError(file, number, line, expected)
    if not {"avg10", "avg60", "total"} <= said.keys():
        raise FormatError(file, number, line, expected)
    avg10, avg60 = (_hundredths(said[key], file, number, line, expected) for key in ("avg10", "avg60"))
    if max(avg10, avg60) > 100:
        raise FormatError(file, number, line, f"{expected}, in percent")
    return Pressure(avg10, avg60, total_us=_count(said["total"], file, number, line, expected))


def parse_pressure(text: str, file: str) -> tuple[Pressure, Pressure]:
    """The ``some`` and ``full`` lines, which memory always has, without ``avg300``, which nobody needs."""
    found = _lines_of(text, file, ("some", "full"), None, "a pressure line")
    for kind in ("some", "full"):
        if kind not in found:
            raise MissingKeyError(file, kind, "every pressure file of memory has it")
    some, full = (
        _pressure_of(words, number, line, file) for number, line, words in (found["some"], found["full"])
    )
    return some, full


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


def parse_meminfo(text: str, keys: Collection[str], file: str = "/proc/meminfo") -> dict[str, int]:
    """``{name: bytes}`` of those of ``keys`` that are there; all of them sizes, in kB."""
    expected = "a size in kB"
    found = {}
    for name, (number, line, words) in _lines_of(text, file, keys, ":", expected).items():
        if len(words) != 2 or words[1] != "kB":
            raise FormatError(file, number, line, expected)
        found[name] = _count(words[0], file, number, line, expected) * 1024
    return found


def format_meminfo(values: Mapping[str, float]) -> str:
    """Lines of /proc/meminfo in the order given; bytes are cut to kB."""
    return "".join(f"{name + ':':<16}{int(value) // 1024:>8} kB\n" for name, value in values.items())


def parse_uptime(text: str, file: str = "/proc/uptime") -> float:
    """Seconds since boot, suspend included (CLOCK_BOOTTIME), in hundredths."""
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) != 1:
        raise FormatError(file, 1, text, "an uptime")
    return _hundredths(lines[0].split()[0], file, 1, text, "an uptime")


def format_uptime(boot_us: int, idle_us: int = 0) -> str:
    """/proc/uptime at boot time ``boot_us`` microseconds."""
    up, idle = boot_us // 10_000, idle_us // 10_000
    return f"{up // 100}.{up % 100:02d} {idle // 100}.{idle % 100:02d}\n"
