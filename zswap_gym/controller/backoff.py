"""A cgroup of which nothing could be got is not asked over and over.

Writes that end in an errno (EAGAIN, mostly) having done next to nothing say that there is nothing to
be had at present: a cgroup of 61 KB asked for 2 MiB, entries younger than the age asked for. Asking
again at once costs CPU time and, in version 1, spoils the order of the list (groundtruth p15). So
rounds are left out: 1, 3, 7 and so on. Partial success is success, and ends it.
"""

from __future__ import annotations

import errno as errnos
from dataclasses import dataclass

NEXT_TO_NOTHING = 64
"""Less than so small a part (1/64) of what was asked for is a failure, where the write said so too."""


@dataclass(frozen=True)
class Backoff:
    """Of one kind of write, writeback or release, to one cgroup."""

    failures: int = 0
    """In a row."""
    until_s: float = 0.0
    """Boot time from which it may be asked again."""

    def left_s(self, now_s: float) -> float:
        """Seconds to wait; 0 = it may be asked."""
        return max(self.until_s - now_s, 0.0) if self.failures else 0.0

    def after(
        self, at_s: float, asked_bytes: int, done_bytes: int, errno: int, interval_s: float, max_s: float
    ) -> Backoff:
        """With the outcome of a write that was begun at ``at_s``.

        One that was dropped before it reached the kernel (ECANCELED) says nothing. Half an interval is
        taken off the wait, so that a round that comes a moment early still counts.
        """
        if asked_bytes <= 0 or errno == errnos.ECANCELED:
            return self
        if errno == 0 or done_bytes * NEXT_TO_NOTHING >= asked_bytes:
            return Backoff()
        failures = self.failures + 1
        rounds = 2.0 ** min(failures, 64) - 0.5
        return Backoff(failures, at_s + min(rounds * interval_s, max_s))
