"""How like the recordings are the generators? The table of README.md.

    python experiments/workloads/fit.py [ARCHETYPE ...] [--seeds 24]

Generator and recording are watched by the same scans. Cold shares are time averages of allocated pages;
touched share is per interval; sizes are the quantiles 10, 50, 90 % of pages that are neither zero nor
one repeated word, worst of lzo, lz4 and zstd.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np

from zswap_gym.units import PAGE_SIZE, US_PER_S
from zswap_gym.workloads.archetypes import ARCHETYPES, archetype_plan
from zswap_gym.workloads.coldness import bitmaps, cold_share
from zswap_gym.workloads.compress import COLUMN_OF, SAME_BYTES
from zswap_gym.workloads.profiles import PROFILES, Profile
from zswap_gym.workloads.traces import COMP_COLUMNS, DATA, KIND_OTHER, load_trace

AGES = (10, 30, 60, 120)
SETTLE_US = 2 * US_PER_S
"""What exists at the start is allocated in the first second: not part of the pattern."""
QUANTILES = (0.1, 0.5, 0.9)


def recorded(name: str) -> tuple[np.ndarray, np.ndarray, float]:
    """(scan times us, cold shares, touched share) of the recording, its first interval left out."""
    trace = load_trace(PROFILES[name].fitted_to)
    touched, allocated = trace.touched()[1:], trace.allocated()[1:]
    cold = np.array(cold_share(touched, allocated, trace.times_us[1:] / US_PER_S, AGES))
    return trace.times_us, cold, float((touched.sum(1) / allocated.sum(1)).mean())


def begun(told: Profile) -> dict[str, Any]:
    """As the recording began: a job at its start, a window a fifth full."""
    if told.front is not None:
        return {"front": replace(told.front, begun=0.0)}
    if told.ring is not None:
        return {"ring": replace(told.ring, fill=0.2)}
    return {}


def generated(
    name: str, times_us: np.ndarray, seeds: range, pages: int = 2048, **overrides: Any
) -> tuple[np.ndarray, float]:
    """(cold shares, touched share) of the generator, mean over seeds."""
    cold, share = [], []
    for seed in seeds:
        options = begun(replace(PROFILES[name], **overrides)) | {
            key: value for key, value in overrides.items() if key not in ("front", "ring")
        }
        rng = np.random.default_rng(seed)
        plan = archetype_plan(name, pages, int(times_us[-1]) + SETTLE_US, rng, overrides=options)
        touched, allocated = bitmaps(plan, times_us + SETTLE_US, np.random.default_rng(seed))
        cold.append(cold_share(touched[1:], allocated[1:], times_us[1:] / US_PER_S, AGES))
        share.append((touched[1:].sum(1) / np.maximum(allocated[1:].sum(1), 1)).mean())
    return np.mean(cold, axis=0), float(np.mean(share))


def size_error(name: str, seeds: range, pages: int = 8192) -> float:
    """Largest relative difference of a compressed-size quantile to the recording's first sample."""
    with np.load(DATA / f"{PROFILES[name].fitted_to}.npz") as arrays:
        kind, size = arrays["comp_kind"], arrays["comp_size"]
    measured = np.minimum(size[kind == KIND_OTHER], PAGE_SIZE).astype(float)
    worst = 0.0
    for compressor, column in COLUMN_OF.items():
        sizes = np.concatenate(
            [
                archetype_plan(name, pages, US_PER_S, np.random.default_rng(seed), compressor=compressor).clen
                for seed in seeds
            ]
        ).astype(float)
        sizes = sizes[(sizes > 0) & (sizes != SAME_BYTES[compressor])]
        want = np.quantile(measured[:, COMP_COLUMNS.index(column)], QUANTILES)
        worst = max(worst, float(np.abs(np.quantile(sizes, QUANTILES) / want - 1).max()))
    return worst


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=ARCHETYPES)
    parser.add_argument("--seeds", type=int, default=24)
    args = parser.parse_args()
    print("| archetype | recording | " + " | ".join(f"cold {age} s" for age in AGES) + " | touched | sizes |")
    print("|---|---|" + "---|" * (len(AGES) + 2))
    for name in args.names:
        times, want, share = recorded(name)
        got, got_share = generated(name, times, range(1000, 1000 + args.seeds))
        cells = [f"{a:.2f} / {b:.2f} ({b - a:+.3f})" for a, b in zip(want, got, strict=True)]
        cells.append(f"{share:.3f} / {got_share:.3f} ({100 * (got_share / share - 1):+.0f} %)")
        cells.append(f"{100 * size_error(name, range(4)):.1f} %")
        print(f"| {name} | {PROFILES[name].fitted_to} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
