"""Where episodes start: a machine that has been running, drawn from a bounded pool per scenario.

Filling a fresh machine takes thousands of simulated seconds' worth of faults, so it is done once
per draw and kept. The pool is a cache and nothing else: which draw an episode gets depends on its
seed alone, and a draw is the same whoever makes it and whenever.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from zswap_gym.envs.crew import run_pieces
from zswap_gym.host.dialects import DIALECTS
from zswap_gym.host.simulated import SimulatedHost
from zswap_gym.host.types import Table
from zswap_gym.kernel import jit
from zswap_gym.policy import memory, rowwise
from zswap_gym.policy.features import FeatureExtractor, Observation
from zswap_gym.policy.laws import FixedAge, Law, Never
from zswap_gym.workloads.events import RealisedEvent
from zswap_gym.workloads.scenario import Scenario

POOL_BYTES = 512 << 20
"""Memory all warm starts of a process may take; the least recently used goes first."""

MILDEST_AGE_SHARE = 0.75
MILDEST_BYTES = 512 * 1024


@dataclass
class WarmStart:
    """A host at the end of its warm-up, with what an observer of the warm-up would know by then."""

    host: SimulatedHost
    extractor: FeatureExtractor
    table: Table
    rows: Observation
    """Features (N, F) of the last sample."""
    events: Sequence[RealisedEvent]

    @property
    def nbytes(self) -> int:
        """Bytes of the machine's arrays."""
        return sum(array.nbytes for array in self.host.machine.state)


_ROWS, _ROW, _FLAGS, _NUMBERS = "float64[:,::1]", "float64[::1]", "boolean[::1]", "int64[::1]"
_HOSTS, _OUT = "float64[:,:,::1]", "float32[:,::1]"
_CALLED = {
    "increase": (_ROWS, _FLAGS, _ROWS, _FLAGS, _ROWS, _FLAGS, "int64", "int64"),
    "advance": (_ROWS, _ROW, _ROW, _ROW, _ROW, _ROW, _ROW),
    "observe": (
        _ROWS, _NUMBERS, _ROWS, _FLAGS, _ROW, _ROWS, _ROWS, _ROW, _NUMBERS, _ROWS, _ROW, _ROW,
        _ROWS, _FLAGS, _ROWS, _FLAGS, _ROWS, _ROWS, _OUT, "int64", "int64",
    ),
    "remember": (*[_ROW] * 7, _FLAGS, _FLAGS, _ROWS, _ROWS, _ROW, _ROWS, _OUT, "int64", "int64"),
    "observe_hosts": (
        _HOSTS, _NUMBERS, _ROWS, _FLAGS, "float64", _ROWS, _ROW, _ROW,
        _ROWS, _FLAGS, _ROWS, _FLAGS, _ROW, _OUT,
    ),
    "decode": (_ROWS, _ROWS, _NUMBERS, *[_ROW] * 4),
}  # fmt: skip


def _called(function: Any) -> Any:
    return jit.entry_for(f"({', '.join(_CALLED[function.__name__])})", __name__)(function)


# Whoever simulates has a compiler: features for many hosts at once.
rowwise.use(jit.njit, _called)
memory.use(jit.njit, _called)

_pool: OrderedDict[tuple[str, int], WarmStart] = OrderedDict()


def episode_start(scenario: Scenario, digest: str, seed: int, snapshots: int) -> tuple[WarmStart, int]:
    """Where the episode ``seed`` of a scenario starts, and the random stream it goes on with.

    The start belongs to the pool: go on from a copy of it.

    Args:
        scenario: what to draw from.
        digest: :func:`scenario_digest` of it; the pool is keyed by it.
        seed: of the episode. It chooses the draw and gives the episode its own random stream.
        snapshots: size of the pool: the draw is number ``seed mod snapshots``. 0 = a draw of its
            own for every seed, for evaluation.
    """
    return next(iter(episode_starts(scenario, digest, [seed], snapshots, 1)))


def episode_starts(
    scenario: Scenario, digest: str, seeds: Sequence[int], snapshots: int, threads: int
) -> Iterator[tuple[WarmStart, int]]:
    """The same of several seeds, one after the other; what is not in the pool is run in ``threads``.

    So many at a time: each takes the memory of its machine, and the pool may not hold all of them.
    """
    for at in range(0, len(seeds), threads):
        part = seeds[at : at + threads]
        keys = [(digest, seed % snapshots if snapshots else seed) for seed in part]
        missing = [key for key in dict.fromkeys(keys) if key not in _pool]
        found = {key: _pool[key] for key in keys if key in _pool}

        def run(key: tuple[str, int], found: dict[tuple[str, int], WarmStart] = found) -> None:
            found[key] = warm_up(scenario, key[1])

        run_pieces([partial(run, key) for key in missing], threads)
        for key in keys:
            _pool[key] = found[key]
            _pool.move_to_end(key)
        while len(_pool) > 1 and sum(start.nbytes for start in _pool.values()) > POOL_BYTES:
            _pool.popitem(last=False)
        for seed, key in zip(part, keys, strict=True):
            (stream,) = np.random.SeedSequence([_name_key(scenario), seed, 1]).generate_state(1, np.uint64)
            yield found[key], max(int(stream), 1)


def warm_up(scenario: Scenario, member: int) -> WarmStart:
    """Draw number ``member`` of the scenario, run to the end of its warm-up.

    The seed of a draw comes from the scenario's *name*: an arm of a scenario (shrinker on, another
    pool limit) keeps the name, and so meets the same sizes, devices and events as the others.
    """
    drawn = np.random.default_rng([_name_key(scenario), member, 0])
    parts = scenario.realise(drawn)
    host = SimulatedHost(parts, seed=int(drawn.integers(1, 1 << 62)))
    interval = scenario.episode.decision_interval
    n = len(host.cgroups())
    extractor = FeatureExtractor(interval, (n,))
    law = mildest_law(scenario)
    law.reset(n)
    table = host.table()
    rows = extractor.update(table)
    steps = max(1, math.ceil(scenario.episode.warmup / interval))
    for _ in range(steps):
        for name, request in zip(host.cgroups(), law.decide(table, interval), strict=True):
            if not request.is_nothing:
                host.submit(name, request)
        host.sleep(scenario.episode.warmup / steps if scenario.episode.warmup else 1e-6)
        host.outcomes()
        table = host.table()
        rows = extractor.update(table)
    return WarmStart(host, extractor, table, rows, parts.events)


def mildest_law(scenario: Scenario) -> Law:
    """What runs during the warm-up: only what lay in zswap for three quarters of it, 512 KiB at a time.

    Enough that an episode starts with something on disk, little enough that no law starts from
    another law's choices.
    """
    if not DIALECTS[scenario.dialect].has_age:
        return Never()  # a size alone takes the oldest entry, however young
    return FixedAge(age_s=max(scenario.episode.warmup * MILDEST_AGE_SHARE, 1.0), max_bytes=MILDEST_BYTES)


def scenario_digest(scenario: Scenario) -> str:
    """16 hex digits over everything the scenario says."""
    return hashlib.sha256(scenario.model_dump_json(exclude={"trap"}).encode()).hexdigest()[:16]


def _name_key(scenario: Scenario) -> int:
    return zlib.crc32(scenario.name.encode())
