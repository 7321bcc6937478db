"""Run one setting from a warm machine to the end of the episode; what it freed and what that cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from zswap_gym.agents.advice.grid import Point
from zswap_gym.envs.fleet import Fleet
from zswap_gym.envs.reward import GIB, TERMS, psi_pct, step_costs
from zswap_gym.envs.warmstart import episode_start, scenario_digest
from zswap_gym.host.types import COLUMN
from zswap_gym.policy.actions import from_requests
from zswap_gym.units import PAGE_SIZE
from zswap_gym.workloads.scenario import Scenario

Floats = npt.NDArray[np.float64]

_CURRENT, _ANON = COLUMN["memory_current"], COLUMN["anon"]
_ZSWAP, _ZSWAPPED = COLUMN["zswap"], COLUMN["zswapped"]

QUANTITIES = (
    "held_bytes",
    "refault_pct_wss_min",
    "psi_some_pct",
    "written_bytes_h",
    "zswap_loads_min",
    "compressed_share",
)


@dataclass(frozen=True)
class Run:
    """One run. ``host`` is of the whole machine (the worst cgroup where a rate is relative), ``rows``
    (N, len(QUANTITIES)) of each cgroup: time averages, and rates in the units of the names.
    """

    host: Floats
    rows: Floats


Setting = Point | tuple[Point, ...]
"""The same in every cgroup, or one for each."""


def run(scenario: Scenario, digest: str, seed: int, setting: Setting, fleet: Fleet) -> Run:
    """The episode ``seed`` of the scenario under one setting, on a fleet of one whose memory is used again.

    Every setting starts from a clone of the same warm machine with the same random stream, and that is
    the start WritebackEnv gives the seed with ``snapshots=0``: what is measured here is what
    ``zswap-gym evaluate`` finds for ``fixed_age`` with the same numbers.
    """
    fleet.adopt(0, *episode_start(scenario, digest, seed, 0))
    names = fleet.cgroups
    table = first = fleet.tables[0].copy()
    interval = scenario.episode.decision_interval
    steps = max(1, round(scenario.episode.length / interval))
    points = setting if isinstance(setting, tuple) else (setting,) * len(names)
    age, size, release = from_requests([point.request for point in points])
    rows = np.zeros((len(names), len(QUANTITIES)))
    worst = np.zeros(2)
    share = 0.0
    sums = np.zeros(len(TERMS))
    for _ in range(steps):
        # As policy.laws.FixedAge: where zswap holds nothing it asks for nothing.
        asks = np.isnan(age) | (table[:, _ZSWAPPED] >= PAGE_SIZE)
        fleet.step(age[None], (size * asks)[None], (release * asks)[None], interval)
        before, table = table, fleet.tables[0]
        sums += fleet.terms[0]
        worst += step_costs(fleet.step_account, fleet.tables[:, :, _ANON])[0, :2]
        rows[:, 0] += 0.5 * (before[:, _CURRENT] + table[:, _CURRENT])
        rows[:, 1] += fleet.step_account.reads[0] / np.maximum(table[:, _ANON] / PAGE_SIZE, 1.0)
        rows[:, 2] += psi_pct(fleet.step_account)[0]
        rows[:, 5] += table[:, _ZSWAP] / np.maximum(table[:, _ZSWAPPED], 1.0)
        share += table[:, _ZSWAP].sum() / max(table[:, _ZSWAPPED].sum(), 1.0)
    hours = steps * interval / 3600.0
    rows[:, 0] /= steps
    rows[:, 1] *= 100.0 * 60.0 / interval / steps
    rows[:, 2] /= steps
    rows[:, 5] /= steps
    rows[:, 3] = (table[:, COLUMN["zswpwb"]] - first[:, COLUMN["zswpwb"]]) * PAGE_SIZE / hours
    rows[:, 4] = (table[:, COLUMN["zswpin"]] - first[:, COLUMN["zswpin"]]) / (hours * 60.0)
    held, written, loads = (sums[TERMS.index(name)] for name in ("dram_held", "bytes_written", "zswap_loads"))
    host_wide = np.array(
        [held / hours * GIB, *(worst / steps), written / hours, loads / (60.0 * hours), share / steps]
    )
    return Run(host_wide, rows)


@dataclass
class Measured:
    """Runs of a scenario by setting and seed, filled as they are asked for.

    Attributes:
        scenario: where they ran.
        cgroups: names of the rows.
        host: (seed, setting) -> (Q,); ``rows``: (seed, setting) -> (N, Q).
    """

    scenario: Scenario
    cgroups: list[str]
    host: dict[tuple[int, Setting], Floats]
    rows: dict[tuple[int, Setting], Floats]
    _arms: dict[str, tuple[Scenario, str, Fleet]] = field(default_factory=dict, repr=False)
    _back: bool = field(default=False, repr=False)

    @classmethod
    def of(cls, scenario: Scenario) -> Measured:
        """Nothing measured yet."""
        return cls(scenario, [], {}, {})

    def add(
        self, seeds: Sequence[int], settings: Sequence[Setting], on_run: Callable[[], None] = lambda: None
    ) -> None:
        """Run what has not been run; seed by seed, so that a warm machine is made once.

        There and back: what a call ends with is what the next one finds still in the pool of warm machines.
        """
        self._back = not self._back
        for seed in seeds if self._back else reversed(seeds):
            for setting in settings:
                if (seed, setting) not in self.host:
                    kernel = (setting[0] if isinstance(setting, tuple) else setting).kernel
                    arm, digest, fleet = self._arm(kernel)
                    found = run(arm, digest, seed, setting, fleet)
                    self.cgroups = list(fleet.cgroups)
                    self.host[seed, setting], self.rows[seed, setting] = found.host, found.rows
                on_run()

    def _arm(self, kernel: str) -> tuple[Scenario, str, Fleet]:
        """The scenario on a kernel of that dialect, its digest, and a host of it to run on."""
        if kernel not in self._arms:
            same = self.scenario.dialect == kernel
            arm = self.scenario if same else self.scenario.arm(dialect=kernel)
            fleet = Fleet(1)
            self._arms[kernel] = arm, scenario_digest(arm), fleet
        return self._arms[kernel]

    def seeds_of(self, setting: Setting) -> list[int]:
        """Seeds it has been run on."""
        return [seed for seed, which in self.host if which == setting]

    def loads(self, setting: Setting, seeds: Sequence[int]) -> float:
        """Simulated pages a run loads from zswap."""
        per_minute = float(self.of_setting(setting, seeds)[:, QUANTITIES.index("zswap_loads_min")].mean())
        return per_minute * self.scenario.episode.length / 60.0 / self.scenario.host.page_scale

    def of_setting(self, setting: Setting, seeds: Sequence[int], cgroup: int | None = None) -> Floats:
        """(S, Q): the host's quantities, or those of one cgroup, by seed."""
        if cgroup is None:
            return np.stack([self.host[seed, setting] for seed in seeds])
        return np.stack([self.rows[seed, setting][cgroup] for seed in seeds])
