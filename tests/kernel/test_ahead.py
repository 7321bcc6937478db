"""Compiled once for all processes, by several at a time, wherever there is a place for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

TOY = """
import os, sys
from numba.core import types
from zswap_gym.kernel.jit import entry_for, unit

if os.environ.get("HELPERS_DIE") and sys.argv[0] == "-c":
    os._exit(1)

@unit(types.int64(types.int64, types.int64))
def twice(a, b):
    return 2 * a + b

@entry_for("(int64,)")
def calls_the_unit(a):
    return twice(a, 1)

@entry_for("(int64,)")
def another(a):
    return a + 5

@entry_for("(float64,)", seldom=True)
def seldom(a):
    return a / 2
"""

START = """
import toy
from zswap_gym.kernel.ahead import prepare
from zswap_gym.kernel.jit import CACHE_DIR
made = prepare()
print(made, toy.calls_the_unit(20), toy.another(1), len(toy.seldom.signatures), CACHE_DIR)
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts a process that prepares and uses a small core, with a cache of the test's own."""
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "start.py").write_text(START)

    def begin(**environment: str) -> subprocess.Popen[str]:
        paths = [str(tmp_path), *(path for path in sys.path if path)]
        mine = {"ZSWAP_GYM_CACHE": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join(paths)}
        return subprocess.Popen(
            [sys.executable, "-P", str(tmp_path / "start.py")], env=os.environ | mine | environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return begin


def said(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """How many entry points it compiled, what it calculated and where the code lies, and its stderr."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    made, *results, folder = out.split()
    assert results == ["41", "6", "0"]  # and nothing of what is needed seldom
    return int(made), folder, err


def test_one_process_compiles_and_the_next_finds_it(start: Start) -> None:
    made, _, err = said(start())
    assert made == 3
    assert "compiling the kernel model, 3 entry points" in err
    made, _, err = said(start())
    assert (made, err) == (0, "")


def test_processes_that_start_together_do_not_both_compile(start: Start) -> None:
    together = [start() for _ in range(3)]
    assert sorted(said(process)[0] for process in together) == [0, 0, 3]


def test_what_dead_helpers_leave_is_compiled_all_the_same(start: Start) -> None:
    assert said(start(HELPERS_DIE="1"))[0] == 3


def test_the_lock_of_a_dead_process_holds_nobody_up(start: Start) -> None:
    _, folder, _ = said(start())
    hold = "import fcntl, sys, time; fcntl.flock(f := open(sys.argv[1], 'w'), 2); print(); time.sleep(600)"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, f"{folder}/lock"], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    for index in Path(folder).rglob("*.nbi"):
        index.unlink()
    waits = start()
    assert waits.stderr is not None
    assert "another process is compiling" in waits.stderr.readline()
    time.sleep(0.2)
    assert waits.poll() is None
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert said(waits)[0] == 3


def test_a_cache_that_cannot_be_had_falls_back_with_a_word(start: Start, tmp_path: Path) -> None:
    """Code is loaded from it: another user's folder is none, even where root could write there."""
    places = [tmp_path / "file"]
    places[0].write_text("no folder")
    if os.geteuid() == 0:
        places.append(tmp_path / "foreign")
        _, folder, _ = said(start(ZSWAP_GYM_CACHE=str(places[1])))
        assert Path(folder).parent == places[1]
        os.chown(folder, 65534, 65534)
    for k, place in enumerate(places):
        temporary = tmp_path / f"temporary-{k}"
        temporary.mkdir()
        made, folder, err = said(start(ZSWAP_GYM_CACHE=str(place), TMPDIR=str(temporary)))
        assert made == 3
        assert Path(folder).is_relative_to(temporary)
        assert err.startswith(f"zswap-gym: {place} is read-only or somebody else's; compiled code is kept in")
        assert said(start(ZSWAP_GYM_CACHE=str(place), TMPDIR=str(temporary)))[:2] == (0, folder)


EVERYTHING = """
import numpy as np
from zswap_gym.envs.privileged import PrivilegedWritebackEnv
from zswap_gym.envs.vector import WritebackVectorEnv
from zswap_gym.host.types import Request
from zswap_gym.kernel.jit import AHEAD

many, env = WritebackVectorEnv(2, "single-kv", snapshots=2), PrivilegedWritebackEnv("single-kv", snapshots=1)
for env in (many, env):
    env.reset(seed=1)
    for _ in range(2):
        env.step(env.action_space.sample())
host = env.host
host.submit("kv", Request(5, 1 << 20, 1 << 20))
host.sleep(5)
host.write("kv", "memory.zswap.proactive_writeback", "max=1M 5")
host.write("kv", "memory.max", "max")
host.machine.flush_stats()
used = [made for made in AHEAD if made.dispatcher.signatures]
other = {made.name: made.dispatcher.signatures for made in used if made.dispatcher.signatures != [made.types]}
print(len(used), other)
"""


def test_what_is_compiled_ahead_is_what_is_called() -> None:
    done = subprocess.run(
        [sys.executable, "-c", EVERYTHING], capture_output=True, text=True, check=True, timeout=600
    )
    used, other = done.stdout.split(maxsplit=1)
    assert int(used) > 15
    assert other.strip() == "{}"
