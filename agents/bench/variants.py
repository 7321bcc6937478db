"""The machines that are timed: bench-mix with more or fewer pages, cgroups, memory, and stage one."""

from __future__ import annotations

from itertools import cycle, islice
from typing import Any

from zswap_gym.workloads.scenario import Scenario, load_scenario

BASE = "bench-mix"


def variant(
    *,
    pages: int = 65_536,
    cgroups: int = 8,
    limit: float = 0.6,
    stage_one: bool = False,
    page_scale: int | None = None,
    episode: dict[str, Any] | None = None,
) -> Scenario:
    """The standard machine with some of it changed.

    Args:
        pages: simulated pages of all cgroups together.
        cgroups: how many; the archetypes of the mix in turn.
        limit: memory.max as a share of each working set.
        stage_one: reclaim 2 MiB a second from each cgroup.
        page_scale: real pages per simulated one; None = the scenario's.
        episode: keys of ``episode`` to replace.
    """
    base = load_scenario(BASE).model_dump(exclude_unset=True, mode="json")
    kinds = list(islice(cycle(base["cgroups"]), cgroups))
    unit = sum(kind["workload"]["pages"] for kind in kinds)
    base["cgroups"] = [
        {
            **kind,
            "name": f"{kind['name']}-{i}",
            "memory_max": limit,
            "workload": {
                **kind["workload"],
                "pages": max(64, round(kind["workload"]["pages"] * pages / unit)),
            },
        }
        for i, kind in enumerate(kinds)
    ]
    if stage_one:
        base["stage_one"] = {"kind": "fixed", "rate": "2M", "interval": "1s"}
    if page_scale is not None:
        base["host"]["page_scale"] = page_scale
    base["episode"] |= episode or {}
    base["name"] = f"{BASE}-{pages}-{cgroups}-{limit:g}-{int(stage_one)}"
    return Scenario.model_validate(base)
