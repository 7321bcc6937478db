"""Why a lazy prototype could count 6-19 % fewer scans: what each rule of the lazy look is worth, and luck.

python experiments/lazy/explain.py luck     # the rhythms a run can fall into, of both programs
python experiments/lazy/explain.py omit     # the lazy core with one rule left out, against the reference
python experiments/lazy/explain.py speed    # lazy against access by access

Workloads and comparison are those of tests/kernel/test_lazy_equals_reference.py; "wide" has rates from
0.001 to 1 Hz and no memory.zswap.max.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from zswap_gym.kernel.access import AccessPlan
from zswap_gym.workloads.archetypes import archetype_plan

ROOT = Path(__file__).parents[2]
COUNTERS = ("zswpout", "zswpin", "pgscan", "pgmajfault")
QUIET = 1.32  # scans per fault, a value neither rhythm has

OMISSIONS: dict[str, tuple[str, str, str]] = {
    "nothing": ("mglru.py", "", ""),
    "the fault sets the accessed bit": (
        "fault.py",
        "page.flags = (page.flags | F_YOUNG) & ~F_SWEEP",
        "page.flags = page.flags & ~F_SWEEP",
    ),
    "a walk clears the bit the fault set": (
        "mglru.py",
        "accessed = page.flags & F_YOUNG and page.when >= cg.last_walk",
        "accessed = page.flags & F_YOUNG",
    ),
    "a walk clears the bits of pages tagged youngest": (
        "mglru.py",
        "        cg.last_walk = now\n",
        "        pass\n",
    ),
    "a walk tags older pages found young": (
        "mglru.py",
        "        retag(st, c, p, st.cgs[c].max_seq)\n        st.pages[p].flags &= ~F_FULLREF\n",
        "        st.pages[p].flags &= ~F_FULLREF\n",
    ),
    "a look at eviction clears the bit": (
        "mglru.py",
        "    page.flags &= ~F_YOUNG\n    page.when = now\n",
        "    page.flags &= ~F_YOUNG\n",
    ),
    "a write before the last walk counts": (
        "mglru.py",
        "if not page.flags & F_DIRTY and look(st, p, since, cg.last_walk) & 2:",
        "if False:",
    ),
    "there are walks": ("mglru.py", "    _walk(st, c)\n", "    pass\n"),
}  # fmt: skip


def comparison() -> Any:
    """The test's module: workloads, pairs, ratios."""
    path = ROOT / "tests" / "kernel" / "test_lazy_equals_reference.py"
    spec = importlib.util.spec_from_file_location("lazy_comparison", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["lazy_comparison"] = module
    spec.loader.exec_module(module)
    return module


def ratios() -> None:
    """In a child process: the table rows of the kernel that PYTHONPATH names."""
    tool = comparison()
    tool.COUNTERS = COUNTERS
    for case in tool.CASES[:3]:
        tool.compare(case)
    tool.SEEDS, tool.STUDENT_T = 32, 2.040
    for limit, window_s in ((0.8, 1800), (0.6, 900), (0.4, 300)):
        tool.compare(tool.Case(f"wide, {limit}", (tool.constant,), window_s, memory_max=limit, slowest=0.001))


def omit() -> None:
    """Compare cores that lack one rule each."""
    print(f"| case | {' | '.join(COUNTERS)} | speed |\n|---|---|---|---|---|---|")
    for what, (file, old, new) in OMISSIONS.items():
        if not all(word in what for word in sys.argv[2:]):
            continue
        with tempfile.TemporaryDirectory() as folder:
            package = Path(folder) / "zswap_gym"
            shutil.copytree(ROOT / "zswap_gym", package, ignore=shutil.ignore_patterns("__pycache__"))
            source = (package / "kernel" / file).read_text()
            assert old in source, what
            (package / "kernel" / file).write_text(source.replace(old, new) if old else source)
            environment = {**os.environ, "PYTHONPATH": folder, "ZSWAP_GYM_CACHE": str(Path(folder) / "cache")}
            print(f"| **without: {what}** | | | | | |", flush=True)
            subprocess.run([sys.executable, __file__, "ratios"], check=True, env=environment)  # noqa: S603


def luck(seeds: int = 40, blocks: int = 20, block_s: int = 300) -> None:
    """Scans per fault in blocks of five minutes: both programs stay for hours in one of two rhythms."""
    tool = comparison()
    scan, fault = tool.STAT.index("pgscan"), tool.STAT.index("pgmajfault")
    case = tool.Case("", (tool.constant,), blocks * block_s, memory_max=0.6, slowest=0.001, pages=8192)
    arguments = case.arguments(0)
    programs: dict[str, Callable[[int], Any]] = {
        "lazy": lambda seed: tool.Machine(*arguments, seed=seed, exact=True),
        "reference": lambda seed: tool.Reference(*arguments, seed=seed),
    }
    print("| program | quiet blocks | scans per fault, quiet | busy | faults per block, quiet | busy |")
    print("|---|---|---|---|---|---|")
    for name, make in programs.items():
        counts = np.zeros((seeds, blocks, 2))
        for seed in range(seeds):
            machine = make(seed)
            machine.advance(machine.now_us + tool.WARM_UP_S * tool.US_PER_S)
            before = machine.counters()[0]
            for block in range(blocks):
                machine.advance(machine.now_us + block_s * tool.US_PER_S)
                now = machine.counters()[0]
                counts[seed, block] = (now - before)[[scan, fault]]
                before = now
        quiet = counts[:, :, 0] < QUIET * counts[:, :, 1]
        error = quiet.mean(axis=1).std(ddof=1) / np.sqrt(seeds)
        cells = [f"{quiet.mean():.0%} +- {2 * error:.0%}"]
        cells += [f"{counts[which][:, 0].sum() / counts[which][:, 1].sum():.2f}" for which in (quiet, ~quiet)]
        cells += [f"{counts[which][:, 1].mean():.0f}" for which in (quiet, ~quiet)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def speed(pages: int = 16384, window_s: int = 3600) -> None:
    """Counters and times of both programs, over eight pairs."""
    tool = comparison()
    tool.COUNTERS = COUNTERS
    tool.SEEDS, tool.STUDENT_T = 8, 2.365
    print(f"| case | {' | '.join(COUNTERS)} | speed |\n|---|---|---|---|---|---|")
    for name, draw in (("wide", tool.draw_plan), ("kv_zipf", draw_kv_zipf)):
        tool.draw_plan = draw
        for limit in (0.8, 0.4):
            tool.compare(
                tool.Case(
                    f"{name}, {limit}",
                    (tool.constant,),
                    window_s,
                    memory_max=limit,
                    pages=pages,
                    slowest=0.001,
                )
            )


def draw_kv_zipf(
    n: int, _shape: object, seconds: int, rng: np.random.Generator, _slowest: float
) -> AccessPlan:
    """The generator fitted to the recordings of a key-value store: 60 accesses a fault and more."""
    return archetype_plan("kv_zipf", n, seconds * 1_000_000, rng, compressor="zstd")


if __name__ == "__main__":
    {"omit": omit, "ratios": ratios, "luck": luck, "speed": speed}[sys.argv[1]]()
