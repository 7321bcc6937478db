"""What a person waits for: whole commands, timed from the outside, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from zswap_gym.workloads.traces import trace_names

TRAINING = """
import sys, time
from zswap_gym.agents.config import Experiment, load_experiment
from zswap_gym.agents.learning.training import advance
from zswap_gym.agents.parallel import open_workers
if __name__ == "__main__":
    workers, rounds, name, *scenario = sys.argv[1:]
    settings = load_experiment(name).model_dump() | {"threads": 1}
    if scenario:
        settings["scenarios"] = {"train": scenario}
    experiment = Experiment.model_validate(settings)
    with open_workers(int(workers)) as work:
        begun = work.run(advance, [(experiment, seed, None, 1) for seed in range(experiment.trainings)])
        began = time.perf_counter()
        pieces = [(experiment, seed, stage.state, int(rounds)) for seed, stage in enumerate(begun)]
        ended = work.run(advance, pieces)
        seconds = time.perf_counter() - began
        print((sum(s.decisions for s in ended) - sum(s.decisions for s in begun)) / seconds)
"""


def training_rate(workers: int, rounds: int, experiment: str, scenario: str | None = None) -> float:
    """Decisions of single cgroups a second that an experiment's trainings learn from, on so many processes.

    Warm hosts; imitation and the choice of a champion are left out.
    """
    arguments = [str(workers), str(rounds), experiment, *([scenario] if scenario else [])]
    with tempfile.TemporaryDirectory(prefix="zswap-gym-bench-") as folder:
        script = Path(folder) / "training.py"  # workers are spawned: they import what they run
        script.write_text(TRAINING, encoding="utf-8")
        return float(_run([sys.executable, str(script), *arguments]).split()[-1])


def command_times(quick: bool) -> Iterator[tuple[str, float]]:
    """Seconds of ``advise`` for each recording that comes along, and of all rules on a scenario."""
    for trace in ["sidecar"] if quick else trace_names():
        yield f"advise_s_{trace}", _timed(["advise", trace])
    scenario = "demo-test" if quick else "mixed-test"
    yield f"evaluate_all_s_{scenario}", _timed(["evaluate", "--scenario", scenario, "--seeds", "2", "--json"])


def _timed(command: Sequence[str]) -> float:
    began = time.perf_counter()
    _run([sys.executable, "-m", "zswap_gym.cli", *command])
    return time.perf_counter() - began


def _run(command: Sequence[str]) -> str:
    with tempfile.TemporaryDirectory(prefix="zswap-gym-bench-") as folder:
        done = subprocess.run(  # noqa: S603 - ours
            command, env=os.environ | {"OMP_NUM_THREADS": "1"}, cwd=Path(folder),
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    return done.stdout
