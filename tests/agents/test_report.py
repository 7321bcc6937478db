"""Reports say what the intervals allow, and files are whole."""

from __future__ import annotations

import csv
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from zswap_gym.agents.report import print_report, write_html
from zswap_gym.agents.results import OVERALL, Results, check_pairs
from zswap_gym.agents.verdict import verdict, verdicts
from zswap_gym.atomic import write_atomically
from zswap_gym.errors import UserError


def test_summaries_are_paired(make_results) -> None:
    results = make_results({"good": 0.1, "bad": -0.1})
    good = results.summary("good", "calm")
    assert good.gain.value == pytest.approx(0.1, abs=0.01)
    assert good.gain.low > 0.08  # the shared noise of 0.2 is gone
    assert good.better_share == 1.0
    assert results.summary("never", OVERALL).gain_pct.value == 0.0
    assert [s.policy for s in results.summaries()] == ["good", "never", "bad"]
    assert good.disk_reads_min.value == pytest.approx(60.0 / 30.0)


@pytest.mark.parametrize(
    ("edge", "words"),
    [
        (0.2, "agent beats the best rule (tuned)"),
        (0.1, "agent cannot be told apart from the best rule (tuned)"),
        (0.0, "agent does worse than the best rule (tuned)"),
    ],
)
def test_the_verdict_is_honest(make_results, edge: float, words: str) -> None:
    results = make_results({"agent": edge, "tuned": 0.1}, learned=("agent",))
    assert verdict(results, "agent", OVERALL).startswith(words)
    assert len(verdicts(results)) == 3


def test_broken_promises_are_said_even_of_a_winner(make_results) -> None:
    results = make_results({"agent": 0.3, "tuned": 0.1}, learned=("agent",), violations={"agent": 0.4})
    assert "breaks the promise more often: after 40 % of decisions, the rule after 0 %" in verdict(
        results, "agent", "calm"
    )


def test_the_terminal_report_names_every_policy(make_results) -> None:
    results = make_results({"agent": 0.2, "tuned": 0.1}, learned=("agent",))
    out = io.StringIO()
    print_report(results, Console(file=out, width=160))
    text = out.getvalue()
    assert text.count("tuned") >= 3
    assert "agent beats the best rule (tuned) over all scenarios" in text


class _Outline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: dict[str, int] = {}
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.sources += [
            value or ""
            for key, value in attrs
            if key in ("src", "href") and not (value or "").startswith("#")
        ]
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_html_report_stands_alone(make_results, tmp_path: Path) -> None:
    results = make_results({"agent <1>": 0.2, "tuned": 0.1}, learned=("agent <1>",))
    path = write_html(
        results, tmp_path / "deep" / "report.html", learning=[(10, -1.0), (20, -0.5)], notes=["a & b"]
    )
    page = path.read_text()
    outline = _Outline()
    outline.feed(page)
    assert outline.open == []
    assert outline.count["svg"] == 3
    assert outline.count["table"] == 3
    assert outline.sources == []
    assert "agent &lt;1&gt; beats the best rule" in page
    assert "a &amp; b" in page


def test_files_round_trip(make_results, tmp_path: Path) -> None:
    results = make_results({"agent": 0.1}, learned=("agent",))
    saved, rows = results.save(tmp_path)
    again = Results.from_json(saved.read_text())
    assert again.summaries() == results.summaries()
    assert len(json.loads(saved.read_text())["summaries"]) == 2 * 3
    lines = list(csv.DictReader(io.StringIO(rows.read_text())))
    assert len(lines) == len(results.episodes) == 40
    assert float(lines[0]["disk_refaults"]) == 60.0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["episodes.csv", "results.json"]


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = write_atomically(tmp_path / "x", "old")

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("zswap_gym.atomic.Path.replace", fail)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(target, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    assert target.read_text() == "old"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "below", "x")


def test_missing_pairs_are_noticed(make_results) -> None:
    results = make_results({"agent": 0.1})
    check_pairs(results.episodes, results.policies, results.scenarios, results.seeds)
    with pytest.raises(ValueError, match="do not pair up"):
        check_pairs(results.episodes[1:], results.policies, results.scenarios, results.seeds)
