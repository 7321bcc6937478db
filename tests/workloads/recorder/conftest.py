"""A program with a known pattern to record, and what of the system must be the same afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

PAGES = 16384


@dataclass
class Known:
    """The running program, the first page of its buffer, and which pages it touches."""

    process: subprocess.Popen[str]
    first: int
    truth: npt.NDArray[np.bool_]

    def found(self, vpn, touched) -> npt.NDArray[np.bool_]:
        """What a recording's row says about the buffer's pages."""
        out = np.zeros(len(self.truth), bool)
        mine = (vpn >= self.first) & (vpn < self.first + len(out))
        out[vpn[mine] - self.first] = touched[mine]
        return out


@pytest.fixture
def known() -> Iterator[Known]:
    program = Path(__file__).with_name("known_pattern.py")
    process = subprocess.Popen([sys.executable, str(program), str(PAGES)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = int(process.stdout.readline(), 16) // 4096
    truth = np.zeros(PAGES, bool)
    truth[: PAGES // 4] = True
    truth[3 * PAGES // 8 : 5 * PAGES // 8 : 7] = True
    yield Known(process, first, truth)
    process.kill()
    process.wait()


@pytest.fixture
def system_state() -> Callable[[int], dict[str, object]]:
    """``system_state(pid)``: what a recorder may change and has to put back."""
    return _system_state


def _system_state(pid: int) -> dict[str, object]:
    return {
        "swaps": Path("/proc/swaps").read_text().splitlines()[1:],
        "zram": sorted(path.name for path in Path("/sys/block").glob("zram*")),
        "page-cluster": Path("/proc/sys/vm/page-cluster").read_text(),
        "max_map_count": Path("/proc/sys/vm/max_map_count").read_text(),
        "maps": len(Path(f"/proc/{pid}/maps").read_text().splitlines()),
        "dontdump": Path(f"/proc/{pid}/smaps").read_text().count(" dd"),
        "tracer": [x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("Tracer")],
    }
