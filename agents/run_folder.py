"""A training run's folder: one training at a time, and its files, of which a damaged one is one line."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from zswap_gym.agents.config import Experiment, parse_experiment
from zswap_gym.errors import UserError
from zswap_gym.yaml_file import read_yaml

_LOST = "put it back as it was, or train into another folder"


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


def experiment_of(run: Path) -> Experiment:
    """The experiment a run was made from.

    Raises:
        UserError: experiment.yaml is damaged.
    """
    file = run / "experiment.yaml"
    try:
        return parse_experiment(read_yaml(file), str(file))
    except UserError as error:
        raise UserError(f"{error}; a run needs this file: {_LOST}") from error


def read_record(file: Path, keys: Sequence[str], remedy: str) -> dict[str, Any]:
    """The JSON object in ``file``, which must have ``keys``. UserError ending in ``remedy`` otherwise."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # no JSON, and no UTF-8, are ValueErrors
        raise UserError(f"{file}: cannot be read ({error}); {remedy}") from error
    if not isinstance(found, dict):
        raise UserError(f"{file}: holds {type(found).__name__}, wanted an object; {remedy}")
    if missing := [key for key in keys if key not in found]:
        raise UserError(f"{file}: lacks {', '.join(missing)}; {remedy}")
    return found
