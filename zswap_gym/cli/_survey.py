"""``control --check``: what the host offers, what it lacks, what follows and what to do, as one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zswap_gym.controller.config import ControllerConfig
    from zswap_gym.controller.gaps import Finding
    from zswap_gym.controller.survey import Survey

CGROUPS = "cgroups"
"""The fact that stands for single cgroups."""


def survey_json(survey: Survey, found: Sequence[Finding], settings: ControllerConfig) -> dict[str, Any]:
    """All of it as plain values. ``facts`` carry their titles and units; ``may_run`` is for the mode set."""
    from zswap_gym.controller.gaps import survey_record
    from zswap_gym.controller.survey import FACTS

    record = survey_record(survey, found)
    facts = {
        f.name: {"title": f.metadata["title"], "unit": f.metadata["unit"], "value": record["facts"][f.name]}
        for f in FACTS
    }
    may_run = settings.mode != "act" or not any(finding.stops_act for finding in found)
    return {"mode": settings.mode, "may_run": may_run, "facts": facts, "findings": record["findings"]}


def rows(survey: Survey, found: Sequence[Finding]) -> list[tuple[str, str, str, str]]:
    """(what, found, what follows, what to do): a row per fact and per cgroup, more where it has more gaps."""
    from zswap_gym.controller.survey import FACTS, shown

    lines: list[tuple[str, str, str, str]] = []
    for fact in FACTS:
        gaps = [finding for finding in found if finding.about == fact.name and not finding.cgroups]
        lines += _rows(fact.metadata["title"], shown(survey, fact.name), gaps)
    containers = [name for finding in found for name in finding.cgroups if name not in survey.cgroups]
    for name in sorted({*survey.cgroups, *containers}):
        gaps = [finding for finding in found if name in finding.cgroups]
        lines += _rows(f"cgroup {name}", "nothing is missing" if not gaps else "", gaps)
    return lines


def _rows(title: str, value: str, gaps: Sequence[Finding]) -> list[tuple[str, str, str, str]]:
    if not gaps:
        return [(title, value, "", "")]
    found = [f"{value}: {gap.what}" if value and not n else gap.what for n, gap in enumerate(gaps)]
    return [
        ("" if n else title, words, gap.consequence, gap.remedy)
        for n, (words, gap) in enumerate(zip(found, gaps, strict=True))
    ]


def print_survey(survey: Survey, found: Sequence[Finding]) -> None:
    """Print the table."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from zswap_gym.cli._output import console, shown

    out = console()
    table = Table(box=box.SIMPLE)
    for column in ("what", "found", "what follows", "what to do"):
        table.add_column(column, overflow="fold")  # paths are long
    for row in rows(survey, found):
        table.add_row(*(Text(shown(cell, out.encoding)) for cell in row))
    out.print(table)
