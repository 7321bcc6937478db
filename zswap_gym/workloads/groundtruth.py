"""Ground truth: recorded scenarios of a real kernel, and the exact page order of their workloads.

A scenario directory holds scenario.txt (a boot line with guest options, then script lines),
events.jsonl (what happened when, with errno) and samples.csv (counters of each cgroup). The
page order is a pure function of seed and phase command, re-derived here and checked against the
checksum each recorded phase carries (``order_fnv``).
"""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zswap_gym.errors import UserError

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def mix64(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64 step: add the constant, then finalise."""
    with np.errstate(over="ignore"):
        z = z + _GAMMA
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def _stream(start: np.uint64, n: int) -> npt.NDArray[np.uint64]:
    """N successive outputs of the generator the guest used, from state ``start``."""
    with np.errstate(over="ignore"):
        state = start + _GAMMA * np.arange(1, n + 1, dtype=np.uint64)
        return mix64(state)


def content_permille(seed: int, mix: str, pages: int) -> npt.NDArray[np.int64]:
    """Share of random bytes of each page, per mille; -1 = all zero. ``mix`` like ``"40:100,30:400"``."""
    keys = np.uint64(seed * 1000003 & (2**64 - 1)) + np.arange(pages, dtype=np.uint64)
    draw = (mix64(keys) % np.uint64(100)).astype(np.int64)
    parts = [tuple(map(int, p.split(":"))) if ":" in p else (100, int(p)) for p in mix.split(",")]
    edges = np.cumsum([share for share, _ in parts])
    return np.array([value for _, value in parts])[
        np.minimum(np.searchsorted(edges, draw, "right"), len(parts) - 1)
    ]


@dataclass(frozen=True)
class Phase:
    """One workload phase: its command, split."""

    kind: str
    options: dict[str, str]

    @classmethod
    def parse(cls, command: str) -> Phase:
        """``"zipf n=30000 theta=1.0 rate=4000"`` and the like."""
        words = command.split()
        return cls(words[0], dict(word.split("=") for word in words[1:]))

    def order(self, seed: int, pages: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """(page of each access, whether the ``write=`` option makes it a write)."""
        opt = self.options
        start, count = int(opt.get("start", 0)), int(opt.get("count", 0)) or pages
        n = int(opt.get("n", 0)) or count
        share = int(opt.get("write", 0))
        if self.kind == "free":
            return np.zeros(0, np.int64), np.zeros(0, np.bool_)
        first = mix64(np.array([(seed ^ (int(opt.get("pseed", 0)) * 0x1234567)) & (2**64 - 1)], np.uint64))[0]
        if self.kind in ("fill", "seq", "verify"):
            page = start + np.arange(n, dtype=np.int64) % count
        elif self.kind == "uni":
            page = start + ((_stream(first, n) >> np.uint64(11)) % np.uint64(count)).astype(np.int64)
        elif self.kind == "zipf":
            page = start + self._zipf(first, n, count, seed)
        else:
            raise UserError(f"phase {self.kind!r} is not one of fill, seq, verify, uni, zipf, free")
        writes = np.zeros(n, np.bool_)
        if share:
            coin = mix64(np.array([first ^ np.uint64(77)], np.uint64))[0]
            writes = _stream(coin, n) % np.uint64(100) < np.uint64(share)
        return page, writes

    def _zipf(self, first: np.uint64, n: int, count: int, seed: int) -> npt.NDArray[np.int64]:
        theta = float(self.options.get("theta", 1.0))
        weights = [int(1e9 / math.pow(float(i + 1), theta)) for i in range(count)]
        cdf = np.cumsum(np.array(weights, np.uint64))
        draw = (_stream(first, n) >> np.uint64(1)) % cdf[-1]
        rank = np.searchsorted(cdf, draw, "right").astype(np.int64)
        page: npt.NDArray[np.int64] = (rank * 2654435761 + seed) % count
        return page


def order_fnv(pages: npt.NDArray[np.int64], writes: npt.NDArray[np.bool_]) -> str:
    """The checksum the guest recorded for a phase's order."""
    h = 1469598103934665603
    for key in (pages * 2 + writes).tolist():
        h = ((h ^ key) * 1099511628211) & (2**64 - 1)
    return f"{h:016x}"


_LENGTHS = (
    (0, 20.0),
    (100, 450.0),
    (250, 1083.8),
    (400, 1707.8),
    (500, 2139.5),
    (800, 3290.0),
    (990, 4095.0),
)


def compressed_length(permille: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
    """Zstd bytes of a page by its random share: measured means, interpolated; 0 = zero page.

    About 4096 * share + 10 to 90 (zswap / zswapped of the runs); fully random pages do not fit.
    """
    known, size = zip(*_LENGTHS, strict=True)
    length: npt.NDArray[np.uint16] = np.rint(np.interp(permille, known, size)).astype(np.uint16)
    length[permille < 0] = 0
    length[permille > 990] = 4096
    return length


@dataclass(frozen=True)
class Recording:
    """One scenario directory, parsed."""

    name: str
    options: dict[str, str]
    lines: list[list[str]]
    events: list[dict[str, Any]]
    samples: list[dict[str, str]] = field(repr=False)

    @classmethod
    def load(cls, folder: Path) -> Recording:
        """Read scenario.txt, events.jsonl and samples.csv. UserError names what is missing or broken."""
        try:
            text = (folder / "scenario.txt").read_text().splitlines()
            events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
            with (folder / "samples.csv").open() as handle:
                samples = list(csv.DictReader(handle))
        except (OSError, ValueError) as error:
            raise UserError(f"{folder}: not a ground-truth scenario: {error}") from error
        if not text or not text[0].startswith("# boot:"):
            raise UserError(f"{folder / 'scenario.txt'}: line 1 must be '# boot: KERNEL | OPTIONS'")
        kernel, _, options = text[0][len("# boot:") :].partition("|")
        opts = dict(word.split("=") for word in options.split())
        opts["kernel"] = kernel.strip()
        lines = [line.split("#")[0].split() for line in text[1:]]
        return cls(folder.name, opts, [words for words in lines if words], events, samples)

    def final(self, cgroup: str) -> dict[str, str]:
        """The kernel's counters of a cgroup at the end of the run."""
        rows = [row for row in self.samples if row["cg"] == cgroup]
        return rows[-1]
