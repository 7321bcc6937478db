"""The list of gaps, and how one is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from zswap_gym.controller.config import ControllerConfig
from zswap_gym.controller.gaps import GAPS, Finding, findings, refuse_blind_rails, survey_record
from zswap_gym.controller.survey import FACTS, Survey
from zswap_gym.errors import UserError

SURVEY = Survey(
    kernel=None, cgroup_root="/sys/fs/cgroup", own_cgroup=None, own_cgroup_from="nobody says", psi=False,
    zswap=None, compressor=None, shrinker=None, pool_bytes=0, max_pool_percent=None, counters=False,
    page_size=4096, swaps=None, dialect=None, has_age=None, pulses=True, patterns=("web",), cgroups=(),
    lacking=dict.fromkeys(
        ("reading", "counters", "pressure", "reclaim", "writeback", "own", "containers"), ()),
)  # fmt: skip
"""Of a machine that tells nothing."""


def finding(*cgroups: str) -> Finding:
    return Finding("gap", "cgroups", cgroups, "what", "consequence", "remedy", stops_act=False)


def test_names_are_unique_and_every_gap_shows_in_a_fact() -> None:
    assert len({gap.name for gap in GAPS}) == len(GAPS)
    assert {gap.about for gap in GAPS} <= {f.name for f in FACTS}


@pytest.mark.parametrize(
    ("cgroups", "line"),
    [
        ((), "what: consequence; remedy"),
        (("a", "b", "c"), "a, b, c: what: consequence; remedy"),
        (("a", "b", "c", "d", "e"), "a, b, c and 2 more: what: consequence; remedy"),
    ],
)
def test_a_line_names_a_few_cgroups_and_counts_the_rest(cgroups: tuple[str, ...], line: str) -> None:
    assert finding(*cgroups).line == line
    assert finding(*cgroups).short == line.removesuffix("; remedy")
    assert finding(*cgroups).record()["cgroups"] == list(cgroups)


def test_a_machine_that_tells_nothing() -> None:
    found = findings(SURVEY, ControllerConfig())
    names = [item.name for item in found]
    assert names == ["own-cgroup-unknown", "no-psi", "no-zswap", "no-cgroups"]
    assert "nobody says" in found[0].consequence
    assert survey_record(SURVEY, found)["facts"]["swaps"] is None
    assert SURVEY.offers.writeback  # what is not known is not denied
    assert SURVEY.offers.counters


def test_only_acting_with_a_blind_rail_is_refused() -> None:
    observe = ControllerConfig()
    act = replace(observe, mode="act", cgroups=("web",))
    refuse_blind_rails(findings(SURVEY, observe), observe)
    with pytest.raises(UserError, match=r"own cgroup is not known.*; mode act does not start: .*pressure"):
        refuse_blind_rails(findings(SURVEY, act), act)
    known, ignoring = replace(SURVEY, own_cgroup=""), replace(act, psi="ignore")
    with pytest.raises(UserError, match="pressure"):
        refuse_blind_rails(findings(known, act), act)
    refuse_blind_rails(findings(known, ignoring), ignoring)
