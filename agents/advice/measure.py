"""Run one setting from a warm machine to the end of the episode; what it did to each cgroup."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from zswap_gym.agents.advice.grid import Point
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


@dataclass
class Measured:
    """Runs of a scenario by setting and seed, filled as they are asked for.

    Attributes:
        scenario: where they ran.
        promise: what broken minutes are counted by.
        cgroups: names of the rows.
        runs: (seed, setting) -> what `run` returns.
    """

    scenario: Scenario
    promise: Promise
    cgroups: list[str] = field(default_factory=list)
    runs: dict[tuple[int, Setting], Floats] = field(default_factory=dict)
    _arms: dict[str, tuple[Scenario, str, Fleet]] = field(default_factory=dict, repr=False)
    _back: bool = field(default=False, repr=False)

    @classmethod
    def of(cls, scenario: Scenario, promise: Promise | None = None) -> Measured:
        """Nothing measured yet."""
        return cls(scenario, promise or Promise())

    def add(
        self, seeds: Sequence[int], settings: Sequence[Setting], on_run: Callable[[], None] = lambda: None
    ) -> None:
        """Run what has not been run; seed by seed, so that a warm machine is made once.

        There and back: what a call ends with is what the next one finds still in the pool of warm machines.
        """
        self._back = not self._back
        for seed in seeds if self._back else reversed(seeds):
            for setting in settings:
                if (seed, setting) not in self.runs:
                    kernel = (setting[0] if isinstance(setting, tuple) else setting).kernel
                    arm, digest, fleet = self._arm(kernel)
                    self.runs[seed, setting] = run(arm, digest, seed, setting, fleet)
                    self.cgroups = list(fleet.cgroups)
                on_run()

    def _arm(self, kernel: str) -> tuple[Scenario, str, Fleet]:
        """The scenario on a kernel of that dialect, its digest, and a host of it to run on."""
        if kernel not in self._arms:
            same = self.scenario.dialect == kernel
            arm = self.scenario if same else self.scenario.arm(dialect=kernel)
            self._arms[kernel] = arm, scenario_digest(arm), Fleet(1, promise=self.promise)
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
