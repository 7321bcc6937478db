"""A setting's worth: memory saved where every cgroup keeps the promise, else how far it is from that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zswap_gym.agents.contestants import Contestant, contestant
from zswap_gym.agents.parallel import InProcess, Workers
from zswap_gym.agents.scoring.standing import Standing, by_cgroup, by_seed, standing
from zswap_gym.agents.scoring.trial import Conditions, Trial, chunks, run_trials
from zswap_gym.errors import UserError
from zswap_gym.policy.laws import make_law
from zswap_gym.policy.promise import MINUTE_S, Promise
from zswap_gym.workloads.scenario import Scenario

Floats = npt.NDArray[np.float64]

_NOTHING = "never"


@dataclass(frozen=True)
class Outcome:
    """One setting on all scenarios and the seeds of a stage."""

    saved_pct: float
    """Memory saved, percent, mean of the scenarios."""
    breach: float
    """Mean of all cgroups' breaches, see promise.judge."""
    keeping: int
    """Cgroups that keep the promise ..."""
    cgroups: int
    """... of so many."""

    @property
    def kept(self) -> bool:
        """Whether all cgroups keep the promise."""
        return self.keeping == self.cgroups

    @property
    def value(self) -> float:
        """What the search makes large: whoever keeps the promise is above whoever does not.

        Among those that keep it memory saved counts, among the others how little they are beyond it
        (Deb's rule). Samplers and pruners compare and do not add, so no weight has to be found for a
        breach, and none can be bought.
        """
        return self.saved_pct if self.kept else -100.0 - self.breach


class Bench:
    """Measures settings of a law on scenarios, beside the same hosts with nothing done.

    Args:
        scenarios: to measure on.
        promise: what each cgroup is promised.
        workers: who runs the episodes; None = this process.
    """

    def __init__(
        self, scenarios: Sequence[Scenario], promise: Promise, workers: Workers | None = None
    ) -> None:
        self.scenarios = tuple(scenarios)
        self.promise = promise
        self._workers = workers or InProcess()
        self._conditions = Conditions(promise=promise)
        self._nothing: dict[tuple[int, ...], list[Trial]] = {}

    def measure(self, spec: Mapping[str, Any], seeds: Sequence[int]) -> list[Trial]:
        """The law's trials on these seeds, one per scenario."""
        name = str(spec["law"])
        return self.run({name: contestant(make_law(spec))}, seeds)[name]

    def run(self, contestants: Mapping[str, Contestant], seeds: Sequence[int]) -> dict[str, list[Trial]]:
        """Trials of each contestant on these seeds, one per scenario."""
        portions = chunks(seeds, -(-self._workers.count // len(self.scenarios)))
        pieces = [(contestants, s, part, self._conditions) for s in self.scenarios for part in portions]
        found = self._workers.run(run_trials, pieces)
        by_scenario = [found[at : at + len(portions)] for at in range(0, len(found), len(portions))]
        return {
            name: [Trial.join([part[k] for part in parts]) for parts in by_scenario]
            for k, name in enumerate(contestants)
        }

    def nothing(self, seeds: Sequence[int]) -> list[Trial]:
        """The same with nothing done; run once."""
        key = tuple(seeds)
        if key not in self._nothing:
            self._nothing[key] = self.run({_NOTHING: contestant(_NOTHING)}, seeds)[_NOTHING]
        return self._nothing[key]

    def outcome(self, trials: Sequence[Trial], nothing: Sequence[Trial]) -> Outcome:
        """What trials on all scenarios are worth."""
        pairs = list(zip(trials, nothing, strict=True))
        verdicts = [by_cgroup(trial, base, self.promise) for trial, base in pairs]
        saved = [by_seed(trial, base, self.promise).saved_pct.mean() for trial, base in pairs]
        beyond = np.concatenate([verdict.breach for verdict in verdicts])
        keeping = sum(int(verdict.kept.sum()) for verdict in verdicts)
        return Outcome(float(np.mean(saved)), float(beyond.mean()), keeping, beyond.size)

    def standings(self, trials: Sequence[Trial], nothing: Sequence[Trial]) -> list[Standing]:
        """As evaluation tells it: one of each scenario, and one of all together."""
        pairs = list(zip(trials, nothing, strict=True))
        each = [standing([trial], [base], self.promise) for trial, base in pairs]
        return [*each, standing(trials, nothing, self.promise, "all")]


def join(parts: Sequence[Sequence[Trial]]) -> list[Trial]:
    """Trials of the same scenarios on several portions of the seeds, put together."""
    return [Trial.join(portions) for portions in zip(*parts, strict=True)]


def shortest_s(promise: Promise) -> float:
    """Seconds of an episode in which one broken minute may be made good; 0 where none may break."""
    return MINUTE_S / (1.0 - promise.minutes) if promise.minutes < 1 else 0.0


def long_enough(
    scenarios: Sequence[Scenario], promise: Promise, say: Callable[[str], None]
) -> list[Scenario]:
    """The scenarios in whose episodes a promise about minutes can be judged.

    In one of 140 s a single broken minute is half of them, and a rule that watches for five does nothing
    at all. One minute must be less than may be broken.

    Raises:
        UserError: none is.
    """
    least_s = shortest_s(promise)
    short = [s.name for s in scenarios if s.episode.length < least_s]
    if short:
        say(f"left out, too short to be judged by minutes (under {least_s:.0f} s): {', '.join(short)}")
    found = [s for s in scenarios if s.name not in short]
    if not found:
        raise UserError(
            f"no scenario has episodes of {least_s:.0f} s, in which a promise of {promise.minutes:g} of the "
            "minutes can be judged; give longer ones"
        )
    return found
