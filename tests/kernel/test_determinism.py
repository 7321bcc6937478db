"""Same seed, same run, to the last bit: in one process, in others, in a clone, after a restore."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zswap_gym.kernel.access import FREE
from zswap_gym.kernel.jobs import J_NONE
from zswap_gym.kernel.layout import State
from zswap_gym.kernel.spec import DEVICES, StageOneSpec
from zswap_gym.units import US_PER_S

Make = Callable[..., Any]


def busy(make: Make, make_plan: Make, seed: int = 1, **options: Any) -> Any:
    """Cgroups in which everything happens: faults of all kinds, limits, stage one, a slowish device."""
    rng = np.random.default_rng(0)
    n = 1500
    clen = rng.choice([0, 300, 1500, 3000, 4096], n, p=[0.1, 0.3, 0.3, 0.2, 0.1])
    rate = rng.choice([0.001, 0.02, 1.0], n)
    web = make_plan(n, clen=clen, rate=rate, write_share=0.3, step_us=200)
    web.frees = np.array([(20 * US_PER_S, 0, 300), (60 * US_PER_S, 700, 100)], FREE)
    times, pages, ops = rng.integers(0, 10**8, 6 * n), rng.integers(0, n, 6 * n), rng.integers(0, 3, 6 * n)
    accesses = list(zip(times.tolist(), pages.tolist(), ops.tolist(), strict=True))
    return make(
        {
            "apps": None,
            "apps/web": web,
            "db": make_plan(n, clen=clen, accesses=accesses, step_us=200),
            "job": make_plan(n, clen=clen, rate=rate[::-1].copy(), write_share=0.9, step_us=100),
        },
        seed=seed,
        exact=False,
        limits={"apps": {"memory_max": 3 << 20}, "job": {"memory_high": 4 << 20, "zswap_max": 1 << 19}},
        stage_one=StageOneSpec("senpai", US_PER_S, ratio=0.01, psi_threshold=0.05),
        device=DEVICES["sata"],
        max_pool_percent=1,
        ram_bytes=256 << 20,
        **options,
    )


def steps(b: Any) -> Iterator[str]:
    """A minute and a half of decisions; yields what was done, and how it ended."""
    b.run(1)
    for second in range(30):
        for c in range(1, 5):
            b.machine.request(c, (second % 7) * US_PER_S, 64 * (1 + second % 5), 200)
        b.run(3)
        if second == 10:
            b.machine.set_zswap(shrinker=True)
        if second == 20:
            yield f"{b.write('db', 'max=300K 2')} {b.write('job', '1M', 'memory.reclaim')}"
        yield str(b.machine.finished())


def digest(state: State) -> str:
    """Of all arrays, field by field: the padding of records is no state."""
    found = hashlib.sha256()
    for name, array in state._asdict().items():
        for field in array.dtype.names or (None,):
            part = array if field is None else array[field]
            found.update(f"{name}.{field}".encode() + np.ascontiguousarray(part).tobytes())
    return found.hexdigest()


def test_the_same_seed_gives_the_same_bits(make: Make, make_plan: Make) -> None:
    one, two = busy(make, make_plan), busy(make, make_plan)
    for mine, theirs in zip(steps(one), steps(two), strict=True):
        assert mine == theirs
    assert one.differences(two.machine.state) == []
    assert digest(one.machine.state) == digest(two.machine.state)


def test_the_scenario_moves_everything(make: Make, make_plan: Make) -> None:
    """Else equality says little."""
    b = busy(make, make_plan)
    for _ in steps(b):
        b.check()
    names = (
        "zswpin", "zswpout", "zswpwb", "zswpwb_proactive", "pswpin", "pswpout", "swpin_zero", "swpout_zero",
        "events_high", "events_max", "stores_refused", "reject_compress_fail", "stall_us", "pgrefill",
    )  # fmt: skip
    assert [name for name in names if b.count("", name) == 0] == []


def test_another_seed_gives_another_run(make: Make, make_plan: Make) -> None:
    one, two = busy(make, make_plan), busy(make, make_plan, seed=2)
    list(steps(one))
    list(steps(two))
    assert {"pages.state", "stat", "host.rng"} <= set(one.differences(two.machine.state))


def test_a_new_random_stream_parts_from_the_old_one(make: Make, make_plan: Make) -> None:
    one = busy(make, make_plan)
    one.run(2)
    two, three = one.clone(), one.clone()
    two.machine.reseed(7)
    three.machine.reseed(7)
    for b in (one, two, three):
        b.run(30)
    assert two.differences(three.machine.state) == []
    assert "stat" in two.differences(one.machine.state)


SCRIPT = """
import importlib.util, sys
def load(path):
    spec = importlib.util.spec_from_file_location("loaded_" + path.rsplit("/", 1)[1][:-3], path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
here, common = load(sys.argv[1]), load(sys.argv[2])
b = here.busy(common.bench, common.plan)
print(list(here.steps(b)), here.digest(b.machine.state))
"""


def test_other_processes_give_the_same_bits(make: Make, make_plan: Make) -> None:
    b = busy(make, make_plan)
    mine = f"{list(steps(b))} {digest(b.machine.state)}"
    command = [sys.executable, "-c", SCRIPT, __file__, str(Path(__file__).with_name("conftest.py"))]
    for hash_seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=True)
        assert done.stdout.strip() == mine


@pytest.mark.parametrize("seconds", [0.5, 1.0, 7.3, 40.0])
def test_a_clone_evolves_as_the_original(make: Make, make_plan: Make, seconds: float) -> None:
    b = busy(make, make_plan)
    b.run(seconds)
    twin = b.clone()
    for mine, theirs in zip(steps(b), steps(twin), strict=True):
        assert mine == theirs
        assert b.differences(twin.machine.state) == []


def test_a_clone_in_the_middle_of_a_request_ends_it_the_same_way(make: Make) -> None:
    b = make({"g": 6000}, exact=False, device=DEVICES["iops400"])
    b.fill("g")
    b.run(60)
    assert b.machine.request(1, 0, 4000, 3000)
    b.run(3)
    assert (b.machine.state.jobs["kind"] != J_NONE).any(), "nothing is running: the test lost its point"
    before = b.machine.snapshot()
    twin = b.clone()
    twin.run(60)
    assert b.differences(before) == []  # they share nothing
    assert (twin.machine.counters() != b.machine.counters()).any()
    b.run(60)
    assert b.differences(twin.machine.state) == []
    (mine,), (theirs,) = b.machine.finished(), twin.machine.finished()
    assert mine == theirs
    assert mine.pages == 4096  # 4000 in batches of 128, the last of them whole


def test_a_snapshot_can_be_restored_again_and_again(make: Make, make_plan: Make) -> None:
    b = busy(make, make_plan)
    b.run(5)
    b.write("apps/web", "0", "memory.zswap.writeback")
    assert b.machine.request(2, 0, 64, 0)  # refused with EINVAL, not yet collected
    saved = b.machine.snapshot()
    runs = []
    for _ in range(3):
        b.machine.restore(saved)
        assert b.differences(saved) == []
        runs.append((list(steps(b)), digest(b.machine.state)))
        b.machine.request(2, 0, 64, 0)
    assert runs[0] == runs[1] == runs[2]
    fresh = busy(make, make_plan, seed=99)
    fresh.machine.restore(saved)
    assert (list(steps(fresh)), digest(fresh.machine.state)) == runs[0]
    assert "errno=22" in runs[0][0][0]


def test_a_pickled_machine_continues_identically(make: Make, make_plan: Make) -> None:
    b = busy(make, make_plan)
    b.run(15)
    twin = pickle.loads(pickle.dumps(b.machine))
    for each in (b.machine, twin):
        each.advance(each.now_us + 20 * US_PER_S)
    assert digest(b.machine.state) == digest(twin.state)
