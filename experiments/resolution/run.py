"""How coarse may pages be before answers change? Every rule on hosts of several sizes, pressures, scales.

    python experiments/resolution/run.py --sizes 1 --scales 1,4,16,64 --seeds 3 --out runs/resolution

Each host, pressure, scale and seed is one piece, kept in OUT/pieces as it ends: the same command goes on
where it was cut off, and a larger one adds to it. OUT/resolution.csv says what the pieces come to, against
the finest scale that was run of the same host.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from zswap_gym.agents.evaluate import evaluate
from zswap_gym.agents.parallel import open_workers
from zswap_gym.agents.statistics import bootstrap
from zswap_gym.atomic import write_atomically
from zswap_gym.policy.laws import LAWS
from zswap_gym.policy.promise import Account, judge_hosts
from zswap_gym.workloads.coarseness import too_coarse
from zswap_gym.workloads.scenario import Scenario

PRESSURES = (0.8, 0.6, 0.4)
"""memory.max as a share of each working set."""
MEASURES = ("saved_pct", "reads_per_gib_min", "broken_pct", "psi_added_pct")
PENALTY = 20.0
"""Of the objective: rules are ranked by memory saved less this much a breach."""


def host(gib: int, pressure: float, scale: int) -> Scenario:
    """A store with a long tail, a service that idles between bursts, and a batch job that sweeps its data."""
    share = {"store": 0.5, "service": 0.3, "batch": 0.2}
    regions = {
        "store": [("hot", 0.3, "zipf:0.9:0.02"), ("tail", 0.7, "lognormal:-9:2")],
        "service": [("live", 0.2, "uniform:0.05"), ("rest", 0.8, "lognormal:-10:2")],
        "batch": [("data", 1.0, "idle")],
    }
    phases = {
        "store": [{"name": "day", "duration": "20m"}],
        "service": [
            {"name": "busy", "duration": "5m"},
            {"name": "quiet", "duration": "10m", "rates": {"live": 0.1, "rest": 0.1}},
        ],
        "batch": [
            {"name": "sweep", "duration": "4m", "sweep": ["data"]},
            {"name": "wait", "duration": "11m"},
        ],
    }
    return Scenario.model_validate({
        "name": f"resolution-{gib}g", "host": {"page_scale": scale},
        "stage_one": {"kind": "fixed", "rate": f"{gib * 512}K", "interval": "1s"},
        "cgroups": [
            {
                "name": name, "memory_max": pressure,
                "workload": {
                    "regions": [
                        {"name": kind, "size": int(part * share[name] * gib * (1 << 30)), "popularity": law}
                        for kind, part, law in regions[name]
                    ],
                    "phases": phases[name],
                },
            }
            for name in share
        ],
        "episode": {"decision_interval": "30s", "warmup": "20m", "length": "30m"},
    })  # fmt: skip


def measure(gib: int, pressure: float, scale: int, seed: int) -> dict[str, dict[str, float]]:
    """By rule what it came to: the :data:`MEASURES`, and the breach."""
    scenario = host(gib, pressure, scale)
    results = evaluate(list(LAWS), [scenario], [seed])
    nothing = results.trial("never", scenario.name).account
    found = {}
    for law in LAWS:
        trial = results.trial(law, scenario.name)
        verdict = judge_hosts(trial.account, nothing, results.promise)
        found[law] = {
            "saved_pct": float(verdict.saved_pct[0]),
            "reads_per_gib_min": _reads(trial.account),
            "broken_pct": float(verdict.broken_pct[0]),
            "psi_added_pct": float(verdict.psi_added_pct[0]),
            "breach": float(verdict.breach[0]),
        }
    return found


def _reads(account: Account) -> float:
    """Disk reads a minute and GiB of footprint, all cgroups together."""
    gib_us = account.footprint_byte_us.sum() / (1 << 30)
    return float(account.reads.sum() / gib_us * 60e6)


def tau(a: list[float], b: list[float]) -> float:
    """Kendall's tau-b of two lists of marks."""
    signs = [np.sign(np.subtract.outer(x, x))[np.triu_indices(len(x), 1)] for x in (np.array(a), np.array(b))]
    norm = np.sqrt(np.abs(signs[0]).sum() * np.abs(signs[1]).sum())
    return float((signs[0] * signs[1]).sum() / norm) if norm else 1.0


def rows(pieces: dict[tuple[int, float, int, int], dict[str, dict[str, float]]]) -> list[dict[str, Any]]:
    """One per host, pressure and scale: errors against the finest scale on the same seeds, 95 % intervals.

    A row of the finest scale itself says what two seeds differ by.
    """
    groups: dict[tuple[int, float, int], dict[int, Any]] = defaultdict(dict)
    for (gib, pressure, scale, seed), found in pieces.items():
        groups[gib, pressure, scale][seed] = found
    table = []
    for (gib, pressure, scale), by_seed in sorted(groups.items()):
        finest = min(s for g, p, s in groups if (g, p) == (gib, pressure))
        base = groups[gib, pressure, finest]
        seeds = sorted(set(by_seed) & set(base))
        # The finest against itself with the next seed: what another draw changes is no matter of pages.
        other = dict(zip(seeds, [*seeds[1:], *seeds[:1]], strict=True)) if scale == finest else {}
        if not seeds or (scale == finest and len(seeds) < 2):
            continue
        row: dict[str, Any] = {"gib": gib, "memory_max": pressure, "page_scale": scale, "against": finest}
        row |= {"seeds": len(seeds), "safe": not too_coarse(host(gib, pressure, scale))}
        pairs = [(by_seed[s], base[other.get(s, s)]) for s in seeds]
        for name in MEASURES:
            errors = [
                np.mean([abs(mine[law][name] - theirs[law][name]) for law in mine]) for mine, theirs in pairs
            ]
            row |= _estimate(f"mae_{name}", errors)
        marks = [
            tau(*([_mark(run[law]) for law in mine] for run in (mine, theirs))) for mine, theirs in pairs
        ]
        table.append(row | _estimate("kendall_tau", marks))
    return table


def _mark(found: dict[str, float]) -> float:
    return found["saved_pct"] - PENALTY * found["breach"]


def _estimate(name: str, values: list[Any]) -> dict[str, float]:
    found = bootstrap(np.array(values), statistic=lambda runs: runs.mean(axis=-1))
    parts = {"": found.value, "_low": found.low, "_high": found.high}
    return {f"{name}{part}": round(value, 4) for part, value in parts.items()}


def main() -> None:
    """Run what is missing of the pieces asked for, then write the table of all there are."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    asked.add_argument("--sizes", default="1,8,64", help="GiB of the working sets")
    asked.add_argument("--scales", default="1,4,16,64")
    asked.add_argument("--pressures", default=",".join(map(str, PRESSURES)))
    asked.add_argument("--seeds", type=int, default=6)
    asked.add_argument("--out", type=Path, default=Path("runs/resolution"))
    asked.add_argument("--workers", type=int)
    asked.add_argument("--cluster")
    args = asked.parse_args()
    folder = args.out / "pieces"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [
        (int(gib), float(pressure), int(scale), seed)
        for seed in range(args.seeds)
        for gib in args.sizes.split(",")
        for pressure in args.pressures.split(",")
        for scale in args.scales.split(",")
    ]

    def path(piece: tuple[int, float, int, int]) -> Path:
        return folder / "{}g-{}-{}-{}.json".format(*piece)

    missing = [piece for piece in wanted if not path(piece).exists()]
    with open_workers(args.workers, args.cluster) as workers:
        for at in range(0, len(missing), workers.count):  # kept as they end, and all of a batch at once
            part = missing[at : at + workers.count]
            for piece, found in zip(part, workers.run(measure, part), strict=True):
                write_atomically(path(piece), json.dumps(found))
    pieces = {}
    for file in sorted(folder.glob("*.json")):
        gib, pressure, scale, seed = file.stem.split("-")
        key = (int(gib.removesuffix("g")), float(pressure), int(scale), int(seed))
        pieces[key] = json.loads(file.read_text())
    table = rows(pieces)
    if table:
        with (args.out / "resolution.csv").open("w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, table[0])
            writer.writeheader()
            writer.writerows(table)
    for row in table:
        print(" ".join(f"{key}={value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
