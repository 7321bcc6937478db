"""The demo's training with several seeds, on the programs it saw and on those it did not.

python experiments/demo/seeds.py [--seeds 3] [--episodes 10]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from zswap_gym.agents.config import load_experiment
from zswap_gym.agents.evaluate import evaluate
from zswap_gym.agents.train import train
from zswap_gym.cli.evaluate import HELD_OUT
from zswap_gym.controller.rails import Limits

RULES = ("never", "release_only", "aimd")
RAILS = Limits(age_floor_s=10.0)
"""Those of the demo's controller."""


def main() -> None:
    """Train, then print what everybody saves against doing nothing and reads from disk, as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=10)
    told = parser.parse_args()
    demo = load_experiment("demo")
    with tempfile.TemporaryDirectory() as folder:
        runs = {f"agent, seed {seed}": Path(folder) / str(seed) for seed in range(1, told.seeds + 1)}
        for seed, run in enumerate(runs.values(), start=1):
            train(demo, run, seed)
        railed = {f"{name}+rails": f"{run}+rails" for name, run in runs.items()}
        results = evaluate(
            {**runs, **railed, **{rule: rule for rule in RULES}},
            [*demo.scenarios.train, *demo.scenarios.evaluate],
            range(HELD_OUT, HELD_OUT + told.episodes),
            rails=RAILS,
        )
    print("| scenario | policy | kept | saved % | disk reads/min |\n|---|---|---|---|---|")
    for scenario in results.scenarios:
        for found in results.standings(scenario):
            saved = found.saved_pct
            interval = f"{saved.value:+.2f} [{saved.low:+.2f}, {saved.high:+.2f}]"
            kept = f"{found.keeping} of {found.cgroups}"
            print(f"| {scenario} | {found.policy} | {kept} | {interval} | {found.disk_reads_min:.0f} |")


if __name__ == "__main__":
    main()
