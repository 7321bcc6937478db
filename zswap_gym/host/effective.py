"""What holds for a cgroup: the tightest of its own settings and of those above it.

The kernel checks a limit at every level from the cgroup up, and takes memory.zswap.writeback as on
only where it is on all the way (mm/memcontrol.c:mem_cgroup_zswap_writeback_enabled()); each file
shows its own cgroup's value all the same. The root has memory.zswap.writeback too, and no limits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path

from zswap_gym.host.files import parse_limit, parse_switch

Read = Callable[[str], str]
"""``read(file)``: the text of a file. FileNotFoundError: this kernel or cgroup has no such file."""

Settings = Mapping[str, float]
"""By the names of a Sample's fields."""

_PARSERS: dict[str, tuple[str, Callable[[str, str], float]]] = {
    "memory_max": ("memory.max", parse_limit),
    "memory_high": ("memory.high", parse_limit),
    "swap_max": ("memory.swap.max", parse_limit),
    "zswap_max": ("memory.zswap.max", parse_limit),
    "zswap_writeback": ("memory.zswap.writeback", parse_switch),
}
SETTING_FILES: tuple[str, ...] = tuple(file for file, _ in _PARSERS.values())
"""The files that settings are read from."""

UNSET: Settings = {name: 1.0 if name == "zswap_writeback" else inf for name in _PARSERS}
"""As a cgroup is made, and as a kernel without these files behaves."""


def read_settings(read: Read, label: str) -> Settings:
    """A cgroup's own settings, :data:`UNSET` where a file is missing. FormatError names ``label``/file."""
    found = dict(UNSET)
    for name, (file, parse) in _PARSERS.items():
        try:
            found[name] = parse(read(file), f"{label}/{file}")
        except FileNotFoundError:
            continue
    return found


def tightest(above: Settings, own: Settings) -> Settings:
    """What holds under both: the least limit, and writeback only where both have it on."""
    return {name: min(above[name], own[name]) for name in UNSET}


def cgroup_mount(root: Path) -> Path:
    """The topmost cgroup that can be seen from ``root`` upwards: where the hierarchy is mounted.

    Every cgroup v2 folder holds cgroup.controllers, and nothing above the mount does.
    """
    top = root.resolve()
    while top != top.parent and (top.parent / "cgroup.controllers").is_file():
        top = top.parent
    return top


class Above:
    """The settings of what contains a cgroup, each folder read once. Made anew for every tick.

    Args:
        root: what is above it counts where it can be read; what is below it must be readable.
        mount: the topmost folder, see :func:`cgroup_mount`.
        read: the text of a path, as :data:`Read`.
    """

    def __init__(self, root: Path, mount: Path, read: Callable[[Path], str]) -> None:
        self._root, self._mount, self._read = root.resolve(), mount, read
        self._known: dict[Path, Settings] = {}

    def settings(self, name: str) -> Settings:
        """In force in the parent of cgroup ``name``. FormatError, OSError: a file above it cannot be read."""
        return self._of((self._root / name).parent)

    def _of(self, folder: Path) -> Settings:
        if folder not in self._known:
            above = UNSET if folder == self._mount else self._of(folder.parent)
            self._known[folder] = tightest(above, self._own(folder))
        return self._known[folder]

    def _own(self, folder: Path) -> Settings:
        try:
            return read_settings(lambda file: self._read(folder / file), str(folder))
        except OSError:
            if self._root.is_relative_to(folder) and folder != self._root:
                return UNSET  # not ours to read
            raise
