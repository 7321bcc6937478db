"""Files of policies: an .npz of arrays without pickles, and a JSON text that says what they are."""

from __future__ import annotations

import contextlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zswap_gym.errors import UserError

BUNDLE_VERSION = 2
"""Raised whenever an entry of the file is gained, lost or means something else."""

# A cut or foreign file shows up as any of these, depending on where it was cut.
_UNREADABLE = (
    OSError,
    KeyError,
    ValueError,
    EOFError,
    TypeError,
    AttributeError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_bundle(where: str) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Description and arrays of a bundle.

    Raises:
        UserError: it is missing, truncated, not a bundle, or of another version.
    """
    try:
        with np.load(where, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
        meta = json.loads(str(arrays["meta"]))
        version = meta["bundle_version"]
    except FileNotFoundError as error:
        raise UserError(f"{where}: no such policy file; export one with 'zswap-gym export'") from error
    except IsADirectoryError as error:
        raise UserError(f"{where}: is a folder, not a policy; export it with 'zswap-gym export'") from error
    except _UNREADABLE as error:
        raise UserError(f"{where}: not an exported policy, or damaged ({error}); export it again") from error
    if version != BUNDLE_VERSION:
        raise UserError(
            f"{where}: bundle version {version}, this program reads {BUNDLE_VERSION}; "
            "train it again with this version, or run it with the version it was trained with"
        )
    return meta, arrays


def write_bundle(path: Path, meta: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Path:
    """Write it, all or nothing: a temporary file in the same folder, then a rename.

    Raises:
        UserError: it cannot be written.
    """
    buffer = io.BytesIO()
    text = json.dumps({"bundle_version": BUNDLE_VERSION, **meta})
    np.savez(buffer, **arrays, meta=np.array(text))  # type: ignore[arg-type]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(buffer.getvalue())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UserError(
            f"{path}: cannot write the policy: {error.strerror}; choose another folder"
        ) from error
    return path
