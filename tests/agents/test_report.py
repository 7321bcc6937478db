"""Reports say what the intervals allow, and files are whole."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from zswap_gym.agents.report import print_report, write_html
from zswap_gym.agents.results import Results, check_pairs
from zswap_gym.agents.verdict import verdicts
from zswap_gym.atomic import write_atomically
from zswap_gym.errors import UserError


def test_summaries_are_paired(make_results) -> None:
    results = make_results({"good": 0.1, "bad": -0.1})
    good = results.standing("good", "calm")
    assert good.saved_pct.value == pytest.approx(10.0, abs=1.0)
    assert good.saved_pct.low > 8.0  # the shared noise of a tenth is gone
    assert good.kept
    assert good.disk_reads_min == pytest.approx(2 * 60.0 / 100.0)
    assert good.written_mib_min == pytest.approx(2 * 256.0 * 4096 / 100.0 / (1 << 20))
    assert results.improvement("good", "never", "calm") == 1.0
    assert results.standing("never").saved_pct.value == 0.0
    assert results.ranking() == ["good", "never", "bad"]
    (bill, *_) = results.bills("calm")
    assert bill.gain.value == pytest.approx(0.1, abs=0.01)
    assert bill.gain.low > 0.08
    assert bill.disk_reads_min.value == pytest.approx(60.0 / 100.0)


def test_whoever_breaks_the_promise_never_stands_above_one_that_keeps_it(make_results) -> None:
    results = make_results({"greedy": 0.5, "good": 0.1, "bad": -0.1}, broken={"greedy": 0.06})
    assert results.ranking() == ["good", "never", "bad", "greedy"]
    assert results.ranking("calm") == ["good", "never", "bad", "greedy"]
    greedy = results.standing("greedy")
    assert (greedy.keeping, greedy.cgroups, greedy.kept) == (0, 4, False)
    assert greedy.broken_pct == pytest.approx(6.0)
    assert replace(results, objective="bill").ranking()[0] == "greedy"


def test_one_broken_cgroup_of_one_scenario_breaks_the_promise(make_results) -> None:
    results = make_results({"good": 0.1})
    results.trial("good", "storm").account.broken[:, 1] = 5.5  # of 100 minutes, on every seed
    assert results.standing("good", "calm").kept
    assert not results.standing("good", "storm").kept
    assert (results.standing("good").keeping, results.standing("good").kept) == (3, False)
    # Minutes are pooled over the seeds: a bad one does not break it where the others make up for it.
    results.trial("good", "storm").account.broken[:, 1] = 0.0
    results.trial("good", "storm").account.broken[3, 1] = 45.0
    found = results.standing("good", "storm")
    assert found.kept
    assert (found.worst.seed, found.worst.broken_pct) == (3, pytest.approx(22.5))


@pytest.mark.parametrize("objective", ["promise", "bill"])
@pytest.mark.parametrize(
    ("edge", "words"),
    [
        (0.2, "beats the best rule (tuned)"),
        (0.1, "cannot be told apart from the best rule (tuned)"),
        (0.0, "does worse than the best rule (tuned)"),
    ],
)
def test_the_verdict_is_honest(make_results, edge: float, words: str, objective: str) -> None:
    results = make_results({"agent": edge, "tuned": 0.1}, learned=("agent",), objective=objective)
    assert words in verdicts(results)[-1]
    assert len(verdicts(results)) == 3


def test_broken_promises_are_said_even_of_a_winner(make_results) -> None:
    winner = make_results({"agent": 0.3, "tuned": 0.1}, learned=("agent",), broken={"agent": 0.4})
    words = verdicts(winner)[0]
    assert "breaks the promise in 2 of 2 cgroups and stands below the best rule (tuned), which keeps" in words
    assert "It breaks the promise in 2 of 2 cgroups" in verdicts(replace(winner, objective="bill"))[0]
    loser = make_results({"agent": 0.1, "tuned": 0.3}, learned=("agent",), broken={"tuned": 0.4})
    assert "more on 100 % of the runs" in verdicts(loser)[0]  # against doing nothing, the best that keeps it


def test_the_terminal_report_names_every_policy(make_results) -> None:
    results = make_results({"agent": 0.2, "tuned": 0.1}, learned=("agent",))
    out = io.StringIO()
    print_report(results, Console(file=out, width=160))
    text = out.getvalue()
    assert text.count("tuned") >= 5
    assert "inside events of kind arrival" in text
    assert "It beats the best rule (tuned)" in text
    assert "disk reads of at most 0.2 % of its resident set in 95 % of its minutes" in text


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


@pytest.mark.parametrize(("objective", "pictures"), [("promise", 4), ("bill", 3)])
def test_the_html_report_stands_alone(make_results, tmp_path: Path, objective: str, pictures: int) -> None:
    results = make_results({"agent <1>": 0.2, "tuned": 0.1}, learned=("agent <1>",), objective=objective)
    path = write_html(
        results, tmp_path / "deep" / "report.html", learning=[(10, -1.0), (20, -0.5)], notes=["a & b"]
    )
    page = path.read_text()
    outline = _Outline()
    outline.feed(page)
    assert outline.open == []
    assert outline.count["svg"] == pictures
    assert outline.count["table"] == 2 * 2 + 1
    assert outline.sources == []
    assert "agent &lt;1&gt;" in page
    assert "beats the best rule" in page
    assert "a &amp; b" in page


def test_files_round_trip(make_results, tmp_path: Path) -> None:
    results = make_results({"agent": 0.1}, learned=("agent",))
    saved, rows = results.save(tmp_path)
    again = Results.from_json(saved.read_text())
    assert again.standings() == results.standings()
    assert again.bills() == results.bills()
    assert again.to_csv() == results.to_csv()
    data = json.loads(saved.read_text())
    assert len(data["standings"]) == len(data["bills"]) == 3 * 2
    assert [row["kept"] for row in data["cgroups"]] == [True] * 8
    lines = list(csv.DictReader(io.StringIO(rows.read_text())))
    assert len(lines) == 40
    assert float(lines[0]["disk_refaults"]) == 60.0
    assert float(lines[0]["saved_pct"]) == 0.0
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
    check_pairs(results.trials, results.policies, results.scenarios, results.seeds)
    with pytest.raises(ValueError, match="do not pair up"):
        check_pairs(results.trials[1:], results.policies, results.scenarios, results.seeds)
    with pytest.raises(ValueError, match="do not pair up"):
        check_pairs(results.trials, results.policies, results.scenarios, results.seeds[1:])
