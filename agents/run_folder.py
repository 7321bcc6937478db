"""A training run's folder: one training at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from zswap_gym.errors import UserError


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keep a second training out of ``run``, which is made if need be and removed if it stays empty.

    The lock is on the folder itself and the kernel's: it ends with the process, however that ends.

    Raises:
        UserError: a training is writing there, or the folder cannot be made.
    """
    made = [folder for folder in (run, *run.parents) if not folder.exists()]
    try:
        run.mkdir(parents=True, exist_ok=True)
        handle = os.open(run, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UserError(f"{run}: cannot be written ({error.strerror}); name another place") from error
    try:
        _lock(run, handle)
        yield
    finally:
        with suppress(OSError):  # not empty: there is a run
            for folder in made:
                folder.rmdir()
        os.close(handle)


def _lock(run: Path, handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"{run}: another training is writing there; wait for it or name another folder"
        ) from None
    except OSError:  # a file system without locks, or one that locks files only, such as NFS
        return
