"""Is there a cgroup v2 memory controller where the operator says, and zswap? Asked once, at the start.

Without the first every cgroup would be left out in silence, as one that is about to vanish is.
Without the second there can be nothing to write back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from zswap_gym.errors import UserError
from zswap_gym.host.files import FormatError, parse_flag

ZSWAP_ENABLED = "/sys/module/zswap/parameters/enabled"

NEEDED_FILES = ("memory.current", "memory.stat")
"""What every cgroup with the memory controller has; version 1 has no memory.current."""


def check_memory(root: Path, names: Sequence[str], patterns: Sequence[str]) -> str | None:
    """A warning where no cgroup matches (one may yet appear), else None.

    Args:
        root: where cgroup v2 is said to be mounted.
        names: the cgroups below it that match ``patterns``.
        patterns: the allow-list, for the warning.

    Raises:
        UserError: none of the cgroups has the files of the v2 memory controller, or none matches
            and the root does not offer that controller either.
    """
    if names and _any_has_memory(root, names):
        return None
    if names or not (_offers_memory(root) or _any_has_memory(root, _folders(root))):
        raise UserError(
            f"{root}: no cgroup v2 memory controller here (no cgroup has {' and '.join(NEEDED_FILES)}); "
            "mount cgroup2 with memory in cgroup.subtree_control, or set cgroup_root to where it is"
        )
    return f"{root}: no cgroup matches {', '.join(patterns)}; nothing is done until one appears"


def _folders(root: Path) -> Iterable[str]:
    return (str(Path(folder, name).relative_to(root)) for folder, below, _ in os.walk(root) for name in below)


def _any_has_memory(root: Path, names: Iterable[str]) -> bool:
    return any(all((root / name / file).exists() for file in NEEDED_FILES) for name in names)


def _offers_memory(root: Path) -> bool:
    try:
        return "memory" in (root / "cgroup.controllers").read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        return False


def check_zswap(read: Callable[[str], str]) -> str | None:
    """A warning where zswap is off or not there, else None. ``read`` gives the text of a machine's file."""
    try:
        if parse_flag(read(ZSWAP_ENABLED), ZSWAP_ENABLED):
            return None
    except FileNotFoundError:
        return f"{ZSWAP_ENABLED} is missing: this kernel has no zswap"
    except (OSError, FormatError) as error:
        return str(error)
    return f"zswap is off; to use it: echo Y > {ZSWAP_ENABLED}"
