"""Same seed, same run, to the last bit: in one process, in another one, and in a clone."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np

from zswap_gym.kernel.machine import Machine
from zswap_gym.kernel.spec import CgroupSpec, HostSpec, StageOneSpec
from zswap_gym.units import US_PER_S
from zswap_gym.workloads.archetypes import archetype_plan

SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
from test_determinism import busy, digest
machine = busy({seed})
print(digest(machine))
"""


def busy(seed: int) -> Machine:
    """Two programs under pressure, stage one, the shrinker, and requests half way."""
    rng = np.random.default_rng(7)
    plans = {
        name: archetype_plan(archetype, 1024, 300 * US_PER_S, rng, compressor="zstd")
        for name, archetype in (("kv", "kv_zipf"), ("jvm", "jvm_heap"))
    }
    host = HostSpec(ram_bytes=16 << 20, swap_bytes=16 << 20, shrinker_enabled=True, max_pool_percent=8)
    cgroups = [CgroupSpec(name, memory_max=3 << 20) for name in plans]
    stage = StageOneSpec("fixed", US_PER_S, 256 << 10)
    machine = Machine(host, cgroups, plans, seed=seed, stage_one=stage)
    for round_ in range(6):
        machine.advance(machine.now_us + 10 * US_PER_S)
        machine.request(1 + round_ % 2, 5 * US_PER_S, 256, 256)
    machine.advance(machine.now_us + 300)  # in the middle of the last request
    return machine


def digest(machine: Machine) -> str:
    """A hash of every field of every array of the state (the padding of records is no state)."""
    h = hashlib.sha256()
    for name, array in machine.state._asdict().items():
        for field in array.dtype.names or ("",):
            h.update(f"{name}.{field}".encode() + (array[field] if field else array).tobytes())
    return h.hexdigest()


def test_the_same_seed_gives_the_same_bits() -> None:
    assert digest(busy(3)) == digest(busy(3))


def test_another_seed_gives_another_run() -> None:
    assert digest(busy(3)) != digest(busy(4))


def test_another_process_gives_the_same_bits() -> None:
    from pathlib import Path

    code = SCRIPT.format(folder=str(Path(__file__).parent), seed=3)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240
    )
    assert done.stdout.strip() == digest(busy(3))


def test_a_clone_continues_identically_in_the_middle_of_a_request() -> None:
    machine = busy(5)
    assert (machine.state.jobs["kind"] != 0).any(), "no operation is running: the test lost its point"
    twin = machine.clone()
    for each in (machine, twin):
        each.advance(each.now_us + 20 * US_PER_S)
        each.request(1, 5 * US_PER_S, 128, 128)
        each.advance(each.now_us + 20 * US_PER_S)
    assert digest(machine) == digest(twin)
    assert machine.finished() == twin.finished()


def test_a_clone_is_independent() -> None:
    machine = busy(5)
    before = digest(machine)
    machine.clone().advance(machine.now_us + 5 * US_PER_S)
    assert digest(machine) == before


def test_restore_returns_to_the_snapshot() -> None:
    machine = busy(6)
    saved = machine.snapshot()
    before = digest(machine)
    machine.advance(machine.now_us + 30 * US_PER_S)
    after = digest(machine)
    assert after != before
    machine.restore(saved)
    assert digest(machine) == before
    machine.advance(machine.now_us + 30 * US_PER_S)
    assert digest(machine) == after


def test_a_new_random_stream_parts_from_the_old_one() -> None:
    machine = busy(6)
    twin = machine.clone()
    twin.reseed(99)
    for each in (machine, twin):
        each.advance(each.now_us + 20 * US_PER_S)
    assert digest(machine) != digest(twin)
