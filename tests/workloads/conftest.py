"""Small recordings made on the spot, so that tests know every bit of them."""

from __future__ import annotations

import json

import numpy as np
import pytest


def recording_arrays(touched, allocated, times, *, name="tiny", vpn=None, sizes=None):
    """The arrays of a recording file from plain bitmaps (K, n)."""
    touched, allocated = np.asarray(touched, bool), np.asarray(allocated, bool)
    n = touched.shape[1]
    vpn = np.arange(1000, 1000 + n) if vpn is None else np.asarray(vpn)
    change = allocated.copy()
    change[1:] = allocated[1:] ^ allocated[:-1]
    sizes = np.full((n, 4), 1000) if sizes is None else np.asarray(sizes)
    return {
        "meta": json.dumps({"name": name, "note": "made by a test", "n_pages": n, "kernel": "none"}),
        "vpn0": np.int64(0),
        "vpn_delta": np.diff(vpn, prepend=0).astype(np.uint64),
        "touched": np.packbits(touched, axis=1),
        "alloc_change": np.packbits(change, axis=1),
        "times": np.asarray(times, np.float32),
        "comp_vpn": vpn.astype(np.uint64),
        "comp_kind": np.zeros(n, np.uint8),
        "comp_size": sizes.astype(np.uint16),
    }


@pytest.fixture
def arrays():
    """A recording of 300 pages over 12 scans with allocations, frees and re-allocations."""
    rng = np.random.default_rng(5)
    allocated = np.ones((12, 300), bool)
    allocated[:4, 100:150] = False  # allocated at scan 4
    allocated[6:, 150:200] = False  # freed at scan 6
    allocated[3:8, 200:220] = False  # freed at scan 3, back at scan 8
    allocated[1:3, 220:230] = False  # freed at once, back at scan 3
    touched = allocated & (rng.random((12, 300)) < 0.3)
    touched[:, :20] = False  # never touched
    touched[8, 200:210] = False  # back, but not seen accessed
    return recording_arrays(touched, allocated, np.arange(12) * 2.0 + rng.uniform(0, 0.5, 12))


@pytest.fixture
def save(tmp_path):
    """Write arrays as a recording and return the path."""

    def _save(arrays, name="tiny.npz"):
        path = tmp_path / name
        np.savez_compressed(path, **arrays)
        return path

    return _save
