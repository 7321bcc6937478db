"""From what one has to a policy file in so many minutes: tune the rules on it, train, choose, judge, export.

OUT/scenario.yaml    what is learned on; a recording has become a scenario
OUT/learn.json       what was asked for, and the seconds spent on it so far
OUT/studies, rules   tuning of the rules, and what it found
OUT/run              the training run (train.py)
OUT/policy.npz       the champion where it is a policy; OUT/rule.yaml where no policy beat the rules
OUT/card.md          how it stands and how it came about

Everything that was done is kept: stopped, the same command goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from zswap_gym.agents.config import Experiment, parse_experiment
from zswap_gym.agents.contestants import rules
from zswap_gym.agents.learning.card import card
from zswap_gym.agents.learning.champion import HANDED_OUT, champion_file, hand_out
from zswap_gym.agents.learning.train import EXPERIMENT, Champion, Progress, train
from zswap_gym.agents.parallel import Workers
from zswap_gym.agents.provenance import provenance
from zswap_gym.agents.run_folder import locked, read_record
from zswap_gym.agents.tuning.law_yaml import write_law
from zswap_gym.agents.tuning.objective import Bench
from zswap_gym.agents.tuning.space import Space
from zswap_gym.agents.tuning.study import Plan, tune
from zswap_gym.atomic import write_atomically
from zswap_gym.errors import UserError
from zswap_gym.policy.promise import Promise
from zswap_gym.workloads.scenario import Scenario

RULES = ("promise", "promotion", "aimd")
"""Those tuned on the spot: the tracker, the best of the tuned, the boldest."""
TUNING, TRAINING = 0.2, 0.55
"""Shares of the time; the rest is for choosing and the last judgement."""
MOST_TRIALS = 200
LEAST_TRIALS = 8
SEEDS = 4
"""Of a trial."""
DRAWS = 48
SCENARIO, FACTS = "scenario.yaml", "learn.json"


@dataclass(frozen=True)
class Wish:
    """What is asked for."""

    scenario: Scenario
    promise: Promise
    minutes: float
    seed: int = 1

    def facts(self) -> dict[str, Any]:
        """JSON-able; a folder goes on only with the same."""
        return {
            "scenario": self.scenario.model_dump(mode="json"),
            "promise": self.promise.as_dict(),
            "minutes": self.minutes,
            "seed": self.seed,
        }


def learn(wish: Wish, out: Path, workers: Workers, on_progress: Callable[[Progress], None]) -> Champion:
    """Learn for about ``wish.minutes`` minutes; what RUN/champion.json holds.

    Args:
        wish: what is asked for.
        out: the folder; one with the same wish goes on.
        workers: who runs it all.
        on_progress: told of every step.

    Raises:
        UserError: the folder is somebody else's, or another ``learn`` works there.
    """
    with locked(out):
        clock = _Clock(wish, out)
        laws = _tuned(wish, out, workers, clock, on_progress)
        experiment = _experiment(wish, out, laws, workers.count)

        def tell(now: Progress) -> None:
            clock.note()
            on_progress(now)

        left = max((TUNING + TRAINING) * 60.0 * wish.minutes - clock.spent(), 0.0)
        going_on = (out / "run" / EXPERIMENT).exists()
        told = train(
            experiment, out / "run", resume=going_on, seconds=left, workers=workers, on_progress=tell
        )
        _hand_over(out, told, experiment, wish.scenario.episode.decision_interval)
        clock.note()
        return told


class _Clock:
    """Seconds spent on a wish, over all calls; kept in OUT/learn.json."""

    def __init__(self, wish: Wish, out: Path) -> None:
        self._file, self._facts = out / FACTS, wish.facts()
        self._before = 0.0
        if self._file.exists():
            found = read_record(self._file, ("spent_s", *self._facts), "remove the folder, or name another")
            for key, value in json.loads(json.dumps(self._facts)).items():
                if found[key] != value:
                    raise UserError(f"{out}: was begun with another {key}; name another folder with --out")
            self._before = float(found["spent_s"])
        elif any(out.iterdir()):
            raise UserError(
                f"{out}: is not empty and no earlier learn wrote it; name another folder with --out"
            )
        self._began = time.monotonic()
        write_atomically(out / SCENARIO, yaml.safe_dump(self._facts["scenario"], sort_keys=False))
        self.note()

    def spent(self) -> float:
        return self._before + time.monotonic() - self._began

    def note(self) -> None:
        write_atomically(self._file, json.dumps({**self._facts, "spent_s": self.spent()}, indent=1))


class _EnoughError(Exception):
    """The time for a rule is over."""


def _tuned(
    wish: Wish, out: Path, workers: Workers, clock: _Clock, on_progress: Callable[[Progress], None]
) -> dict[str, str]:
    """The rules tuned on the scenario's own draws, and those that come with the program, by name."""
    bench = Bench([wish.scenario], wish.promise, workers)
    share = TUNING * 60.0 * wish.minutes / len(RULES)
    found = {}
    for number, law in enumerate(RULES):
        target = out / "rules" / f"{law}.yaml"
        found[f"{law} tuned here"] = str(target)
        if target.exists():
            continue
        plan = Plan(Space.of(law), 0, SEEDS)
        until = (number + 1) * share
        done = 0

        def tick(now: Any, law: str = law, number: int = number, until: float = until) -> None:
            nonlocal done
            done = now.done
            on_progress(Progress(f"tuning {law}", number, len(RULES), now.best, law))
            if done >= LEAST_TRIALS and clock.spent() > until:
                raise _EnoughError

        study = out / "studies" / f"{law}.db"
        try:
            best = tune(plan, bench, study, MOST_TRIALS, tick)
        except _EnoughError:
            best = tune(plan, bench, study, done)
        write_law(target, plan, bench, best)
        clock.note()
    return found | rules(untuned=False)


def _experiment(wish: Wish, out: Path, laws: Mapping[str, str], workers: int) -> Experiment:
    return parse_experiment(
        {
            "name": wish.scenario.name,
            "description": f"learned on {wish.scenario.description or wish.scenario.name}",
            "scenarios": {"train": [str(out / SCENARIO)]},
            "promise": wish.promise.as_dict(),
            "trainings": max(2, workers),
            "rounds": 100_000,
            "hosts": 8,
            "draws": DRAWS,
            "selection": {
                "every": 6, "seeds": 6, "final_seeds": 18, "test_seeds": 16,
                "rules": list(laws.values()),
            },
            "seed": wish.seed,
        },
        str(out),
    )  # fmt: skip


def _hand_over(out: Path, told: Champion, experiment: Experiment, interval_s: float) -> None:
    """Champion and card beside the run."""
    for name in HANDED_OUT.values():
        (out / name).unlink(missing_ok=True)
    hand_out(champion_file(out / "run"), out)
    write_atomically(out / "card.md", card(told, experiment, provenance(), interval_s))
