"""How coarse a model may be: whether a cgroup has pages enough to tell a kept promise from a broken one.

With ``page_scale`` k a page read back stands for k. What is promised is a share of the resident set a
minute, so of a cgroup of few simulated pages one page more or less decides. The rule, measured by
experiments/resolution: where the promise allows :data:`SAFE_READS` simulated pages a minute, coarser pages
change broken minutes no more than another seed does; where it allows fewer than :data:`READS`, whether
it is kept is a matter of single pages, and that is said.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from zswap_gym.units import PAGE_SIZE

if TYPE_CHECKING:
    from zswap_gym.workloads.scenario import Scenario
    from zswap_gym.workloads.schema import Cgroup

DISK_READS_PCT = 0.2
"""The usual promise: disk reads a minute, percent of the resident set."""
READS = 2
"""Simulated pages a minute that the promise must allow, or nothing can be told."""
SAFE_READS = 16
"""So many, and the pages are as good as single ones."""
SCALES = (64, 32, 16, 8, 4, 2, 1)


def pages_needed(reads_pct: float = DISK_READS_PCT, reads: int = READS) -> int:
    """Simulated pages of which ``reads`` are ``reads_pct`` percent."""
    return math.ceil(reads * 100.0 / reads_pct - 1e-9)


def resident_pages(scenario: Scenario) -> dict[str, int]:
    """Simulated pages each cgroup with a workload keeps resident at most, by its own memory.max and sizes.

    Of sizes that are drawn the smallest.
    """
    factor = scenario.randomise.sizes[0] if scenario.randomise.sizes else 1.0
    return {c.name: _resident(scenario, c, factor) for c in scenario.cgroups if c.workload is not None}


def _resident(scenario: Scenario, cgroup: Cgroup, factor: float) -> int:
    work, page = cgroup.workload, PAGE_SIZE * scenario.host.page_scale
    assert work is not None
    if work.regions:
        pages = sum(region.size for region in work.regions) * factor / page
    else:
        pages = (work.pages or 0) * (1.0 if work.trace else factor)
    limit = cgroup.memory_max
    if isinstance(limit, float):
        pages *= min(limit, 1.0)
    elif limit is not None:
        pages = min(pages, limit / page)
    return int(pages)


def too_coarse(scenario: Scenario, reads_pct: float = DISK_READS_PCT) -> list[str]:
    """A line for each cgroup whose pages cannot tell a kept promise from a broken one; none where all can."""
    needed = pages_needed(reads_pct)
    return [
        f"scenario {scenario.name}: cgroup {name} keeps {pages} pages of {scenario.host.page_scale * 4} KiB "
        f"resident; a promise of {reads_pct:g} % a minute needs {needed} to be told from a broken one: "
        f"{'lower page_scale' if scenario.host.page_scale > 1 else 'the cgroup is too small for it'}"
        for name, pages in resident_pages(scenario).items()
        if 0 < pages < needed
    ]


def coarsest(scenario: Scenario, reads_pct: float = DISK_READS_PCT) -> int:
    """The largest page_scale that is safe for every cgroup of the scenario, which is given at page_scale 1.

    1 where even that is. ValueError where a workload's size is given in simulated pages.
    """
    for cgroup in scenario.cgroups:
        if cgroup.workload is not None and not cgroup.workload.regions:
            raise ValueError(
                f"page_scale auto: cgroup {cgroup.name!r} gives its size in pages, which are as large as "
                "page_scale says; describe it by regions, whose sizes are in bytes, or give a number"
            )
    least = min(resident_pages(scenario).values(), default=0)
    return next((scale for scale in SCALES if least // scale >= pages_needed(reads_pct, SAFE_READS)), 1)
