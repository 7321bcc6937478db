"""Recorded page accesses of real programs: load, check and decode one .npz file.

A recording says which pages were seen accessed between two scans, which pages were allocated at
each scan, and the compressed sizes of a random sample of pages. How the ten shipped ones were made
is in ``data/PROVENANCE.md``. Arrays of a file (n pages, K scans, m measured pages):

    meta          JSON text: name, note, interval_s, n_pages, n_intervals, kernel, backend, ...
    vpn0, vpn_delta     virtual page numbers are vpn0 + cumsum(vpn_delta), increasing
    touched       uint8 (K, ceil(n/8)), packed bits: page seen accessed in (times[k-1], times[k]]
    alloc_change  same packing: XOR difference along time of the allocated bitmap; row 0 is the state
    times         (K,) seconds since the first scan, increasing
    comp_vpn, comp_kind, comp_size      (m,), (m,) and (m, 4): kind 0 other, 1 all zero, 2 one word
                  repeated; bytes under lzo1x-1, lz4, zstd-1, zstd-3. comp2_*: a second sample.
"""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zswap_gym.errors import UserError, nearest
from zswap_gym.units import PAGE_SIZE, US_PER_S

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA = Path(__file__).parent / "data"

REQUIRED = (
    "meta",
    "vpn0",
    "vpn_delta",
    "touched",
    "alloc_change",
    "times",
    "comp_vpn",
    "comp_kind",
    "comp_size",
)
COMP_COLUMNS = ("lzo", "lz4", "zstd1", "zstd3")
KIND_OTHER, KIND_ZERO, KIND_SAME = 0, 1, 2

HOT_SHARE = 0.2
"""A page touched in more than this share of the intervals it lived through is hot."""
CLASS_NEVER, CLASS_MIDDLE, CLASS_HOT = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Trace:
    """One decoded recording. Touches and allocation changes are page-major lists, not bitmaps.

    Attributes:
        name, note, kernel, backend: from the file's meta; who was recorded, where and how.
        times_us: int64 (K,), scan times, microseconds since the first scan.
        vpn: int64 (n,), virtual page number of each page, increasing.
        touch_offset: int64 (n+1,), slices of ``touch_scan`` per page.
        touch_scan: int32, increasing within a page: seen accessed at this scan, that is in the
            interval that ends there.
        allocated_first: bool (n,), allocated at scan 0.
        flip_page, flip_scan: int64 (f,), sorted by page, then scan: the allocated bit flips.
        measured_page: int64 (m,), the page whose compressed size was measured, at most once each;
            -1 for a measured page that is not in the recording (sampled from another run).
        measured_kind: uint8 (m,), KIND_OTHER, KIND_ZERO or KIND_SAME.
        measured_size: uint16 (m, 4), bytes in the order of COMP_COLUMNS; 0 for zero and same. 4096 = does not
            compress (the file may hold more: a compressor can make a page grow).
    """

    name: str
    note: str
    kernel: str
    backend: str
    times_us: npt.NDArray[np.int64]
    vpn: npt.NDArray[np.int64]
    touch_offset: npt.NDArray[np.int64]
    touch_scan: npt.NDArray[np.int32]
    allocated_first: npt.NDArray[np.bool_]
    flip_page: npt.NDArray[np.int64]
    flip_scan: npt.NDArray[np.int64]
    measured_page: npt.NDArray[np.int64]
    measured_kind: npt.NDArray[np.uint8]
    measured_size: npt.NDArray[np.uint16]

    @property
    def n_pages(self) -> int:
        """Pages ever seen allocated."""
        return len(self.vpn)

    @property
    def n_scans(self) -> int:
        """Scans K; there are K - 1 whole intervals between them."""
        return len(self.times_us)

    @property
    def span_s(self) -> float:
        """Seconds from the first scan to the last: what can be replayed."""
        return float(self.times_us[-1]) / US_PER_S

    def touched(self) -> npt.NDArray[np.bool_]:
        """Bitmap (K, n): page seen accessed at scan k."""
        bits = np.zeros((self.n_scans, self.n_pages), bool)
        bits[self.touch_scan, np.repeat(np.arange(self.n_pages), np.diff(self.touch_offset))] = True
        return bits

    def allocated(self) -> npt.NDArray[np.bool_]:
        """Bitmap (K, n): page allocated at scan k."""
        change = np.zeros((self.n_scans, self.n_pages), bool)
        change[0] = self.allocated_first
        change[self.flip_scan, self.flip_page] = True
        return np.bitwise_xor.accumulate(change, axis=0)

    def touched_share(self) -> npt.NDArray[np.float64]:
        """(n,) share of the scans a page was allocated at that saw it accessed."""
        sign = np.where(self._flips_on(), 1, -1) * (self.n_scans - self.flip_scan)
        life = np.where(self.allocated_first, self.n_scans, 0).astype(np.float64)
        np.add.at(life, self.flip_page, sign)
        return np.diff(self.touch_offset) / np.maximum(life, 1)

    @lru_cache(maxsize=16)  # noqa: B019 - recordings are cached themselves
    def page_class(self) -> npt.NDArray[np.uint8]:
        """(n,) CLASS_NEVER, CLASS_MIDDLE or CLASS_HOT of each page over the whole recording."""
        share = self.touched_share()
        out = np.full(self.n_pages, CLASS_MIDDLE, np.uint8)
        out[share == 0] = CLASS_NEVER
        out[share > HOT_SHARE] = CLASS_HOT
        return out

    def _flips_on(self) -> npt.NDArray[np.bool_]:
        """(f,) whether the flip allocates (else it frees): flips of a page alternate."""
        first_of_page = np.searchsorted(self.flip_page, self.flip_page, side="left")
        nth = np.arange(len(self.flip_page)) - first_of_page
        return np.asarray(self.allocated_first[self.flip_page] ^ (nth % 2 == 0), bool)

    def flips(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Allocation changes as (page, scan, whether it allocates), sorted by page, then scan."""
        return self.flip_page, self.flip_scan, self._flips_on()


def trace_names() -> list[str]:
    """Names of the recordings shipped with the package."""
    return sorted(path.stem for path in DATA.glob("*.npz"))


def load_trace(name_or_path: str | Path) -> Trace:
    """The recording of that name, or in that file.

    Raises:
        UserError: no such recording, or the file is damaged or not a recording.
    """
    text = str(name_or_path)
    path = DATA / f"{text}.npz" if text in trace_names() else Path(text)
    try:
        stat = path.stat()
    except (OSError, ValueError):
        raise UserError(
            f"trace {text!r}: no such recording{nearest(text, trace_names())}; "
            f"name one of {', '.join(trace_names())} or the path of an .npz file"
        ) from None
    return _load_cached(str(path), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=16)
def _load_cached(path: str, _mtime_ns: int, _size: int) -> Trace:
    """Decoding takes a tenth of a second and resets come often; a changed file is read again."""
    return _decode(path, _read(path))


_DAMAGED = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, KeyError, TypeError,
    RuntimeError, OverflowError, MemoryError,
)  # fmt: skip
"""What zipfile and numpy raise: a compression or an encryption they do not know is a RuntimeError."""


def _read(path: str) -> dict[str, Any]:
    """All arrays of the file; every way a file can be damaged becomes one UserError."""
    try:
        with zipfile.ZipFile(path):  # np.load also takes .npy and offers to unpickle the rest
            pass
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except _DAMAGED as error:
        raise UserError(
            f"{path}: not a readable recording ({_first_line(error)}); "
            "it is damaged or cut short, copy or record it again"
        ) from None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _decode(path: str, arrays: Mapping[str, Any]) -> Trace:
    def refuse(key: str, problem: str) -> UserError:
        return UserError(f"{path}: array {key!r}: {problem}; record the program again")

    for key in REQUIRED:
        if key not in arrays:
            raise refuse(key, f"missing (a recording has {', '.join(REQUIRED)})")
    meta = _meta(path, arrays["meta"])
    times = np.asarray(arrays["times"], np.float64)
    if times.ndim != 1 or len(times) < 2:
        raise refuse("times", f"shape {times.shape}, wanted at least two scan times")
    if not np.isfinite(times).all():
        raise refuse("times", "not a number in it")
    times_us = np.round((times - times[0]) * US_PER_S).astype(np.int64)
    if (np.diff(times_us) <= 0).any():
        raise refuse("times", "scan times must increase")
    delta = np.asarray(arrays["vpn_delta"])
    if delta.ndim != 1 or len(delta) == 0 or delta.dtype.kind not in "iu" or (delta[1:] <= 0).any():
        raise refuse("vpn_delta", f"{delta.dtype} {delta.shape}, wanted positive steps, one per page")
    vpn = np.asarray(arrays["vpn0"]).astype(np.int64) + np.cumsum(delta.astype(np.int64))
    n, scans = len(vpn), len(times_us)
    if meta["n_pages"] != n:
        raise refuse("meta", f"n_pages {meta['n_pages']} but {n} page numbers")
    bits = {}
    for key in ("touched", "alloc_change"):
        packed = np.asarray(arrays[key])
        if packed.dtype != np.uint8 or packed.shape != (scans, -(-n // 8)):
            raise refuse(
                key, f"{packed.dtype} {packed.shape}, wanted uint8 {(scans, -(-n // 8))}: 1 bit per page"
            )
        bits[key] = np.unpackbits(packed, axis=1)[:, :n]
    if (bits["touched"] & ~np.bitwise_xor.accumulate(bits["alloc_change"], axis=0) & 1).any():
        raise refuse("touched", "a page is accessed at a scan where it is not allocated")
    page, scan = np.nonzero(np.ascontiguousarray(bits["touched"].T))
    flip_page, flip_scan = np.nonzero(np.ascontiguousarray(bits["alloc_change"][1:].T))
    measured = [_measured(path, arrays, prefix, vpn) for prefix in ("comp", "comp2")]
    measured_page = np.concatenate([m[0] for m in measured])
    keep = measured_page < 0
    keep[np.unique(measured_page, return_index=True)[1]] = True
    return Trace(
        name=str(meta["name"]),
        note=str(meta.get("note", "")),
        kernel=str(meta.get("kernel", "")),
        backend=str(meta.get("backend", "")),
        times_us=times_us,
        vpn=vpn,
        touch_offset=np.searchsorted(page, np.arange(n + 1)).astype(np.int64),
        touch_scan=scan.astype(np.int32),
        allocated_first=bits["alloc_change"][0].astype(bool),
        flip_page=flip_page.astype(np.int64),
        flip_scan=flip_scan.astype(np.int64) + 1,
        measured_page=measured_page[keep],
        measured_kind=np.concatenate([m[1] for m in measured])[keep],
        measured_size=np.concatenate([m[2] for m in measured])[keep],
    )


def _meta(path: str, raw: Any) -> dict[str, Any]:
    try:
        meta = json.loads(str(raw))
        return {**meta, "name": str(meta["name"]), "n_pages": int(meta["n_pages"])}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: array 'meta': not the JSON text of a recording ({type(error).__name__}: "
            f"{_first_line(error)}); record the program again"
        ) from None


def _measured(
    path: str, arrays: Mapping[str, Any], prefix: str, vpn: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8], npt.NDArray[np.uint16]]:
    """(page, kind, size) of one sample; page -1 is outside the recording."""
    if f"{prefix}_vpn" not in arrays:  # only comp2 may be absent
        return np.zeros(0, np.int64), np.zeros(0, np.uint8), np.zeros((0, 4), np.uint16)
    try:
        page, kind, size = (np.asarray(arrays[f"{prefix}_{part}"]) for part in ("vpn", "kind", "size"))
    except KeyError as error:
        raise UserError(f"{path}: array {error}: missing; record the program again") from None
    m = len(page) if page.ndim == 1 else -1
    if kind.shape != (m,) or size.shape != (m, len(COMP_COLUMNS)):
        raise UserError(
            f"{path}: array '{prefix}_size': shapes {page.shape}, {kind.shape}, {size.shape}, wanted "
            f"(m,), (m,) and (m, {len(COMP_COLUMNS)}); record the program again"
        )
    for part, array in (("vpn", page), ("kind", kind), ("size", size)):
        if array.dtype.kind not in "iu":
            bad = array.dtype.kind == "f" and not np.isfinite(array).all()
            raise UserError(
                f"{path}: array '{prefix}_{part}': {'NaN or infinity in it' if bad else array.dtype}, wanted "
                "whole numbers; record the program again"
            )
    if (kind > KIND_SAME).any():
        raise UserError(
            f"{path}: array '{prefix}_kind': wanted whole numbers, kinds 0 to 2; record the program again"
        )
    index = np.minimum(np.searchsorted(vpn, page.astype(np.int64)), len(vpn) - 1)
    index[vpn[index] != page.astype(np.int64)] = -1
    return index, kind.astype(np.uint8), np.minimum(size, PAGE_SIZE).astype(np.uint16)
