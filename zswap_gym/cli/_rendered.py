"""A simulated host that is only ever seen and moved through the text of kernel files.

What a real host would show is rendered and parsed, what would be written is written: so a run of
the controller over it goes through every line that a real host would go through, but the system
calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zswap_gym.host.dialects import writes
from zswap_gym.host.files import parse_keyed
from zswap_gym.host.linux import RELEASED_KEYS, WRITTEN_KEYS
from zswap_gym.host.types import Outcome
from zswap_gym.units import PAGE_SIZE

if TYPE_CHECKING:
    from zswap_gym.host.dialects import Dialect
    from zswap_gym.host.simulated import SimulatedHost
    from zswap_gym.host.types import Request, Sample


class RenderedHost:
    """A :class:`zswap_gym.host.types.Host` over the files of a SimulatedHost.

    A write blocks as it would in a shell, in simulated time, so no request is ever busy.
    """

    def __init__(self, host: SimulatedHost) -> None:
        self.simulated = host
        self.page_size, self.boot_id = host.page_size, host.boot_id
        self._ended: list[tuple[str, Outcome]] = []

    def cgroups(self) -> list[str]:
        return self.simulated.cgroups()

    def sample(self) -> list[Sample]:
        return self.simulated.sample(via_text=True)

    def read(self, cgroup: str, file: str) -> str:
        return self.simulated.read(cgroup, file)

    def dialect(self, cgroup: str) -> Dialect:  # noqa: ARG002 - one kernel, one dialect
        return self.simulated.dialect

    def has_age(self, cgroup: str) -> bool:
        return self.simulated.has_age(cgroup)

    def submit(self, cgroup: str, request: Request) -> bool:
        """Write the request's text to the cgroup's files and wait for both writes."""
        spelt = writes(self.simulated.dialect, request, self._compressed_share(cgroup))
        began_s, before = self.now(), self._pages(cgroup, *WRITTEN_KEYS)
        errno = self.simulated.write(cgroup, *spelt.writeback) if spelt.writeback else 0
        if spelt.pulse_pages:
            errno = self.simulated.pulse(cgroup, spelt.pulse_pages)
        pages = self._pages(cgroup, *WRITTEN_KEYS) - before
        before = self._pages(cgroup, *RELEASED_KEYS)
        release_errno = self.simulated.write(cgroup, *spelt.release) if spelt.release else 0
        released = (self._pages(cgroup, *RELEASED_KEYS) - before) * PAGE_SIZE
        took_s = self.now() - began_s
        outcome = Outcome(errno, pages, pages * PAGE_SIZE, took_s, release_errno, released, spelt.notes)
        self._ended.append((cgroup, outcome))
        return True

    def _pages(self, cgroup: str, *keys: str) -> int:
        stat = self._stat(cgroup)
        return next(stat[key] for key in keys if key in stat)

    def _compressed_share(self, cgroup: str) -> float:
        stat = self._stat(cgroup)
        return stat["zswap"] / max(stat["zswapped"], 1)

    def _stat(self, cgroup: str) -> dict[str, int]:
        return parse_keyed(self.simulated.read(cgroup, "memory.stat"), f"{cgroup}/memory.stat")

    def outcomes(self) -> list[tuple[str, Outcome]]:
        ended, self._ended = self._ended, []
        return ended

    def now(self) -> float:
        return self.simulated.now()

    def sleep(self, seconds: float) -> None:
        self.simulated.sleep(seconds)

    def notes(self) -> list[str]:
        return self.simulated.notes()
