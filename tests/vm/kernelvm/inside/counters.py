"""The kernel's own counters, read without any code of the project."""

from __future__ import annotations

from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
KNOB = Path("/sys/module/zswap/parameters/shrinker_enabled")


def keyed(path: Path | str) -> dict[str, int]:
    """A file of ``key value`` lines."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return {key: int(value) for key, value, *_ in (line.split() for line in lines)}


def stat(cgroup: str, key: str) -> int:
    """One number of memory.stat."""
    return keyed(CGROUPS / cgroup / "memory.stat").get(key, 0)


def vmstat(key: str) -> int:
    """One number of /proc/vmstat."""
    return keyed("/proc/vmstat").get(key, 0)


def write(path: Path | str, text: str) -> int:
    """An errno."""
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        return error.errno or 5
    return 0


def reclaim(cgroup: str, size: int | str) -> int:
    """memory.reclaim, an errno."""
    return write(CGROUPS / cgroup / "memory.reclaim", str(size))


def knob() -> str:
    """Y or N; empty where the kernel has none."""
    return KNOB.read_text(encoding="utf-8").strip() if KNOB.exists() else ""
