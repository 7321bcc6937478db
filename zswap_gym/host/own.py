"""Which of the cgroups below the root holds this very process.

``/proc/self/cgroup`` alone does not say. Its path counts from the root of the process's cgroup
namespace, so that it is ``/`` in most containers and begins with ``/..`` outside of it; what lies
below the root of the controller may be mounted from elsewhere. So the answer comes from the tree: the
cgroup whose cgroup.procs holds this process, or that is the same folder (inode) as its own one,
reached by any mount of cgroup v2. Only a tree that can tell neither, such as a fixture, is taken at its word.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from zswap_gym.host.effective import cgroup_mount

_DELETED = " (deleted)"


@dataclass(frozen=True)
class OwnCgroup:
    """Where the controller lives.

    Attributes:
        name: of its cgroup, below the root; "" where no cgroup below the root holds it, so that there is
            nothing to protect; None where that cannot be told.
        how: how that was found, or why it could not be, in words.
    """

    name: str | None
    how: str


def find_own_cgroup(root: Path | str, proc_root: Path | str = "/proc") -> OwnCgroup:
    """The cgroup below ``root`` that this process lives in."""
    root, proc = Path(root), Path(proc_root)
    source = proc / "self" / "cgroup"
    path = _own_path(source)
    if path is None:
        return OwnCgroup(None, f"{source} has no line of cgroup v2 (0::)")
    mounts = _mounts(proc / "self" / "mountinfo")
    folder = _folder(path, mounts)
    found, all_told = _search(root, folder)
    guess = _by_name(path, root)
    if found is not None:
        return OwnCgroup(found, f"{source} says {path}; found in the tree")
    if guess and (root / guess).is_dir():
        return OwnCgroup(guess, f"{source} says {path}")
    if all_told or _is_outside(path, mounts) or (folder is not None and _same_device(folder, root)):
        return OwnCgroup("", f"{source} says {path}, which is outside of {root}")
    if guess is not None and not mounts:
        return OwnCgroup(guess, f"{source} says {path}; there is no such cgroup, the name alone is protected")
    return OwnCgroup(None, f"{source} says {path}, and nothing shows where below {root} that is")


def _same_device(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


def _own_path(source: Path) -> str | None:
    """The path of version 2, hierarchy 0; the others (``12:memory:/x``) are of version 1."""
    try:
        text = source.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    return next((line.removeprefix("0::") for line in text.split("\n") if line.startswith("0::/")), None)


def _mounts(source: Path) -> list[tuple[str, Path]]:
    """The mounts of cgroup v2: where each begins inside the hierarchy, and the mount point.

    Documentation/filesystems/proc.rst: 35 24 0:30 /../.. /host/cgroup rw,nosuid - cgroup2 cgroup2 rw
    """
    try:
        text = source.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return []
    found = []
    for line in text.split("\n"):
        before, _, after = line.partition(" - ")
        words = before.split(" ")
        if after.startswith("cgroup2 ") and len(words) >= 5:
            found.append((_unescaped(words[3]), Path(_unescaped(words[4]))))
    return found


def _unescaped(word: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        word = word.replace(code, character)
    return word


def _living(path: str, exists: bool) -> str:
    """Without the kernel's mark of a removed cgroup, unless its name ends so."""
    return path if exists else path.removesuffix(_DELETED)


def _folder(path: str, mounts: list[tuple[str, Path]]) -> Path | None:
    """The process's own folder as some mount shows it; None where no mount does."""
    for inside, point in mounts:
        relative = _relative(path, inside)
        if relative is not None:
            folder = point / relative
            folder = folder if folder.is_dir() else Path(_living(str(folder), exists=False))
            if folder.is_dir():
                return folder
    return None


def _relative(path: str, inside: str) -> str | None:
    """``path`` as seen from the mount that begins at ``inside``; None: outside, or it has no name there.

    Both count from the same place. ``/../..`` above it is another folder whose children on the way
    down have no names here.
    """
    parts, base = PurePosixPath(path).parts[1:], PurePosixPath(inside).parts[1:]
    if parts[: len(base)] != base or ".." in parts[len(base) :]:
        return None
    return "/".join(parts[len(base) :])


def _is_outside(path: str, mounts: list[tuple[str, Path]]) -> bool:
    """Whether the mounts show that the process is above or beside all that they hold."""
    downward = [inside for inside, _ in mounts if ".." not in PurePosixPath(inside).parts]
    return bool(mounts) and len(downward) == len(mounts) and ".." in PurePosixPath(path).parts


def _search(root: Path, folder: Path | None) -> tuple[str | None, bool]:
    """The cgroup below ``root`` that is ``folder`` or holds this process, and whether all of them told.

    A cgroup tells by its cgroup.procs, which shows process ids as this process's own namespace has them.
    """
    own = None if folder is None else _identity(folder)
    all_told, any_told = True, False
    for where, below, _ in os.walk(root):
        below.sort()
        if where == str(root):
            continue
        if own is not None and _identity(Path(where)) == own:
            return os.path.relpath(where, root), True
        processes = _processes(Path(where))
        if processes is None:
            all_told = False
        else:
            any_told = True
            if os.getpid() in processes:
                return os.path.relpath(where, root), True
    return None, all_told and any_told


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        stat = folder.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _processes(folder: Path) -> set[int] | None:
    try:
        words = (folder / "cgroup.procs").read_text(encoding="ascii").split()
        return {int(word) for word in words}
    except (OSError, ValueError):
        return None


def _by_name(path: str, root: Path) -> str | None:
    """``path``, counted from the mount, as a name below ``root``: "" outside of it, None: it has none."""
    parts = PurePosixPath(path).parts[1:]
    if not parts or ".." in parts:
        return None
    mount, top = cgroup_mount(root), root.resolve()
    folder = mount.joinpath(*parts)
    folder = Path(_living(str(folder), folder.is_dir()))
    return str(folder.relative_to(top)).removeprefix(".") if folder.is_relative_to(top) else ""
