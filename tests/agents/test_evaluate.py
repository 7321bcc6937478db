"""Comparisons are paired, repeatable, and refuse what they do not understand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zswap_gym.agents.contestants import contestant, parse_arm
from zswap_gym.agents.evaluate import evaluate
from zswap_gym.agents.report import prices_of
from zswap_gym.envs.reward import TERMS, RewardWeights
from zswap_gym.errors import UserError
from zswap_gym.policy.laws import make_law
from zswap_gym.policy.runtime import Policy

SEEDS = (900, 901, 902)


def test_bundles_runs_laws_and_arms_meet_the_same_episodes(run: Path, tiny: str) -> None:
    bundle = run / "champion.npz"
    seen: list[tuple[int, str]] = []
    policies = {
        "agent": str(bundle),
        "the run": run,
        "loaded": Policy.load(bundle),
        "hard": "fixed_age(age_s=5,max_bytes=4M)",
        "object": make_law("fixed_age(age_s=5,max_bytes=4M)"),
        "shrinker": "never@shrinker",
    }
    results = evaluate(policies, [tiny], SEEDS, on_episodes=lambda *done: seen.append(done))
    assert results.policies == ("never", *policies)
    assert results.learned == ("agent", "the run", "loaded")
    assert sum(number for number, _ in seen) == 3 * 7
    by = {trial.policy: trial for trial in results.trials}
    np.testing.assert_array_equal(by["agent"].reward, by["the run"].reward)
    np.testing.assert_array_equal(by["agent"].reward, by["loaded"].reward)
    np.testing.assert_array_equal(by["hard"].terms, by["object"].terms)
    written = TERMS.index("bytes_written")
    assert (by["hard"].terms[:, written] > by["never"].terms[:, written]).all()
    assert len(set(by["never"].reward.tolist())) == 3
    assert by["never"].steps == 8
    assert by["never"].hours == pytest.approx(80 / 3600)
    assert results.provenance["policies"]["hard"] == "fixed_age(age_s=5,max_bytes=4M)"


def test_a_bill_has_the_prices_it_is_given(run: Path, tiny: str) -> None:
    usual, dear = (
        evaluate({"agent": run}, [tiny], [900], objective="bill", reward=reward)
        for reward in (None, {"dram_held": -20})
    )
    assert prices_of(usual) == ""
    assert dear.provenance["weights"]["dram_held"] == -20
    assert prices_of(dear) == "Prices unlike the defaults: dram_held = -20."
    for cheap, costly in zip(usual.trials, dear.trials, strict=True):
        held = cheap.terms[:, TERMS.index("dram_held")]
        np.testing.assert_allclose(cheap.reward - costly.reward, 19.0 * held)


def test_a_run_whose_champion_is_a_rule_is_that_rule(run: Path, tiny: str) -> None:
    (run / "champion.npz").unlink()
    (run / "champion.yaml").write_text("law: fixed_age\nparameters: {age_s: 5, max_bytes: 4194304}\n")
    results = evaluate({"run": run, "law": "fixed_age(age_s=5,max_bytes=4M)"}, [tiny], [900])
    assert results.learned == ()
    by = {trial.policy: trial for trial in results.trials}
    np.testing.assert_array_equal(by["run"].terms, by["law"].terms)


def test_episodes_add_up_and_repeat(tiny: str) -> None:
    weights = RewardWeights.of({"disk_refaults": -1e-3})
    one = evaluate(["fixed_age(age_s=5,max_bytes=4M)"], [tiny], SEEDS, reward=weights)
    two = evaluate(["fixed_age(age_s=5,max_bytes=4M)"], [tiny], SEEDS[::-1], reward=weights)
    for ours, theirs in zip(one.trials, two.trials, strict=True):
        np.testing.assert_array_equal(ours.reward, theirs.reward[::-1])
        np.testing.assert_array_equal(ours.terms, theirs.terms[::-1])
        np.testing.assert_array_equal(ours.account.broken, theirs.account.broken[::-1])
        np.testing.assert_allclose(ours.reward, weights.reward(ours.terms))
        assert (ours.decide_us > 0).all()


def test_hints_are_taken_away_and_nothing_else(tmp_path: Path, tiny: str) -> None:
    event = "events: [{kind: arrival, at: 20s, duration: 20s, bytes: 256K, fresh: true, announced: true}]"
    text = Path(tiny).read_text().replace("pages: 256}}", f"pages: 256}}, {event}}}", 1)
    path = tmp_path / "told.yaml"
    path.write_text(text)
    results = evaluate(["fixed_age(age_s=5,max_bytes=4M)"], [str(path)], SEEDS)
    assert [t.policy for t in results.untold] == [t.policy for t in results.trials]
    for told, untold in zip(results.trials, results.untold, strict=True):  # these rules read no hints
        np.testing.assert_array_equal(told.terms, untold.terms)
        assert [[e.announced for e in own] for own in told.events] == [[True]] * 3
        assert [[e.announced for e in own] for own in untold.events] == [[False]] * 3
        assert [e.stalled_s for (e,) in told.events] == [e.stalled_s for (e,) in untold.events]
    assert evaluate(["never"], [tiny], [900]).untold == ()


def test_an_unknown_objective_or_promise_is_refused(tiny: str) -> None:
    with pytest.raises(UserError, match=r"objective = 'bil' .did you mean 'bill'"):
        evaluate(["never"], [tiny], [1], objective="bil")
    for promise in ({"minutes": 0}, "disk_reads_pct_min=101"):
        with pytest.raises(UserError, match="give a number above 0, at most"):
            evaluate(["never"], [tiny], [1], promise=promise)


def test_a_policy_for_another_interval_is_refused(run: Path, tiny: str, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(Path(tiny).read_text().replace("decision_interval: 10s", "decision_interval: 20s"))
    with pytest.raises(UserError, match=r"champion\.npz: its contract differs in decision_interval_s"):
        evaluate({"agent": run}, [str(other)], [1])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("fixd_age", "'fixd_age': neither a law \\(did you mean 'fixed_age'\\?\\) nor a file"),
        ("fixed_age(age=3)", "unknown parameter 'age'"),
        ("missing.npz", "missing.npz: no such policy"),
        ("runs/missing", "runs/missing: no such policy"),
        ("never@shrinkr", "unknown arm 'shrinkr' \\(did you mean 'shrinker'\\?\\)"),
        ("never@max_pool_percent=200", "max_pool_percent"),
    ],
)
def test_mistakes_are_one_line(spec: str, message: str, tiny: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        evaluate([spec], [tiny], [1])
    assert "\n" not in str(caught.value)


def test_an_evaluation_of_nothing_is_refused(tiny: str) -> None:
    wrong = (
        ([], [1], "at least one"),
        ([tiny], [], "at least one"),
        ([tiny, tiny], [1], "'tiny' is given twice"),
        ([tiny], [1, 1], "seed 1 is given twice"),
        ([tiny], [-1], "0 or more"),
    )
    for scenarios, seeds, message in wrong:
        with pytest.raises(UserError, match=message):
            evaluate(["never"], scenarios, seeds)


def test_arms() -> None:
    assert parse_arm("shrinker,device=sata", "x") == {"shrinker_enabled": True, "device": "sata"}
    assert parse_arm("max_pool_percent=10,release_after_writeback=false", "x") == {
        "max_pool_percent": 10,
        "release_after_writeback": False,
    }
    assert contestant("tmo@no_shrinker").arm == {"shrinker_enabled": False}
