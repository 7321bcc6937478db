"""What commands share when they write: the early check of an output path, JSON for programs."""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zswap_gym.atomic import write_atomically
from zswap_gym.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from zswap_gym.workloads.scenario import Scenario


WIDE = 160


PICTURES = (".png", ".svg", ".pdf")


def warn_of_coarse(scenarios: Iterable[Scenario], reads_pct: float) -> None:
    """Say on stderr which cgroups have too few simulated pages for the promise that is asked about."""
    from zswap_gym.workloads.coarseness import too_coarse

    for scenario in scenarios:
        for line in too_coarse(scenario, reads_pct):
            print(f"zswap-gym: {line}", file=sys.stderr)


def ensure_picture(path: Path, *, source: Path | None = None) -> None:
    """As :func:`ensure_writable`, for a picture: its suffix says which kind it is to be."""
    if path.suffix.lower() not in PICTURES:
        raise UserError(f"{path}: a picture is a .png, .svg or .pdf; name it so")
    ensure_writable(path, source=source)


def ensure_writable(path: Path, *, folder: bool = False, source: Path | None = None) -> None:
    """Raise :class:`UserError` unless ``path`` can be written, leaving nothing behind.

    Called before any work is done, so that a wrong path costs a second and not a training run.
    With ``folder`` the path is to become (or be) a folder, else a file. Missing parents are fine:
    the nearest folder that exists is tried with a temporary file. ``source`` is what the command
    reads, which is not to be overwritten.
    """
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        raise UserError(f"{path}: is what is read, and would be overwritten; name another file to write")
    if folder and path.exists() and not path.is_dir():
        raise UserError(f"{path}: a file is in the way; name a folder to write to")
    if not folder and path.is_dir():
        raise UserError(f"{path}: is a folder; name a file to write")
    existing = path if folder else path.parent
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        # A try, not os.access(): read-only mounts and pseudo file systems lie about their modes.
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({existing}: {os.strerror(error.errno or 0).lower()}); "
            "name another place"
        ) from error


def console() -> Console:
    """Where tables are printed. A file or a pipe has no width, so tables there get room enough."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=WIDE)


def shown(name: str, encoding: str) -> str:
    """A name from outside as it can be printed: ``?`` for what is no character there, or moves the cursor."""
    printable = "".join(c if c.isprintable() else "?" for c in name)
    return printable.encode(encoding, "replace").decode(encoding)


def print_json(value: Any) -> None:
    """Print ``value`` as one JSON document: dataclasses, arrays and paths included, inf and nan as null."""
    print(json_text(value))


def json_text(value: Any) -> str:
    """``value`` as one JSON document, as `print_json` prints it."""
    return json.dumps(_plain(value), indent=2, allow_nan=False)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as one JSON document, whole or not at all."""
    write_atomically(path, json.dumps(_plain(value), indent=1, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    """``value`` in types JSON has."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if hasattr(value, "tolist"):  # a numpy array or scalar, without importing numpy
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, str) or value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (Sequence, set, frozenset)):
        return [_plain(item) for item in value]
    return str(value)
