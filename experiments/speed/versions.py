"""This version against another, in turn, because the machine's speed changes by the minute.

git worktree add ../before COMMIT
python experiments/speed/versions.py ../before [--rounds 3] [--start-up]

Prints the figures of each run, then the ratio of each pair: median, least and greatest. With --start-up only
how long a new process takes to its first step, without and with a cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

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


START_UP = """
import json, resource, time
began = time.perf_counter()
import gymnasium, zswap_gym
env = gymnasium.make("zswap_gym/Writeback-v0", scenario="single-kv")
env.reset(seed=0)
env.step(env.action_space.sample())
wall = time.perf_counter() - began
cpu = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps([wall, *(part.ru_utime + part.ru_stime for part in cpu)]))
"""


def measure(checkout: Path) -> dict[str, float]:
    """The figures of the code in ``checkout``, in a process of its own."""
    figures: dict[str, float] = _run(checkout, MEASURE)
    return figures


def start_up(checkout: Path) -> dict[str, float]:
    """Seconds to the first step, and CPU seconds of the process and of those that help it compile.

    On a busy machine the greater of the two is what a quiet one waits for.
    """
    with tempfile.TemporaryDirectory() as cache:
        (cold, own, helpers), (warm, *_) = (_run(checkout, START_UP, ZSWAP_GYM_CACHE=cache) for _ in range(2))
    return {"cold, s": cold, "cold, CPU s": own, "cold, CPU s of helpers": helpers, "warm, s": warm}


def _run(checkout: Path, script: str, **environment: str) -> Any:
    environment |= {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-c", script],
        env=os.environ | environment, cwd=checkout, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def main() -> None:
    """Measure both in turn; the first run of each compiles and does not count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--start-up", action="store_true")
    args = parser.parse_args()
    before, figures = args.before.resolve(), start_up if args.start_up else measure
    if not args.start_up:
        for checkout in (before, HERE):
            measure(checkout)
    pairs = [(figures(before), figures(HERE)) for _ in range(args.rounds)]
    for name in pairs[0][0]:
        runs = "  ".join(f"{earlier[name]:.4g} -> {after[name]:.4g}" for earlier, after in pairs)
        ratios = [after[name] / earlier[name] for earlier, after in pairs if earlier[name]]
        if ratios:
            runs += f"; ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{name}: {runs}; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
