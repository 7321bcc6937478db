"""The demo's training with several seeds: the champion of each beside the best rule. See README.md.

    python experiments/demo/seeds.py [--seeds 10] [--out runs/demo-seeds] [--workers 2]

Killed and started again it goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zswap_gym.agents.config import load_experiment
from zswap_gym.agents.learning.train import train
from zswap_gym.agents.parallel import open_workers

COLUMNS = (
    "seed",
    "scenario",
    "champion",
    "saved %",
    "broken min %",
    "keep it",
    "best rule",
    "saved %",
    "keep it",
)


def rows(seed: int, found: Mapping[str, Any]) -> list[list[str]]:
    """Of each scenario, and of all."""
    champion, rule = found["champion"], found["best_rule"]
    parts = [(name, champion["scenarios"][name], rule["scenarios"][name]) for name in champion["scenarios"]]
    return [
        [
            str(seed), name, champion["policy"], _span(mine), f"{mine['broken_pct']:.1f}", _keep(mine),
            Path(rule["policy"]).stem, _span(other), _keep(other),
        ]
        for name, mine, other in [*parts, ("all", champion, rule)]
    ]  # fmt: skip


def _span(part: Mapping[str, Any]) -> str:
    return f"{part['saved_pct']:.2f} [{part['saved_low']:.1f}, {part['saved_high']:.1f}]"


def _keep(part: Mapping[str, Any]) -> str:
    return f"{part['keeping']} of {part['cgroups']}"


def main() -> None:
    """Train, then print a row per seed and scenario."""
    parser = argparse.ArgumentParser(description="The demo's training with several seeds")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("runs/demo-seeds"))
    parser.add_argument("--workers", type=int, default=None)
    args = parser.parse_args()
    demo = load_experiment("demo")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    with open_workers(args.workers) as workers:
        for seed in range(1, args.seeds + 1):
            run = args.out / f"seed-{seed}"
            experiment = demo.model_copy(update={"seed": seed})
            found = train(experiment, run, resume=(run / "experiment.yaml").exists(), workers=workers)
            for row in rows(seed, found):
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
