"""Machines on all cores: threads that stay, and pieces of work that they take one after the other.

Machines share nothing and compiled code holds no lock, so threads are enough; which of them advances a
machine changes nothing but the time.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from functools import lru_cache
from queue import SimpleQueue
from threading import Thread

from zswap_gym.errors import UserError

THREADS = "ZSWAP_GYM_THREADS"
"""Environment variable: how many threads where nobody says; workers of a pool are told 1."""

Piece = Callable[[], object]


def thread_count(threads: int | None = None, where: str = "threads") -> int:
    """``threads``, or as many as there are cores. UserError where it is no number of at least one."""
    if threads is None:
        text = os.environ.get(THREADS)
        if text is None:
            return len(os.sched_getaffinity(0))
        where, threads = THREADS, int(text) if text.isascii() and text.isdigit() else 0
    if threads < 1:
        raise UserError(f"{where} = {threads!r}; give a whole number of at least 1")
    return threads


def run_pieces(pieces: Iterable[Piece], threads: int) -> None:
    """Run all pieces on so many threads, this one among them; raises what the first to fail raised."""
    todo = deque(pieces)
    helpers = min(threads, len(todo)) - 1
    if helpers <= 0:
        for piece in todo:
            piece()
        return
    ended: SimpleQueue[BaseException | None] = SimpleQueue()
    asked = _helpers(os.getpid())
    for _ in range(helpers - asked.count):
        asked.add()
    for _ in range(helpers):
        asked.tasks.put((todo, ended))
    failed = [_take(todo), *(ended.get() for _ in range(helpers))]
    for error in failed:
        if error is not None:
            raise error


def _take(todo: deque[Piece]) -> BaseException | None:
    """Run pieces until none is left, or one fails: then the others are dropped."""
    try:
        while todo:
            try:
                piece = todo.popleft()
            except IndexError:  # another thread took the last
                return None
            piece()
    except BaseException as error:  # noqa: BLE001 - it is raised where the pieces came from
        todo.clear()
        return error
    return None


class _Helpers:
    """Threads that wait for pieces, shared by all environments of a process."""

    def __init__(self) -> None:
        self.tasks: SimpleQueue[tuple[deque[Piece], SimpleQueue[BaseException | None]]] = SimpleQueue()
        self.count = 0

    def add(self) -> None:
        self.count += 1
        Thread(target=self._serve, name=f"zswap-gym-{self.count}", daemon=True).start()

    def _serve(self) -> None:
        while True:
            todo, ended = self.tasks.get()
            ended.put(_take(todo))
            del todo, ended  # and with them the machines


@lru_cache(maxsize=1)
def _helpers(_process: int) -> _Helpers:
    """Of this process: a forked one has no threads but its own."""
    return _Helpers()
