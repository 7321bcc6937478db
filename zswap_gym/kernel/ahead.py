"""The first minute: entry points compiled before their first call, side by side, by one process for all.

Compiling holds Python's lock, so it takes a second process to use a second core. Whoever needs a machine
first takes the lock beside the cache, starts helpers, and all take entry points from one queue; the
results meet in the cache. A lock of the operating system's: it goes with the process that holds it.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import llvmlite.binding as llvm

from zswap_gym.kernel.jit import AHEAD, CACHE_DIR, CACHE_NOTE, Ahead

Say = Callable[[int, int], None]
"""Told how many of how many are compiled."""

HELPERS = 2
"""At most so many: two entry points are large, all others together take as long as one of them."""

_prepared = 0


def prepare(say: Say | None = None, *, seldom: bool = False) -> int:
    """See to it that no call of what has been imported so far waits for the compiler.

    What is in the cache already costs a look at each entry point's index. With ``seldom`` even what few
    machines need is compiled. Returns how many were.
    """
    global _prepared  # noqa: PLW0603 - of the process, like the cache
    if _prepared == len(AHEAD) and not seldom:
        return 0
    missing = _missing(seldom)
    if missing:
        with _locked():
            missing = _missing(seldom)  # somebody may have compiled them meanwhile
            if missing:
                _announce(len(missing))
                _compile_all(missing, say or (lambda _done, _total: None))
    for made in AHEAD[_prepared:]:
        if made.symbol:
            _link(made)
    _prepared = len(AHEAD)
    return len(missing)


def _missing(seldom: bool) -> list[Ahead]:
    return [made for made in AHEAD if (seldom or not made.seldom) and not _is_cached(made)]


def _is_cached(made: Ahead) -> bool:
    cache = made.dispatcher._cache  # noqa: SLF001 - numba has no way to ask
    file = cache._cache_file  # noqa: SLF001
    key = cache._index_key(made.types, made.dispatcher.targetctx.codegen())  # noqa: SLF001
    name = file._load_index().get(key)  # noqa: SLF001
    return name is not None and os.path.exists(file._data_path(name))  # noqa: PTH110, SLF001 - it is text


def _link(made: Ahead) -> None:
    """Tell the linker where the unit's machine code lies."""
    made.dispatcher.compile(made.types)
    compiled = made.dispatcher.overloads[made.types]
    llvm.add_symbol(made.symbol, compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))


def _announce(entries: int) -> None:
    """Say on stderr that a compile is coming, so that nobody thinks it hangs."""
    if CACHE_NOTE:
        print(f"zswap-gym: {CACHE_NOTE}", file=sys.stderr, flush=True)
    what = f"compiling the kernel model, {entries} entry points"
    print(f"zswap-gym: {what}; once per version, about half a minute", file=sys.stderr, flush=True)


@contextmanager
def _locked() -> Iterator[None]:
    """Alone among all processes that use this cache; waits, and says so."""
    with (CACHE_DIR / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("zswap-gym: another process is compiling the kernel model; waiting", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks: at worst two processes compile the same
        yield


# --- side by side ---------------------------------------------------------------------------------


def _compile_all(missing: list[Ahead], say: Say) -> None:
    """Compile with helpers on other cores: they take from one end of a queue, this process from the other.

    This process begins with the units: it has to know where their code lies before it compiles what calls
    them. Helpers run nothing, so to them any place will do.
    """
    units = [made for made in missing if made.symbol]
    queue = deque([*units, *reversed([made for made in missing if not made.symbol])])
    count = min(len(os.sched_getaffinity(0)) - 1, HELPERS, len(missing) - 1)
    done: list[Ahead] = []
    with contextlib.ExitStack() as stack:
        helpers = [stack.enter_context(_helping(queue, done)) for _ in range(count)]
        _work(queue, done, lambda: say(len(done), len(missing)))
        for helper in helpers:
            helper.join()
        _work(queue, done, lambda: say(len(done), len(missing)))  # what a helper left that did not live


def _work(queue: deque[Ahead], done: list[Ahead], tick: Callable[[], None]) -> None:
    while queue:
        with contextlib.suppress(IndexError):  # a helper may have taken the last
            made = queue.popleft()
            if made.symbol:
                _link(made)
            else:
                made.dispatcher.compile(made.types)
            done.append(made)
            tick()


@contextmanager
def _helping(queue: deque[Ahead], done: list[Ahead]) -> Iterator[Thread]:
    """A helper process, and the thread that hands it one entry point after the other; ends with the block."""
    modules = sorted({made.module for made in AHEAD})
    code = f"from zswap_gym.kernel.ahead import help_compile; help_compile({modules!r})"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "ZSWAP_GYM_CACHE": str(CACHE_DIR.parent),
    }
    process = subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-P", "-c", code], env=environment, text=True, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    thread = Thread(target=_hand_out, args=(process, queue, done), daemon=True)
    try:
        thread.start()
        yield thread
    finally:
        process.kill()
        process.wait()
        thread.join()
        assert process.stdout is not None
        process.stdout.close()


def _hand_out(process: subprocess.Popen[str], queue: deque[Ahead], done: list[Ahead]) -> None:
    """Until nothing is left, or the helper is gone: then what it had is left to the others."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(OSError), process.stdin as to_helper:
        while process.stdout.readline() and queue:
            made = queue.pop()
            try:
                to_helper.write(f"{made.name}\n")
                to_helper.flush()
                answer = process.stdout.readline()
            except OSError:
                answer = ""
            if answer.strip() != made.name:
                queue.appendleft(made)
                return
            done.append(made)


def help_compile(modules: list[str]) -> None:
    """A helper's life: names of entry points in, the same out when they are in the cache."""
    anywhere = llvm.address_of_symbol("abort")
    for module in modules:
        importlib.import_module(module)
    known: dict[str, Any] = {made.name: made for made in AHEAD}
    for made in AHEAD:
        if made.symbol:
            llvm.add_symbol(made.symbol, anywhere)
    print("ready", flush=True)
    for line in sys.stdin:
        made = known[line.strip()]
        made.dispatcher.compile(made.types)
        print(made.name, "ready", sep="\n", flush=True)
