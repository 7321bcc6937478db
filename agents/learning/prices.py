"""What a cgroup earns in a step: memory saved, less what its own broken minutes and excesses cost.

Everything is counted against the same host with nothing done, on the same draw and random stream, and as
a share of what the cgroup itself holds then: a policy of rows sees nothing of a machine's size either.

**The multiplier is part of the state.** A minute over the promised disk reads costs

    broken_low (broken_high / broken_low)^caution

minutes' worth of the cgroup's whole memory, where *caution* (policy/memory.py) tracks the cgroup's own
broken minutes: it rises with each and falls in between, so that it stands still where as many break as it
aims at. So each cgroup has a Lagrange multiplier of its own, moved by what it does, in training as on a host,
and the policy sees it: it learns one behaviour for every price and keeps the promise by moving along
them (state-augmented constrained reinforcement learning; Calvo-Fullana, Paternain, Chamon, Ribeiro,
IEEE TAC 2024). No multiplier has to be found by training, and exploration, which breaks minutes of its
own, moves caution and not the price list.

Pressure and CPU are averages over hours that a policy can steer: what of them is beyond ``margin`` of the
promise, of the episode so far, costs ``over`` as it grows, and comes back as it is made good.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zswap_gym.policy.promise import MINUTE_S, SUMS, Account, Promise, judge
from zswap_gym.units import US_PER_S

Array = npt.NDArray[np.float64]

UNAVOIDABLE = 0.7
"""What is not charged of a minute that is broken with nothing done as well."""
OVER_MOST = 5.0
"""Beyond six times what is promised nothing is worse than before, as promise.BREACH_MOST."""

_HELD, _BROKEN = SUMS.index("held_byte_us"), SUMS.index("broken")


@dataclass(frozen=True)
class Prices:
    """In minutes' worth of the cgroup's memory."""

    broken_low: float = 0.1
    """Of a broken minute at caution 0."""
    broken_high: float = 10.0
    """At caution 1."""
    over: float = 1.0
    """Of a minute at twice the promised pressure or CPU."""
    margin: float = 0.85
    """Share of the promised pressure and CPU that is free."""


def earned(
    step: Array, total: Array, reference: Array, before: Array, caution: Array, due: Array,
    promise: Promise, prices: Prices,
) -> Array:  # fmt: skip
    """What cgroups earned in a step, minutes' worth of their memory, (E, N).

    Args:
        step: accounts of the step as arrays (E, N, len(SUMS)).
        total: of the episode so far.
        reference: of the episode so far with nothing done.
        before: the same a step earlier.
        caution: (E, N) before the step, 0 to 1: the price of a minute is what the policy saw.
        due: (E, N), brought up to date: excess so far times minutes, 0 when an episode begins.
        promise: what is promised.
        prices: of what.
    """
    nothing = reference - before
    minutes = step[..., 0] / (MINUTE_S * US_PER_S)
    held = np.maximum(nothing[..., _HELD], 1.0)
    saved = (nothing[..., _HELD] - step[..., _HELD]) / held
    broken = step[..., _BROKEN] - UNAVOIDABLE * np.minimum(nothing[..., _BROKEN], step[..., _BROKEN])
    price = prices.broken_low * (prices.broken_high / prices.broken_low) ** caution
    over = _excess(total, reference, promise, prices.margin) * total[..., 0] / (MINUTE_S * US_PER_S)
    grown, due[:] = over - due, over
    return np.where(nothing[..., _HELD] > 0, saved * minutes - price * broken - prices.over * grown, 0.0)


def _excess(total: Array, reference: Array, promise: Promise, margin: float) -> Array:
    """Pressure and CPU added so far beyond ``margin`` of the promise, as shares of it."""
    found = judge(Account.of(total), Account.of(reference), promise)
    excess = np.zeros(total.shape[:-1])
    for added, limit in (
        (found.psi_added_pct, promise.psi_added_pct),
        (found.cpu_added_pct_gib, promise.cpu_pct_per_gib),
    ):
        excess += np.minimum(np.maximum(added / limit - margin, 0.0), OVER_MOST)
    return excess
