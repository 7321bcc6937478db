"""What is found out about a host, and that finding it out does nothing to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zswap_gym.cli._rendered import RenderedHost
from zswap_gym.controller.config import ControllerConfig
from zswap_gym.controller.survey import Survey, shown, take_survey
from zswap_gym.host.linux import LinuxHost
from zswap_gym.host.own import OwnCgroup

ELSEWHERE = OwnCgroup("", "it is another machine")


def survey_of(host: Any, **settings: Any) -> Survey:
    return take_survey(host, ControllerConfig.from_mapping({"cgroups": ["*"]} | settings), ELSEWHERE)


def linux(tree: Path, *patterns: str) -> LinuxHost:
    return LinuxHost(
        tree / "cgroup", patterns=patterns or ("*",), proc_root=tree / "proc", sys_root=tree / "sys"
    )


@pytest.mark.parametrize("interface", ["v1", "v2", "v3", "v4", "v5", "stock"])
def test_every_interface_is_recognised(make_host: Callable[..., Any], interface: str) -> None:
    survey = survey_of(RenderedHost(make_host(interface)))
    assert survey.dialect == interface
    assert survey.has_age == (interface == "v1")
    assert survey.offers.writeback == (interface != "stock")
    assert survey.counters
    assert survey.cgroups == ("web", "db")
    assert not any(survey.lacking.values())


def test_a_survey_of_a_tree(tree: Path) -> None:
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    survey = survey_of(linux(tree))
    assert {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()} == before
    assert survey.dialect == "v1"
    assert "garbage" in survey.lacking["reading"]
    assert survey.lacking["containers"] == ("batch.slice",)
    assert survey.lacking["writeback"] == ("batch.slice/job1",)


def test_a_key_is_tried_only_where_a_counter_promises_one(tree: Path) -> None:
    """The probe of versions 2 to 5 writes to memory.reclaim, which on a stock kernel nothing calls for."""
    web = tree / "cgroup" / "web"
    (web / "memory.zswap.proactive_writeback").unlink()
    stat = (web / "memory.stat").read_text()
    host = linux(tree, "web")
    host.dialect = lambda _: pytest.fail("it was probed")  # type: ignore[method-assign]
    (web / "memory.stat").write_text(stat.replace("zswpwb_proactive ", "something_else "))
    assert survey_of(host).dialect == "stock"


def test_facts_in_words(tree: Path) -> None:
    survey = survey_of(linux(tree, "web"))
    assert shown(survey, "page_size") == "4.0 KiB"
    assert shown(survey, "psi") == "yes"
    assert shown(survey, "own_cgroup") == "outside of the cgroup root"
    assert shown(survey, "cgroups") == "1"
    assert shown(survey, "max_pool_percent").endswith(" % of RAM")
    assert set(survey.facts()) >= {"kernel", "swaps", "dialect"}
