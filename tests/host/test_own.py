"""Which cgroup holds this process, in the places it has been seen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zswap_gym.host.own import find_own_cgroup

NAMES = ("init.scope", "system.slice/zswap-gym.service", "system.slice/db.service", "user.slice")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / "cgroup" / name).mkdir(parents=True)
        for folder in (tmp_path / "cgroup" / name, *(tmp_path / "cgroup" / name).parents):
            if folder.is_relative_to(tmp_path / "cgroup"):
                (folder / "cgroup.controllers").write_text("memory\n")
    (tmp_path / "proc" / "self").mkdir(parents=True)
    return tmp_path


def say(base: Path, path: str, *mounts: tuple[str, Path | str]) -> None:
    (base / "proc/self/cgroup").write_text(f"12:memory:/elsewhere\n1:name=systemd:/x\n0::{path}\n")
    lines = [
        f"{i} 24 0:30 {root} {point} rw,nosuid - cgroup2 cgroup2 rw" for i, (root, point) in enumerate(mounts)
    ]
    other = ["22 1 8:1 / / rw shared:1 - ext4 /dev/vda rw", "31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs ro"]
    if mounts:
        (base / "proc/self/mountinfo").write_text("\n".join(other + lines) + "\n")


def tell_processes(base: Path, mine: str) -> None:
    for name in ("", "system.slice", *NAMES):
        text = f"1\n{os.getpid()}\n" if name == mine else "1\n0\n77777777\n"
        (base / "cgroup" / name / "cgroup.procs").write_text(text)


def own(base: Path, root: str = "") -> str | None:
    return find_own_cgroup(base / "cgroup" / root, base / "proc").name


@pytest.mark.parametrize(
    ("root", "name"),
    [("", "system.slice/zswap-gym.service"), ("system.slice", "zswap-gym.service"), ("user.slice", "")],
)
@pytest.mark.parametrize(
    "path", ["/system.slice/zswap-gym.service", "/system.slice/zswap-gym.service (deleted)"]
)
def test_by_its_path_below_the_mount(base: Path, root: str, name: str, path: str) -> None:
    say(base, path)
    assert own(base, root) == name
    say(base, path, ("/", base / "cgroup"))  # and where the mount says so too
    assert own(base, root) == name


@pytest.mark.parametrize(
    "path", ["/", "/../../x", "/somewhere/else", "/system.slice/zswap-gym.service (deleted)"]
)
@pytest.mark.parametrize(
    ("root", "name"), [("", "system.slice/zswap-gym.service"), ("system.slice", "zswap-gym.service")]
)
def test_cgroup_procs_has_the_last_word(base: Path, path: str, root: str, name: str) -> None:
    say(base, path)
    tell_processes(base, "system.slice/zswap-gym.service")
    assert own(base, root) == name


@pytest.mark.parametrize("path", ["/", "/../../x"])
def test_where_every_cgroup_tells_and_none_holds_it_there_is_nothing_to_protect(
    base: Path, path: str
) -> None:
    say(base, path)
    tell_processes(base, "")  # the root itself
    assert own(base) == ""
    tell_processes(base, "init.scope")
    assert own(base, "system.slice") == ""


@pytest.mark.parametrize("path", ["/", "/../../x", "/.."])
def test_a_namespace_that_nothing_resolves_is_unknown(base: Path, path: str) -> None:
    say(base, path)
    found = find_own_cgroup(base / "cgroup", base / "proc")
    assert found.name is None
    assert f"says {path}, and nothing shows" in found.how


def test_the_inode_tells_where_the_host_is_mounted_elsewhere(base: Path) -> None:
    """A container sees itself at /, and the host's tree at another mount whose root is above its own."""
    inside = base / "inside"
    inside.symlink_to(base / "cgroup" / "system.slice" / "zswap-gym.service")
    say(base, "/", ("/../..", base / "cgroup"), ("/", inside))
    assert own(base) == "system.slice/zswap-gym.service"
    assert own(base, "system.slice") == "zswap-gym.service"
    assert own(base, "user.slice") == ""


def test_mountinfo_resolves_a_mount_of_a_part(base: Path) -> None:
    say(base, "/system.slice/db.service", ("/system.slice", base / "cgroup" / "system.slice"))
    assert own(base, "system.slice") == "db.service"
    say(base, "/../../x", ("/", base / "cgroup"))  # beside all that is mounted
    assert own(base) == ""
    say(base, "/", ("/", base / "cgroup"))
    assert own(base) == ""
    say(base, "/no/such", ("/", base / "cgroup"))  # what is mounted ought to show it
    assert own(base) is None


def test_a_name_that_the_tree_does_not_have_is_protected_as_a_name(base: Path) -> None:
    say(base, "/system.slice/gone.service (deleted)")
    found = find_own_cgroup(base / "cgroup", base / "proc")
    assert (found.name, "there is no such cgroup" in found.how) == ("system.slice/gone.service", True)


def test_a_cgroup_may_be_named_so(base: Path) -> None:
    (base / "cgroup" / "x (deleted)").mkdir()
    say(base, "/x (deleted)")
    assert own(base) == "x (deleted)"


@pytest.mark.parametrize("text", [None, "", "9:memory:/x\n", "0:memory:/x\n"])
def test_without_version_2_it_is_unknown(base: Path, text: str | None) -> None:
    if text is not None:
        (base / "proc/self/cgroup").write_text(text)
    assert own(base) is None
