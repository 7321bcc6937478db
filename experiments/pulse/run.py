"""Pulses on Debian's kernels and in the model, the same ones; what the real kernel does around them.

python experiments/pulse/run.py measure --kernel 6.12 [--only redis]    # in a guest, 10 minutes: 6.12.json
python experiments/pulse/run.py compare                  # the model against the kept files: results.csv
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "vm"))

SIZES = (128, 256, 512, 1024)
REPEATS = 3
PAGES = 12288
BATCH = 128


PARTS = ("sizes", "many", "file_cache", "redis")


def measure(kernel: str, only: Sequence[str]) -> None:
    """Run ``only`` these parts in a guest and keep what its counters said."""
    from kernelvm.image import parts
    from kernelvm.machine import Guest

    kept = HERE / f"{kernel}.json"
    told: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    with tempfile.TemporaryDirectory() as folder, Guest(parts(kernel), Path(folder)) as guest:
        told["kernel"] = guest.call("kernel")
        for part in only:
            told[part] = MEASURES[part](guest)
            guest.call("empty")
    kept.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _sizes(guest: Any) -> list[dict[str, Any]]:
    told = []
    for size in SIZES:
        guest.call("fill", cgroup="t/a", batches=3)
        guest.call("fill", cgroup="t/b", batches=1)
        pulses = guest.call("pulses", asked=[["t/a", size]] * REPEATS)
        thirds = [(i * 4096, i * 4096 + 4096) for i in range(3)]
        back = [guest.call("touch", cgroup="t/a", command="read", first=a, end=b) for a, b in thirds]
        guest.call("empty")
        disk, cached = [b["pswpin"] for b in back], [b["minor"] for b in back]
        told.append({"size": size, "pulses": pulses, "from_disk": disk, "in_swap_cache": cached})
    return told


def _many(guest: Any) -> Any:
    guest.call("fill", cgroup="t/a", batches=15)
    return guest.call("pulses", asked=[["t/a", 1024]] * 4, release=False)


ASKS = (
    ("4K swappiness=0", ""), ("64M swappiness=0", ""), ("4K swappiness=0", "memory.min"),
    ("1M swappiness=200", ""), ("16M swappiness=200", ""), ("16M swappiness=max", ""),
)  # fmt: skip
"""What might spare file cache: (written to memory.reclaim, protection set to max meanwhile)."""


def _file_cache(guest: Any) -> list[Any]:
    told = []
    for ask, protect in ASKS:
        told.append(guest.call("spared", ask=ask, protect=protect))
        guest.call("empty")
    return told


MEASURES = {
    "sizes": _sizes, "many": _many, "file_cache": _file_cache,
    "redis": lambda guest: guest.call("redis_reads", timeout_s=600),
}  # fmt: skip


def _machine(pages: int) -> Any:
    """The same cgroups in the model, all of them in zswap, oldest page first."""
    import numpy as np

    from zswap_gym.kernel.access import REGION, AccessPlan, segments
    from zswap_gym.kernel.machine import Machine
    from zswap_gym.kernel.spec import CgroupSpec, HostSpec, StageOneSpec

    def idle(n: int) -> AccessPlan:
        region = np.zeros(1, REGION)
        region["n_pages"], region["seg_count"] = n, 1
        times, multipliers, integrals = segments([0], [1.0])
        return AccessPlan(
            rate=np.full(n, 1e-9, np.float32), region=np.zeros(n, np.uint16),
            clen=np.full(n, 1083, np.uint16),
            regions=region, seg_time=times, seg_mult=multipliers, seg_integral=integrals,
            first_touch=np.arange(n, dtype=np.int64) * 100, span_us=10**12,
        )  # fmt: skip

    host = HostSpec(ram_bytes=2 << 30, swap_bytes=1 << 30, interface="stock-pulse", max_pool_percent=40)
    tree = [CgroupSpec("t"), CgroupSpec("a", parent="t"), CgroupSpec("b", parent="t")]
    machine = Machine(host, tree, {"a": idle(pages), "b": idle(4096)}, seed=1, stage_one=StageOneSpec("none"))
    machine.advance(machine.now_us + 10_000_000)
    for name in ("a", "b"):
        machine.write(name, "memory.reclaim", "1G")
    return machine


def _model_sizes(size: int) -> dict[str, float]:
    from zswap_gym.kernel.layout import ZSWAP

    machine = _machine(PAGES)
    released = 0
    for _ in range(REPEATS):
        machine.request(machine.index["a"], 0, size, size)
        machine.advance(machine.now_us + 5_000_000)
        (done,) = machine.finished()
        released += done.released
    gone = machine.state.pages["state"][:PAGES] != ZSWAP
    return {
        "written": machine.counter("a", "zswpwb"), "elsewhere": machine.counter("b", "zswpwb"),
        "released": released, "of_oldest_third": int(gone[: PAGES // 3].sum()),
    }  # fmt: skip


def compare() -> None:
    """The model against every kept file."""
    rows: list[dict[str, Any]] = []

    def row(kernel: str, what: str, real: float, model: float, most: float) -> None:
        off = abs(model - real)
        within = off <= max(0.02 * real, most)
        rows.append(
            {"kernel": kernel, "what": what, "real": real, "model": model, "off": off, "within": within}
        )

    for path in sorted(HERE.glob("*.json")):
        told = json.loads(path.read_text(encoding="utf-8"))
        kernel = told["kernel"]
        for case in told.get("sizes", []):
            model, size, pulses = _model_sizes(case["size"]), case["size"], case["pulses"]
            row(
                kernel,
                f"{REPEATS} x {size}: written",
                sum(p["written"] for p in pulses),
                model["written"],
                REPEATS * BATCH,
            )
            row(
                kernel,
                f"{REPEATS} x {size}: elsewhere",
                sum(p["elsewhere"] for p in pulses),
                model["elsewhere"],
                0,
            )
            row(
                kernel,
                f"{REPEATS} x {size}: released",
                sum(p["released"] for p in pulses),
                model["released"],
                REPEATS * BATCH,
            )
            oldest = case["from_disk"][0] + case["in_swap_cache"][0]
            row(
                kernel,
                f"{REPEATS} x {size}: of the oldest third",
                oldest,
                model["of_oldest_third"],
                REPEATS * BATCH,
            )
        machine = _machine(61440)
        for number, pulse in enumerate(told["many"], 1):
            written = machine.pulse("a", 1024).pages
            row(kernel, f"61,440 entries, pulse {number}: written", pulse["written"], written, BATCH)
    with (HERE / "results.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for r in rows:
        print(
            f"{r['kernel']:24} {r['what']:40} {r['real']:8g} {r['model']:8g} {'' if r['within'] else 'OFF'}"
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("measure", "compare"))
    parser.add_argument("--kernel", choices=("6.12", "newest"), default="6.12")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    args = parser.parse_args()
    if args.what == "measure":
        measure(args.kernel, args.only)
    else:
        compare()


if __name__ == "__main__":
    main()
