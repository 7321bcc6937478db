"""What a step is worth: what was earned under the promise, or the bill of a host.

*Free the most memory while a promise is kept* is the task; the sum of prices (`envs.reward`) is there for
economics. Both are asked in the same way, of any number of hosts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from zswap_gym.envs.compiled import JUDGED, cost_steps, earn
from zswap_gym.envs.fleet import Fleet
from zswap_gym.envs.reference import Reference, references
from zswap_gym.envs.reward import COSTS
from zswap_gym.errors import UserError, nearest
from zswap_gym.host.types import COLUMN
from zswap_gym.units import is_finite

if TYPE_CHECKING:
    from zswap_gym.envs.writeback import WritebackEnv

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

OBJECTIVES = ("promise", "bill")
PENALTY = 20.0
"""Points of memory saved that one clause broken twice over in all cgroups costs.

A clause broken without measure (`BREACH_MOST`) costs all the memory there is. In trials the hardest reclaimer
saved 17 to 20 %, with several times the CPU it may take.
"""
PENALTY_MAX = 1e6
"""Far from where single precision ends."""
STREAMS = 16
"""Random streams per draw, where draws are from a pool: so many references are run, and no more."""
TO_DATE = JUDGED
"""What is told of the promise beside the step's own costs: `judge_hosts` of the episode so far."""


class Bill:
    """Reward: the sum of weight times term (:class:`zswap_gym.envs.reward.RewardWeights`)."""

    costs = COSTS

    def __init__(self, env: WritebackEnv) -> None:
        self._weights = env.weights

    def begin(self, e: int, seed: int) -> None:
        """Host e begins the episode ``seed``."""

    def worth(self, fleet: Fleet, steps: Integers) -> tuple[Array, Array]:  # noqa: ARG002 - any step
        """Rewards (E,) and costs (E, len(costs)) of the last step, the ``steps``-th (E,) of the episodes."""
        return self._weights.reward(fleet.terms), _costs(fleet)


class Earned:
    """Reward: memory saved against the paired reference, less what breaking the promise costs.

    With S(t) the percent of memory saved by step t and B(t) the breach by then (:class:`Verdict`, mean over
    the cgroups), the reward of step t is

        100 (reference's memory - own memory) / reference's mean memory  -  penalty (t B(t) - (t-1) B(t-1))

    so that the rewards of an episode of T steps add up to T (S(T) - penalty B(T)): what the promise says of
    the whole episode, told as it comes about. A breach that is made good again is given back. References
    run when the first step after a reset is made, all that are missing at once.
    """

    costs = COSTS + TO_DATE

    def __init__(self, env: WritebackEnv, size: int) -> None:
        self._env = env
        self._seeds = np.zeros(size, np.int64)
        self._unknown = np.ones(size, np.bool_)
        self._due = np.zeros(size)
        promise = env.promise
        self._limits = np.array([promise.may_break_pct, promise.psi_added_pct, promise.cpu_pct_per_gib])
        self._held: Array = np.zeros((size, 0))
        self._sums: Array = np.zeros((size, 0, 0, 0))

    def begin(self, e: int, seed: int) -> None:
        """Host e begins the episode ``seed``."""
        self._seeds[e], self._unknown[e], self._due[e] = seed, True, 0.0

    def worth(self, fleet: Fleet, steps: Integers) -> tuple[Array, Array]:
        """As :meth:`Bill.worth`."""
        if self._unknown.any():
            self._look_up(fleet.threads)
        sums, env = fleet.accounts.sums, self._env
        rewards, verdicts = np.empty(len(sums)), np.empty((len(sums), len(TO_DATE)))
        earn(
            sums, fleet.accounts.step_sums, self._sums, self._held, steps, self._limits, env.penalty,
            self._due, rewards, verdicts,
        )  # fmt: skip
        return rewards, np.concatenate([_costs(fleet), verdicts], axis=1)

    def _look_up(self, threads: int) -> None:
        missing = np.flatnonzero(self._unknown)
        found: list[Reference] = references(self._env, self._seeds[missing].tolist(), threads=threads)
        if self._sums.shape[1:] != found[0].sums.shape:
            self._sums = np.zeros((len(self._seeds), *found[0].sums.shape))
            self._held = np.zeros((len(self._seeds), len(found[0].sums)))
        for e, reference in zip(missing, found, strict=True):
            held = np.add.accumulate(reference.steps.held_byte_us, axis=-1)[:, -1]
            self._sums[e], self._held[e, 1:], self._held[e, 0] = reference.sums, held, held.mean()
        self._unknown[:] = False


def objective_of(env: WritebackEnv, size: int) -> Bill | Earned:
    """The objective of ``size`` hosts of an environment."""
    return Earned(env, size) if env.objective == "promise" else Bill(env)


def objective_named(objective: object, where: str = "objective") -> str:
    """The objective. UserError where there is none of that name."""
    if objective not in OBJECTIVES:
        raise UserError(
            f"{where} = {objective!r}{nearest(str(objective), OBJECTIVES)}; give {' or '.join(OBJECTIVES)}"
        )
    return str(objective)


def penalty_of(penalty: object, where: str = "penalty") -> float:
    """The penalty. UserError where it is no number, or out of range."""
    if not is_finite(penalty) or not 0 <= penalty <= PENALTY_MAX:  # type: ignore[operator]
        raise UserError(f"{where} = {penalty!r}; give a number from 0 to {PENALTY_MAX:g}")
    return float(penalty)  # type: ignore[arg-type]


def _costs(fleet: Fleet) -> Array:
    """(E, len(COSTS)): :func:`zswap_gym.envs.reward.step_costs` of the last step."""
    costs = np.empty((fleet.size, len(COSTS)))
    cost_steps(fleet.accounts.step_sums, fleet.tables, COLUMN["anon"], costs)
    return costs
