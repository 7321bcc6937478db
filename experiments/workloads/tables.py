"""The rows of archetypes.json and size_classes.json of recordings that are shipped.

    python experiments/workloads/tables.py RECORDING ...

A row is named like the archetype that is fitted to the recording.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import numpy as np

from zswap_gym.units import PAGE_SIZE, US_PER_S
from zswap_gym.workloads.coldness import cold_share
from zswap_gym.workloads.compress import QUANTILES, fit_sizes
from zswap_gym.workloads.profiles import PROFILES
from zswap_gym.workloads.traces import COMP_COLUMNS, DATA, KIND_OTHER, KIND_SAME, KIND_ZERO, Trace, load_trace

AGES = (10, 30, 60, 120)
ALWAYS_HZ = 5.0


def statistics(name: str, trace: Trace) -> dict[str, Any]:
    """What archetypes.json says of a recording."""
    touched, allocated = trace.touched(), trace.allocated()
    seconds = trace.times_us / US_PER_S
    interval, life = float(np.diff(seconds).mean()), np.maximum(allocated.sum(0), 1)
    share = np.clip(touched.sum(0) / life, 0, 1 - 0.5 / life)
    hz = -np.log1p(-share) / interval
    middle = (share > 0) & (hz < ALWAYS_HZ)
    change = np.diff(allocated.astype(np.int8), axis=0)
    return {
        "fitted_to": name,
        "size_mib": round(float(allocated.sum(1).mean()) * PAGE_SIZE / 2**20),
        "mu": float(np.log(hz[middle]).mean()),
        "sigma": float(np.log(hz[middle]).std()),
        "never": float((share == 0).mean()),
        "always": float((hz >= ALWAYS_HZ).mean()),
        "touched_frac_per_interval": float((touched[1:].sum(1) / allocated[1:].sum(1)).mean()),
        "interval_s": interval,
        "alloc_pages_per_s": float((change > 0).sum() / seconds[-1]),
        "free_pages_per_s": float((change < 0).sum() / seconds[-1]),
        "cold": {
            str(age): float(cold)
            for age, cold in zip(AGES, cold_share(touched[1:], allocated[1:], seconds[1:], AGES), strict=True)
        },
        "comp": sizes(name),
    }


def sizes(name: str) -> dict[str, Any]:
    """Quantiles of the compressed sizes of the recording's first sample."""
    with np.load(DATA / f"{name}.npz") as arrays:
        kind, size = arrays["comp_kind"], np.minimum(arrays["comp_size"], PAGE_SIZE)
    other = size[kind == KIND_OTHER]
    rank = np.argsort(np.argsort(other, axis=0), axis=0)
    return {
        "zero": float((kind == KIND_ZERO).mean()),
        "same": float((kind == KIND_SAME).mean()),
        "quantiles_pct": [round(100 * q) for q in QUANTILES],
        **{
            column: [round(x) for x in np.quantile(other[:, i], QUANTILES)]
            for i, column in enumerate(COMP_COLUMNS)
        },
        "rank_corr_lzo_zstd3": float(np.corrcoef(rank[:, 0], rank[:, -1])[0, 1]),
    }


def classes(trace: Trace) -> dict[str, Any]:
    """What size_classes.json says of a recording."""
    model = fit_sizes(trace)
    return {key: np.round(getattr(model, key), 5).tolist() for key in ("rank", "zero", "same")}


def enter(file: str, name: str, row: dict[str, Any]) -> None:
    """Write one row, in the layout that the file has: the innermost lists of ranks on one line."""
    content = json.loads((DATA / file).read_text()) | {name: row}
    text = json.dumps(content, indent=1)
    if file == "size_classes.json":
        text = re.sub(r"\[([^\[\]]*)\]", lambda found: f"[{' '.join(found[1].split())}]", text)
    (DATA / file).write_text(text + "\n")


def main() -> None:
    """Enter the recordings named on the command line."""
    for recording in sys.argv[1:]:
        trace = load_trace(recording)
        name = next(key for key, profile in PROFILES.items() if profile.fitted_to == recording)
        row = statistics(recording, trace)
        enter("archetypes.json", name, row)
        enter("size_classes.json", name, classes(trace))
        print(name, row["size_mib"], "MiB, cold", row["cold"], "touched", row["touched_frac_per_interval"])


if __name__ == "__main__":
    main()
