"""Guest and model side by side: memory saved, disk reads, broken minutes, ranking.

python experiments/reality/compare.py [runs.csv]      # Markdown
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import nan
from pathlib import Path
from statistics import fmean

HERE = Path(__file__).parent
NOTHING = "never"
NEAR_SHARE, NEAR_MIB = 0.1, 1.0
"""Memory saved is the same within either ..."""
READS_SHARE, READS_PAGES = 0.2, 200
"""... and so are disk reads."""


@dataclass(frozen=True)
class Figures:
    """Of one program under one policy in one place: means over runs, and the spread of what was saved."""

    saved_mib: float
    low_mib: float
    high_mib: float
    disk_reads: float
    written: float
    broken_pct: float
    runs: int


@dataclass(frozen=True)
class Cell:
    """One program under one policy, on the kernel and in the model."""

    program: str
    policy: str
    guest: Figures
    model: Figures

    @property
    def saved_near(self) -> bool:
        """Whether memory saved is within the bounds."""
        return near(self.model.saved_mib, self.guest.saved_mib, NEAR_SHARE, NEAR_MIB)

    @property
    def reads_near(self) -> bool:
        """Whether disk reads are."""
        return near(self.model.disk_reads, self.guest.disk_reads, READS_SHARE, READS_PAGES)


def near(value: float, truth: float, share: float, most: float) -> bool:
    """Within a share of the truth, or so much of it."""
    return abs(value - truth) <= max(share * abs(truth), most)


def kendall(left: Sequence[float], right: Sequence[float]) -> float:
    """Kendall's tau-b of two rankings, from -1 to 1; nan where one of them ranks nothing."""
    agree = ties_left = ties_right = 0
    pairs = list(combinations(range(len(left)), 2))
    for i, j in pairs:
        a, b = left[i] - left[j], right[i] - right[j]
        agree += (a * b > 0) - (a * b < 0)
        ties_left += a == 0
        ties_right += b == 0
    room = ((len(pairs) - ties_left) * (len(pairs) - ties_right)) ** 0.5
    return agree / room if room else nan


def cells(rows: Sequence[Mapping[str, str]]) -> list[Cell]:
    """Every program and policy that ran in both places; nothing done of the same place is what it is
    compared with, on average over its runs.
    """
    found: dict[tuple[str, str, str], list[Mapping[str, str]]] = defaultdict(list)
    for row in rows:
        found[row["where"], row["program"], row["policy"]].append(row)
    names = {(program, policy) for _, program, policy in found}
    return [
        Cell(program, policy, *(_figures(found, where, program, policy) for where in ("guest", "model")))
        for program, policy in sorted(names)
        if all((where, program, each) in found for where in ("guest", "model") for each in (policy, NOTHING))
    ]


def _figures(
    found: Mapping[tuple[str, str, str], list[Mapping[str, str]]], where: str, program: str, policy: str
) -> Figures:
    mine = found[where, program, policy]
    nothing = fmean(float(row["held_mib"]) for row in found[where, program, NOTHING])
    saved = [nothing - float(row["held_mib"]) for row in mine]

    def mean(key: str) -> float:
        return fmean(float(row[key]) for row in mine)

    minutes = sum(int(row["minutes"]) for row in mine)
    broken = 100.0 * sum(int(row["broken"]) for row in mine) / max(minutes, 1)
    return Figures(
        fmean(saved), min(saved), max(saved), mean("disk_reads"), mean("written"), broken, len(mine)
    )


def table(found: Sequence[Cell]) -> list[str]:
    """Markdown; what is out of bounds is bold."""
    lines = [
        "| program | policy | saved MiB: kernel | model | disk reads: kernel | model | written | broken % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for cell in found:
        g, m = cell.guest, cell.model
        saved = f"{m.saved_mib:.2f}" if cell.saved_near else f"**{m.saved_mib:.2f}**"
        reads = f"{m.disk_reads:.0f}" if cell.reads_near else f"**{m.disk_reads:.0f}**"
        lines.append(
            f"| {cell.program} | {cell.policy} | {g.saved_mib:.2f} [{g.low_mib:.2f}, {g.high_mib:.2f}] "
            f"| {saved} | {g.disk_reads:.0f} | {reads} | {g.written:.0f}, {m.written:.0f} "
            f"| {g.broken_pct:.0f}, {m.broken_pct:.0f} |"
        )
    return lines


def ranking(found: Sequence[Cell]) -> list[str]:
    """How many cells are within bounds, and Kendall's tau over all of them and for each program."""
    acting = [cell for cell in found if cell.policy != NOTHING]
    saved, reads = sum(c.saved_near for c in acting), sum(c.reads_near for c in found)
    bounds = f"memory saved {saved} of {len(acting)}, disk reads {reads} of {len(found)}"

    def tau(these: Sequence[Cell]) -> float:
        return kendall([c.guest.saved_mib for c in these], [c.model.saved_mib for c in these])

    names = sorted({c.program for c in acting})
    if not names:
        return [
            f"Within bounds: {bounds}.",
            "Nothing to rank: no policy but doing nothing ran in both places.",
        ]
    said = ", ".join(f"{name} {tau([c for c in found if c.program == name]):.2f}" for name in names)
    return [
        f"Within bounds: {bounds}.",
        f"Kendall's tau of memory saved: all {tau(acting):.2f}; policies of one program: {said}.",
    ]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="?", type=Path, default=HERE / "runs.csv")
    with parser.parse_args().runs.open(encoding="utf-8", newline="") as file:
        found = cells(list(csv.DictReader(file)))
    print(*table(found), "", *ranking(found), sep="\n")


if __name__ == "__main__":
    main()
