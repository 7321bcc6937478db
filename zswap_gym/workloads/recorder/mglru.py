"""Ages of a cgroup's pages from MGLRU's debugfs file: coarse, but it costs the program nothing.

Writing ``+ memcg node max_gen`` to /sys/kernel/debug/lru_gen walks the page tables and opens a new
generation. Reading it lists the generations with the milliseconds since each was opened and its anonymous
and file pages (Documentation/admin-guide/mm/multigen_lru.rst). A page in a generation of age t was not
accessed for t.
"""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from zswap_gym.errors import UserError
from zswap_gym.workloads.recorder.methods import LRU_GEN

COLUMNS = ("time_s", "node", "generation", "age_s", "anon_pages", "file_pages")


@dataclass(frozen=True)
class Generation:
    """Pages of one generation of one node."""

    node: int
    number: int
    age_s: float
    anon_pages: int
    file_pages: int


def parse(text: str, cgroup: str) -> tuple[int, list[Generation]]:
    """(memcg id, generations) of a cgroup, given its path below the cgroup root, ``/`` for the root.

    Raises:
        UserError: not in the file, or the file is of another format.
    """
    memcg, node, inside, found = -1, 0, False, []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["memcg"]:
            inside = (words[2] if len(words) > 2 else "/") == cgroup
            memcg = int(words[1]) if inside else memcg
        elif words[:1] == ["node"]:
            node = int(words[1])
        elif inside and len(words) >= 4 and words[0].isdigit():
            # a trailing letter marks what the aging has not reached yet; -0 an empty generation
            number, age, anon, file = (int(re.sub(r"\D", "", word) or 0) for word in words[:4])
            found.append(Generation(node, number, age / 1000, anon, file))
    if memcg < 0:
        raise UserError(f"{LRU_GEN}: no cgroup {cgroup!r} in it; is the memory controller enabled there?")
    return memcg, found


def watch(
    cgroup: str,
    *,
    interval_s: float,
    duration_s: float,
    out: Path,
    on_look: Callable[[float, list[Generation]], None] = lambda *_: None,
    file: Path = LRU_GEN,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Age the cgroup every interval and write what is found as CSV; how many looks there were."""
    looks, start = 0, time.monotonic()
    with out.open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow(COLUMNS)
        try:
            while time.monotonic() - start < duration_s or looks == 0:
                memcg, found = parse(file.read_text(), cgroup)
                seconds = time.monotonic() - start
                for one in found:
                    writer.writerow(
                        (f"{seconds:.3f}", one.node, one.number, one.age_s, one.anon_pages, one.file_pages)
                    )
                table.flush()
                looks += 1
                on_look(seconds, found)
                for node in {one.node for one in found}:
                    youngest = max(one.number for one in found if one.node == node)
                    file.write_text(f"+ {memcg} {node} {youngest} 1 1\n")
                sleep(interval_s)
        except KeyboardInterrupt:
            pass  # what there is so far is worth keeping
    return looks


def cold_share(found: list[Generation], age_s: float) -> float:
    """Share of the anonymous pages in generations at least that old."""
    total = sum(one.anon_pages for one in found)
    return sum(one.anon_pages for one in found if one.age_s >= age_s) / max(total, 1)
