"""Which of a few times comes first."""

from __future__ import annotations

from zswap_gym.kernel.jit import below, choose, inline


@inline
def earliest(times, first, end):
    """Index in ``times`` of the smallest in [first, end), the first of equals."""
    best, when = first, times[first]
    for i in range(first + 1, end):
        sooner = below(times[i], when)
        best = choose(sooner, i, best)
        when = choose(sooner, times[i], when)
    return best
