"""A study: an SQLite file of everything that was tried, which a tuning goes on from wherever it ended.

What a trial tries depends on the trials before it and on how many they are, on nothing else: neither the
number of workers nor a kill in between changes what is found.
"""

from __future__ import annotations

import fcntl
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, CmaEsSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from zswap_gym.agents.scoring.standing import Standing
from zswap_gym.agents.tuning.objective import Bench, Outcome, join
from zswap_gym.agents.tuning.space import Space
from zswap_gym.envs.warmstart import scenario_digest
from zswap_gym.errors import UserError
from zswap_gym.kernel.jit import model_digest

VERSION = 1
"""Raised whenever trials of before would not compare with those to come."""

Sampler = Literal["tpe", "cmaes"]
SAMPLERS: tuple[str, ...] = get_args(Sampler)

FINALISTS = 5
"""So many of the best, and the untuned law, are measured once more on seeds nobody has been chosen by."""
_STARTUP = 10
"""Trials at random before the sampler begins, and before anything is given up half-way."""
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Plan:
    """What is searched, on what, and how."""

    space: Space
    first_seed: int = 0
    seeds: int = 6
    """Of a trial; who is below the median after a third of them is given up."""
    sampler: Sampler = "tpe"

    def stage(self, number: int) -> tuple[int, ...]:
        """Seeds of a trial's two stages (0 and 1), and of the final (2)."""
        third = max(self.seeds // 3, 1)
        first, last = ((0, third), (third, self.seeds), (self.seeds, 2 * self.seeds))[number]
        return tuple(range(self.first_seed + first, self.first_seed + last))


@dataclass(frozen=True)
class Progress:
    """How far a tuning is."""

    done: int
    best: Outcome | None
    parameters: Mapping[str, float]
    """The best so far."""


@dataclass(frozen=True)
class Tuned:
    """What a tuning came to."""

    parameters: dict[str, float]
    """The searched ones."""
    standings: list[Standing]
    """On the seeds of the final, by scenario, and over all."""
    untuned: list[Standing]
    """The law as it is by default on the same."""
    trials: int


def tune(
    plan: Plan,
    bench: Bench,
    file: Path,
    trials: int,
    on_trial: Callable[[Progress], None] = lambda _: None,
) -> Tuned:
    """Search until the study holds so many trials, then choose among the best on new seeds.

    Args:
        plan: what is searched.
        bench: measures it.
        file: the study; one that is there is gone on with.
        trials: how many it is to hold.
        on_trial: told after each trial, and once at the beginning.

    Raises:
        UserError: the file is no study, one of another version or of another plan, or in use.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    with _locked(file):
        study = _open(file, plan, bench)
        on_trial(_progress(study))
        while (done := len(study.get_trials(deepcopy=False, states=_ENDED))) < trials:
            study.sampler = _sampler(plan, done)
            _try(study, plan, bench)
            on_trial(_progress(study))
        return _final(study, plan, bench)


def _try(study: optuna.Study, plan: Plan, bench: Bench) -> None:
    """One trial: on a third of the seeds, and where it is not among the lower half there, on all."""
    trial = study.ask()
    spec = plan.space.spec(plan.space.suggest(trial))
    first, rest = plan.stage(0), plan.stage(1)
    some = bench.measure(spec, first)
    early = bench.outcome(some, bench.nothing(first))
    trial.report(early.value, 0)
    if trial.should_prune():
        trial.set_user_attr("outcome", asdict(early))
        study.tell(trial, state=TrialState.PRUNED)
        return
    whole = join([some, bench.measure(spec, rest)])
    found = bench.outcome(whole, join([bench.nothing(first), bench.nothing(rest)]))
    trial.set_user_attr("outcome", asdict(found))
    study.tell(trial, found.value)


def _final(study: optuna.Study, plan: Plan, bench: Bench) -> Tuned:
    """The best of the best on new seeds: the best of many noisy trials is lucky as well as good."""
    ranked = sorted(_complete(study), key=lambda t: (-_value(t), t.number))
    start = plan.space.start
    candidates: list[dict[str, float]] = [start]
    for trial in ranked[:FINALISTS]:
        if trial.params not in candidates:
            candidates.append(trial.params)
    seeds = plan.stage(2)
    nothing = bench.nothing(seeds)
    measured = [bench.measure(plan.space.spec(found), seeds) for found in candidates]
    values = [bench.outcome(trials, nothing).value for trials in measured]
    best = values.index(max(values))
    return Tuned(
        plan.space.rounded(candidates[best]),
        bench.standings(measured[best], nothing),
        bench.standings(measured[0], nothing),
        len(study.get_trials(deepcopy=False, states=_ENDED)),
    )


def _progress(study: optuna.Study) -> Progress:
    ended = study.get_trials(deepcopy=False, states=_ENDED)
    best = max(_complete(study), key=lambda t: (_value(t), -t.number), default=None)
    if best is None:
        return Progress(len(ended), None, {})
    return Progress(len(ended), Outcome(**best.user_attrs["outcome"]), best.params)


def _complete(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None  # it is complete
    return trial.value


def _sampler(plan: Plan, done: int) -> BaseSampler:
    """The sampler of the trial that follows ``done`` others, in this process or another."""
    if plan.sampler == "cmaes":
        return CmaEsSampler(seed=done, warn_independent_sampling=False)
    return TPESampler(n_startup_trials=_STARTUP, multivariate=True, seed=done)


def _open(file: Path, plan: Plan, bench: Bench) -> optuna.Study:
    """The study in a file, made if it is not there, with what was interrupted put aside."""
    facts = {
        "version": VERSION,
        **plan.space.describe(),
        "promise": bench.promise.as_dict(),
        "scenarios": {s.name: scenario_digest(s) for s in bench.scenarios},
        "seeds": [plan.first_seed, plan.seeds],
        "sampler": plan.sampler,
        "model": model_digest(),
    }
    pruner: BasePruner = optuna.pruners.NopPruner()
    if plan.sampler == "tpe":  # CMA-ES learns from whole trials only
        pruner = optuna.pruners.MedianPruner(n_startup_trials=_STARTUP)
    url = URL.create("sqlite", database=str(file)).render_as_string(hide_password=False)
    try:
        storage = optuna.storages.RDBStorage(url)
        study = optuna.create_study(
            study_name=plan.space.law,
            storage=storage,
            direction="maximize",
            pruner=pruner,
            load_if_exists=True,
        )
    except (RuntimeError, SQLAlchemyError, ValueError) as error:
        line = str(error).splitlines()[0]
        raise UserError(
            f"{file}: no study this program can go on with ({line}); name another file with --study"
        ) from None
    _check(file, study, json.loads(json.dumps(facts)))
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    if not study.get_trials(deepcopy=False, states=(*_ENDED, TrialState.WAITING)):
        study.enqueue_trial(plan.space.start)  # whatever is found, it is to be better than this
    return study


def _check(file: Path, study: optuna.Study, facts: Mapping[str, Any]) -> None:
    """A new study is told what it is of. UserError where one that was begun is of something else."""
    known = study.user_attrs.get("facts")
    if known is None and not study.get_trials(deepcopy=False):
        study.set_user_attr("facts", facts)
        return
    known = known or {}
    for key, value in facts.items():
        if known.get(key) != value:
            raise UserError(
                f"{file}: {key} was {json.dumps(known.get(key))}, now it is {json.dumps(value)}: its "
                "trials do not compare with new ones; name another file with --study"
            )


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Keep a second tuning away from a study: the lock of a file beside it ends with the process."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file.with_name(f".{file.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror}); name another place") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise UserError(
            f"{file}: another tuning is writing there; wait for it or name another file"
        ) from None
    try:
        yield
    finally:
        os.close(handle)
