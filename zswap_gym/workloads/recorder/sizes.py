"""How well a program's pages compress: a sample of them, each compressed alone, as the kernel would.

The libraries are those of every distribution (liblzo2, liblz4, libzstd), called through ctypes. Against
a real zram device their sizes are within 1 % of the kernel's.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zswap_gym.errors import UserError
from zswap_gym.units import PAGE_SIZE
from zswap_gym.workloads.recorder.processes import SLOT_BITS, Process
from zswap_gym.workloads.traces import COMP_COLUMNS, KIND_OTHER, KIND_SAME, KIND_ZERO

Compress = Callable[[bytes], int]
ROOM = 2 * PAGE_SIZE
CONTENT_SIZE_FLAG, LEVEL = 200, 100  # zstd.h: ZSTD_c_contentSizeFlag, ZSTD_c_compressionLevel
ZSTD_OF_LZO = 0.72
"""Sizes under zstd-1 are about this share of those under lzo (0.64 to 0.93 over the ten recordings)."""

Sample = tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8], npt.NDArray[np.uint16]]


def _library(name: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def _lzo() -> Compress | None:
    library = _library("liblzo2.so.2")
    if library is None:
        return None
    work, out = ctypes.create_string_buffer(16384 * 8 * 4), ctypes.create_string_buffer(ROOM)

    def compress(page: bytes) -> int:
        size = ctypes.c_size_t(ROOM)
        library.lzo1x_1_compress(page, ctypes.c_size_t(len(page)), out, ctypes.byref(size), work)
        return size.value

    return compress


def _lz4() -> Compress | None:
    library = _library("liblz4.so.1")
    if library is None:
        return None
    out = ctypes.create_string_buffer(ROOM)
    return lambda page: int(library.LZ4_compress_default(page, out, len(page), ROOM))


def _zstd(level: int) -> Compress | None:
    library = _library("libzstd.so.1")
    if library is None:
        return None
    library.ZSTD_createCCtx.restype = ctypes.c_void_p
    library.ZSTD_compress2.restype = ctypes.c_size_t
    context = ctypes.c_void_p(library.ZSTD_createCCtx())
    for parameter, value in ((CONTENT_SIZE_FLAG, 0), (LEVEL, level)):
        library.ZSTD_CCtx_setParameter(context, parameter, value)
    out = ctypes.create_string_buffer(ROOM)
    return lambda page: int(
        library.ZSTD_compress2(context, out, ctypes.c_size_t(ROOM), page, ctypes.c_size_t(len(page)))
    )


class Compressors:
    """Those of COMP_COLUMNS that are installed; the others are estimated, and named in ``estimated``.

    Raises:
        UserError: none of the libraries is installed.
    """

    def __init__(self) -> None:
        found = {"lzo": _lzo(), "lz4": _lz4(), "zstd1": _zstd(1), "zstd3": _zstd(3)}
        self._found = {name: compress for name, compress in found.items() if compress is not None}
        if not self._found:
            raise UserError(
                "compressed sizes: none of liblzo2, liblz4 and libzstd is installed; "
                "install one (Debian: liblzo2-2, liblz4-1, libzstd1)"
            )
        self.estimated = [name for name in COMP_COLUMNS if name not in self._found]

    def sizes(self, page: bytes) -> tuple[int, list[int]]:
        """(kind, bytes in the order of COMP_COLUMNS) of one page; 0 bytes for zero and same-filled ones."""
        word = page[:8]
        if page == word * (PAGE_SIZE // 8):
            return (KIND_SAME if any(word) else KIND_ZERO), [0] * len(COMP_COLUMNS)
        size = {name: compress(page) for name, compress in self._found.items()}
        quick = size.get("lzo", size.get("lz4"))
        dense = size.get("zstd3", size.get("zstd1"))
        if quick is None:
            assert dense is not None
            quick = min(round(dense / ZSTD_OF_LZO), PAGE_SIZE)
        if dense is None:
            dense = round(quick * ZSTD_OF_LZO)
        filled = {"lzo": quick, "lz4": quick, "zstd1": dense, "zstd3": dense} | size
        return KIND_OTHER, [max(1, filled[name]) for name in COMP_COLUMNS]


def sample_sizes(
    processes: Sequence[Process], count: int, rng: np.random.Generator
) -> tuple[Sample, list[str]]:
    """((page, kind, size (m, 4)), what was estimated) of up to ``count`` random allocated pages.

    Reading a page brings it back from swap and counts as a touch: sample after recording.
    """
    compressors = Compressors()
    page, kind, size = [], [], []
    numbers = [process.pages(process.areas())[0] for process in processes]
    total = sum(map(len, numbers))
    for process, mine in zip(processes, numbers, strict=True):
        share = min(len(mine), round(count * len(mine) / max(total, 1)))
        memory = os.open(Path("/proc") / str(process.pid) / "mem", os.O_RDONLY)
        try:
            for number in np.sort(rng.choice(mine, share, replace=False)).tolist():
                try:
                    content = os.pread(memory, PAGE_SIZE, number * PAGE_SIZE)
                except OSError:
                    continue  # freed since
                if len(content) == PAGE_SIZE:
                    what, bytes_ = compressors.sizes(content)
                    page.append(number | process.slot << SLOT_BITS)
                    kind.append(what)
                    size.append(bytes_)
        finally:
            os.close(memory)
    found = (
        np.array(page, np.int64),
        np.array(kind, np.uint8),
        np.array(size, np.uint16).reshape(-1, len(COMP_COLUMNS)),
    )
    return found, compressors.estimated
