"""Who is champion: by Deb's rule, on draws that nobody learned on; read without unpickling anything."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.agents.learning.conftest import TEACHER
from zswap_gym.agents.contestants import contestant
from zswap_gym.agents.learning import champion
from zswap_gym.agents.learning.champion import (
    HELD_OUT,
    TEST,
    Candidate,
    Jury,
    cautious,
    champion_file,
    finalists,
)  # fmt: skip
from zswap_gym.agents.parallel import InProcess
from zswap_gym.agents.tuning.objective import Bench, Outcome
from zswap_gym.errors import UserError
from zswap_gym.policy.features import FEATURES, HOST_FEATURES, INDEX, PRESENT
from zswap_gym.policy.promise import Promise
from zswap_gym.workloads.scenario import Scenario

F, H = len(FEATURES), len(HOST_FEATURES)


def outcome(saved: float, keeping: int = 8, breach: float = 0.0) -> Outcome:
    return Outcome(saved, breach, keeping, 8)


def policy_named(make_policy, name: str, found: Outcome | None) -> Candidate:
    return Candidate(name, make_policy(), judged=found)


def rule_named(name: str, found: Outcome) -> Candidate:
    return Candidate(name, None, name, judged=found)


def test_whoever_keeps_the_promise_is_above_whoever_does_not() -> None:
    ranked = [
        outcome(9.0),
        outcome(2.0),
        outcome(-3.0),
        outcome(90.0, 7, 0.1),
        outcome(95.0, 7, 0.2),
        outcome(5.0, 0, 9.0),
    ]
    values = [Candidate("x", None, "never", judged=found).value for found in ranked]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == len(values)
    # the final counts where there was one
    twice = Candidate("x", None, "never", judged=outcome(9.0), final=outcome(1.0))
    assert twice.value == 1.0
    assert Candidate("x", None, "never").value == -np.inf


def test_finalists_are_the_best_policies_with_every_caution_and_the_best_rules(make_policy) -> None:
    policies = [
        policy_named(make_policy, "broken", outcome(50.0, 7, 0.1)),
        policy_named(make_policy, "best", outcome(9.0)),
        policy_named(make_policy, "second", outcome(8.0)),
        policy_named(make_policy, "third", outcome(7.0)),
    ]
    rules = [rule_named(name, outcome(saved)) for name, saved in (("never", 0), ("aimd", 5), ("tmo", 1))]
    found = finalists([*rules, *policies], 2, (0.0, 0.2))
    assert [c.name for c in found] == [
        "best", "best caution +0.2", "second", "second caution +0.2", "aimd", "tmo",
    ]  # fmt: skip
    assert found[0] is policies[1]
    assert found[1].judged is None  # it is another policy, nobody has seen it
    assert found[1].policy is not None
    assert found[1].policy.scale.mean[INDEX["caution"]] == pytest.approx(-0.2)
    assert [c.name for c in finalists(policies, 1, (0.0,))] == ["best"]


def test_more_caution_moves_that_feature_and_nothing_else(make_policy) -> None:
    """The policy answers as the same policy where every cgroup's caution is higher by so much."""
    policy = make_policy()
    warier = cautious(policy, 0.3)
    moved = np.flatnonzero(warier.scale.mean != policy.scale.mean)
    assert moved.tolist() == [INDEX["caution"] + part * F for part in range(3)]
    assert warier.layers is policy.layers
    np.testing.assert_array_equal(warier.scale.var, policy.scale.var)
    assert not policy.scale.mean.any()  # the one it was made from is as it was

    draw = np.random.default_rng(5)
    rows = draw.uniform(0.0, 0.6, (50, 4, F)).astype(np.float32)
    rows[..., PRESENT] = 1.0
    host = draw.uniform(0.0, 0.8, (50, H)).astype(np.float32)
    higher = rows.copy()
    higher[..., INDEX["caution"]] += 0.3

    def act(who, seen: np.ndarray) -> np.ndarray:
        return who.act(np.concatenate([seen.reshape(50, -1), host], axis=1))

    np.testing.assert_allclose(act(warier, rows), act(policy, higher), atol=1e-5)
    assert np.abs(act(warier, rows) - act(policy, rows)).max() > 0.01


def test_judgements_are_of_separate_draws_and_the_best_comes_first(scenario: Scenario, make_policy) -> None:
    seen: list[tuple[str, tuple[int, ...]]] = []

    class Noting(InProcess):
        def run(self, function, pieces, on_done=None):
            seen.extend((name, tuple(piece[2])) for piece in pieces for name in piece[0])
            return super().run(function, pieces, on_done)

    jury = Jury([scenario], Promise(), 2, 3, Noting())
    policy, rule = Candidate("mine", make_policy()), Candidate("rule", None, TEACHER)
    judged = jury.judge([policy, rule])
    assert [c.name for c in judged] == ["mine", "rule"]
    assert all(c.judged is not None and c.final is None for c in judged)
    assert {seeds for _, seeds in seen} == {(HELD_OUT, HELD_OUT + 1)}
    stranger = Candidate("late", make_policy(seed=2))
    ranked = jury.final([*judged, stranger])
    assert {c.name for c in ranked} == {"mine", "rule", "late"}
    assert [c.value for c in ranked] == sorted((c.value for c in ranked), reverse=True)
    for name in ("mine", "late", "never"):
        met = {seed for who, seeds in seen if who == name for seed in seeds}
        assert met == set(range(HELD_OUT, HELD_OUT + 5))
    assert TEST > HELD_OUT + 5
    # and what is found is what anybody finds on these draws
    bench = Bench([scenario], Promise())
    seeds = range(HELD_OUT, HELD_OUT + 5)
    trial = bench.run({"rule": contestant(TEACHER)}, seeds)["rule"]
    final = next(c.final for c in ranked if c.name == "rule")
    assert final == bench.outcome(trial, bench.nothing(seeds))


def test_a_candidate_may_be_asked_at_another_interval(scenario: Scenario, make_policy) -> None:
    jury = Jury([scenario], Promise(), 1, 1, InProcess())
    (judged,) = jury.judge([Candidate("other", make_policy(interval_s=30.0))])
    assert judged.judged is not None


# --- a run's folder, perhaps somebody else's ----------------------------------------------------------


def test_a_champion_is_read_without_unpickling_anything(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("unpickled")

    (run / "training-1").mkdir()
    (run / "training-1" / "state.pt").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, never)
    assert champion_file(run) == run / "champion.npz"
    driven = contestant(run)
    assert driven.learned
    # an array of objects would need pickle: refused before it is looked at
    monkeypatch.undo()
    np.savez(run / "champion.npz", meta=np.array([{"bundle_version": 2}], dtype=object))
    with pytest.raises(UserError, match=r"champion\.npz: not an exported policy"):
        contestant(run)


def test_a_rule_may_be_champion(run: Path) -> None:
    (run / "champion.npz").unlink()
    (run / "champion.yaml").write_text("law: aimd\nparameters: {}\n")
    assert champion_file(run) == run / "champion.yaml"
    driven = contestant(run)
    assert not driven.learned
    assert driven.digest() == contestant("aimd").digest()


def test_a_folder_that_has_none(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a training run \(no experiment\.yaml\); give the folder"):
        champion_file(tmp_path)
    (run / champion.FILE).unlink()
    with pytest.raises(UserError, match="has no champion yet; go on with 'zswap-gym train --resume'"):
        champion_file(run)
    (run / champion.FILE).write_text("{}")
    (run / "champion.npz").unlink()
    with pytest.raises(UserError, match="has no champion yet"):
        contestant(run)


def test_caution_is_a_feature_of_both_contract_and_normaliser(make_policy) -> None:
    """What cautious() moves is where the contract says that caution is."""
    assert make_policy().contract.features[INDEX["caution"]][0] == "caution"
    again = replace(make_policy(), scale=cautious(make_policy(), 0.0).scale)
    np.testing.assert_array_equal(again.scale.mean, make_policy().scale.mean)
