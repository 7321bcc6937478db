"""The compiled core against C: the aging walk, in Python through numba and translated by hand."""

from __future__ import annotations

import ctypes
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from zswap_gym.kernel import access, layout, mglru
from zswap_gym.kernel.jit import entry
from zswap_gym.kernel.machine import Machine
from zswap_gym.kernel.spec import CgroupSpec, HostSpec
from zswap_gym.kernel.stateref import state_ref
from zswap_gym.units import PAGE_SIZE, US_PER_S
from zswap_gym.workloads.archetypes import archetype_plan

SOURCE = Path(__file__).resolve().parents[2] / "experiments" / "speed" / "walk.c"
_C_TYPES = {
    "i8": "int64_t",
    "i4": "int32_t",
    "u2": "uint16_t",
    "u1": "uint8_t",
    "f8": "double",
    "f4": "float",
}
_PAGES = 65_536
_REPEATS = 15


@entry  # type: ignore[untyped-decorator]
def _walk(block: Any, c: int) -> None:
    mglru._walk(state_ref(block), c)  # type: ignore[call-arg] # noqa: SLF001 - what is timed


def core_over_c() -> tuple[float | None, str]:
    """Time of the compiled walk over that of its C translation, or None and why it was not measured.

    Both walk the same 65,536 pages from the same state, and must leave the same state behind.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        return None, "not measured: there is no C compiler (cc)"
    if not SOURCE.exists():
        return None, "not measured: experiments/speed/walk.c is only in a checkout"
    with tempfile.TemporaryDirectory(prefix="zswap-gym-bench-") as folder:
        library = _built(compiler, Path(folder))
        return _measured(library), ""


def _built(compiler: str, folder: Path) -> ctypes.CDLL:
    (folder / "layout.h").write_text(_layout_h())
    target = folder / "walk.so"
    # fp-contract: numba does not fuse either; else the last bits differ and so do the paths taken.
    flags = ["-O3", "-march=native", "-ffp-contract=off", "-shared", "-fPIC", f"-I{folder}"]
    subprocess.run([compiler, *flags, str(SOURCE), "-o", str(target), "-lm"], check=True)  # noqa: S603 - ours
    return ctypes.CDLL(str(target))


def _layout_h() -> str:
    """The records and flags the translation uses, as C."""
    text = [
        f"#define {name} {getattr(layout, name)}" for name in ("UNMAPPED", "F_YOUNG", "F_DIRTY", "F_FULLREF")
    ]
    for name, record in (("PAGE", layout.PAGE), ("REGION", access.REGION)):
        assert record.fields is not None
        members = []
        for field in record.names or ():
            kind, shape = record.fields[field][0].base, record.fields[field][0].shape
            members.append(f"\t{_C_TYPES[kind.str[1:]]} {field}{''.join(f'[{n}]' for n in shape)};")
        text.append(f"struct {name} {{\n" + "\n".join(members) + "\n};")
        text.append(f'_Static_assert(sizeof(struct {name}) == {record.itemsize}, "layout of {name}");')
    return "\n".join(text) + "\n"


def _measured(library: ctypes.CDLL) -> float:
    machine, start = _before_a_walk()
    library.walk.restype = ctypes.c_int64
    times: tuple[list[float], list[float]] = ([], [])
    ends = []
    for repeat in range(2 * _REPEATS):
        machine.restore(start)
        side = repeat % 2
        began = time.perf_counter()
        if side == 0:
            _walk(machine.block, 1)
        else:
            _walk_in_c(library, machine)
        times[side].append(time.perf_counter() - began)
        state = machine.state
        ends.append((state.gen.copy(), state.pages["flags"].copy(), int(state.host["rng"][0])))
    for one, two in zip(ends[::2], ends[1::2], strict=True):
        if not ((one[0] == two[0]).all() and (one[1] == two[1]).all() and one[2] == two[2]):
            raise AssertionError("the C translation does not do what the compiled core does")
    return statistics.median(times[0][1:]) / statistics.median(times[1][1:])


def _before_a_walk() -> tuple[Machine, layout.State]:
    """A warm machine of one cgroup ten seconds after its last walk, every page in an older generation."""
    plan = archetype_plan("kv_zipf", _PAGES, 400 * US_PER_S, np.random.default_rng(1), compressor="zstd")
    host = HostSpec(ram_bytes=1 << 40, swap_bytes=4 * _PAGES * PAGE_SIZE, shrinker_enabled=True)
    limit = CgroupSpec("a", memory_max=int(0.8 * _PAGES) * PAGE_SIZE)
    machine = Machine(host, [limit], {"a": plan}, seed=1, exact=True)
    machine.advance(machine.now_us + 300 * US_PER_S)
    state = machine.state
    state.host["now"] += 10 * US_PER_S
    cg = state.cgs[1:2]
    mapped = int(state.gen_count[1].sum())
    state.gen[:] &= layout.UNMAPPED
    state.gen_count[1] = (mapped, 0, 0, 0)
    cg["min_seq"], cg["max_seq"] = 4, 6
    return machine, machine.snapshot()


def _walk_in_c(library: ctypes.CDLL, machine: Machine) -> None:
    state = machine.state
    cg, host = state.cgs[1], state.host
    now = max(int(cg["work"]), int(host["now"][0]) - int(cg["lag"]))
    arrays = (state.pages, state.gen, state.regions, state.gen_count[1], state.seg_time, state.seg_mult)
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*arrays, state.seg_integral)]
    numbers = (cg["first_page"], cg["n_pages"], cg["max_seq"], cg["last_walk"], now)
    seed = ctypes.c_uint64(int(host["rng"][0]))
    library.walk(*pointers, *(ctypes.c_int64(int(n)) for n in numbers), ctypes.byref(seed))
    host["rng"] = seed.value
