"""One controller at a time to a log and a state file, whatever its mode.

Two that act would spend the budgets of one state file twice; an observer would put decisions of its own
between those of the controller whose log it is, and neither could be replayed.

The lock is flock() on a file beside the one it guards, since a state file is replaced at every
tick and a log may be rotated away. The kernel lets go of it when the process ends, however it
ends, so the file may stay and never blocks anybody.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from zswap_gym.errors import UserError


@contextmanager
def alone(paths: Sequence[Path | str]) -> Iterator[None]:
    """Hold the locks of these files; pipes and devices, which have no use for one, are passed over.

    Raises:
        UserError: another process holds one, or the file beside cannot be made.
    """
    with ExitStack() as stack:
        # By their real names: a link to a state file is the same state file.
        for path in dict.fromkeys(Path(path).resolve() for path in paths):
            if path.is_file() or not path.exists():
                stack.callback(os.close, _locked(path))
        yield


def _locked(path: Path) -> int:
    beside = path.with_name(f".{path.name}.lock")
    try:
        # Read-only is enough for flock(), and lets another user's controller see that it is taken.
        fd = os.open(beside, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UserError(
            f"{path}: {os.strerror(error.errno or 0).lower()} (a controller locks it with {beside.name}); "
            "name another file under log or state"
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        why = (
            "another controller acts with it or observes into it"
            if isinstance(error, BlockingIOError)
            else str(error.strerror)
        )
        raise UserError(f"{path}: {why}; stop that one, or name other files under log and state") from error
    return fd
