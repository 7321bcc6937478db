"""What tests call in the guest."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def kernel() -> str:
    """The release."""
    return os.uname().release


def shell(line: str, timeout_s: float = 120.0) -> dict[str, object]:
    """Run a line in the shell."""
    ran = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, timeout=timeout_s, check=False)
    return {"rc": ran.returncode, "out": ran.stdout, "err": ran.stderr}


def read(path: str) -> str:
    """A file."""
    return Path(path).read_text(encoding="utf-8")
