"""This version against another, in turn, because the machine's speed changes by the minute.

git worktree add ../before COMMIT
python experiments/speed/versions.py ../before [--rounds 3]

Prints the figures of each run, then the ratio of each pair: median, least and greatest.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
MEASURE = """
import json, statistics, time
from inspect import signature
from zswap_gym.agents.advice.grid import NEVER
from zswap_gym.agents.advice.measure import Measured
from zswap_gym.agents.advice.subject import subject
from zswap_gym.agents.bench.rates import host_week, machine_rate
from zswap_gym.agents.bench.variants import variant
from zswap_gym.envs.vector import WritebackVectorEnv

def rate(n):
    bill = {"objective": "bill"} if "objective" in signature(WritebackVectorEnv).parameters else {}
    env = WritebackVectorEnv(n, variant(limit=0.6), **bill)
    for seed in range(4):
        env.reset(seed=seed)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(60)]
    env.step(actions[0])
    env.reset(seed=0)
    rates = []
    for _ in range(5):
        began = time.perf_counter()
        for action in actions:
            env.step(action)
        rates.append(60 * n / (time.perf_counter() - began))
    return statistics.median(rates)

def recordings():
    found = Measured.of(subject("llm_infer"))
    found.add(range(1), [NEVER])
    began = time.perf_counter()
    found.add(range(1, 17), [NEVER])
    return 16 * 3600 / (time.perf_counter() - began)

print(json.dumps({
    "recordings replayed an hour": recordings(),
    "one environment, steps/s": rate(1),
    "eight environments, steps/s": rate(8),
    "host weeks an hour": 3600 / host_week(),
    "64 GiB, simulated s/s": machine_rate(64, 1, 60.0).sim_s_per_s,
}))
"""


def measure(checkout: Path) -> dict[str, float]:
    """The figures of the code in ``checkout``, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-c", MEASURE],
        env=environment, cwd=checkout, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    told: dict[str, float] = json.loads(done.stdout)
    return told


def main() -> None:
    """Measure both in turn; the first run of each compiles and does not count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    told = parser.parse_args()
    before = told.before.resolve()
    for checkout in (before, HERE):
        measure(checkout)
    pairs = [(measure(before), measure(HERE)) for _ in range(told.rounds)]
    for name in pairs[0][0]:
        ratios = [after[name] / earlier[name] for earlier, after in pairs]
        runs = "  ".join(f"{earlier[name]:.0f} -> {after[name]:.0f}" for earlier, after in pairs)
        print(
            f"{name}: {runs}; ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
