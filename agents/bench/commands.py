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
import sys, tempfile
from pathlib import Path
from zswap_gym.agents.config import Experiment, load_experiment
from zswap_gym.agents.train import train
threads, steps, name, *scenario = sys.argv[1:]
settings = load_experiment(name).model_dump() | {"threads": int(threads), "total_steps": int(steps)}
if scenario:
    settings["scenarios"] = {"train": scenario, "evaluate": scenario}
experiment = Experiment.model_validate(settings)
with tempfile.TemporaryDirectory() as folder:
    print(train(experiment, Path(folder) / "run", 1, progress=False).steps_per_s)
"""


def training_rate(threads: int, steps: int, experiment: str, scenario: str | None = None) -> float:
    """Steps a second of a training, learning and warm starts included, its hosts on so many threads."""
    arguments = [str(threads), str(steps), experiment, *([scenario] if scenario else [])]
    return float(_run([sys.executable, "-c", TRAINING, *arguments]).split()[-1])


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
