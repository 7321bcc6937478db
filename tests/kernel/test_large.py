"""64 GiB at page_scale 1 in less than 4 GiB of memory (experiments/large)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_64_gib_of_single_pages() -> None:
    script = ROOT / "experiments" / "large" / "run.py"
    done = subprocess.run(
        [sys.executable, str(script), "64"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["pages"] == 64 << 18
    assert found["peak_rss_gib"] < 4.0
    assert found["zswpout"] >= 32 << 18
    assert found["zswpin"] > 0
    assert found["zswpwb"] == 1 << 18
