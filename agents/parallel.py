"""Pieces of work on all cores: a function and its arguments, many times, on processes that stay.

    with open_workers() as workers:
        results = workers.run(measure, [(scenario, seeds) for seeds in chunks], on_done=bar.advance)

Results come in the order of the pieces, whatever finishes first, so how many workers there are changes
nothing but the time. Workers are fresh interpreters (``spawn``) that stay until the block ends: what a
process has to load, the compiled model above all, is loaded once by each, and what a function keeps in
its module (warm machines) is there for its next piece. Each works on one thread.

A piece is lost where its worker dies, killed for memory or by hand: it runs again on another. What a
piece raises is raised here as itself. Ctrl-C, like any exception, ends the workers with the block.

A Ray cluster (cluster.py) offers the same :class:`Workers`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Protocol, Self

from zswap_gym.envs.crew import THREADS
from zswap_gym.errors import UserError

OnDone = Callable[[int], None]
"""Told the number of a piece that is done, in the order in which they end."""

ATTEMPTS = 3
"""So often a piece is begun before it is given up: something about it kills its workers."""

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", THREADS), "1"
)
"""Environment of a worker: the cores are shared out among workers, not once more within one."""


class Workers(Protocol):
    """Whoever runs pieces. A context manager; the workers end with it."""

    count: int
    """How many pieces run at a time."""

    def run(
        self,
        function: Callable[..., Any],
        pieces: Sequence[tuple[Any, ...]],
        on_done: OnDone | None = None,
    ) -> list[Any]:
        """``function(*arguments)`` for the arguments of every piece; results in their order.

        Functions, arguments and results travel pickled, so a function is one of a module.

        Raises:
            UserError: a piece has lost its worker :data:`ATTEMPTS` times.
            Exception: what a piece raised. Pieces not yet done are dropped, the workers can go on.
        """

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def open_workers(count: int | None = None, cluster: str | None = None) -> Workers:
    """Workers on this machine, or on a cluster.

    Args:
        count: how many; None = as many as there are cores. With 1 everything runs in this process.
        cluster: the address of a Ray cluster to run on instead.

    Raises:
        UserError: fewer than one, no cluster there, or Ray is not installed.
    """
    if count is not None and count < 1:
        raise UserError(f"workers = {count}; give at least 1")
    if cluster is not None:
        try:
            from zswap_gym.agents.cluster import Cluster
        except ModuleNotFoundError as error:
            raise UserError(
                f"--cluster {cluster}: Ray is not installed; pip install 'zswap-gym[cluster]'"
            ) from error
        return Cluster(cluster, count)
    count = cores() if count is None else count
    return InProcess() if count == 1 else Processes(count)


class InProcess:
    """Runs the pieces here, one after the other."""

    count = 1

    def run(
        self, function: Callable[..., Any], pieces: Sequence[tuple[Any, ...]], on_done: OnDone | None = None
    ) -> list[Any]:
        """As :meth:`Workers.run`."""
        results = []
        for number, arguments in enumerate(pieces):
            results.append(function(*arguments))
            if on_done is not None:
                on_done(number)
        return results

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to end."""


class _Worker:
    """A process that runs pieces, and our end of the pipe to it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_serve, args=(theirs,), daemon=True)
        with _inherited():
            self.process.start()
        theirs.close()  # with the process gone the pipe is at its end, which is how a loss is noticed
        self.piece: int | None = None
        """The number of the piece it works on."""

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


class Processes:
    """Runs pieces on ``count`` processes, started when there is something for them to do."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._workers: list[_Worker] = []

    def run(
        self, function: Callable[..., Any], pieces: Sequence[tuple[Any, ...]], on_done: OnDone | None = None
    ) -> list[Any]:
        """As :meth:`Workers.run`."""
        tasks = [pickle.dumps((function, arguments)) for arguments in pieces]
        results: dict[int, Any] = {}
        attempts = [0] * len(tasks)
        todo = deque(range(len(tasks)))
        try:
            while len(results) < len(tasks):
                self._hand_out(todo, tasks, attempts)
                for worker in self._ready():
                    number = worker.piece
                    assert number is not None
                    worker.piece = None
                    try:
                        done, value = pickle.loads(worker.pipe.recv_bytes())  # noqa: S301 - our own worker's
                    except (EOFError, OSError):
                        self._drop(worker)
                        _again(number, attempts, todo)
                        continue
                    if not done:
                        raise value
                    results[number] = value
                    if on_done is not None:
                        on_done(number)
        finally:
            for worker in [w for w in self._workers if w.piece is not None]:
                self._drop(worker)  # it works on a piece that nobody wants any more
        return [results[number] for number in range(len(tasks))]

    def _hand_out(self, todo: deque[int], tasks: Sequence[bytes], attempts: list[int]) -> None:
        """Give pieces to idle workers, and start workers while there are pieces and fewer than ``count``."""
        while todo:
            worker = next((w for w in self._workers if w.piece is None), None)
            if worker is None and len(self._workers) == self.count:
                return
            if worker is None:
                worker = _Worker()
                self._workers.append(worker)
            worker.piece = number = todo.popleft()
            attempts[number] += 1
            with contextlib.suppress(OSError):  # a dead one is met again where it is read from
                worker.pipe.send_bytes(tasks[number])

    def _ready(self) -> list[_Worker]:
        """Busy workers that have something to say or have died; waits for one."""
        busy: dict[Any, _Worker] = {w.pipe: w for w in self._workers if w.piece is not None}
        return [busy[pipe] for pipe in wait(list(busy))]

    def _drop(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End all workers, at once: nobody waits for what they do."""
        while self._workers:
            self._drop(self._workers[-1])


def _again(number: int, attempts: Sequence[int], todo: deque[int]) -> None:
    """Put a lost piece to the front. UserError where it has been begun often enough."""
    if attempts[number] >= ATTEMPTS:
        raise UserError(
            f"a worker process died {ATTEMPTS} times over the same piece of work, most likely for want of "
            "memory; use fewer workers, or smaller scenarios"
        )
    todo.appendleft(number)


@contextmanager
def _inherited() -> Iterator[None]:
    """What a process started in this block inherits: one thread for its libraries, no Ctrl-C.

    Ctrl-C reaches every process of the terminal. A worker leaves it to us, from its first moment on:
    else it would show a traceback of whatever it was importing.
    """
    resource_tracker.ensure_running()  # it sets the mask itself when it starts
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(pipe: Connection) -> None:
    """A worker's life: pieces in, (True, result) or (False, exception) out, until the pipe ends."""
    while True:
        try:
            task = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        said = answer(task)
        try:
            pipe.send_bytes(said)
        except OSError:  # nobody is there any more
            return


def answer(task: bytes) -> bytes:
    """(True, result) of a pickled piece, or (False, what it raised), pickled."""
    try:
        function, arguments = pickle.loads(task)  # noqa: S301 - from the process that started this one
        return pickle.dumps((True, function(*arguments)))
    except Exception as error:  # noqa: BLE001 - it is raised where the piece came from
        if not isinstance(error, UserError):  # that is one line, and stays one
            error.add_note(f"in a worker:\n{traceback.format_exc()}")
        try:
            said = pickle.dumps((False, error))
            pickle.loads(said)  # noqa: S301 - some exceptions can be pickled and not made again
        except Exception:  # noqa: BLE001 - whatever pickling raises
            return pickle.dumps((False, RuntimeError("in a worker:\n" + traceback.format_exc())))
        return said
