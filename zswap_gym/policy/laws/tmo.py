"""Meta's TMO: release by pressure, and a second stage at a fixed age."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from zswap_gym.host.types import COLUMN, NOTHING, Request, Table
from zswap_gym.policy.deltas import Deltas, fitted, present
from zswap_gym.policy.laws.parameters import read_parameters, setting
from zswap_gym.policy.laws.watch import LEAST_BYTES, whole_pages
from zswap_gym.units import PAGE_SIZE, US_PER_S

_PERIOD_S = 6.0
_COLUMNS = [COLUMN["psi_some_total_us"]]


@dataclass
class Tmo:
    """How much to release follows from pressure alone.

    Source: TMO and its senpai (Weiner et al., ASPLOS'22).

    Per cgroup and 6 s: release = memory.current x ratio x max(0, 1 - PSI some / psi_threshold), at
    most max_share of memory.current; longer intervals get proportionally more. PSI some is the
    growth of memory.pressure's total since the last decision, avg10 where there is none. On a kernel
    that tells no pressure nothing is done: there is nothing to go by.

    TMO has one slow tier. As the second one the seed series opens, the same amount is written
    back, no faster than write_bytes_per_s (oomd's endurance bound), at the fixed age ``age_s``. It
    is saved up to 512 KiB (or all that zswap holds), and none is written under pressure.
    ``age_s=0``: TMO as it is, release only.
    """

    name: ClassVar[str] = "tmo"
    ratio: float = setting(0.0005, 5e-5, 0.01)
    psi_threshold: float = setting(0.001, 1e-4, 0.01, positive=True)
    """Share of time: 0.001 is 0.1 %."""
    max_share: float = setting(0.01, 1e-4, 0.05, most=1)
    """Of memory.current, per 6 s."""
    age_s: float = setting(120.0, 30.0, 7200.0)
    write_bytes_per_s: int = setting(1 << 20, 4 << 10, 4 << 20)
    _total: Deltas = field(init=False, repr=False)
    _owed: npt.NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        read_parameters(self)
        self.reset(0)

    def reset(self, n: int) -> None:
        """Forget the last pressure totals and what was saved up."""
        self._total = Deltas(len(_COLUMNS), n)
        self._owed = np.zeros(n)

    def decide(self, table: Table, dt_s: float) -> list[Request]:
        """Less the more pressure there is, nothing at the threshold."""
        n = len(table)
        here = present(table)
        self._total.resize(n)
        (stalled_us,), known = self._total.update(table[:, _COLUMNS].T, here)
        avg10 = table[:, COLUMN["psi_some_avg10"]] / 100.0
        psi = np.where(known, stalled_us / US_PER_S / dt_s, avg10)
        told = here & (table[:, COLUMN["psi_unknown"]] == 0.0)
        calm = np.where(told, np.maximum(0.0, 1.0 - psi / self.psi_threshold), 0.0)
        share = np.minimum(self.ratio * calm, self.max_share) * dt_s / _PERIOD_S
        size = np.where(here, table[:, COLUMN["memory_current"]] * share, 0.0)

        zswapped = np.where(here, table[:, COLUMN["zswapped"]], 0.0)
        owed = np.where(known, fitted(self._owed, n), 0.0)
        owed = np.minimum(owed + np.minimum(size, self.write_bytes_per_s * dt_s), zswapped)
        due = (calm > 0) & (owed >= np.minimum(LEAST_BYTES, zswapped)) & (owed >= PAGE_SIZE)
        if self.age_s <= 0:
            due[:] = False
        self._owed = np.where(due, 0.0, owed)
        return [
            Request(self.age_s, written, released)
            if writes
            else Request(None, 0, released)
            if released
            else NOTHING
            for writes, written, released in zip(
                due.tolist(), whole_pages(owed), whole_pages(size), strict=True
            )
        ]
