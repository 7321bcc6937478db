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
import os
from collections.abc import Sequence
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
        return cls(words[0] if words else "", dict(word.partition("=")[::2] for word in words[1:]))

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


@dataclass(frozen=True)
class Worker:
    """A program of a scenario: its pages are one mapping, in the order of ``first``."""

    name: str
    cgroup: str
    pages: int
    seed: int
    mix: str
    huge: bool
    first: int
    """Its first page in the page array of its cgroup."""


@dataclass(frozen=True)
class Recording:
    """One scenario directory, parsed."""

    name: str
    options: dict[str, str]
    """Guest options of the boot line; ``kernel`` is its first word."""
    events: list[dict[str, Any]] = field(repr=False)
    samples: list[dict[str, str]] = field(repr=False)
    folder: Path = field(default=Path(), repr=False)

    @classmethod
    def load(cls, folder: Path) -> Recording:
        """Read scenario.txt, events.jsonl and samples.csv. UserError names what is missing or broken."""
        try:
            text = (folder / "scenario.txt").read_text().splitlines()
            events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
            with (folder / "samples.csv").open() as handle:
                samples = list(csv.DictReader(handle))
        except OSError as error:
            missing = Path(error.filename or folder).name
            raise UserError(
                f"{folder}: not a ground-truth scenario: {missing} cannot be read "
                f"({os.strerror(error.errno or 0).lower()}); give a folder with scenario.txt, "
                "events.jsonl and samples.csv"
            ) from error
        except ValueError as error:
            raise UserError(f"{folder}: not a ground-truth scenario: {error}") from error
        if not text or not text[0].startswith("# boot:"):
            raise UserError(f"{folder / 'scenario.txt'}: line 1 must be '# boot: KERNEL | OPTIONS'")
        kernel, _, options = text[0][len("# boot:") :].partition("|")
        opts = dict(word.partition("=")[::2] for word in options.split())
        opts["kernel"] = kernel.strip()
        recording = cls(folder.name, opts, events, samples, folder)
        recording._check()
        return recording

    def _check(self) -> None:
        """Every event and sample has what a replay reads."""
        for i, event in enumerate(self.events):
            missing = {"t", "ev"} - set(event) | (_EVENT_KEYS.get(event.get("ev", ""), set()) - set(event))
            if missing:
                raise UserError(
                    f"{self.folder / 'events.jsonl'}: line {i + 1}: {', '.join(sorted(missing))} is missing"
                )
        if not self.samples or not {"t", "label", "cg", "memory.current"} <= set(self.samples[0]):
            raise UserError(
                f"{self.folder / 'samples.csv'}: no samples, or no column t, label, cg or memory.current"
            )
        self.workers()

    def of(self, kind: str) -> list[dict[str, Any]]:
        """All events of a kind, in order."""
        return [event for event in self.events if event["ev"] == kind]

    def cgroups(self) -> list[str]:
        """Paths of the cgroups, in the order they were made."""
        return [event["name"] for event in self.of("cg")]

    def workers(self) -> dict[str, Worker]:
        """Workers in the order they were started; those of one cgroup share its page array."""
        workers: dict[str, Worker] = {}
        used: dict[str, int] = {}
        for event in self.of("wl"):
            opt = dict(word.partition("=")[::2] for word in event["args"].split())
            cgroup = event["cg"]
            try:
                pages, seed = int(opt["pages"]), int(opt.get("seed", 1))
            except (KeyError, ValueError) as error:
                raise UserError(
                    f"{self.folder / 'events.jsonl'}: worker {event['name']}: needs pages=N seed=S"
                ) from error
            first = used.get(cgroup, 0)
            huge = opt.get("thp") == "1"
            workers[event["name"]] = Worker(
                event["name"], cgroup, pages, seed, opt.get("mix", "500"), huge, first
            )
            used[cgroup] = first + pages
        return workers

    def final(self, cgroup: str) -> dict[str, str]:
        """The kernel's counters of a cgroup at the end of the run."""
        rows = [row for row in self.samples if row["cg"] == cgroup]
        return rows[-1]


_EVENT_KEYS = {
    "cg": {"name"},
    "wl": {"name", "cg", "args"},
    "write": {"path", "val", "errno", "ms"},
    "start": {"wl", "cmd"},
    "phase": {"wl", "cmd", "t_start", "t_end", "accesses"},
    "phase_dead": {"wl", "cmd"},
    "kill": {"wl"},
    "rmcg": {"name"},
}


def recordings(folders: Sequence[Path]) -> list[Path]:
    """The scenario folders meant by ``folders``: each itself, or those inside it, sorted.

    UserError where one does not exist or holds no recording.
    """
    found: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; give folders of ground-truth recordings")
        if any((folder / name).exists() for name in ("scenario.txt", "events.jsonl", "samples.csv")):
            found.append(folder)
            continue
        inside = sorted(path for path in folder.iterdir() if (path / "scenario.txt").is_file())
        if not inside:
            raise UserError(
                f"{folder}: holds no recording; a recording is a folder with scenario.txt, "
                "events.jsonl and samples.csv"
            )
        found.extend(inside)
    return found
