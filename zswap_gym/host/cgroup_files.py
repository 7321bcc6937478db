"""Reading and writing the files of a cgroup through one descriptor of its folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ABSENT = (errno.ENOENT, errno.EOPNOTSUPP)
"""This kernel has no such file, or has it switched off (memory.pressure with psi=0)."""


def read_file(path: str | Path, folder: int | None = None) -> str:
    """A whole file. FileNotFoundError: the kernel does not have it, or has it switched off."""
    try:
        with open(
            path, encoding="utf-8", errors="replace", opener=lambda p, flags: os.open(p, flags, dir_fd=folder)
        ) as file:
            return file.read()
    except OSError as error:
        if error.errno in ABSENT:
            raise FileNotFoundError(error.errno, os.strerror(errno.ENOENT), str(path)) from None
        raise


@contextmanager
def open_folder(path: Path) -> Iterator[int]:
    """A descriptor for all files of a cgroup: they cannot come from two cgroups of the same name."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield folder
    finally:
        os.close(folder)


def write_file(folder: int | None, file: str | Path, text: str) -> int:
    """Write as ``echo text > file`` does, without creating the file. Returns an errno."""
    try:
        fd = os.open(file, os.O_WRONLY | os.O_TRUNC, dir_fd=folder)
        try:
            os.write(fd, f"{text}\n".encode())
        finally:
            os.close(fd)
    except OSError as error:
        return error.errno or errno.EIO
    return 0
