"""The rules the field knows, as laws over the same samples and requests as a learned policy.

A law is made by name and parameters, ``fixed_age(age_s=60,max_bytes=8M)``, and asked at every
decision. Each states its formula and its source. Shrinker on, pool limit only and the stage-one
reclaimer are arms of the scenario, not laws.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from zswap_gym.errors import UserError, nearest
from zswap_gym.host.types import COLUMN, NOTHING, Request, Table
from zswap_gym.units import parse_size

MIB = 1 << 20
_PAGE = 4096.0


class Law(Protocol):
    """What every rule and every learned policy can do."""

    def reset(self, n: int) -> None:
        """Forget the past; ``n`` cgroups follow."""

    def decide(self, table: Table, dt_s: float) -> list[Request]:
        """One Request per row of a sample table (N, K); an all-NaN row gets NOTHING."""


def _present(table: Table) -> npt.NDArray[np.bool_]:
    return np.isfinite(table[:, COLUMN["time_s"]])


class Never:
    """Do nothing: stage one and the kernel alone. The zero of every score."""

    def reset(self, n: int) -> None:
        """Nothing to forget."""

    def decide(self, table: Table, dt_s: float) -> list[Request]:
        """NOTHING for every cgroup."""
        return [NOTHING] * len(table)


class ReleaseOnly:
    """More reclaim, no writeback: release = share x memory.current every decision.

    The honest opponent (FINDINGS, policy trials c2 to c8): much of what writeback plus release
    seems to win is only the additional reclaim.
    """

    def __init__(self, share: float = 0.01, max_bytes: int | str = "64M") -> None:
        self.share = float(share)
        self.max_bytes = parse_size(max_bytes)

    def reset(self, n: int) -> None:
        """Nothing to forget."""

    def decide(self, table: Table, dt_s: float) -> list[Request]:
        """Release only."""
        size = np.minimum(np.nan_to_num(table[:, COLUMN["memory_current"]]) * self.share, self.max_bytes)
        return [Request(None, 0, int(x // _PAGE * _PAGE)) if x >= _PAGE else NOTHING for x in size.tolist()]


class FixedAge:
    """Write back what has been in zswap for ``age_s``, up to ``max_bytes`` per cgroup and decision.

    The seed series' own interface with constants: ``echo "max=8M 60" > proactive_writeback``.
    """

    def __init__(self, age_s: float = 60.0, max_bytes: int | str = "8M") -> None:
        self.age_s = float(age_s)
        self.max_bytes = parse_size(max_bytes)

    def reset(self, n: int) -> None:
        """Nothing to forget."""

    def decide(self, table: Table, dt_s: float) -> list[Request]:
        """The same request wherever zswap holds anything."""
        zswapped = np.nan_to_num(table[:, COLUMN["zswapped"]]).tolist()
        return [Request(self.age_s, self.max_bytes) if size >= _PAGE else NOTHING for size in zswapped]


class Aimd:
    """A closed loop on the age: additive where it goes well, multiplicative where it does not.

    The seed's author (spec/series.md 7): start from a conservative age and tune it until the
    pages written back stay away. With r = disk refaults / footprint per minute, averaged over a
    minute: r <= target: age -= step x age; r > target: age x= backoff and this decision is
    skipped. Disk refaults are pgmajfault - zswpin, which own writebacks do not move.
    """

    def __init__(
        self,
        target_per_min: float = 0.002,
        age_s: float = 300.0,
        age_min_s: float = 10.0,
        age_max_s: float = 7200.0,
        step: float = 0.05,
        backoff: float = 2.0,
        max_bytes: int | str = "16M",
    ) -> None:
        self.target = float(target_per_min)
        self.start, self.low, self.high = float(age_s), float(age_min_s), float(age_max_s)
        self.step, self.backoff = float(step), float(backoff)
        self.max_bytes = parse_size(max_bytes)
        self.reset(0)

    def reset(self, n: int) -> None:
        """Back to the conservative age."""
        self.age = np.full(n, self.start)
        self._rate = np.zeros(n)
        self._last = np.full(n, math.nan)

    def decide(self, table: Table, dt_s: float) -> list[Request]:
        """Update each cgroup's age by its own refaults, then ask for that age."""
        if len(table) != len(self.age):
            self.reset(len(table))
        refaults = table[:, COLUMN["pgmajfault"]] - table[:, COLUMN["zswpin"]]
        delta = refaults - self._last
        self._last = refaults
        footprint = np.nan_to_num(
            table[:, COLUMN["anon"]] + table[:, COLUMN["swap_current"]] - table[:, COLUMN["swapcached"]]
        )
        per_min = np.nan_to_num(np.maximum(delta, 0.0)) * _PAGE / np.maximum(footprint, _PAGE) * 60.0 / dt_s
        keep = math.exp(-dt_s / 60.0)
        self._rate = keep * self._rate + (1 - keep) * per_min
        bad = self._rate > self.target
        self.age = np.clip(np.where(bad, self.age * self.backoff, self.age * (1 - self.step)), self.low, self.high)
        zswapped = np.nan_to_num(table[:, COLUMN["zswapped"]])
        act = _present(table) & ~bad & (zswapped >= _PAGE)
        return [
            Request(age, self.max_bytes) if on else NOTHING
            for age, on in zip(self.age.tolist(), act.tolist(), strict=True)
        ]


class Tmo:
    """TMO / senpai (ASPLOS'22): reclaim by pressure, no age.

    size = memory.current x ratio x max(0, 1 - PSI some / threshold) per 6 s, ratio 0.0005,
    threshold 0.1 %, at most 1 % a step; PSI some is the growth of memory.pressure's total. As a
    second stage it writes back as much as it releases, at a fixed age; ``age_s=0``: release only.
    """

    def __init__(
        self, ratio: float = 0.0005, psi_threshold: float = 0.001, age_s: float = 120.0, max_share: float = 0.01
    ) -> None:
        self.ratio, self.threshold = float(ratio), float(psi_threshold)
        self.age_s, self.max_share = float(age_s), float(max_share)
        self.reset(0)

    def reset(self, n: int) -> None:
        """Forget the last pressure totals."""
        self._last = np.full(n, math.nan)

    def decide(self, table: Table, dt_s: float) -> list[Request]:
        """Less the more pressure there is; nothing above the threshold or without a last sample."""
        if len(table) != len(self._last):
            self.reset(len(table))
        total = table[:, COLUMN["psi_some_total_us"]]
        psi = (total - self._last) * 1e-6 / dt_s
        self._last = total.copy()
        calm = np.nan_to_num(np.maximum(0.0, 1.0 - psi / self.threshold))
        share = np.minimum(self.ratio * dt_s / 6.0 * calm, self.max_share)
        size = np.floor(np.nan_to_num(table[:, COLUMN["memory_current"]]) * share / _PAGE) * _PAGE
        age = self.age_s if self.age_s > 0 else None
        return [
            Request(age, int(x) if age is not None else 0, int(x)) if x >= _PAGE else NOTHING for x in size.tolist()
        ]


LAWS: Mapping[str, Callable[..., Law]] = {
    "never": Never,
    "release_only": ReleaseOnly,
    "fixed_age": FixedAge,
    "aimd": Aimd,
    "tmo": Tmo,
}
"""Every law by name."""


def make_law(spec: str | Mapping[str, Any]) -> Law:
    """A law from ``"name"``, ``"name(key=value,...)"`` or ``{"law": name, key: value}``.

    UserError names an unknown law or parameter and the nearest known one.
    """
    if isinstance(spec, str):
        match = re.fullmatch(r"\s*([\w-]+)\s*(?:\(([^()]*)\))?\s*", spec)
        if match is None:
            raise UserError(f"law {spec!r}: write it as NAME or NAME(key=value,...)")
        name, inside = match.group(1), match.group(2) or ""
        pairs = [part.partition("=") for part in inside.split(",") if part.strip()]
        parameters: dict[str, Any] = {key.strip(): value.strip() for key, _, value in pairs}
    else:
        parameters = dict(spec)
        name = str(parameters.pop("law", ""))
    if name not in LAWS:
        raise UserError(f"law {name!r}: unknown{nearest(name, LAWS)}; known laws: {', '.join(LAWS)}")
    known = inspect.signature(LAWS[name]).parameters
    for key in parameters:
        if key not in known:
            raise UserError(f"law {name}: unknown parameter {key!r}{nearest(key, known)}; it takes {', '.join(known)}")
    try:
        return LAWS[name](**{key: value if "bytes" in key else float(value) for key, value in parameters.items()})
    except ValueError as error:
        raise UserError(f"law {name}: {error}; parameters are numbers, bytes may carry K, M or G") from error
