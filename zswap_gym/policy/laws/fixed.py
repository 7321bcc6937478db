"""Laws without feedback: nothing, more reclaim, a fixed age."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from zswap_gym.host.types import COLUMN, NOTHING, Request, Table
from zswap_gym.policy.deltas import present
from zswap_gym.policy.laws.parameters import read_parameters, setting
from zswap_gym.policy.laws.watch import whole_pages
from zswap_gym.units import PAGE_SIZE


@dataclass
class Never:
    """Do nothing: stage one and the kernel alone. The zero of every score."""

    name: ClassVar[str] = "never"

    def reset(self, n: int) -> None:
        """Nothing to forget."""

    def decide(self, table: Table, dt_s: float) -> list[Request]:  # noqa: ARG002 - a law's signature
        """NOTHING for every cgroup."""
        return [NOTHING] * len(table)


@dataclass
class ReleaseOnly:
    """More reclaim, no writeback: the honest opponent.

    Every decision, per cgroup: release = min(share x memory.current, max_bytes), or
    ``release_bytes`` where that is given. Source: the controls c2, c4 and c8 of the policy trials
    (FINDINGS): much of what writeback plus release seems to win is only the additional reclaim.
    """

    name: ClassVar[str] = "release_only"
    share: float = setting(0.01, 1e-4, 0.05, most=1)
    """Of memory.current, per decision."""
    max_bytes: int = setting(64 << 20)
    release_bytes: int = setting(0)
    """A fixed size per decision instead of a share."""

    def __post_init__(self) -> None:
        read_parameters(self)

    def reset(self, n: int) -> None:
        """Nothing to forget."""

    def decide(self, table: Table, dt_s: float) -> list[Request]:  # noqa: ARG002 - a law's signature
        """Release only, in whole pages."""
        current = np.where(present(table), table[:, COLUMN["memory_current"]], 0.0)
        size = np.minimum(current * self.share, self.max_bytes)
        if self.release_bytes:
            size = np.where(current > 0, self.release_bytes, 0.0)
        return [Request(None, 0, x) if x else NOTHING for x in whole_pages(size)]


@dataclass
class FixedAge:
    """Write back what has been in zswap for ``age_s``, up to ``max_bytes`` per cgroup and decision.

    The seed series' own interface with constants, ``echo "max=8M 60" >
    memory.zswap.proactive_writeback``, then a release of ``release_share`` x max_bytes whatever
    the writeback returned, as in the policy trials p2 to p5 (p1, writeback alone, is
    release_share = 0). Where zswap holds nothing it asks for nothing.
    """

    name: ClassVar[str] = "fixed_age"
    age_s: float = setting(60.0, 10.0, 7200.0, positive=True)
    max_bytes: int = setting(8 << 20, 64 << 10, 32 << 20)
    release_share: float = setting(1.0, 0.05, 2.0)
    """Release in units of max_bytes."""

    def __post_init__(self) -> None:
        read_parameters(self)

    def reset(self, n: int) -> None:
        """Nothing to forget."""

    def decide(self, table: Table, dt_s: float) -> list[Request]:  # noqa: ARG002 - a law's signature
        """The same request wherever zswap holds anything."""
        release = None  # as much as is written
        if self.release_share != 1:
            (release,) = whole_pages(np.array([self.max_bytes * self.release_share]))
        same = Request(self.age_s, self.max_bytes, release)
        holds = present(table) & (table[:, COLUMN["zswapped"]] >= PAGE_SIZE)
        return [same if some and not same.is_nothing else NOTHING for some in holds.tolist()]
