"""What a decision was worth: named terms in physical units, their prices, and the cost beside them.

A step's terms are what happened to the whole host between two decisions. The reward is the sum
of weight times term, nothing else. What is promised to each cgroup is *not* in that sum: it is reported
as ``info["cost"]``, so that a policy that buys reward with broken promises is seen to do so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from zswap_gym.errors import UserError, nearest
from zswap_gym.policy.promise import MINUTE_S, Account, reads_pct
from zswap_gym.units import US_PER_S, is_finite

Array = npt.NDArray[np.float64]

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class RewardTerms:
    """One decision interval of the whole host, in physical units."""

    dram_held: float = 0.0
    """GiB*h: memory.current, which includes zswap's compressed bytes, summed over the top-level
    cgroups and integrated over the interval (trapezoid between its two ends)."""
    stall_s: float = 0.0
    """Thread-seconds stalled on memory; inside a cgroup's critical window they count
    ``critical_factor`` times."""
    disk_refaults: float = 0.0
    """Pages read back from the swap device (pswpin)."""
    zswap_loads: float = 0.0
    """Pages loaded back from zswap (zswpin)."""
    bytes_written: float = 0.0
    """Bytes written to the swap device (pswpout): writeback, and stores that zswap turned down."""
    rejects: float = 0.0
    """Stores that zswap turned down: pool full, incompressible, over memory.zswap.max."""
    oom_kills: float = 0.0
    """Kills by the OOM killer (memory.events oom_kill)."""

    def as_array(self) -> Array:
        """The terms in the order of :data:`TERMS`."""
        return np.array([getattr(self, name) for name in TERMS])


TERMS: tuple[str, ...] = tuple(f.name for f in fields(RewardTerms))
"""Names of the terms, in the order in which they are summed."""

COUNTS = (
    "held_bytes", "stall_us", "pswpin", "zswpin", "pswpout", "stores_refused", "events_oom_kill"
)  # fmt: skip
"""What the terms of a host are added up from, cgroup by cgroup: each one's own, in units in which sums are
exact: bytes held on average, us, pages, kills."""


@dataclass(frozen=True, slots=True)
class RewardWeights:
    """What one unit of each term is worth. All terms are costs, so weights are negative.

    The unit of account is one GiB of DRAM held for one hour; override any weight in YAML. With the
    defaults a page written back has to stay away for about an hour and a half to be worth one
    read from disk: two thirds of it were saved already by compressing it, so it frees 1.3 KiB,
    1.2e-6 GiB*h an hour, and the read costs 1e-6 for its time and 1e-6 for its tail.
    """

    # The unit. Rented memory costs about 0.0042 dollars per GiB and hour.
    dram_held: float = -1.0
    # A rented vCPU costs about 0.032 dollars an hour, 7.5 times a GiB: a second in which a thread
    # stands still wastes 7.5 / 3600 = 0.002. Somebody waits for the answer, and late answers cost
    # more than idle silicon: five times that. It is far below what the published service levels
    # would allow as a price: Google holds promotions to 0.2 % of the working set a minute for
    # about 0.13 GiB saved per GiB, which is 0.7 GiB*h per stalled second at most; TMO's 0.1 % of
    # pressure for a fifth of the memory comes to about the same.
    stall_s: float = -0.01
    # The mean time of a read is in stall_s. What it does not show is the tail: a read that queues
    # behind writeback takes ten times as long, and one request in many waits for it. So each read
    # is charged its 100 us once more.
    disk_refaults: float = -1.0e-6
    # A load from zswap takes 6 us where a disk takes 100 us: a sixteenth of a disk read.
    zswap_loads: float = -6.0e-8
    # Flash of one drive-write a day for five years costs about 8e-5 dollars per GiB written: 0.02 GiB*h.
    bytes_written: float = -0.02 / GIB
    # A refused store has cost a compression, and is tried again or goes to disk uncompressed: a load.
    rejects: float = -6.0e-8
    # A killed service restarts, refills its caches and answers nobody meanwhile: a GiB for an hour.
    oom_kills: float = -1.0
    # Not a weight: how much more a stall counts in a window the operator calls critical.
    critical_factor: float = 10.0

    @classmethod
    def of(cls, weights: RewardWeights | Mapping[str, float] | None, where: str = "reward") -> RewardWeights:
        """Defaults, overridden by ``weights``. UserError names an unknown key and its nearest."""
        if weights is None:
            return cls()
        if isinstance(weights, RewardWeights):
            weights = weights.as_dict()
        if not isinstance(weights, Mapping):
            raise UserError(f"{where}: {weights!r}; give weights by name")
        known = [f.name for f in fields(cls)]
        for key, value in weights.items():
            if key not in known:
                raise UserError(
                    f"{where}: unknown term {key!r}{nearest(key, known)}; known are {', '.join(known)}"
                )
            if not is_finite(value):  # YAML does not keep to the annotation
                raise UserError(f"{where}: {key} = {value!r}; give a number")
            if key in TERMS and value > 0:
                raise UserError(
                    f"{where}: {key} = {value!r}; every term is a cost, so its weight is at most 0"
                )
            if key == "critical_factor" and value < 1:
                raise UserError(f"{where}: {key} = {value!r}; a critical second counts at least once")
        return cls(**{key: float(value) for key, value in weights.items()})

    def reward(self, terms: Array) -> Array:
        """The sum of weight times term: (...,) from terms (..., len(TERMS)) in the order of :data:`TERMS`."""
        # Not sum(): along an axis it may add in another order, and one host would not equal many.
        total: Array = np.add.accumulate(terms * _in_order(self), axis=-1)[..., -1]
        return total

    def changed(self) -> dict[str, float]:
        """Those that are not the defaults."""
        usual = type(self)().as_dict()
        return {name: value for name, value in self.as_dict().items() if value != usual[name]}

    def as_dict(self) -> dict[str, float]:
        """The weights by name, and the critical factor."""
        return asdict(self)


@lru_cache
def _in_order(weights: RewardWeights) -> Array:
    """One weight per term, in the order of :data:`TERMS`."""
    return np.array([getattr(weights, name) for name in TERMS])


@dataclass(frozen=True, slots=True)
class Cost:
    """What the promise is about, in one step: the worst cgroup's, and how many minutes were broken."""

    refault_pct_wss_min: float
    """Disk reads in percent of the resident set per minute, worst cgroup."""
    psi_some_pct: float
    """Share of the interval in which some thread stalled on memory, percent, worst cgroup. A stall counts
    where it begins, so one that outlasts the interval can make it more than 100."""
    broken_minutes: float
    """Minutes that ended in the step and were over the promise's disk reads, of all cgroups."""


COSTS: tuple[str, ...] = tuple(f.name for f in fields(Cost))
"""Names of the service quantities, in order."""


def step_costs(step: Account, resident: Array) -> Array:
    """(E, len(COSTS)) from the account (E, N) of a step and the bytes (E, N) resident at its end."""
    made = np.empty((len(resident), len(COSTS)))
    made[:, 0] = (reads_pct(step.reads, resident) * (MINUTE_S * US_PER_S / step.elapsed_us)).max(axis=1)
    made[:, 1] = psi_pct(step).max(axis=1)
    made[:, 2] = step.broken.sum(axis=1)
    return made


def psi_pct(step: Account) -> Array:
    """Share of the time of an account (...,) in which some thread was stalled on memory, percent."""
    share: Array = 100.0 * step.stalled_us / step.elapsed_us
    return share
