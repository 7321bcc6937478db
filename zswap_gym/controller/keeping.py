"""How a cgroup stands to the promise, from its samples: what the rail ``promise`` goes by.

Broken minutes are counted by the promise's own :class:`MinuteMeter`, disk reads as rules estimate them
(host/refaults.py). What compression would take with nothing done nobody can know who acts; it is taken
to be what it took in quiet time, when nothing had been asked of the cgroup for a while. So a cgroup that
is held back for its CPU becomes quiet, and is judged by that afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import exp
from typing import Any

import numpy as np

from zswap_gym.policy.promise import CPU_US, GIB, MINUTE_S, MinuteMeter, Promise, cpu_us

WINDOW = 60
"""Minutes over which the promise is held: of so many at most ``(1 - minutes) x WINDOW`` may break."""
WINDOW_S = WINDOW * MINUTE_S
QUIET_S = 300.0
"""After the last request, the time it takes until what happens counts as happening by itself."""
DEAREST = CPU_US["zstd"]
"""No file says which compressor a page met; a budget kept at the dearest one is kept."""


@dataclass(frozen=True)
class Seen:
    """What happened to a cgroup between two samples."""

    now_s: float
    dt_s: float
    reads: float
    """Pages read from disk."""
    stored: float
    """Pages, zswpout."""
    loaded: float
    """Pages, zswpin."""
    written: float
    """Pages, zswpwb."""
    resident: float
    """Bytes, at the end."""
    footprint: float
    """Bytes, at the end."""


@dataclass(frozen=True)
class Keeping:
    """The last :data:`WINDOW` minutes of one cgroup; CPU fades with the same time constant."""

    into_s: float = 0.0
    """Seconds into the present minute."""
    reads: float = 0.0
    """Pages read from disk in it so far."""
    minutes: tuple[bool, ...] = ()
    """Whether each of the last minutes was broken, oldest first."""
    ended: int = 0
    """Minutes since it was first seen in this run."""
    broken: int = 0
    """Of these, broken ones."""
    spent_us: float = 0.0
    """Compression and decompression, fading."""
    size_gib_us: float = 0.0
    """Footprint times time, fading alike."""
    quiet_us: float = 0.0
    """The two of quiet time."""
    quiet_gib_us: float = 0.0
    gib: float = 0.0
    """Footprint at the last sample."""
    asked_s: float | None = None
    """Boot time of the last request."""

    def after(self, seen: Seen, promise: Promise) -> Keeping:
        """With what happened since the last sample."""
        meter = MinuteMeter(1, promise)
        meter.into_s[0], meter.reads[0] = self.into_s, self.reads
        ended, broken = (
            int(count[0]) for count in meter.add(seen.dt_s, np.array([seen.reads]), np.array([seen.resident]))
        )
        latest = (True,) * broken + (False,) * (ended - broken)
        spent_us = float(
            cpu_us(np.array(seen.stored), np.array(seen.loaded), np.array(seen.written), *DEAREST)
        )
        gib = seen.footprint / GIB
        gib_us = gib * seen.dt_s * 1e6
        quiet = self.asked_s is None or seen.now_s - seen.dt_s - self.asked_s >= QUIET_S
        keep = exp(-seen.dt_s / WINDOW_S)
        return replace(
            self,
            gib=gib,
            into_s=float(meter.into_s[0]),
            reads=float(meter.reads[0]),
            minutes=(self.minutes + latest)[-WINDOW:],
            ended=self.ended + ended,
            broken=self.broken + broken,
            spent_us=self.spent_us * keep + spent_us,
            size_gib_us=self.size_gib_us * keep + gib_us,
            quiet_us=self.quiet_us * keep + spent_us if quiet else self.quiet_us,
            quiet_gib_us=self.quiet_gib_us * keep + gib_us if quiet else self.quiet_gib_us,
        )

    def asked(self, at_s: float) -> Keeping:
        """With a request handed over at ``at_s``."""
        return replace(self, asked_s=at_s)

    def reads_over(self, promise: Promise) -> str | None:
        """Why nothing should be written back, in words; None where the promise of disk reads is kept."""
        count, allowed = sum(self.minutes), (1.0 - promise.minutes) * WINDOW
        if count <= allowed + 1e-9:
            return None
        return (
            f"promise: {count} of the last {len(self.minutes)} minutes read more than "
            f"{promise.disk_reads_pct_min:g} % of the resident set from disk, {allowed:g} may"
        )

    def cpu_over(self, promise: Promise) -> str | None:
        """Why nothing should be released, in words; None where the promise of CPU is kept.

        As with minutes, what a whole window allows may be spent early in it.
        """
        quiet = self.quiet_us / self.quiet_gib_us if self.quiet_gib_us > 0 else 0.0
        added_us = self.spent_us - quiet * self.size_gib_us
        if added_us <= promise.cpu_pct_per_gib / 100.0 * self.gib * WINDOW_S * 1e6:
            return None
        return (
            f"promise: compression took more of the CPU in the last {WINDOW_S / 60:g} minutes than "
            f"{promise.cpu_pct_per_gib:g} % of a core per GiB beyond quiet time"
        )

    @classmethod
    def recalled(cls, saved: Mapping[str, Any]) -> Keeping:
        """What an earlier run saw, less its totals and the present minute: time has passed since."""
        past = {name: saved[name] for name in saved if name not in ("into_s", "reads", "ended", "broken")}
        return cls(**past | {"minutes": tuple(map(bool, saved.get("minutes", ())))})
