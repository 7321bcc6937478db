"""A root without the v2 memory controller is refused; patterns that match nothing are only told."""

from __future__ import annotations

from pathlib import Path

import pytest

from zswap_gym.errors import UserError
from zswap_gym.host.linux import LinuxHost


def make(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("memory\n")
    return root


@pytest.mark.parametrize(
    ("files", "patterns"),
    [
        (("web/notes.txt",), ["*"]),
        (("memory/web/memory.stat", "memory/web/memory.usage_in_bytes"), ["*"]),
        (("cgroup.controllers", "web/cgroup.procs"), ["*"]),
        (("cgroup.controllers", "web/memory.current", "db/cgroup.procs"), ["db"]),
        (("web/notes.txt",), ["nosuch"]),
        (("notes.txt",), ["*"]),
    ],
    ids=["any folder", "version 1", "memory off", "memory off for the matching", "nothing matches", "empty"],
)
def test_no_memory_controller_is_refused(tmp_path: Path, files: tuple[str, ...], patterns: list[str]) -> None:
    with pytest.raises(UserError, match="no cgroup v2 memory controller here") as caught:
        LinuxHost(make(tmp_path, *files), patterns=patterns)
    assert str(caught.value).startswith(f"{tmp_path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("files", [("cgroup.controllers",), ("web/memory.current", "web/memory.stat")])
def test_patterns_that_match_nothing_are_told_once(tmp_path: Path, files: tuple[str, ...]) -> None:
    host = LinuxHost(make(tmp_path, *files), patterns=["nosuch", "x/*"])
    assert any("no cgroup matches nosuch, x/*; nothing is done until" in note for note in host.notes())
    assert not host.notes()


def test_one_cgroup_with_the_files_is_enough(tmp_path: Path) -> None:
    host = LinuxHost(make(tmp_path, "a/cgroup.procs", "b/c/memory.current", "b/c/memory.stat"))
    assert not any("no cgroup" in note for note in host.notes())
