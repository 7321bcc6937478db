"""Whatever happens to a small machine, its books balance (conftest.py says what that means)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from zswap_gym.kernel.access import FREE, NEVER, OP_WRITE
from zswap_gym.kernel.spec import DEVICES, StageOneSpec
from zswap_gym.units import PAGE_SIZE, US_PER_S

# --- random machines and operations --------------------------------------------------------------

SIZES = some.sampled_from(["0", "4K", "64K", "128K", "256K", "512K", "1M", "2M", "16M", "max"])
OPERATIONS = some.one_of(
    some.tuples(some.just("run"), some.sampled_from([0.0, 0.001, 0.02, 0.5, 3.0, 20.0, 400.0])),
    some.tuples(
        some.just("write"),
        some.integers(0, 4),
        some.sampled_from(
            [
                "memory.max", "memory.high", "memory.min", "memory.low", "memory.swap.max",
                "memory.swap.high", "memory.zswap.max", "memory.reclaim",
            ]
        ),
        SIZES,
    ),
    some.tuples(
        some.just("write"),
        some.integers(0, 4),
        some.just("memory.reclaim"),
        some.sampled_from(
            ["64K zswap_writeback_only", "1M zswap_writeback_only", "1 source=zswap", "300K source=zswap"]
        ),
    ),
    some.tuples(
        some.just("write"), some.integers(0, 4), some.just("memory.oom.group"), some.sampled_from("01")
    ),
    some.tuples(
        some.just("write"),
        some.integers(0, 4),
        some.just("memory.zswap.proactive_writeback"),
        some.sampled_from(["1", "max=4K 1", "max=68K 2", "max=1M 5", "max=600K 30", "100000000", "x"]),
    ),
    some.tuples(
        some.just("write"),
        some.integers(0, 4),
        some.just("memory.zswap.writeback"),
        some.sampled_from("01"),
    ),
    some.tuples(
        some.just("request"),
        some.integers(1, 4),
        some.sampled_from([-1, 0, 1, 10 * US_PER_S]),
        some.sampled_from([0, 1, 200, 1 << 40]),
        some.sampled_from([0, 1, 300]),
    ),
    some.tuples(some.just("zswap"), some.fixed_dictionaries({}, optional={
        "enabled": some.booleans(),
        "shrinker": some.booleans(),
        "max_pool_percent": some.sampled_from([0, 1, 20]),
    })),
    some.tuples(some.just("rmdir"), some.integers(0, 4), some.booleans()),
    some.tuples(some.just("clone")),
)  # fmt: skip

MACHINES = some.fixed_dictionaries(
    {
        "seed": some.integers(0, 2**32),
        "parents": some.lists(some.integers(0, 3), min_size=1, max_size=4),
        "page_scale": some.sampled_from([1, 2, 4, 16, 64]),
        "shrinker_enabled": some.booleans(),
        "swap": some.sampled_from([0.0, 0.2, 1.0, 4.0]),
        "pool_percent": some.sampled_from([1, 5, 50]),
        "kernel": some.sampled_from(["6.12", "6.18", "7.3"]),
        "interface": some.sampled_from(["v1", "v2", "v3", "v4", "v5", "stock"]),
        "charge_cpus": some.sampled_from([0, 0, 3]),
        "read_ahead": some.sampled_from([(0, False), (3, False), (2, True)]),
        "ram": some.sampled_from([0.7, 4.0, 4.0]),
        "device": some.sampled_from(["nvme", "sata", "iops400"]),
        "stage_one": some.sampled_from(["none", "fixed", "senpai"]),
        "exact": some.booleans(),
        "restart_on_oom": some.booleans(),
        "limit": some.sampled_from([None, 0.3, 0.8]),
        "base": some.sampled_from([0, 0, 50]),
    }
)


def random_plan(make_plan: Callable[..., Any], rng: np.random.Generator) -> Any:
    """Pages of every kind; a third of the plans is traced, a third is swept, half of them frees some."""
    n = int(rng.integers(64, 513))
    clen = np.where(rng.random(n) < 0.7, rng.integers(1, 4200, n), rng.choice([0, 50, 4096], n))
    options: dict[str, Any] = {"clen": clen.astype(np.uint16), "step_us": int(rng.choice([1, 300, 50_000]))}
    kind = rng.integers(3)
    if kind == 0:
        m = 3 * n
        times, pages, ops = rng.integers(0, 10**9, m), rng.integers(0, n, m), rng.integers(0, OP_WRITE + 2, m)
        options["accesses"] = list(zip(times.tolist(), pages.tolist(), ops.tolist(), strict=True))
    else:
        options |= {"rate": rng.choice([0.0, 1e-3, 0.05, 2.0], n), "write_share": float(rng.random())}
    plan = make_plan(n, file=bool(rng.random() < 0.2), **options)
    if kind == 2:
        region = plan.regions
        region["sweep_kind"], region["sweep_block"] = rng.integers(1, 3), rng.integers(1, 65)
        region["sweep_share"], region["sweep_write_share"] = rng.random(), rng.random()
        region["sweep_period"], region["sweep_active"] = 30 * US_PER_S, 9 * US_PER_S
        region["sweep_fresh"], region["seed"] = rng.integers(2), rng.integers(1000)
        plan.first_touch[rng.random(n) < 0.3] = NEVER
    if rng.random() < 0.5:
        plan.frees = np.zeros(3, FREE)
        plan.frees["time"] = np.sort(rng.integers(0, 10**8, 3))
        plan.frees["first_page"], plan.frees["n_pages"] = rng.integers(0, n // 2, 3), n // 3
    return plan


def build(make: Callable[..., Any], make_plan: Callable[..., Any], spec: dict[str, Any]) -> Any:
    rng = np.random.default_rng(spec["seed"])
    names: list[str] = []
    for i, parent in enumerate(spec["parents"]):
        names.append(f"{names[parent]}/{i}" if parent < i else f"{i}")
    leaves = [name for name in names if not any(other.startswith(name + "/") for other in names)]
    tree = {name: random_plan(make_plan, rng) if name in leaves else None for name in names}
    k = spec["page_scale"]
    total = sum(plan.n_pages for plan in tree.values() if plan) * k
    limits: dict[str, dict[str, Any]] = {}
    for name, plan in tree.items():
        limits[name] = {"base_bytes": spec["base"] * PAGE_SIZE, "threads": int(rng.integers(1, 5))}
        limits[name]["oom_protected"] = bool(rng.random() < 0.1)
        if spec["limit"]:
            pages = plan.n_pages * k if plan else total
            limits[name]["memory_max"] = int(spec["limit"] * pages) * PAGE_SIZE
    return make(
        tree,
        limits=limits,
        seed=spec["seed"],
        exact=spec["exact"],
        restart_on_oom=spec["restart_on_oom"],
        stage_one=StageOneSpec(spec["stage_one"], US_PER_S, 1 << 20, psi_threshold=0.1),
        ram_bytes=int(spec["ram"] * total) * PAGE_SIZE,
        swap_bytes=int(spec["swap"] * total) * PAGE_SIZE,
        page_scale=k,
        shrinker_enabled=spec["shrinker_enabled"],
        max_pool_percent=spec["pool_percent"],
        kernel=spec["kernel"],
        interface=spec["interface"],
        charge_cpus=spec["charge_cpus"],
        page_cluster=spec["read_ahead"][0] if k == 1 else 0,
        rotational=spec["read_ahead"][1],
        device=DEVICES[spec["device"]],
    )


def perform(b: Any, operation: tuple[Any, ...]) -> Any:
    """Do one operation; the machine to go on with."""
    kind, *args = operation
    names = b.machine.names
    if kind == "run":
        b.run(args[0])
    elif kind == "write":
        c, file, text = args
        b.write(names[c % len(names)], text, file)
    elif kind == "request":
        c, age, pages, release = args
        b.machine.request(1 + (c - 1) % (len(names) - 1), age, pages, release)
    elif kind == "rmdir":
        b.machine.rmdir(names[args[0] % len(names)], leave=args[1])
    elif kind == "zswap":
        b.machine.set_zswap(**args[0])
    else:
        twin = b.clone()
        assert twin.differences(b.machine.state) == []
        return twin
    return b


def rising(b: Any) -> dict[str, Any]:
    """What never goes back."""
    fields = ("work", "lag", "some_us", "full_us", "peak", "swap_peak", "max_seq", "min_seq")
    state = b.machine.state
    return {
        "counters": b.machine.counters(),
        "now": state.host["now"].copy(),
        **{field: state.cgs[field].copy() for field in fields},
    }


def hold(make: Any, make_plan: Any, spec: dict[str, Any], operations: list[tuple[Any, ...]]) -> None:
    b = build(make, make_plan, spec)
    b.check()
    before = rising(b)
    for operation in operations:
        b = perform(b, operation)
        b.check()
        now = rising(b)
        assert [name for name in now if (now[name] < before[name]).any()] == []
        assert (now["full_us"] <= now["some_us"]).all()
        before = now


COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@given(spec=MACHINES, operations=some.lists(OPERATIONS, min_size=10, max_size=30))
@settings(max_examples=100, derandomize=True, **COMMON)
def test_the_books_balance(make: Any, make_plan: Any, spec: Any, operations: Any) -> None:
    hold(make, make_plan, spec, operations)


@pytest.mark.slow
@given(spec=MACHINES, operations=some.lists(OPERATIONS, min_size=20, max_size=60))
@settings(max_examples=1000, **COMMON)
def test_the_books_balance_for_longer(make: Any, make_plan: Any, spec: Any, operations: Any) -> None:
    hold(make, make_plan, spec, operations)
