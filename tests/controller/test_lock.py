"""Who acts with a log or a state file has it alone, for as long as it lives and no longer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from zswap_gym.controller.lock import alone
from zswap_gym.errors import UserError


def test_the_second_is_refused_in_one_line_until_the_first_ends(tmp_path: Path) -> None:
    log, state = tmp_path / "log.jsonl", tmp_path / "state.json"
    with alone([log, state]):
        refused = pytest.raises(
            UserError, match=r"state\.json: another controller acts with it or observes into it; stop"
        )
        with refused as caught, alone([tmp_path / "own.jsonl", state]):
            pass
        assert "\n" not in str(caught.value)
        with alone([tmp_path / "own.jsonl"]):  # what the refused one had is free again
            pass
    with alone([state]):
        pass


def test_a_link_is_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "log")
    refused = pytest.raises(UserError, match="another controller")
    with alone([tmp_path / "log"]), refused, alone([tmp_path / "link"]):
        pass


def test_a_file_may_be_named_twice(tmp_path: Path) -> None:
    with alone([tmp_path / "log", tmp_path / "log"]):
        pass


def test_a_device_is_shared() -> None:
    with alone(["/dev/null"]), alone(["/dev/null"]):
        pass
    assert not Path("/dev/.null.lock").exists()


def test_a_lock_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="a controller locks it with"),
        alone([tmp_path / "no" / "log"]),
    ):
        pass


def test_a_killed_process_blocks_nobody(tmp_path: Path) -> None:
    program = (
        "import fcntl, os, sys\n"
        "fd = os.open(sys.argv[1], os.O_RDONLY | os.O_CREAT)\n"
        "fcntl.flock(fd, fcntl.LOCK_EX)\n"
        "print(flush=True)\n"
        "sys.stdin.read()\n"
    )
    args = [sys.executable, "-S", "-c", program, str(tmp_path / ".log.lock")]
    with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(UserError, match="another controller"), alone([tmp_path / "log"]):
            pass
        other.kill()
        other.wait()
    assert (tmp_path / ".log.lock").exists()
    with alone([tmp_path / "log"]):
        pass
