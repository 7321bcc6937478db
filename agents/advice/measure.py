"""Run one setting from a warm machine to the end of the episode; what it did to each cgroup."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from zswap_gym.agents.advice.grid import Point
from zswap_gym.agents.parallel import InProcess, Workers
from zswap_gym.envs.fleet import Fleet
from zswap_gym.envs.warmstart import episode_start, scenario_digest
from zswap_gym.host.types import COLUMN
from zswap_gym.policy.actions import from_requests
from zswap_gym.policy.promise import SUMS, Account, Promise
from zswap_gym.units import PAGE_SIZE
from zswap_gym.workloads.scenario import Scenario

Floats = npt.NDArray[np.float64]

BESIDE = ("loads", "zswap", "zswapped")
"""Sums kept beside an account's: pages loaded from zswap, and what lies in it, compressed and not, over the
decisions."""

Setting = Point | tuple[Point, ...]
"""The same in every cgroup, or one for each."""

PIECES = 4
"""Of work per worker, at least: some take longer than others."""


def kernel_of(setting: Setting) -> str:
    """Dialect of the kernel it runs on."""
    return (setting[0] if isinstance(setting, tuple) else setting).kernel


def run(scenario: Scenario, digest: str, seed: int, setting: Setting, fleet: Fleet) -> Floats:
    """The episode ``seed`` of the scenario under one setting, on a fleet of one whose memory is used again.

    Every setting starts from a clone of the same warm machine with the same random stream, and that is
    the start WritebackEnv gives the seed with ``snapshots=0``: what is measured here is what
    ``zswap-gym evaluate`` finds for ``fixed_age`` with the same numbers.

    Returns:
        (N, len(SUMS) + len(BESIDE)): the account of each cgroup, then the sums beside it.
    """
    fleet.adopt(0, *episode_start(scenario, digest, seed, 0))
    table = fleet.tables[0]
    first, interval = table[:, COLUMN["zswpin"]], scenario.episode.decision_interval
    points = setting if isinstance(setting, tuple) else (setting,) * len(table)
    age, size, release = from_requests([point.request for point in points])
    beside = np.zeros((len(table), len(BESIDE)))
    for _ in range(scenario.episode.steps):
        # As policy.laws.FixedAge: where zswap holds nothing it asks for nothing.
        asks = np.isnan(age) | (table[:, COLUMN["zswapped"]] >= PAGE_SIZE)
        fleet.step(age[None], (size * asks)[None], (release * asks)[None], interval)
        table = fleet.tables[0]
        beside[:, 1] += table[:, COLUMN["zswap"]]
        beside[:, 2] += table[:, COLUMN["zswapped"]]
    beside[:, 0] = table[:, COLUMN["zswpin"]] - first
    return np.hstack([fleet.accounts.sums[0], beside])


def run_all(
    scenario: Scenario, promise: Promise, seed: int, settings: Sequence[Setting]
) -> tuple[list[Floats], tuple[str, ...]]:
    """What `run` returns of each setting, and the names of the cgroups: a piece of work for a worker."""
    digest, fleet = scenario_digest(scenario), Fleet(1, promise=promise)
    return [run(scenario, digest, seed, setting, fleet) for setting in settings], fleet.cgroups


@dataclass
class Measured:
    """Runs of a scenario by setting and seed, filled as they are asked for.

    Attributes:
        scenario: where they ran.
        promise: what broken minutes are counted by.
        workers: who runs them; they change nothing but the time it takes.
        cgroups: names of the rows.
        runs: (seed, setting) -> what `run` returns.
    """

    scenario: Scenario
    promise: Promise
    workers: Workers = field(default_factory=InProcess)
    cgroups: list[str] = field(default_factory=list)
    runs: dict[tuple[int, Setting], Floats] = field(default_factory=dict)
    _arms: dict[str, Scenario] = field(default_factory=dict, repr=False)
    _back: bool = field(default=False, repr=False)

    @classmethod
    def of(
        cls, scenario: Scenario, promise: Promise | None = None, workers: Workers | None = None
    ) -> Measured:
        """Nothing measured yet; by this process where no ``workers`` are given."""
        return cls(scenario, promise or Promise(), workers or InProcess())

    def add(
        self, seeds: Sequence[int], settings: Sequence[Setting], on_run: Callable[[], None] = lambda: None
    ) -> None:
        """Run what has not been run, and call ``on_run`` for each, run before or not.

        A piece of work is a seed on one kernel, so that its warm machine is made once; with few seeds it is
        a portion of the settings on it. There and back: what a call ends with is what the next one finds
        still in the pool of warm machines.
        """
        self._back = not self._back
        portions = -(-PIECES * self.workers.count // len(seeds)) if self.workers.count > 1 else 1
        work: list[tuple[int, list[Setting]]] = []
        for seed in seeds if self._back else reversed(seeds):
            missing = [setting for setting in settings if (seed, setting) not in self.runs]
            for _ in range(len(settings) - len(missing)):
                on_run()
            for kernel in dict.fromkeys(map(kernel_of, missing)):
                alike = [setting for setting in missing if kernel_of(setting) == kernel]
                many = -(-len(alike) // portions)
                work += [(seed, alike[at : at + many]) for at in range(0, len(alike), many)]

        def tick(piece: int) -> None:
            for _ in work[piece][1]:
                on_run()

        arguments = [(self._arm(kernel_of(own[0])), self.promise, seed, own) for seed, own in work]
        found = self.workers.run(run_all, arguments, tick)
        for (seed, own), (sums, cgroups) in zip(work, found, strict=True):
            self.cgroups = list(cgroups)
            self.runs |= zip(((seed, setting) for setting in own), sums, strict=True)

    def _arm(self, kernel: str) -> Scenario:
        """The scenario on a kernel of that dialect."""
        if kernel not in self._arms:
            same = self.scenario.dialect == kernel
            self._arms[kernel] = self.scenario if same else self.scenario.arm(dialect=kernel)
        return self._arms[kernel]

    def seeds_of(self, setting: Setting) -> list[int]:
        """Seeds it has been run on."""
        return [seed for seed, which in self.runs if which == setting]

    def account(self, setting: Setting, seeds: Sequence[int], cgroup: int | None = None) -> Account:
        """(S, N): what it did to each cgroup by seed; of one cgroup (S, 1)."""
        return Account.of(self._sums(setting, seeds, cgroup))

    def beside(self, setting: Setting, seeds: Sequence[int], cgroup: int | None = None) -> Floats:
        """(S, len(BESIDE)): the other sums by seed, of all cgroups or of one."""
        found: Floats = self._sums(setting, seeds, cgroup)[..., len(SUMS) :].sum(axis=1)
        return found

    def loads(self, setting: Setting, seeds: Sequence[int]) -> float:
        """Simulated pages a run loads from zswap."""
        return float(self.beside(setting, seeds)[:, 0].mean()) / self.scenario.host.page_scale

    def _sums(self, setting: Setting, seeds: Sequence[int], cgroup: int | None) -> Floats:
        rows = slice(None) if cgroup is None else slice(cgroup, cgroup + 1)
        return np.stack([self.runs[seed, setting][rows] for seed in seeds])
