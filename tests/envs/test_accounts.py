"""Accounts per cgroup: they add up to the host's terms, and minutes are minutes whatever the interval."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from tests.envs.conftest import MakeEnv, MakeScenario
from zswap_gym.envs.reward import COUNTS, GIB, TERMS
from zswap_gym.envs.vector import WritebackVectorEnv
from zswap_gym.envs.writeback import WritebackEnv
from zswap_gym.host.simulated import SimulatedHost
from zswap_gym.host.types import COLUMN, NOTHING, Request
from zswap_gym.kernel.layout import STAT, State
from zswap_gym.policy.promise import SUMS, Account, MinuteMeter, Promise, cpu_us, footprint
from zswap_gym.units import PAGE_SIZE, US_PER_S

ROUGH = [Request(2.0, 8 << 20, 4 << 20)] * 3


def same(one: Account, other: Account) -> bool:
    return all(np.array_equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(Account))


def added_up(counts: np.ndarray, seconds: float) -> dict[str, float]:
    """Terms of a host from what its cgroups counted, in plain Python."""
    sums = dict.fromkeys(TERMS, 0.0)
    held = 0.0
    for row in counts.tolist():
        own = dict(zip(COUNTS, row, strict=True))
        held += own["held_bytes"]
        sums["stall_s"] += own["stall_us"] / US_PER_S
        sums["disk_refaults"] += own["pswpin"]
        sums["zswap_loads"] += own["zswpin"]
        sums["bytes_written"] += own["pswpout"] * PAGE_SIZE
        sums["rejects"] += own["stores_refused"]
        sums["oom_kills"] += own["events_oom_kill"]
    return sums | {"dram_held": held / GIB * seconds / 3600.0}


def test_what_cgroups_count_adds_up_to_the_hosts_terms_to_the_last_bit(make_env: MakeEnv) -> None:
    env = make_env(reward={"critical_factor": 1.0})
    env.reset(seed=2)
    machine = env.host.machine
    for _ in range(10):
        terms = env.step_requests(ROUGH)[4]["terms"]
        counts = env._fleet.counts[0]
        assert counts.shape == (len(machine.names), len(COUNTS))
        assert added_up(counts, 10.0) == terms
    assert min(terms[name] for name in ("dram_held", "stall_s", "disk_refaults", "bytes_written")) > 0


def test_an_account_is_what_counters_and_samples_say(make_env: MakeEnv) -> None:
    env = make_env()
    env.reset(seed=1)
    machine, rows = env.host.machine, env.host.rows
    own = [machine.state.stat[rows].copy()]
    tables = [env.table.copy()]
    for _ in range(10):
        env.step_requests(ROUGH)
        tables.append(env.table.copy())
    own.append(machine.state.stat[rows].copy())
    account = env.account

    def grown(name: str) -> np.ndarray:
        return (own[1] - own[0])[:, STAT.index(name)].astype(float)

    spec = machine.host.compressor
    assert account.elapsed_us.tolist() == [100e6] * 3
    assert account.minutes.tolist() == [1.0] * 3
    assert np.array_equal(account.reads, grown("pswpin"))
    assert np.array_equal(account.written, grown("pswpout"))
    psi = COLUMN["psi_some_total_us"]
    assert np.array_equal(account.stalled_us, tables[-1][:, psi] - tables[0][:, psi])
    cpu = cpu_us(grown("zswpout"), grown("zswpin"), grown("zswpwb"), spec.compress_us, spec.decompress_us)
    np.testing.assert_allclose(account.cpu_us, cpu, rtol=1e-12)
    held = np.stack([table[:, COLUMN["memory_current"]] for table in tables])
    np.testing.assert_allclose(account.held_byte_us, np.trapezoid(held, dx=10e6, axis=0), rtol=1e-12)
    size = np.stack([footprint(table) for table in tables])
    np.testing.assert_allclose(account.footprint_byte_us, np.trapezoid(size, dx=10e6, axis=0), rtol=1e-12)
    assert (account.cpu_us > 0).all()
    assert account.reads.sum() > 0


def test_steps_add_up_and_what_is_handed_out_stays(make_env: MakeEnv) -> None:
    env = make_env()
    env.reset(seed=4)
    assert same(env.account, Account.zeros(3))
    total = Account.zeros(3)
    for _ in range(4):
        before = env.account
        kept = np.stack([getattr(before, name).copy() for name in SUMS])
        env.step_requests(ROUGH)
        total = total + env._fleet.step_account.take(0)
        assert same(env.account, total)
        assert np.array_equal(np.stack([getattr(before, name) for name in SUMS]), kept)
    last = env.account
    env.reset(seed=4)
    assert same(last, total)
    assert same(env.account, Account.zeros(3))


@pytest.mark.parametrize("interval", ["7s", "25s", "60s", "300s"])
def test_minutes_are_minutes_whatever_the_interval(make_scenario: MakeScenario, interval: str) -> None:
    """Counted by hand on a machine that is looked at every minute, and by MinuteMeter."""
    episode = {"decision_interval": interval, "length": "600s", "warmup": "60s", "snapshots": 3}
    scenario = make_scenario(episode=episode)
    promise = Promise(disk_reads_pct_min=0.01)
    env = WritebackEnv(scenario, promise=promise)
    env.reset(seed=1)
    machine, rows = env.host.machine.clone(), env.host.rows
    for _ in range(env.steps_per_episode):
        env.step_requests([NOTHING] * 3)
    meter = MinuteMeter(3, promise)
    ended = broken = np.zeros(3)
    reads = machine.state.stat[rows, STAT.index("pswpin")].astype(float)
    while machine.now_us + 60 * US_PER_S <= env.host.machine.now_us:
        machine.advance(machine.now_us + 60 * US_PER_S)
        now = machine.state.stat[rows, STAT.index("pswpin")].astype(float)
        new, bad = meter.add(60.0, now - reads, machine.state.cgs["mapped"][rows] * float(PAGE_SIZE))
        reads, ended, broken = now, ended + new, broken + bad
    assert env.account.minutes.tolist() == ended.tolist()
    assert env.account.broken.tolist() == broken.tolist()
    assert 0 < broken.sum() < ended.sum()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_time_in_pieces_is_the_same_time(make_scenario: MakeScenario, seed: int) -> None:
    """Every bit of the machine's state, whether it went there at once or stopped on the way."""
    whole = SimulatedHost(make_scenario(), seed=seed)
    whole.sleep(60.0)
    for name in whole.cgroups():
        whole.submit(name, Request(2.0, 8 << 20, 4 << 20))
    pieces = whole.over(whole.machine.clone())
    whole.sleep(90.0)
    for seconds in (13.7, 46.3, 0.000001, 29.999999):
        pieces.sleep(seconds)
    assert whole.machine.now_us == pieces.machine.now_us
    assert np.array_equal(whole.machine.counters(), pieces.machine.counters())
    assert np.array_equal(whole.table(), pieces.table())
    assert differing(whole.machine.state, pieces.machine.state) == []
    for host in (whole, pieces):
        host.sleep(300.0)
    assert np.array_equal(whole.table(), pieces.table())
    assert np.array_equal(whole.machine.counters(), pieces.machine.counters())


def differing(one: State, other: State) -> list[str]:
    """Arrays and fields that differ; padding is no field, and the heap keeps what was taken from it."""
    found = []
    for name, a, b in zip(one._fields, one, other, strict=True):
        if name != "heap":
            pairs = {f"{name}.{f}": (a[f], b[f]) for f in a.dtype.names or ()} or {name: (a, b)}
            found += [field for field, (x, y) in pairs.items() if x.tobytes() != y.tobytes()]
    return found


def test_a_vector_has_the_accounts_of_single_ones(make_scenario: MakeScenario, make_env: MakeEnv) -> None:
    seeds = [3, 9, 40]
    vector = WritebackVectorEnv(3, make_scenario())
    singles = [make_env() for _ in seeds]
    vector.reset(seed=seeds)
    for env, seed in zip(singles, seeds, strict=True):
        env.reset(seed=seed)
    rng = np.random.default_rng(0)
    for step in range(10):
        actions = rng.uniform(-1, 1, (3, 9))
        vector.step(actions)
        for env, action in zip(singles, actions, strict=True):
            env.step(action)
        told = vector.final_account if step == 9 else vector.account
        assert all(same(told.take(e), env.account) for e, env in enumerate(singles))
    assert same(vector.account, Account.zeros((3, 3)))
