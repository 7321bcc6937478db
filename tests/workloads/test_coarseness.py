"""Which scenarios cannot tell a kept promise from a broken one, and the scale that `auto` picks."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from zswap_gym.workloads.coarseness import (
    READS,
    SAFE_READS,
    SCALES,
    coarsest,
    pages_needed,
    resident_pages,
    too_coarse,
)
from zswap_gym.workloads.scenario import Scenario, load_scenario, scenario_names


def made(*sizes: str, scale: Any = 1, **keys: Any) -> Scenario:
    return Scenario.model_validate({
        "name": "made", "host": {"page_scale": scale}, **keys,
        "cgroups": [
            {
                "name": f"c{i}", "memory_max": 0.5,
                "workload": {
                    "regions": [{"name": "heap", "size": size, "popularity": "uniform:0.01"}],
                    "phases": [{"name": "all", "duration": "1h"}],
                },
            }
            for i, size in enumerate(sizes)
        ],
    })  # fmt: skip


def test_the_rule_is_that_the_promise_allows_some_pages() -> None:
    assert pages_needed(0.2) == 1000
    for pct in (0.05, 0.2, 1.0):
        assert pages_needed(pct) * pct / 100 >= READS > (pages_needed(pct) - 1) * pct / 100 - 1e-9


def test_resident_pages_count_limits_and_the_smallest_draw() -> None:
    assert resident_pages(made("64M", "16M")) == {"c0": 8192, "c1": 2048}
    assert resident_pages(made("64M", scale=4)) == {"c0": 2048}
    assert resident_pages(made("64M", randomise={"sizes": [0.5, 2.0]})) == {"c0": 4096}


def test_a_cgroup_that_is_too_coarse_is_named() -> None:
    scenario = made("64M", "8M", scale=4)
    (line,) = too_coarse(scenario)
    assert line.startswith("scenario made: cgroup c1 keeps 256 pages of 16 KiB resident;")
    assert "needs 1000" in line
    assert "lower page_scale" in line
    assert too_coarse(scenario, 2.0) == []
    assert "too small" in too_coarse(made("4M"))[0]


@pytest.mark.parametrize(("size", "scale"), [("4M", 1), ("64M", 1), ("128M", 2), ("1G", 16), ("64G", 64)])
def test_auto_is_the_coarsest_that_is_safe(size: str, scale: int) -> None:
    scenario = made(size, "64G", scale="auto")
    assert scenario.host.page_scale == scale
    assert scenario == made(size, "64G", scale=scale)
    if size != "4M":
        assert too_coarse(scenario) == []
    safe = pages_needed(reads=SAFE_READS)
    if size != "4M":
        assert min(resident_pages(scenario).values()) >= safe
    if scale < SCALES[0]:
        assert min(resident_pages(made(size, "64G", scale=2 * scale)).values()) < safe


def test_auto_needs_sizes_in_bytes() -> None:
    with pytest.raises(ValidationError, match="c' gives its size in pages"):
        Scenario.model_validate({
            "name": "x", "host": {"page_scale": "auto"},
            "cgroups": [{"name": "c", "workload": {"archetype": "kv_zipf", "pages": 4096}}],
        })  # fmt: skip
    assert coarsest(made("512M")) == 8


def test_what_comes_along_is_fine_enough() -> None:
    """But for one, whose sizes are drawn down to two fifths."""
    assert [name for name in scenario_names() if too_coarse(load_scenario(name))] == ["fleet"]
