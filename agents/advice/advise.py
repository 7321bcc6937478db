"""The advice: every setting measured, the best one that keeps the promise, and what would do without age."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zswap_gym.agents.advice.assess import Judged, assess
from zswap_gym.agents.advice.choose import best, pareto, search
from zswap_gym.agents.advice.grid import INTERFACES, NEVER, Interface, Point, make_grid
from zswap_gym.agents.advice.measure import Measured
from zswap_gym.agents.advice.subject import age_limit_s, working_set_bytes
from zswap_gym.agents.parallel import Workers
from zswap_gym.policy.promise import Promise
from zswap_gym.workloads.scenario import Scenario

SEEDS = 3
"""For every setting; those that might be best get up to 24 times as many."""


@dataclass(frozen=True)
class Advice:
    """What `advise` found. ``best`` and ``per_cgroup`` hold None where only doing nothing keeps the promise.

    Attributes:
        scenario: what was replayed.
        promise: what had to be kept, to every cgroup.
        age_limit_s: the largest age that can be judged.
        never: the machine with nothing written back.
        grid: every setting, measured.
        pareto: those no other setting beats in everything.
        best: by interface, the setting that frees most and surely keeps the promise.
        held_bytes: memory held by doing nothing, time average.
        per_cgroup: by cgroup, where there are several: the best setting of version 1 for it.
        together: all of those at once, measured on the machine.
    """

    scenario: Scenario
    promise: Promise
    age_limit_s: float
    never: Judged
    grid: list[Judged]
    pareto: list[Judged]
    best: dict[Interface, Judged | None]
    held_bytes: float
    per_cgroup: dict[str, Judged | None]
    together: Judged | None

    @property
    def recommended(self) -> Judged | None:
        """The setting of version 1 that frees most and surely keeps the promise."""
        return self.best["v1"]

    @property
    def gentlest(self) -> Judged:
        """The setting of version 1 that breaks least: what a looser promise would have to allow."""
        v1 = [j for j in self.grid if j.point.interface == "v1"]
        return min(v1, key=lambda j: (j.broken_pct - j.allowed_pct, j.cpu_added_pct_gib, j.psi_added_pct))


def advise(
    scenario: Scenario,
    promise: Promise | None = None,
    *,
    ages: Sequence[float] | None = None,
    budgets: Sequence[int] | None = None,
    seeds: int = SEEDS,
    workers: Workers | None = None,
    on_start: Callable[[int], None] = lambda _: None,
    on_run: Callable[[], None] = lambda: None,
) -> Advice:
    """Try the grid of ages and budgets in the model.

    Args:
        scenario: the workload, its machine and the time between two decisions.
        promise: what a recommended setting has to keep; None = the usual one.
        ages: seconds to try; None = evenly in the logarithm, up to the limit.
        budgets: bytes per decision and cgroup to try; None = powers of two that suit the memory.
        seeds: for every setting; those that might be best get up to 24 times as many.
        workers: who runs it; None = this process. They change nothing but the time it takes.
        on_start: told the number of runs of the first round.
        on_run: called after each of them.

    Raises:
        UserError: an age beyond the limit, a budget below a page.
    """
    limit = age_limit_s(scenario)
    points = make_grid(limit, working_set_bytes(scenario), ages, budgets)
    on_start(seeds * len({*points, *(point.never for point in points)}))
    found = Measured.of(scenario, promise, workers)
    used = search(found, points, seeds, on_run)
    judged = [assess(found, point, range(used[point])) for point in points if point is not NEVER]
    per_cgroup = _per_cgroup(found, points, used)
    return Advice(
        scenario=scenario,
        promise=found.promise,
        age_limit_s=limit,
        never=assess(found, NEVER, range(used[NEVER])),
        grid=judged,
        pareto=pareto([j for j in judged if j.point.interface == "v1"]),
        best={which: best(judged, which) for which in INTERFACES},
        held_bytes=_held(found, range(used[NEVER])),
        per_cgroup=per_cgroup,
        together=_together(found, per_cgroup, used[NEVER]),
    )


def _held(found: Measured, seeds: Sequence[int]) -> float:
    nothing = found.account(NEVER, seeds).sum()
    return float(nothing.held_byte_us.sum() / nothing.elapsed_us[0])


def _per_cgroup(found: Measured, points: Sequence[Point], used: dict[Point, int]) -> dict[str, Judged | None]:
    if len(found.cgroups) < 2:
        return {}
    return {
        name: best([assess(found, p, range(used[p]), i) for p in points if p is not NEVER], "v1")
        for i, name in enumerate(found.cgroups)
    }


def _together(found: Measured, per_cgroup: dict[str, Judged | None], seeds: int) -> Judged | None:
    if not per_cgroup:
        return None
    setting = tuple(NEVER if j is None else j.point for j in per_cgroup.values())
    found.add(range(seeds), [setting])
    return assess(found, setting, range(seeds))
