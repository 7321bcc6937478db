"""A training run: several trainings side by side, their candidates, and a champion, in one folder.

RUN/experiment.yaml              every setting, defaults filled in
RUN/provenance.json              digests, versions, command
RUN/progress.csv                 a line per candidate: rounds, seconds, and how it was judged
RUN/training-K/state.pt          to go on from; tensors and numbers, no pickled code
RUN/training-K/round-NNNN.npz    candidates
RUN/champion.json, champion.npz  who is best (champion.py); written last: the run is complete

What is learned depends on the experiment alone: neither on how many workers there are nor on kills in
between.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from zswap_gym.agents.config import Experiment, load_experiment
from zswap_gym.agents.contestants import Contestant, contestant, rules
from zswap_gym.agents.learning.champion import FILE, TEST, Candidate, Jury, describe, finalists
from zswap_gym.agents.learning.training import Stage, advance, rounds_done
from zswap_gym.agents.parallel import InProcess, Workers
from zswap_gym.agents.provenance import provenance
from zswap_gym.agents.run_folder import experiment_of, locked, read_record
from zswap_gym.agents.tuning.objective import Bench, Outcome
from zswap_gym.atomic import write_atomically
from zswap_gym.envs.warmstart import scenario_digest
from zswap_gym.errors import UserError
from zswap_gym.law_file import is_law_file, law_file
from zswap_gym.policy.laws import make_law
from zswap_gym.policy.laws.parameters import parameters_of
from zswap_gym.policy.promise import Promise
from zswap_gym.policy.runtime import Policy
from zswap_gym.workloads.scenario import Scenario, load_scenario

COLUMNS = (
    "training", "rounds", "decisions", "seconds", "saved_pct", "breach", "keeping", "cgroups",
)  # fmt: skip
PROGRESS, EXPERIMENT, STATE = "progress.csv", "experiment.yaml", "state.pt"

Champion = dict[str, Any]
"""What RUN/champion.json holds."""


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    what: str
    done: int
    of: int
    best: Outcome | None = None
    """The best so far, and ..."""
    name: str = ""
    """... who that is."""


OnProgress = Callable[[Progress], None]


def train(
    config: Experiment | str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    seconds: float | None = None,
    workers: Workers | None = None,
    on_progress: OnProgress = lambda _: None,
) -> Champion:
    """Train, choose and judge a champion in folder ``out``.

    Args:
        config: an experiment, its file, or its name.
        out: the run's folder.
        resume: go on with the run in ``out``; a finished one is returned as it is.
        seconds: no wave of rounds is begun that would end later than this after the call.
        workers: who runs trainings and judges candidates; None = this process.
        on_progress: told before each wave.

    Raises:
        UserError: ``out`` holds another run, another training writes there, or it cannot be written.
    """
    experiment = config if isinstance(config, Experiment) else load_experiment(config)
    with locked(Path(out)):
        run = _Run(experiment, Path(out), workers or InProcess(), on_progress)
        if run.begin(resume=resume):
            run.learn(seconds)
            run.choose()
        return read_champion(Path(out))


def read_champion(run: Path) -> Champion:
    """RUN/champion.json. UserError where it is missing or damaged."""
    keys = ("champion", "best_rule", "candidates")
    return read_record(run / FILE, keys, "remove it and resume again: it is written anew")


@dataclass
class _Run:
    experiment: Experiment
    folder: Path
    workers: Workers
    on_progress: OnProgress
    candidates: dict[str, Candidate] = field(default_factory=dict)

    def begin(self, *, resume: bool) -> bool:
        """Make the folder or read what is in it; False where the run is finished."""
        experiment, folder = self.experiment, self.folder
        self._rules()
        self._last = self._scenarios(experiment.scenarios.evaluate or experiment.scenarios.train)
        self._jury = Jury(
            self._scenarios((*experiment.scenarios.train, *experiment.scenarios.validation)),
            Promise.of(experiment.promise), experiment.selection.seeds, experiment.selection.final_seeds,
            self.workers,
        )  # fmt: skip
        if (folder / EXPERIMENT).exists():
            if not resume:
                raise UserError(f"{folder}: holds a run already; resume it (--resume) or name another folder")
            before = experiment_of(folder)
            if before.digest() != experiment.digest() or before.seed != experiment.seed:
                raise UserError(
                    f"{folder}: was started with other settings (see {EXPERIMENT} there); name another folder"
                )
            self._read()
            return not (folder / FILE).exists()
        self._describe()
        return True

    def _scenarios(self, names: Sequence[str]) -> list[Scenario]:
        return [load_scenario(name) for name in dict.fromkeys(names)]

    def _describe(self) -> None:
        """Write what the run is before it starts. experiment.yaml last: its presence means there is a run."""
        scenarios = self._scenarios(self.experiment.scenarios.train)
        facts = {
            "experiment": self.experiment.digest(),
            "scenarios": {s.name: scenario_digest(s) for s in scenarios},
            **provenance(),
        }
        write_atomically(self.folder / "provenance.json", json.dumps(facts, indent=1))
        write_atomically(self.folder / EXPERIMENT, self.experiment.to_yaml())

    # --- learning --------------------------------------------------------------------------------

    def learn(self, seconds: float | None) -> None:
        """All rounds of all trainings, in waves, with a candidate of each after each wave."""
        began, longest = time.monotonic(), 0.0
        self._judge_rules()
        while (least := min((done := self._all_rounds()).values())) < self.experiment.rounds:
            wave = time.monotonic()
            if seconds is not None and wave - began + longest > seconds and least >= 0:
                return
            self._tell("learning", max(least, 0), self.experiment.rounds)
            self._wave([k for k in done if done[k] == least], least)
            longest = max(longest, time.monotonic() - wave)

    def _trainings(self) -> range:
        return range(1, self.experiment.trainings + 1)

    def _all_rounds(self) -> dict[int, int]:
        return {k: self._rounds(k) for k in self._trainings()}

    def _wave(self, trainings: Sequence[int], done: int) -> None:
        """Some rounds of each, all of which have ``done`` so many; the first of them is imitation alone."""
        more = 0 if done < 0 else min(self.experiment.selection.every, self.experiment.rounds - done)
        pieces = [(self.experiment, self._seed(k), self._state(k), more) for k in trainings]
        stages: list[Stage] = self.workers.run(advance, pieces)
        found = [self._keep(k, stage) for k, stage in zip(trainings, stages, strict=True)]
        for candidate, k, stage in zip(self._jury.judge(found), trainings, stages, strict=True):
            self.candidates[candidate.name] = candidate
            self._note(k, stage, candidate)

    def _seed(self, training: int) -> int:
        return self.experiment.seed * 1000 + training

    def _keep(self, k: int, stage: Stage) -> Candidate:
        """Write what a training came to: the candidate first, then the state that goes beyond it."""
        folder = self._folder(k)
        folder.mkdir(exist_ok=True)
        stage.policy.save(folder / f"round-{stage.rounds:04d}.npz")
        write_atomically(folder / STATE, stage.state)
        return Candidate(_name(k, stage.rounds), stage.policy)

    def _folder(self, k: int) -> Path:
        return self.folder / f"training-{k}"

    def _rounds(self, k: int) -> int:
        """Rounds that training k has done; -1 before imitation."""
        state = self._state(k)
        try:
            return -1 if state is None else rounds_done(state)
        except ValueError as error:
            folder = self._folder(k)
            raise UserError(
                f"{folder / STATE}: {error}; remove {folder} and resume again: this training begins anew"
            ) from error

    def _state(self, k: int) -> bytes | None:
        file = self._folder(k) / STATE
        return file.read_bytes() if file.is_file() else None

    def _rules(self) -> list[Candidate]:
        """Those that take part. UserError where one is wrong."""
        named = {_rule_name(rule): rule for rule in self.experiment.selection.rules}
        named = named or rules(untuned=False)
        found = [Candidate(name, None, rule) for name, rule in named.items() if _acts(rule)]
        for candidate in found:
            contestant(candidate.rule)  # a wrong one is told before anything is written
        if not found:
            raise UserError("selection.rules: none does anything on the machine as it is; name one that does")
        return found

    def _judge_rules(self) -> None:
        self._tell("judging the rules", 0, self.experiment.rounds)
        self.candidates |= {c.name: c for c in self._jury.judge(self._rules())}

    # --- choosing --------------------------------------------------------------------------------

    def choose(self) -> None:
        """The final, the last judgement, and the champion's files."""
        options = self.experiment.selection
        self._tell("choosing a champion", self.experiment.rounds, self.experiment.rounds)
        known = sorted(self.candidates.values(), key=lambda c: (-c.value, c.name))  # wherever it was stopped
        ranked = self._jury.final(finalists(known, options.finalists, options.cautions))
        champion, rule = ranked[0], next(c for c in ranked if c.policy is None)
        told = self._last_judgement({"champion": champion, "best_rule": rule})
        final = {c.name for c in ranked}
        told["candidates"] = [_summary(c) for c in (*ranked, *(c for c in known if c.name not in final))]
        told["promise"] = Promise.of(self.experiment.promise).as_dict()
        if champion.policy is not None:
            facts = {
                **champion.policy.provenance,
                "champion": told["champion"],
                "best_rule": told["best_rule"],
            }
            replace(champion.policy, provenance=facts).save(self.folder / "champion.npz")
        else:
            _write_rule(champion.rule, self.folder / "champion.yaml")
        write_atomically(self.folder / FILE, json.dumps(told, indent=1))

    def _last_judgement(self, parts: Mapping[str, Candidate]) -> dict[str, Any]:
        """How the champion and the best rule stand where nobody chose anything."""
        experiment = self.experiment
        bench = Bench(self._last, Promise.of(experiment.promise), self.workers)
        seeds = range(TEST, TEST + experiment.selection.test_seeds)
        playing: dict[str, Contestant] = {part: c.contestant for part, c in parts.items()}
        trials, nothing = bench.run(playing, seeds), bench.nothing(seeds)
        told = {}
        for part, c in parts.items():
            *each, whole = bench.standings(trials[part], nothing)
            kind = "rule" if c.policy is None else "policy"
            by_scenario = {s.scenario: describe(s, kind) for s in each}
            told[part] = describe(whole, kind) | {"scenarios": by_scenario, "policy": c.name}
        return told

    def _tell(self, what: str, done: int, of: int) -> None:
        best = max(self.candidates.values(), key=lambda c: c.value, default=None)
        found = (best.judged, best.name) if best is not None else (None, "")
        self.on_progress(Progress(what, done, of, *found))

    # --- the folder ------------------------------------------------------------------------------

    def _note(self, k: int, stage: Stage, candidate: Candidate) -> None:
        """A line of progress.csv."""
        assert candidate.judged is not None
        file = self.folder / PROGRESS
        text = io.StringIO(file.read_text() if file.exists() else ",".join(COLUMNS) + "\n")
        text.seek(0, io.SEEK_END)
        line = [k, stage.rounds, stage.decisions, round(stage.seconds, 2), *asdict(candidate.judged).values()]
        csv.writer(text, lineterminator="\n").writerow(line)
        write_atomically(file, text.getvalue())

    def _read(self) -> None:
        """Candidates of a run that was stopped; those not yet judged are judged now."""
        judged = {(row[0], row[1]): outcome for row, outcome in read_progress(self.folder)}
        unknown = []
        for k, done in self._all_rounds().items():
            for file in sorted(self._folder(k).glob("round-*.npz")):
                rounds = int(file.stem.removeprefix("round-"))
                if rounds > done:  # killed before its state was written: it comes again
                    continue
                candidate = Candidate(_name(k, rounds), Policy.load(file), judged=judged.get((k, rounds)))
                self.candidates[candidate.name] = candidate
                if candidate.judged is None:
                    unknown.append(candidate)
        self.candidates |= {c.name: c for c in self._jury.judge(unknown)} if unknown else {}


def read_progress(run: Path) -> list[tuple[tuple[int, int, int, float], Outcome]]:
    """Of each candidate of a run: training, rounds, decisions, seconds; and how it was judged.

    Raises:
        UserError: progress.csv is damaged.
    """
    file = run / PROGRESS
    if not file.exists():
        return []
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            return [
                (
                    (int(row["training"]), int(row["rounds"]), int(row["decisions"]), float(row["seconds"])),
                    Outcome(
                        float(row["saved_pct"]),
                        float(row["breach"]),
                        int(row["keeping"]),
                        int(row["cgroups"]),
                    ),
                )
                for row in csv.DictReader(lines)
            ]
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise UserError(
            f"{file}: cannot be read ({error}); remove it: what it says is found out again"
        ) from error


def _name(k: int, rounds: int) -> str:
    return f"training {k} round {rounds}"


def _acts(rule: str) -> bool:
    """No setting of the kernel, and not doing nothing: that keeps every promise, and all are above it."""
    return "@" not in rule and rule != "never"


def _rule_name(rule: str) -> str:
    """As tables call it: a file by its name, whatever machine it lies on."""
    return f"{Path(rule).parent.name}/{Path(rule).name}" if is_law_file(Path(rule)) else rule


def _summary(candidate: Candidate) -> dict[str, Any]:
    kind = "rule" if candidate.policy is None else "policy"
    return {
        "policy": candidate.name,
        "kind": kind,
        "judged": candidate.judged and asdict(candidate.judged) | {"kept": candidate.judged.kept},
        "final": candidate.final and asdict(candidate.final) | {"kept": candidate.final.kept},
    }


def _write_rule(rule: str, target: Path) -> None:
    """The rule's own file, or one that says what its text says."""
    file = law_file(rule)
    if file is not None:
        write_atomically(target, file.read_bytes())
        return
    law = make_law(rule)
    kind: Any = type(law)
    parameters = {key: getattr(law, key) for key in parameters_of(kind)}
    write_atomically(target, yaml.safe_dump({"law": kind.name, "parameters": parameters}))
