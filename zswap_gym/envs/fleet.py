"""Hosts stepped together, on all cores: a few compiled calls for many of them.

A single environment is a fleet of one, so that many environments give what single ones give.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from zswap_gym.envs.accounting import Accounts, Meter
from zswap_gym.envs.compiled import whole_requests
from zswap_gym.envs.crew import Piece, run_pieces, thread_count
from zswap_gym.envs.event_log import EventLog
from zswap_gym.envs.warmstart import WarmStart
from zswap_gym.host.dialects import AGE_LIMIT_S, V1
from zswap_gym.host.simulated import SimulatedHost, tell_hints
from zswap_gym.host.simulated_table import fill_tables
from zswap_gym.host.types import COLUMNS, Table
from zswap_gym.kernel import engine, requests
from zswap_gym.policy.features import FeatureExtractor, Observation
from zswap_gym.policy.promise import Account, Promise
from zswap_gym.units import PAGE_SIZE, US_PER_S

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Ended = tuple[str, int, int, float, int, int]
"""A request that ended: cgroup, errno, pages, seconds, errno of the release, pages released."""

PIECES = 2
"""Of a step, per thread: hosts take different times, and a thread that is done takes another piece."""


class Fleet:
    """E simulated hosts of one scenario: N sampled cgroups each, the same ones.

    Args:
        size: E.
        critical_factor: how much a stalled second counts inside a critical window.
        promise: what broken minutes are counted by; None = the usual one.
        threads: on how many to step; None = as many as there are cores. It changes no result.
    """

    def __init__(
        self,
        size: int,
        critical_factor: float = 1.0,
        promise: Promise | None = None,
        *,
        threads: int | None = None,
    ) -> None:
        self.size = size
        self.threads = min(thread_count(threads), size)
        self.critical_factor = critical_factor
        self.promise = promise or Promise()
        self.hosts: list[SimulatedHost] = []
        """The hosts; empty until every one of them has been given a start."""
        self.tables: Table = np.zeros((size, 0, len(COLUMNS)))
        """(E, N, K): the last samples."""
        self.rows: Observation = np.zeros((size, 0, 0), np.float32)
        """(E, N, F): features of the last samples."""
        self.terms: Array
        """(E, len(TERMS)): what the last step came to."""
        self.extractor: FeatureExtractor
        self.meter: Meter
        self.accounts: Accounts
        self.events = EventLog(size)
        """What windows, arrivals and resumes cost, per host."""

    @property
    def cgroups(self) -> tuple[str, ...]:
        """Names of the sampled cgroups."""
        return tuple(self.hosts[0].cgroups())

    @property
    def step_account(self) -> Account:
        """(E, N): what the last step did to each cgroup."""
        return self.accounts.step

    @property
    def account(self) -> Account:
        """(E, N): what was done to each cgroup since its host was given its start."""
        return self.accounts.total

    @property
    def counts(self) -> Array:
        """(E, C, len(COUNTS)): what the host's terms are added up from, of every cgroup of the machine.

        Those of the sampled cgroups are at ``hosts[0].rows``.
        """
        return self.meter.counts

    def adopt(self, e: int, start: WarmStart, stream: int) -> None:
        """Let host e go on from ``start``, which stays as it is, with random stream ``stream``.

        The first call makes all hosts alike; the memory of a host is used again afterwards.
        """
        if not self.hosts:
            self._build(start.host, start.extractor.interval_s, start.table, start.rows)
        machine = self.hosts[e].machine
        machine.become(start.host.machine)
        machine.reseed(stream)
        self._stand(e, start.host.over(machine))
        self.tables[e], self.rows[e] = start.table, start.rows
        self.extractor.adopt(e, start.extractor)
        self.extractor.forget(np.arange(self.size) == e, self.rows)  # memory begins with whoever decides
        self.meter.start(e, machine, start.events)
        self.accounts.start(e, machine)
        self.events.start(e, machine, start.events)

    def follow(self, e: int, other: Fleet) -> None:
        """Let host e go on from where ``other``, a fleet of one, stands, random stream and accounts included.

        Asked for the same they go the same way from there. ``other`` stays as it is.
        """
        if not self.hosts:
            self._build(other.hosts[0], other.extractor.interval_s, other.tables[0], other.rows[0])
        machine = self.hosts[e].machine
        machine.become(other.hosts[0].machine)
        self._stand(e, other.hosts[0].over(machine))
        self.tables[e], self.rows[e] = other.tables[0], other.rows[0]
        self.extractor.adopt(e, other.extractor)
        self.meter.follow(e, other.meter)
        self.accounts.follow(e, other.accounts)

    def _stand(self, e: int, host: SimulatedHost) -> None:
        self.hosts[e] = host
        self._blocks[e], self._clocks[e] = host.machine.block, host.clock

    def _build(self, host: SimulatedHost, interval_s: float, table: Table, rows: Observation) -> None:
        size = self.size
        self.hosts = [host.over(host.machine.clone()) for _ in range(size)]
        self._at = np.asarray(host.rows, np.int64)
        self._blocks = np.stack([h.machine.block for h in self.hosts])
        self._clocks = np.stack([h.clock for h in self.hosts])
        self.tables = np.stack([table] * size)
        self.rows = np.stack([rows] * size)
        self.extractor = FeatureExtractor(interval_s, (size, len(self._at)), self.promise)
        self.meter = Meter(size, len(host.machine.names), self.critical_factor)
        self.accounts = Accounts(size, host.rows, self.promise)

    def step(self, age_s: Array, max_bytes: Array, release_bytes: Array, seconds: float) -> Integers:
        """Start one request per cgroup and let ``seconds`` pass; updates all of the above.

        Requests are as :func:`zswap_gym.policy.actions.decode` gives them, (E, N). Returns how many
        of each host's (E,) were refused because the last one of the cgroup still ran.
        """
        run_pieces(self.begin_step(age_s, max_bytes, release_bytes, seconds), self.threads)
        return self.end_step()

    def begin_step(self, age_s: Array, max_bytes: Array, release_bytes: Array, seconds: float) -> list[Piece]:
        """The work of :meth:`step` in pieces, for any threads in any order; then comes :meth:`end_step`."""
        self.extractor.asked(age_s, max_bytes, release_bytes)
        asked = self._asked(age_s, max_bytes, release_bytes)
        self._busy, until_us = np.empty(self.size, np.int64), np.empty(self.size, np.int64)
        self.accounts.begin_step(until_us)
        self.meter.begin_step()
        self.tables = np.zeros_like(self.tables)
        self.rows = np.empty_like(self.rows)
        interval_us = round(seconds * US_PER_S)
        many = -(-self.size // (PIECES * self.threads)) if self.threads > 1 else self.size
        return [
            partial(self._advance, first, min(first + many, self.size), asked, until_us, interval_us)
            for first in range(0, self.size, many)
        ]

    def _advance(
        self, first: int, end: int, asked: Sequence[Integers], until_us: Integers, interval_us: int
    ) -> None:
        """A step of hosts ``first`` to before ``end``, with a look at every end of a minute on the way."""
        mine, accounts = slice(first, end), self.accounts
        blocks = self._blocks[mine]
        age_us, amount, release = (part[mine] for part in asked)
        requests.request_all(blocks, self._at, age_us, amount, release, self._busy[mine], until_us[mine])
        until_us[mine] += interval_us
        stop_us = accounts.stop_us[mine]
        while accounts.look(self._blocks, first, end):
            engine.advance(blocks, stop_us, -1)
            self.events.read(first, end)
        fill_tables(self._blocks, self._at, self._clocks, self.tables, first, end)
        tell_hints(self.hosts[mine], self.tables[mine], until_us[mine])
        n = len(self._at)
        flat, rows = self.tables.reshape(-1, len(COLUMNS)), self.rows.reshape(-1, self.rows.shape[-1])
        self.extractor.update_rows(flat, rows, first * n, end * n)
        self.meter.read(self._blocks, first, end)

    def end_step(self) -> Integers:
        """What :meth:`step` returns."""
        self.accounts.end_step()
        self.terms = self.meter.terms
        return self._busy

    def outcomes(self, e: int) -> tuple[Ended, ...]:
        """Requests of host e that ended in the last step, in order of their end; told once."""
        machine = self.hosts[e].machine
        return tuple(
            (machine.names[d.cgroup], d.errno, d.pages, d.duration_us / US_PER_S, d.release_errno, d.released)
            for d in machine.finished()
        )

    def __getstate__(self) -> dict[str, Any]:
        """All but the blocks: they hold addresses, which mean nothing elsewhere."""
        return {name: value for name, value in self.__dict__.items() if name != "_blocks"}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.__dict__.update(saved)
        if self.hosts:
            self._blocks = np.stack([host.machine.block for host in self.hosts])

    def _asked(
        self, age_s: Array, max_bytes: Array, release_bytes: Array
    ) -> tuple[Integers, Integers, Integers]:
        """Requests in the kernel's units, as :func:`zswap_gym.host.dialects.whole` rounds them."""
        host = self.hosts[0]
        age, pages, release = (np.empty(age_s.shape, np.int64) for _ in range(3))
        whole_requests(age_s, max_bytes, release_bytes, float(AGE_LIMIT_S), age, pages, release)
        if not host.has_age(""):  # an age as a size: writeback takes the oldest first
            known = np.where(age >= 0, age_s, 0.0).ravel()
            older = self.extractor.age.bytes_older_than(known).reshape(pages.shape)
            pages = np.minimum(pages, older.astype(np.int64) // PAGE_SIZE)
        if host.dialect is not V1:  # it may count compressed bytes, or have no writeback at all
            for e, one in enumerate(self.hosts):
                sizes = (pages[e] * PAGE_SIZE).tolist()
                pages[e] = [one.amount(c, size) for c, size in zip(one.rows, sizes, strict=True)]
        if not host.machine.host.release_after_writeback:
            release[pages > 0] = 0  # the ablation: a pair without its second half
        return age, pages, release
