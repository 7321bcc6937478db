"""From measured runs to a recommendation: which setting frees most while keeping the promise.

A setting is recommended only if it surely keeps the promise (see assess). The leader and the settings that
might still beat it are run on more seeds than the rest, until nothing is undecided or the runs set aside
for it are used up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from zswap_gym.agents.advice.assess import Judged, assess
from zswap_gym.agents.advice.grid import INTERFACES, NEVER, Interface, Point
from zswap_gym.agents.advice.measure import Measured
from zswap_gym.policy.promise import judge

LOOKS = (1, 4, 12, 24)
"""Seeds of a setting, in units of those all settings get: of a rival, of the leader, of one at the border."""
CLOSE = 0.95
MOST_RIVALS = 3
"""So many settings of an interface are looked at again at a time, those with most to gain."""
AGAIN = 150
"""Runs beyond the first look, in units of its seeds."""
MOST_LOADS = 64_000_000
"""All runs together load no more simulated pages from zswap than this, which is what their time goes into:
40 seconds for the recording that sweeps its memory (llm_infer), whose runs take longer than others.
"""
HOPELESS = 3.0
"""A setting that takes so many times the CPU promised in its first run, everywhere, gets no second ..."""
HOPELESS_PCT = 50.0
"""... nor one that breaks more minutes than are allowed by so many percentage points."""


def best(judged: Sequence[Judged], interface: Interface | None = None) -> Judged | None:
    """The fit setting that frees most; None where doing nothing is all that can be advised."""
    fit = [j for j in judged if j.fit and (interface is None or j.point.interface == interface)]
    return max(fit, key=lambda j: (j.freed_bytes.mean, j.point.age_s), default=None)


def pareto(judged: Sequence[Judged]) -> list[Judged]:
    """Settings no other beats in memory freed, broken minutes, pressure, CPU and bytes written at once."""
    cost = np.array(
        [
            (-j.freed_bytes.mean, j.broken_pct, j.psi_added_pct, j.cpu_added_pct_gib, j.written_bytes_h)
            for j in judged
        ]
    )
    beaten = [bool(((cost <= row).all(axis=1) & (cost < row).any(axis=1)).any()) for row in cost]
    return [j for j, loses in zip(judged, beaten, strict=True) if not loses]


def undecided(judged: Sequence[Judged], interface: Interface, enough: int, most: int) -> list[Point]:
    """The leader of an interface, then what might still beat it: more seeds could turn the choice.

    What is written back at the next younger age can only be more: where memory freed is lost in noise, that
    neighbour of the leader may be the better one, whatever its first runs seemed to free.

    Args:
        judged: settings as far as they are known.
        interface: which of them.
        enough: seeds of a leader that broke no minute, and of what frees nearly as much.
        most: seeds of a leader that did, and of what frees more: near what is allowed takes many.
    """
    mine = [j for j in judged if j.point.interface == interface]
    leader = best(mine)
    floor = leader.freed_bytes.mean if leader else 0.0
    open_to_doubt = [j for j in mine if j.seeds < most and j.possible]
    rivals = [j for j in open_to_doubt if not j.fit and j.freed_bytes.mean > floor]
    first: list[Judged] = []
    if leader is not None:
        rivals += [
            j
            for j in mine
            if j.fit and j is not leader and j.seeds < enough and j.freed_bytes.mean >= CLOSE * floor
        ]
        first = [leader] * (leader.seeds < (enough if leader.broken_pct == 0 else most))
        younger = [
            j
            for j in mine
            if j.point.max_bytes == leader.point.max_bytes and j.point.age_s < leader.point.age_s
        ]
        first += [j for j in younger[-1:] if j in open_to_doubt and j.seeds < enough]
    rivals.sort(key=lambda j: j.chance * j.freed_bytes.mean, reverse=True)
    return list(dict.fromkeys(j.point for j in (*first, *rivals[:MOST_RIVALS])))


def _first_look(
    found: Measured, points: Sequence[Point], seeds: int, on_run: Callable[[], None]
) -> dict[Point, int]:
    """Every point on so many seeds, one that is hopeless on the first on that alone; seeds used per point."""
    nothing = list(dict.fromkeys(point.never for point in points))
    others = [point for point in points if point not in nothing]
    found.add(range(1), [*nothing, *others], on_run)
    used = {p: 1 if _hopeless(found, p) else seeds for p in others}
    used |= dict.fromkeys(nothing, seeds)
    found.add(range(1, seeds), [*nothing, *(p for p in others if used[p] > 1)], on_run)
    for _ in range((seeds - 1) * sum(n == 1 for n in used.values())):
        on_run()
    return used


def _hopeless(found: Measured, point: Point) -> bool:
    first = judge(found.account(point, [0]).sum(), found.account(point.never, [0]).sum(), found.promise)
    greedy = first.cpu_added_pct_gib > HOPELESS * found.promise.cpu_pct_per_gib
    return bool((greedy | (first.broken_pct > first.allowed_pct + HOPELESS_PCT)).all())


def search(
    found: Measured,
    points: Sequence[Point],
    seeds: int,
    on_run: Callable[[], None] = lambda: None,
) -> dict[Point, int]:
    """Measure every point on so many seeds, then on more, look by look, what is undecided.

    Returns:
        seeds used per point.
    """
    used = _first_look(found, points, seeds, on_run)
    looks = [seeds * factor for factor in LOOKS]
    found.add(range(looks[2]), [NEVER])  # what all others are compared with
    used[NEVER] = looks[2]
    cgroups: list[int | None] = [None, *(range(len(found.cgroups)) if len(found.cgroups) > 1 else ())]
    affordable = int(MOST_LOADS / max(found.loads(NEVER, range(seeds)), 1.0)) - sum(used.values())
    left = min(AGAIN * seeds * len(cgroups), affordable)
    while True:
        again: list[Point] = []
        for cgroup in cgroups:
            judged = [assess(found, point, range(used[point]), cgroup) for point in points]
            # Version 1 comes first, and most for the whole machine: it is what the advice is about.
            again += undecided(judged, "v1", *(looks[2:] if cgroup is None else looks[1:3]))
        if not again:
            judged = [assess(found, point, range(used[point])) for point in points]
            for which in INTERFACES[1:]:
                again += undecided(judged, which, looks[1], looks[1])
        grown: dict[Point, int] = {}
        for point in dict.fromkeys(again):
            more = {point: next(n for n in looks if n > used[point])}
            if used[point.never] < more[point]:
                more[point.never] = more[point]
            cost = sum(n - used[p] for p, n in more.items())
            if cost <= left:
                left -= cost
                used |= more
                grown |= more
        if not grown:
            return used
        for count in sorted(set(grown.values())):
            found.add(range(count), [point for point, n in grown.items() if n >= count])
