"""Pieces of work on a Ray cluster: the same :class:`zswap_gym.agents.parallel.Workers`, on other machines.

A piece goes to a free core anywhere in the cluster and its result comes back; one whose worker or machine is
lost runs again elsewhere. The machines must have this version installed: whatever computes with another
model refuses its piece. Nothing outlives the block, neither pieces nor, with the address ``local``, Ray.
"""

from __future__ import annotations

import logging
import pickle
import socket
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Self

import ray
from ray.exceptions import RayError

from zswap_gym import __version__
from zswap_gym.agents.parallel import ATTEMPTS, ONE_THREAD, OnDone, answer
from zswap_gym.errors import UserError
from zswap_gym.kernel.jit import model_digest

LOCAL = "local"
"""The address of a cluster that is started here for the purpose: one machine, all its cores."""

AHEAD = 2
"""Pieces handed to the cluster per core: one to work on and one to go on with."""


class Cluster:
    """Workers at a Ray address.

    Args:
        address: ``ray://HOST:PORT``, ``HOST:PORT``, ``auto`` or ``local``.
        count: at most so many pieces at a time; None = as many as the cluster has cores.

    Raises:
        UserError: no cluster answers there.
    """

    def __init__(self, address: str, count: int | None = None) -> None:
        local: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {}
        try:
            _reach(address)
            ray.init(
                address=address, runtime_env={"env_vars": dict(ONE_THREAD)}, log_to_driver=False,
                logging_level=logging.CRITICAL, **local,
            )  # fmt: skip
        except (RayError, RuntimeError, ValueError, OSError) as error:
            reason = str(error).strip().split("\n")[0]
            raise UserError(
                f"--cluster {address}: no Ray cluster answers there ({reason}); "
                f"start one with `ray start --head` and give the address that prints, or {LOCAL}"
            ) from error
        cores = int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call, unused-ignore]
        self.count = cores if count is None else min(count, cores)

    def run(
        self, function: Callable[..., Any], pieces: Sequence[tuple[Any, ...]], on_done: OnDone | None = None
    ) -> list[Any]:
        """As :meth:`zswap_gym.agents.parallel.Workers.run`."""
        task = ray.remote(num_cpus=1, max_retries=ATTEMPTS - 1)(_piece)
        todo = list(enumerate(pieces))[::-1]
        running: dict[Any, int] = {}
        results: dict[int, Any] = {}
        try:
            while len(results) < len(pieces):
                while todo and len(running) < AHEAD * self.count:
                    number, arguments = todo.pop()
                    running[task.remote(pickle.dumps((function, arguments)), _model())] = number
                (ended,), _ = ray.wait(list(running), num_returns=1)
                number = running.pop(ended)
                results[number] = _result(ended)
                if on_done is not None:
                    on_done(number)
        finally:
            for reference in running:  # nobody wants them any more
                ray.cancel(reference, force=True)
        return [results[number] for number in range(len(pieces))]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the cluster; what still runs there for us ends."""
        ray.shutdown()


def _reach(address: str) -> None:
    """Ray waits for minutes where nobody is; OSError after seconds."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _result(reference: Any) -> Any:
    try:
        done, value = pickle.loads(ray.get(reference))  # noqa: S301 - our own worker's
    except RayError as error:
        raise UserError(
            f"a worker of the cluster died {ATTEMPTS} times over the same piece of work, most likely for "
            f"want of memory ({type(error).__name__}); use smaller scenarios, or machines with more"
        ) from error
    if not done:
        raise value
    return value


@lru_cache
def _model() -> tuple[str, str]:
    return __version__, model_digest()


def _piece(task: bytes, model: tuple[str, str]) -> bytes:
    """Of a worker: (True, result) or (False, exception), pickled."""
    if _model() != model:
        mine, theirs = " ".join(_model()), " ".join(model)
        error = UserError(
            f"a machine of the cluster has zswap-gym {mine}, this one {theirs}; install the same"
        )
        return pickle.dumps((False, error))
    return answer(task)
