"""The paired reference: the same host with nothing done, on the same draw and the same random stream.

Hosts differ in size, programs in how warm they are, and no feature says it: what a policy earns is
counted against what the very same episode comes to without it. A reference is run once and kept in a
bounded pool, like the warm starts beside it; the pool is a cache and nothing else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from zswap_gym.envs.fleet import Fleet
from zswap_gym.envs.warmstart import episode_starts, scenario_digest
from zswap_gym.policy.promise import Account, Promise
from zswap_gym.workloads.scenario import Scenario

if TYPE_CHECKING:
    from zswap_gym.envs.writeback import WritebackEnv

Array = npt.NDArray[np.float64]

POOL_BYTES = 256 << 20
"""Memory all references of a process may take; the least recently used goes first."""
TOGETHER = 8
"""Hosts that run at once; each takes the memory of its machine."""


@dataclass(frozen=True)
class Reference:
    """An episode of T steps in which nothing was done to the N cgroups of a host."""

    sums: Array
    """(T + 1, N, len(SUMS)): accounts as they stood at the beginning and after each step."""
    steps: Account
    """(T, N): of each step."""

    @property
    def account(self) -> Account:
        """(N,): of the whole episode."""
        return Account.of(self.sums[-1])


_pool: OrderedDict[tuple[str, int, int, float], Reference] = OrderedDict()


def references(
    of: Scenario | WritebackEnv,
    seeds: Sequence[int],
    *,
    snapshots: int | None = None,
    promise: Promise | None = None,
    threads: int | None = None,
) -> list[Reference]:
    """The reference of each seed; those that are not in the pool run, several at once.

    Args:
        of: a scenario, or an environment, whose scenario, snapshots and promise count.
        seeds: of the episodes.
        snapshots: as of WritebackEnv; None = the environment's, of a scenario 0: a draw per seed.
        promise: what broken minutes are counted by; None = the environment's, of a scenario the usual.
        threads: as of :class:`zswap_gym.envs.fleet.Fleet`.
    """
    if isinstance(of, Scenario):
        scenario, digest = of, scenario_digest(of)
        pool, counted = snapshots or 0, promise or Promise()
    else:
        scenario, digest = of.scenario, of.digest
        pool, counted = of.snapshots if snapshots is None else snapshots, promise or of.promise
    keys = [(digest, seed, pool, counted.disk_reads_pct_min) for seed in seeds]
    found = {key: _pool[key] for key in keys if key in _pool}
    missing = [key for key in dict.fromkeys(keys) if key not in found]
    for at in range(0, len(missing), TOGETHER):
        part = missing[at : at + TOGETHER]
        ran = _run(scenario, digest, [key[1] for key in part], pool, counted, threads)
        found |= zip(part, ran, strict=True)
    for key in keys:
        _pool[key] = found[key]
        _pool.move_to_end(key)
    _forget()
    return [found[key] for key in keys]


def _run(
    scenario: Scenario,
    digest: str,
    seeds: Sequence[int],
    snapshots: int,
    promise: Promise,
    threads: int | None,
) -> list[Reference]:
    """Episodes of several seeds in which nothing is asked for."""
    fleet = Fleet(len(seeds), promise=promise, threads=threads)
    for e, start in enumerate(episode_starts(scenario, digest, seeds, snapshots, fleet.threads)):
        fleet.adopt(e, *start)
    shape = fleet.tables.shape[:2]
    no_age, nothing = np.full(shape, np.nan), np.zeros(shape)
    steps, sums = [], [fleet.accounts.sums]
    for _ in range(scenario.episode.steps):
        fleet.step(no_age, nothing, nothing, scenario.episode.decision_interval)
        steps.append(fleet.accounts.step_sums)
        sums.append(fleet.accounts.sums)
    each, so_far = np.stack(steps, axis=1), np.stack(sums, axis=1)
    return [Reference(so_far[e].copy(), Account.of(each[e].copy())) for e in range(len(seeds))]


def _forget() -> None:
    size = sum(2 * reference.sums.nbytes for reference in _pool.values())
    while size > POOL_BYTES and len(_pool) > 1:
        _, oldest = _pool.popitem(last=False)
        size -= 2 * oldest.sums.nbytes
