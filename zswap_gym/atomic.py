"""Files that are there whole or not at all: a temporary file in the same folder, then a rename."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from zswap_gym.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that becomes ``path`` at the end of the block; folders on the way are made.

    Readers see the old file or the new one, never half, and a block that raises leaves nothing
    behind. UserError where ``path`` cannot be written, a full disk included.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another place") from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        temporary.chmod(0o666 & ~_umask())  # mkstemp's 0600 is for secrets
        temporary.replace(path)
    except OSError as error:
        temporary.unlink()
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another place") from error
    except BaseException:
        temporary.unlink()
        raise


def write_atomically(path: Path, content: str | bytes) -> Path:
    """Write a file with :func:`replacing`; text as UTF-8. Returns ``path``."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
    return path


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
