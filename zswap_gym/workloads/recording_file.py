"""Write a recording: the other side of `traces`, for the recorder and the importers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zswap_gym.atomic import replacing


@dataclass
class Recorded:
    """A recording in plain bitmaps.

    Attributes:
        name: of what was recorded.
        vpn: int64 (n,), page numbers, increasing.
        touched, allocated: bool (K, n); see traces.
        times_s: (K,) seconds since the first scan, increasing.
        sizes: (page number, kind, bytes (m, 4)) of the measured pages.
        cost_s: (K, 2) seconds a look and an arming took, or None.
        note, meta: what else is to be known.
    """

    name: str
    vpn: npt.NDArray[np.int64]
    touched: npt.NDArray[np.bool_]
    allocated: npt.NDArray[np.bool_]
    times_s: npt.NDArray[np.float64]
    sizes: tuple[npt.NDArray[Any], ...]
    cost_s: npt.NDArray[np.float64] | None = None
    note: str = ""
    meta: dict[str, Any] = field(default_factory=dict)


def save_recording(recorded: Recorded, path: Path) -> Path:
    """Write it as the .npz that `traces.load_trace` reads, whole or not at all."""
    change = recorded.allocated.copy()
    change[1:] = recorded.allocated[1:] ^ recorded.allocated[:-1]
    page, kind, size = recorded.sizes
    meta = {
        "name": recorded.name,
        "note": recorded.note,
        "n_pages": len(recorded.vpn),
        "n_intervals": len(recorded.times_s),
        **recorded.meta,
    }
    first = int(recorded.vpn[0])
    arrays: dict[str, Any] = {
        "meta": json.dumps(meta),
        "vpn0": np.int64(first - 1),
        "vpn_delta": np.diff(recorded.vpn, prepend=first - 1).astype(np.uint64),
        "touched": np.packbits(recorded.touched & recorded.allocated, axis=1),
        "alloc_change": np.packbits(change, axis=1),
        "times": recorded.times_s.astype(np.float64),
        "comp_vpn": page.astype(np.uint64),
        "comp_kind": kind.astype(np.uint8),
        "comp_size": size.astype(np.uint16),
    }
    if recorded.cost_s is not None:
        arrays["cost"] = recorded.cost_s
    with replacing(path) as file:
        np.savez_compressed(file, **arrays)
    return path
