"""Those that know the future as contestants: their plans, looked up or searched for, asked step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zswap_gym.agents.oracle.hindsight import hindsight
from zswap_gym.agents.oracle.search import facts, search, starting_rules
from zswap_gym.agents.oracle.settings import Asked, Floats, Follower, grid
from zswap_gym.envs.fleet import Fleet
from zswap_gym.envs.writeback import WritebackEnv


@dataclass
class FixedSetting:
    """One setting of :func:`grid` for all cgroups."""

    number: int
    _follower: Follower = field(init=False, repr=False)

    def start(self, env: WritebackEnv, fleet: Fleet, seeds: Sequence[int]) -> None:  # noqa: ARG002
        """Begin on tables as they are."""
        settings = np.broadcast_to(grid()[:, self.number, None, None], (3, *fleet.tables.shape[:2]))
        self._follower = Follower(settings, fleet.tables)

    def decide(self, env: WritebackEnv, fleet: Fleet) -> Asked:
        """What the setting says."""
        return self._follower.decide(fleet.tables, env.interval_s / 60.0)

    def describe(self) -> list[Any]:
        """The setting."""
        return ["setting", np.nan_to_num(grid()[:, self.number], nan=-1.0).tolist()]


@dataclass
class Foreseeing:
    """``hindsight`` or ``oracle``."""

    kind: str
    _plans: Floats = field(init=False, repr=False)
    """(3, E, T, N)."""
    _step: int = field(init=False, default=0, repr=False)

    def start(self, env: WritebackEnv, fleet: Fleet, seeds: Sequence[int]) -> None:
        """Find the plan of each seed: seconds to minutes where it has not been found before."""
        find = hindsight if self.kind == "hindsight" else search
        plans = [find(env.scenario, seed, fleet.promise).plan for seed in seeds]
        self._plans, self._step = np.stack(plans, axis=1), 0

    def decide(self, env: WritebackEnv, fleet: Fleet) -> Asked:  # noqa: ARG002 - it has looked already
        """The next requests of the plans."""
        age, size, release = self._plans[:, :, self._step]
        self._step += 1
        return age, size, release

    def describe(self) -> list[Any]:
        """All that decides what is found."""
        return [self.kind, np.nan_to_num(grid(), nan=-1.0).tolist(), facts(starting_rules())]
