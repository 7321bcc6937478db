"""The grid: which ages and budgets are tried, and what each is called in a kernel's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log
from typing import Literal

import numpy as np

from zswap_gym.agents.advice.subject import age_limit_s
from zswap_gym.errors import UserError
from zswap_gym.host.types import Request
from zswap_gym.units import PAGE_SIZE
from zswap_gym.workloads.scenario import Scenario

MIB = 1 << 20
LEAST_BYTES = MIB // 2
"""Smaller calls spoil the LRU order (groundtruth FINDINGS 7)."""
LARGEST_SHARE = 1 / 32
"""Of the smallest cgroup's memory, per decision."""
AGE_STEP, N_BUDGETS = 1.6, 4
YOUNGEST_S = 10.0

Interface = Literal["v1", "zswap_writeback_only", "source=zswap", "memory.reclaim", "never"]
"""``v1``: memory.zswap.proactive_writeback, age and size. Sizes only, the oldest first, each run on a kernel
that has it: ``zswap_writeback_only`` (version 3 of the series, uncompressed) and ``source=zswap`` (version
5, compressed). ``memory.reclaim``: every kernel, no writeback."""
INTERFACES: tuple[Interface, ...] = ("v1", "zswap_writeback_only", "source=zswap", "memory.reclaim")
"""Those that do something."""
DIALECT: dict[Interface, str] = {"zswap_writeback_only": "v3", "source=zswap": "v5"}
"""The dialect of a scenario whose kernel has the interface; v1 for the others."""


@dataclass(frozen=True)
class Point:
    """One setting, repeated at every decision in every cgroup."""

    interface: Interface
    age_s: int
    max_bytes: int
    """Per decision, uncompressed."""
    kernel: str = "v1"
    """Dialect of the kernel it runs on."""

    @property
    def never(self) -> Point:
        """Doing nothing on the same kernel: what it is compared with."""
        return Point("never", 0, 0, self.kernel)

    @property
    def request(self) -> Request:
        """As the seam takes it: a writeback is followed by a release of as many bytes."""
        if self.interface == "never":
            return Request()
        if self.interface == "memory.reclaim":
            return Request(None, 0, self.max_bytes)
        return Request(float(self.age_s), self.max_bytes)

    def line(self, compressed_share: float = 1.0) -> str:
        """What is written, empty for doing nothing; compressed bytes where the interface counts those."""
        compressed = max(PAGE_SIZE, int(self.max_bytes * compressed_share) // PAGE_SIZE * PAGE_SIZE)
        return {
            "v1": f"max={size_text(self.max_bytes)} {self.age_s}",
            "zswap_writeback_only": f"{size_text(self.max_bytes)} zswap_writeback_only",
            "source=zswap": f"{size_text(compressed)} source=zswap",
            "memory.reclaim": size_text(self.max_bytes),
            "never": "",
        }[self.interface]

    def command(self, compressed_share: float = 1.0) -> str:
        """The line with the file it goes to."""
        file = "memory.zswap.proactive_writeback" if self.interface == "v1" else "memory.reclaim"
        line = self.line(compressed_share)
        return f'echo "{line}" > {file}' if line else ""


NEVER = Point("never", 0, 0)


def size_text(size: int) -> str:
    """``1572864`` as ``1536K``: what memparse() reads back to the same number."""
    for unit, shift in (("G", 30), ("M", 20), ("K", 10)):
        if size and size % (1 << shift) == 0:
            return f"{size >> shift}{unit}"
    return str(size)


def default_ages(limit_s: float) -> list[int]:
    """Ages from YOUNGEST_S to the limit, each at most AGE_STEP times the one before, whole seconds."""
    youngest = min(YOUNGEST_S, limit_s)
    count = ceil(log(limit_s / youngest) / log(AGE_STEP)) + 1
    ages = np.geomspace(youngest, limit_s, count)
    return sorted({max(1, int(age)) for age in ages})


def default_budgets(memory_bytes: int) -> list[int]:
    """Powers of two from LEAST_BYTES to LARGEST_SHARE of the memory, N_BUDGETS at most, the upper ones."""
    largest = max(int(memory_bytes * LARGEST_SHARE), LEAST_BYTES)
    count = int(np.log2(largest / LEAST_BYTES)) + 1
    return [LEAST_BYTES << i for i in range(max(0, count - N_BUDGETS), count)]


def make_grid(
    limit_s: float,
    memory_bytes: int,
    ages: Sequence[float] | None = None,
    budgets: Sequence[int] | None = None,
) -> list[Point]:
    """All points to try: never, releases, sizes only, and every age with every budget.

    Raises:
        UserError: an age beyond ``limit_s``, a budget below a page.
    """
    _check(limit_s, ages or (), budgets or ())
    seconds = sorted({int(age) for age in ages}) if ages else default_ages(limit_s)
    sizes = sorted(set(budgets)) if budgets else default_budgets(memory_bytes)
    return [
        NEVER,
        *(Point("memory.reclaim", 0, size) for size in sizes),
        *(Point(name, 1, size, kernel) for name, kernel in DIALECT.items() for size in sizes),
        *(Point("v1", age, size) for age in seconds for size in sizes),
    ]


def check_grid(
    scenario: Scenario, ages: Sequence[float] | None = None, budgets: Sequence[int] | None = None
) -> None:
    """Raise what `make_grid` would, before any work is done."""
    _check(age_limit_s(scenario), ages or (), budgets or ())


def _check(limit_s: float, ages: Sequence[float], budgets: Sequence[int]) -> None:
    for age in ages:
        if not 1 <= age <= limit_s:
            raise UserError(
                f"--ages: {age:g} s: ages from 1 s to {limit_s:.0f} s can be judged here, "
                "half of what is replayed; give others or record for longer"
            )
    for size in budgets:
        if size < PAGE_SIZE:
            raise UserError(f"--budgets: {size}: the kernel refuses less than a page; give at least 4096")
