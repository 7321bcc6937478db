"""A suite is the same for everybody, or says that it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from zswap_gym.agents.contestants import contestant
from zswap_gym.agents.scoring.score import score
from zswap_gym.agents.scoring.suite import FIRST_SEED, SEEDS, Suite, digest_of, load_suite
from zswap_gym.errors import UserError
from zswap_gym.policy.promise import Promise
from zswap_gym.workloads.scenario import load_scenario


@pytest.fixture
def folder(tiny: str, tmp_path: Path) -> Path:
    place = tmp_path / "mine"
    place.mkdir()
    text = Path(tiny).read_text()
    (place / "a.yaml").write_text(text.replace("name: tiny", "name: one"))
    (place / "b.yml").write_text(text.replace("name: tiny", "name: two"))
    return place


def test_the_shipped_suite_is_the_one_it_was_made_as() -> None:
    """Its scenarios have the digests it names, or load_suite raises."""
    suite = load_suite("v1")
    assert len(suite.scenarios) >= 7
    assert all(s.split == "test" for s in suite.scenarios)
    assert suite.promise == Promise()
    assert min(suite.seeds) >= FIRST_SEED


def test_a_folder_is_a_suite(folder: Path) -> None:
    suite = load_suite(folder)
    assert suite.name == "mine"
    assert [s.name for s in suite.scenarios] == ["one", "two"]
    assert suite.seeds == tuple(range(FIRST_SEED, FIRST_SEED + SEEDS))
    assert suite.with_seeds(2).seeds == (FIRST_SEED, FIRST_SEED + 1)


def test_digests_say_what_differs(folder: Path) -> None:
    suite = load_suite(folder)
    assert load_suite(str(folder)).digest == suite.digest
    others = [
        suite.with_seeds(3),
        Suite(suite.name, suite.scenarios, suite.seeds, Promise(minutes=0.9)),
        Suite(suite.name, suite.scenarios[:1], suite.seeds, suite.promise),
    ]
    assert len({suite.digest, *(other.digest for other in others)}) == 4
    specs = ("aimd", "aimd(target=0.001)", "aimd@shrinker", "aimd+rails", "tmo")
    assert len({contestant(spec).digest() for spec in specs}) == len(specs)
    assert contestant("aimd(target=0.002)").digest() == contestant("aimd").digest()  # its default


def test_a_score_is_the_same_twice_and_its_rows_are_all_there(folder: Path) -> None:
    suite = load_suite(folder).with_seeds(2)
    policies = {"never": "never", "hard": "fixed_age(age_s=5,max_bytes=4M)"}
    one, two = score(policies, suite), score(policies, suite)
    assert one.line("hard") == two.line("hard")
    assert one.document() == two.document()
    assert [row["scenario"] for row in one.rows()] == ["one", "one", "two", "two", "all", "all"]
    for first, second in zip(one.rows()[::2], one.rows()[1::2], strict=True):
        assert (not first["kept"], -first["saved_pct"]) <= (not second["kept"], -second["saved_pct"])
    alone = score({"hard": policies["hard"]}, suite)  # the reference takes part and has no row
    assert [row["policy"] for row in alone.rows()] == ["hard"] * 3
    assert alone.line("hard") == one.line("hard")


def test_a_suite_file(folder: Path) -> None:
    file = folder / "suite" / "own.yaml"
    file.parent.mkdir()
    one = folder / "a.yaml"
    (file.parent / "one.yaml").write_text(one.read_text())
    digest = digest_of(load_scenario(one))
    file.write_text(
        f"seeds: {{first: 7, count: 3}}\npromise: {{minutes: 0.9}}\nscenarios: {{one: '{digest}'}}\n"
    )
    suite = load_suite(file)
    assert (suite.name, suite.seeds, suite.promise.minutes) == ("own", (7, 8, 9), 0.9)

    def refused(text: str, words: str) -> None:
        file.write_text(text)
        with pytest.raises(UserError, match=words) as caught:
            load_suite(file)
        assert str(file) in str(caught.value)
        assert "\n" not in str(caught.value)

    good = f"scenarios: {{one: '{digest}'}}\nseeds: {{first: 7, count: 3}}\n"
    refused(good.replace(digest, "0123456789abcdef"), "scenarios.one: the scenario has digest")
    refused(good + "promis: {}\n", "unknown key 'promis' .did you mean 'promise'")
    refused(good + "promise: {minutes: 0}\n", "promise: minutes = 0; give a number above 0")
    refused(good.replace("count: 3", "count: 0"), "seeds.count = 0; give a whole number of at least 1")
    refused(good.replace("count: 3", "cont: 3"), "seeds = ")
    refused("seeds: {first: 1}\n", "scenarios = None")


def test_a_policy_is_asked_at_the_interval_of_the_scenario(folder: Path, run: Path) -> None:
    (folder / "b.yml").write_text((folder / "b.yml").read_text().replace("interval: 10s", "interval: 20s"))
    scores = score({"agent": run}, load_suite(folder).with_seeds(1))
    assert [row["scenario"] for row in scores.rows()] == ["one", "two", "all"]
    assert scores.notes("agent") == ["agent was trained to decide every 10 s; two asks every 20 s."]


def test_a_broken_folder_is_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no scenario"):
        load_suite(tmp_path / "empty")
    with pytest.raises(UserError, match=r"suite 'v2': .*did you mean 'v1'"):
        load_suite("v2")
    (folder / "c.yaml").write_text((folder / "a.yaml").read_text())
    with pytest.raises(UserError, match="name 'one' is that of"):
        load_suite(folder)
    (folder / "c.yaml").write_text("name: three\ncgroups: 7\n")
    with pytest.raises(UserError, match=r"c\.yaml: .*cgroups"):
        load_suite(folder)
