"""What a tuning finds depends on nothing but its plan; a study is gone on with or refused in one line."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest

from zswap_gym.agents.parallel import open_workers
from zswap_gym.agents.tuning.objective import Bench
from zswap_gym.agents.tuning.space import Space
from zswap_gym.agents.tuning.study import Plan, Progress, Tuned, tune
from zswap_gym.errors import UserError
from zswap_gym.policy.promise import Promise
from zswap_gym.workloads.scenario import load_scenario

PLAN = Plan(Space.of("fixed_age"), seeds=2)
TRIALS = 13


@pytest.fixture
def bench(tiny: str) -> Bench:
    return Bench([load_scenario(tiny)], Promise())


def run(bench: Bench, file: Path, trials: int = TRIALS, plan: Plan = PLAN) -> tuple[Tuned, list[Progress]]:
    told: list[Progress] = []
    return tune(plan, bench, file, trials, told.append), told


def tried(file: Path) -> list[dict[str, Any]]:
    """Parameters of the trials of a study that ended, in order."""
    study = optuna.load_study(study_name="fixed_age", storage=f"sqlite:///{file}")
    ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return [trial.params for trial in study.get_trials(states=ended)]


def test_a_tuning_tries_the_untuned_law_first_and_does_not_end_below_it(bench: Bench, tmp_path: Path) -> None:
    tuned, told = run(bench, tmp_path / "a.db")
    assert tried(tmp_path / "a.db")[0] == PLAN.space.start
    assert [p.done for p in told] == list(range(TRIALS + 1))
    assert tuned.trials == TRIALS
    best = [p.best.value for p in told if p.best is not None]
    assert best == sorted(best)
    ours, before = tuned.standings[-1], tuned.untuned[-1]
    assert ours.kept or not before.kept


def test_some_of_the_seeds_are_enough_to_give_a_setting_up(bench: Bench, tmp_path: Path) -> None:
    run(bench, tmp_path / "a.db", 20)
    study = optuna.load_study(study_name="fixed_age", storage=f"sqlite:///{tmp_path / 'a.db'}")
    assert study.get_trials(states=(optuna.trial.TrialState.PRUNED,))


def test_stopped_and_gone_on_with_it_ends_the_same(bench: Bench, tmp_path: Path) -> None:
    whole, _ = run(bench, tmp_path / "whole.db")
    run(bench, tmp_path / "parts.db", 3)
    parts, told = run(bench, tmp_path / "parts.db")
    assert tried(tmp_path / "parts.db") == tried(tmp_path / "whole.db")
    assert parts == whole
    assert told[0].done == 3
    assert run(bench, tmp_path / "parts.db")[0] == whole  # there is nothing left to do


def test_killed_in_a_trial_it_ends_the_same(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = run(bench, tmp_path / "whole.db")
    measure, calls = Bench.measure, 0

    def dies(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls in (8, 9):  # twice over the same trial
            raise KeyboardInterrupt
        return measure(*args)

    monkeypatch.setattr(Bench, "measure", dies)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(bench, tmp_path / "killed.db")
    assert run(bench, tmp_path / "killed.db")[0] == whole
    assert tried(tmp_path / "killed.db") == tried(tmp_path / "whole.db")


def test_cma_es_tunes_and_resumes_too(bench: Bench, tmp_path: Path) -> None:
    plan = Plan(PLAN.space, seeds=2, sampler="cmaes")
    whole, _ = run(bench, tmp_path / "whole.db", 8, plan)
    run(bench, tmp_path / "parts.db", 5, plan)
    assert run(bench, tmp_path / "parts.db", 8, plan)[0] == whole
    assert len({repr(t) for t in tried(tmp_path / "whole.db")}) > 5


@pytest.mark.slow
def test_workers_change_nothing(bench: Bench, tmp_path: Path) -> None:
    alone, _ = run(bench, tmp_path / "alone.db", 4)
    with open_workers(2) as workers:
        shared = Bench(bench.scenarios, bench.promise, workers)
        assert run(shared, tmp_path / "shared.db", 4)[0] == alone
    assert tried(tmp_path / "shared.db") == tried(tmp_path / "alone.db")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (Plan(Space.of("fixed_age(age_s=30)"), seeds=2), "given was"),
        (Plan(PLAN.space, seeds=3), "seeds was"),
        (Plan(PLAN.space, seeds=2, sampler="cmaes"), "sampler was"),
    ],
)
def test_a_study_of_another_plan_is_refused_and_left_alone(
    bench: Bench, tmp_path: Path, changed: Plan, says: str
) -> None:
    file = tmp_path / "a.db"
    run(bench, file, 2)
    before = tried(file)
    with pytest.raises(UserError, match=says) as caught:
        run(bench, file, 4, changed)
    assert str(file) in str(caught.value)
    assert tried(file) == before


def test_a_study_under_another_promise_is_refused(bench: Bench, tmp_path: Path) -> None:
    run(bench, tmp_path / "a.db", 1)
    other = Bench(bench.scenarios, Promise(minutes=0.9))
    with pytest.raises(UserError, match="promise was"):
        run(other, tmp_path / "a.db", 2)


def test_a_study_of_another_version_is_refused(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    run(bench, file, 1)
    study = optuna.load_study(study_name="fixed_age", storage=f"sqlite:///{file}")
    study.set_user_attr("facts", study.user_attrs["facts"] | {"version": 0})
    with pytest.raises(UserError, match="version was 0, now it is 1"):
        run(bench, file, 2)
    with sqlite3.connect(file) as database:  # of an Optuna of before
        database.execute("UPDATE version_info SET schema_version = 1, library_version = '0.1'")
        database.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
    with pytest.raises(UserError, match="no study this program can go on with") as caught:
        run(bench, file, 2)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_study_is_refused_and_left_alone(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    file.write_text("dear diary\n" * 400)
    with pytest.raises(UserError, match=f"{file}: no study"):
        run(bench, file, 1)
    assert file.read_text() == "dear diary\n" * 400


def test_two_tunings_do_not_share_a_study(bench: Bench, tmp_path: Path) -> None:
    def second(progress: Progress) -> None:  # noqa: ARG001
        with pytest.raises(UserError, match="another tuning is writing there"):
            tune(PLAN, bench, tmp_path / "a.db", 1)

    tune(PLAN, bench, tmp_path / "a.db", 1, second)
