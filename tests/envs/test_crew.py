"""Whatever the number of threads, results are those of one, to the last bit."""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.envs.conftest import MakeScenario
from zswap_gym.envs.crew import THREADS, run_pieces, thread_count
from zswap_gym.envs.reference import references
from zswap_gym.envs.vector import WritebackVectorEnv
from zswap_gym.envs.warmstart import episode_starts, scenario_digest
from zswap_gym.errors import UserError
from zswap_gym.kernel.machine import Machine


def same_state(one: Machine, other: Machine) -> bool:
    """Whether every field of every array is the same; what lies between the fields is nobody's."""
    return all(np.array_equal(mine, theirs) for mine, theirs in zip(one.state, other.state, strict=True))


def course(scenario: Any, threads: int, objective: str) -> tuple[list[Any], list[Machine]]:
    """Everything two and a half episodes of seven environments say, and the machines at the end."""
    env = WritebackVectorEnv(7, scenario, objective=objective, threads=threads)
    assert env.fleet.threads == threads
    said: list[Any] = [env.reset(seed=5)[0]]
    rng = np.random.default_rng(1)
    for _ in range(25):
        obs, rewards, _, ended, info = env.step(rng.uniform(-1, 1, env.action_space.shape))
        costs = info["final_info"]["cost"] if ended.any() else info["cost"]
        said += [obs, rewards, ended, *(costs[name] for name in env.one.costs), info["busy"]]
    said += [env.fleet.accounts.sums, env.fleet.counts, *(env.outcomes(e) for e in range(7))]
    return said, [host.machine for host in env.fleet.hosts]


@pytest.mark.parametrize("objective", ["promise", "bill"])
def test_threads_change_no_bit(objective: str, make_scenario: MakeScenario) -> None:
    alone, machines = course(make_scenario(), 1, objective)
    for threads in (2, 3):
        together, others = course(make_scenario(), threads, objective)
        for mine, theirs in zip(alone, together, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        assert all(map(same_state, machines, others))


def test_starts_and_references_too(make_scenario: MakeScenario) -> None:
    scenario = make_scenario(name="a-name-nobody-else-has")
    digest, seeds = scenario_digest(scenario), [4, 8, 15, 16, 23]
    found = [list(episode_starts(scenario, f"{digest}-{n}", seeds, 0, n)) for n in (1, 2, 3)]
    for (first, stream), *others in zip(*found, strict=True):
        for other, same in others:
            assert same == stream
            assert same_state(first.host.machine, other.host.machine)
    sums = [r.sums for r in references(scenario, seeds, threads=3)]
    again = references(scenario.model_copy(update={"description": "again"}), seeds, threads=1)
    np.testing.assert_array_equal(sums, [r.sums for r in again])


def test_pieces_run_in_several_threads_at_once() -> None:
    meet = threading.Barrier(3, timeout=60)  # breaks unless three come
    run_pieces([meet.wait] * 3, 3)
    seen = set()
    run_pieces([lambda: seen.add(threading.get_ident())] * 5, 1)
    assert seen == {threading.get_ident()}
    run_pieces([], 3)


def test_what_a_piece_raises_is_raised_and_the_next_run_is_whole() -> None:
    def fails() -> None:
        raise MemoryError("no room")

    for threads in (1, 2, 3):
        with pytest.raises(MemoryError, match="no room"):
            run_pieces([fails, *[lambda: time.sleep(0.001)] * 4], threads)
        done: list[int] = []
        run_pieces([partial(done.append, 1)] * 6, threads)
        assert len(done) == 6


def test_how_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(THREADS, raising=False)
    assert thread_count() == len(os.sched_getaffinity(0))
    assert thread_count(3) == 3
    monkeypatch.setenv(THREADS, "1")
    assert (thread_count(), thread_count(2)) == (1, 2)
    for text in ("0", "two", "-1", ""):
        monkeypatch.setenv(THREADS, text)
        with pytest.raises(UserError, match=rf"{THREADS} = .*at least 1"):
            thread_count()
    with pytest.raises(UserError, match="threads = 0"):
        thread_count(0)
