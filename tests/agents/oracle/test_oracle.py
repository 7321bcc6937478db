"""Those that know the future: never below what they begin with, always the same, and nothing is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from zswap_gym.agents.contestants import contestant
from zswap_gym.agents.evaluate import evaluate
from zswap_gym.agents.oracle import hindsight as hindsights
from zswap_gym.agents.oracle import search as searches
from zswap_gym.agents.oracle.combine import rank
from zswap_gym.agents.oracle.episode import Episode
from zswap_gym.agents.oracle.hindsight import hindsight
from zswap_gym.agents.oracle.rollout import Pass, Search
from zswap_gym.agents.oracle.search import search, starting_rules
from zswap_gym.agents.oracle.settings import grid
from zswap_gym.agents.oracle.store import folder
from zswap_gym.agents.parallel import open_workers
from zswap_gym.agents.scoring.trial import Conditions, run_trial
from zswap_gym.errors import UserError
from zswap_gym.policy.promise import Promise
from zswap_gym.workloads.scenario import Scenario, load_scenario

SEED = 41
PROMISE = Promise(disk_reads_pct_min=5.0, cpu_pct_per_gib=5.0)
"""A mild one: on a host this small few pages are many percent."""
SMALL = """
name: small
host: {page_scale: 8}
stage_one: {kind: fixed, rate: 256K, interval: 1s}
cgroups:
  - {name: kv, workload: {archetype: kv_zipf, pages: 1024}}
  - {name: agent, workload: {archetype: sidecar_agent, pages: 512}}
episode: {decision_interval: 20s, length: 10m, warmup: 3m}
"""


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own, and fewer and longer stages."""
    monkeypatch.setenv("ZSWAP_GYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(searches, "PASSES", (Pass(3, 0.3), Pass(3, 0.0)))


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    (tmp_path / "small.yaml").write_text(SMALL)
    return load_scenario(tmp_path / "small.yaml")


@pytest.fixture
def episode(scenario: Scenario) -> Episode:
    return Episode(scenario, SEED, PROMISE)


def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSWAP_GYM_CACHE", str(tmp_path / "another"))


def test_the_oracle_is_never_below_what_it_begins_with(scenario: Scenario, episode: Episode) -> None:
    found, chosen = search(scenario, SEED, PROMISE), hindsight(scenario, SEED, PROMISE)
    assert episode.judge(found.account).kept.all()
    assert rank(episode, found.account) >= rank(episode, found.start) >= rank(episode, chosen.account)
    for law in starting_rules().values():
        _, account = episode.of_law(law)
        assert rank(episode, found.account) >= rank(episode, account), law
    assert rank(episode, found.account)[1] > rank(episode, found.start)[1]  # it does find something


def test_hindsight_is_never_below_a_setting_that_is_the_same_for_all(
    scenario: Scenario, episode: Episode
) -> None:
    chosen = hindsight(scenario, SEED, PROMISE)
    assert episode.judge(chosen.account).kept.all()
    for i in range(grid().shape[1]):
        assert rank(episode, chosen.account) >= rank(episode, chosen.settings.take(i))


@pytest.mark.parametrize("kind", ["hindsight", "oracle"])
def test_a_plan_comes_to_the_same_in_an_evaluation(kind: str, scenario: Scenario) -> None:
    find = hindsight if kind == "hindsight" else search
    accounts = [find(scenario, seed, PROMISE).account for seed in (SEED, SEED + 1)]
    trial = run_trial(kind, contestant(kind), scenario, (SEED, SEED + 1), Conditions(promise=PROMISE))
    np.testing.assert_array_equal(trial.account.sums, np.stack([account.sums for account in accounts]))


def test_a_search_gives_the_same_again_from_the_cache_and_without(
    scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = search(scenario, SEED, PROMISE)
    (path,) = folder().glob("oracle-small-*.npz")
    monkeypatch.setattr(searches, "_search", lambda *_: pytest.fail("it was there"))
    monkeypatch.setattr(hindsights, "_search", lambda *_: pytest.fail("it was there"))
    again = search(scenario, SEED, PROMISE)
    monkeypatch.undo()
    elsewhere(tmp_path, monkeypatch)
    monkeypatch.setattr(searches, "PASSES", (Pass(3, 0.3), Pass(3, 0.0)))
    fresh = search(scenario, SEED, PROMISE)
    for other in (again, fresh):
        np.testing.assert_array_equal(first.plan, other.plan)
        np.testing.assert_array_equal(first.account.sums, other.account.sums)
    path.write_bytes(path.read_bytes()[:100])  # a file that cannot be read is none
    monkeypatch.setenv("ZSWAP_GYM_CACHE", str(path.parents[1]))
    np.testing.assert_array_equal(search(scenario, SEED, PROMISE).plan, first.plan)


def test_a_search_that_was_killed_goes_on_where_it_was(
    scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = search(scenario, SEED, PROMISE)
    elsewhere(tmp_path, monkeypatch)
    go_through, passes = Search.go_through, []

    def killed(self: Search, each: Pass, rng: np.random.Generator) -> None:
        passes.append(each)
        if len(passes) == 2:
            raise KeyboardInterrupt
        go_through(self, each, rng)

    monkeypatch.setattr(Search, "go_through", killed)
    with pytest.raises(KeyboardInterrupt):
        search(scenario, SEED, PROMISE)
    assert len(list(folder().glob("*.part.npz"))) == 1
    monkeypatch.setattr(searches, "_start", lambda *_: pytest.fail("it had begun"))
    found = search(scenario, SEED, PROMISE)
    assert len(passes) == 3
    assert not list(folder().glob("*.part.npz"))
    np.testing.assert_array_equal(found.plan, whole.plan)


def test_what_depends_on_something_else_is_another_search(scenario: Scenario) -> None:
    seeds = {SEED, SEED + 1}
    for seed in seeds:
        hindsight(scenario, seed, PROMISE)
    hindsight(scenario, SEED, replace(PROMISE, minutes=0.5))
    hindsight(scenario.arm(shrinker_enabled=True), SEED, PROMISE)
    assert len(list(folder().glob("hindsight-small-*.npz"))) == 4


def test_those_that_know_the_future_take_part_but_are_no_rules(scenario: Scenario) -> None:
    with open_workers(1) as workers:
        results = evaluate(
            ["hindsight", "oracle", "promise"], [scenario], [SEED, SEED + 1], promise=PROMISE, workers=workers
        )
    assert results.foreseeing == ("hindsight", "oracle")
    assert results.best_rule("small") in {"never", "promise"}
    assert results.standing("oracle", "small").kept
    assert (results.saved_pct("oracle", "small") >= results.saved_pct("hindsight", "small")).all()
    assert type(results).from_json(results.to_json()).foreseeing == results.foreseeing


def test_their_names_are_told() -> None:
    with pytest.raises(UserError, match="hindsight and oracle know the future"):
        contestant("orakel")
    for text in ("oracle@shrinker", "hindsight+rails"):
        with pytest.raises(UserError, match=r"write (oracle|hindsight) alone"):
            contestant(text)
    assert contestant("oracle").digest() != contestant("hindsight").digest()
    assert contestant("oracle").foresees
    assert not contestant("promise").foresees
