"""What does an age buy that a size does not? Both in the model, at equal disk reads. See README.md.

    python experiments/upstream/age_or_size.py [--scenario NAME ...] [--seeds 4]     # age_or_size.csv

Version 1 of the series takes an age and a size, version 3 a size only, the oldest entries first. Every
setting is repeated at every decision in every cgroup. Nothing is released besides: what reclaims is the
scenario's own stage one, the same for both, so that neither buys memory with compression.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

from zswap_gym.agents.advice.grid import DIALECT, Point
from zswap_gym.agents.advice.measure import Measured
from zswap_gym.policy.promise import Account
from zswap_gym.workloads.scenario import load_scenario

HERE = Path(__file__).parent
SCENARIOS = ("single-kv", "single-py", "kv-and-sidecar", "mixed-host", "mixed-test", "batch-rounds")
AGES_S = (120, 300, 600, 1200, 1800, 3600)
SIZES = tuple(1 << shift for shift in range(16, 24))
"""Bytes a decision and cgroup."""
SIZE_ONLY = "zswap_writeback_only"
READS = (10, 30, 100, 300, 1000)
"""Disk reads a minute of the whole host at which the two are compared."""


def points() -> list[Point]:
    """Every setting of either interface."""
    return [
        *(Point("v1", age, size) for age in AGES_S for size in SIZES),
        *(Point(SIZE_ONLY, 1, size, DIALECT[SIZE_ONLY]) for size in SIZES),
    ]


def figures(account: Account, nothing: Account) -> tuple[float, float]:
    """Memory saved, percent, and disk reads a minute beyond doing nothing, of accounts (S, N) together."""
    held, base = account.held_byte_us.sum(), nothing.held_byte_us.sum()
    minutes = account.elapsed_us[:, 0].sum() / 60e6
    return 100.0 * (base - held) / base, float((account.reads.sum() - nothing.reads.sum()) / minutes)


def most_saved(found: Sequence[tuple[float, float]], reads: float) -> float:
    """The most that settings (saved, reads) save within so many reads; two of them may be mixed in time,
    as nothing done is one of them.
    """
    best = 0.0
    settings = [(0.0, 0.0), *found]
    for saved, cost in settings:
        if cost <= reads:
            best = max(best, saved)
        else:
            for other, cheap in settings:
                if cheap < reads:
                    share = (reads - cheap) / (cost - cheap)
                    best = max(best, other + share * (saved - other))
    return best


def measure(name: str, seeds: int) -> tuple[list[dict[str, object]], list[tuple[float, float]]]:
    """Every setting of a scenario, and the two interfaces at equal reads."""
    found = Measured.of(load_scenario(name).arm(release_after_writeback=False))
    chosen = range(5000, 5000 + seeds)
    settings: list[dict[str, object]] = []
    by_interface: dict[str, list[tuple[float, float]]] = {"v1": [], SIZE_ONLY: []}
    for point in points():
        found.add(chosen, [point.never, point])
        saved, reads = figures(found.account(point, chosen), found.account(point.never, chosen))
        by_interface[point.interface].append((saved, reads))
        settings.append(
            {
                "scenario": name, "interface": point.interface,
                "age_s": point.age_s if point.interface == "v1" else "", "size": point.max_bytes,
                "saved_pct": round(saved, 3), "reads_min": round(reads, 2),
            }
        )  # fmt: skip
    both, size = by_interface["v1"], by_interface[SIZE_ONLY]
    return settings, [(most_saved(both, reads), most_saved(size, reads)) for reads in READS]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenario", nargs="+", default=list(SCENARIOS))
    parser.add_argument("--seeds", type=int, default=4)
    args = parser.parse_args()
    rows: list[dict[str, object]] = []
    print("| scenario | " + " | ".join(f"{reads}/min" for reads in READS) + " |")
    print("|---|" + "---|" * len(READS))
    for name in args.scenario:
        settings, compared = measure(name, args.seeds)
        rows += settings
        cells = (f"{both:.1f}, {size:.1f}" for both, size in compared)
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    with (HERE / "age_or_size.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
