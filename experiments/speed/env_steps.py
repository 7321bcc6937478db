"""Environment steps a second on one core, with a random policy, and what the model did in a step.

    python experiments/speed/env_steps.py [SCENARIO] [--episodes N] [--load X ...]

Rates are of whole episodes, resets included, after the snapshot pool is warm; the median and the
best of the episodes are printed, because other programs share the machine. Beside each rate stand
the accesses the programs made in a step and the faults and scans the model served: a step's cost
is the cost of those.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium
import numpy as np

import zswap_gym.envs  # noqa: F401 - registers the ids
from zswap_gym.kernel.layout import STAT
from zswap_gym.workloads.scenario import Scenario, load_scenario

COUNTED = ("pgfault", "pgscan", "looks", "zswpwb")


def scaled(scenario: Scenario, load: float) -> Scenario:
    """The scenario with every program's rates times ``load``."""
    cgroups = [
        c.model_copy(update={"workload": c.workload.model_copy(update={"load": c.workload.load * load})})
        if c.workload is not None
        else c
        for c in scenario.cgroups
    ]
    return scenario.model_copy(update={"cgroups": cgroups})


def accesses_per_step(scenario: Scenario, interval_s: float) -> float:
    """Mean accesses per step by rate (sweeps and traces add to it), from one draw of the plans."""
    plans = scenario.realise(np.random.default_rng(0)).plans
    total = 0.0
    for plan in plans.values():
        mean = np.zeros(len(plan.regions))
        for r, region in enumerate(plan.regions):
            span = slice(region["seg_start"], region["seg_start"] + region["seg_count"])
            ends = np.append(plan.seg_time[span][1:], plan.span_us)
            mean[r] = (plan.seg_mult[span] * np.diff(np.append(plan.seg_time[span], ends[-1]))).sum() / ends[
                -1
            ]
        total += float((plan.rate * mean[plan.region]).sum()) * interval_s
    return total


def measure(scenario: Scenario, episodes: int) -> dict[str, float]:
    """Steps per second (median and best of the episodes) and counters per step."""
    env = gymnasium.make("zswap_gym/Writeback-v0", scenario=scenario, disable_env_checker=True).unwrapped
    env.action_space.seed(0)
    for seed in range(scenario.episode.snapshots):
        env.reset(seed=seed)
    actions = [env.action_space.sample() for _ in range(env.steps_per_episode)]
    rates, counted = [], np.zeros(len(STAT))
    for episode in range(episodes):
        began = time.perf_counter()
        env.reset(seed=episode)
        machine = env.host.machine
        before = machine.counters()[0]
        for action in actions:
            env.step(action)
        rates.append(len(actions) / (time.perf_counter() - began))
        counted += machine.counters()[0] - before
    scale = int(machine.state.host["scale"][0])
    per_step = counted / (episodes * len(actions))
    looks = STAT.index("looks")
    result = {name: per_step[STAT.index(name)] / scale for name in COUNTED}
    result["looks"] = per_step[looks]
    return {"median": statistics.median(rates), "best": max(rates), **result}


def main() -> None:
    """Print one row per load."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", nargs="?", default="bench-mix")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--load", type=float, nargs="+", default=[1.0])
    told = parser.parse_args()
    base = load_scenario(told.scenario)
    interval = base.episode.decision_interval
    print(
        f"scenario {base.name}, one core, {interval:g} s decisions, random policy; per step, simulated pages"
    )
    print(
        f"{'load':>6} {'steps/s':>9} {'best':>9} {'accesses':>9} "
        f"{'faults':>8} {'scans':>8} {'looks':>8} {'written':>8}"
    )
    for load in told.load:
        scenario = scaled(base, load)
        row = measure(scenario, told.episodes)
        print(
            f"{load:6g} {row['median']:9.0f} {row['best']:9.0f} {accesses_per_step(scenario, interval):9.0f} "
            f"{row['pgfault']:8.0f} {row['pgscan']:8.0f} {row['looks']:8.0f} {row['zswpwb']:8.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
