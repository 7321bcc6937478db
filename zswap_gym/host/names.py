"""How people write cgroups, and the one way they are written here: the path below the root, no slash.

``/proc/PID/cgroup`` says ``0::/system.slice/x`` and counts from the mount, a shell says
``/sys/fs/cgroup/system.slice/x``, and patterns are copied from both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zswap_gym.errors import UserError
from zswap_gym.host.effective import cgroup_mount

USUAL_MOUNT = "/sys/fs/cgroup"


def below_root(written: str, root: Path) -> str:
    """A cgroup, or a pattern of some, as its path below ``root``; "" is the root itself.

    What begins with a slash counts from the mount, or is a whole path; anything else counts from
    the root already.

    Raises:
        UserError: it begins with a slash and lies outside the root.
    """
    path = written.removeprefix("0::")
    if not path.startswith("/"):
        return _normal(path)
    top, mount = root.resolve(), cgroup_mount(root)
    for whole in (root.absolute(), top):
        if Path(path).is_relative_to(whole):
            return _normal(path[len(str(whole)) :])
    for point in (str(mount), USUAL_MOUNT):
        if Path(path).is_relative_to(point):
            path = path[len(point) :]
            break
    inside, path = "/" + _normal(str(top.relative_to(mount))), "/" + _normal(path)
    if inside == "/":
        return path[1:]
    if path != inside and not path.startswith(f"{inside}/"):
        raise UserError(
            f"{written!r} is not below {inside}, where cgroup_root is; a leading slash counts from "
            "where cgroup v2 is mounted: drop it to count from cgroup_root"
        )
    return path[len(inside) + 1 :]


def _normal(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def above(name: str) -> tuple[str, ...]:
    """The cgroups that contain one, by name, the nearest first; the root is left out."""
    parts = name.split("/")
    return tuple("/".join(parts[:n]) for n in range(len(parts) - 1, 0, -1))


def leaves(names: Sequence[str], holds_memory: Sequence[str]) -> list[str]:
    """``names`` but those that contain another of them which has memory of its own, ``holds_memory``."""
    containers = {container for name in holds_memory for container in above(name)}
    return [name for name in names if name not in containers]
