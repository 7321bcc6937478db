"""The promise: the one definition of what an operator is promised while memory is freed.

*Free the most memory while a promise is kept* is the question of the whole project. A cgroup keeps
the promise when

- in at least ``minutes`` of its minutes its disk reads are at most ``disk_reads_pct_min`` percent of
  its resident set (Google holds promotions to 0.2 % of the working set a minute; Lagar-Cavilla et al.,
  ASPLOS'19),
- it is stalled on memory (PSI some) on average at most ``psi_added_pct`` percent of the time more than
  with nothing done (TMO's 0.1 %; Weiner et al., ASPLOS'22), and
- compression and decompression take at most ``cpu_pct_per_gib`` percent of a core per GiB of its
  footprint more than with nothing done: without this clause whoever reclaims hardest wins.

Where doing nothing breaks more minutes than allowed already, keeping means at most one point more
than that. Minutes are minutes whatever the decision interval, and they are counted per cgroup: a
minute in which some other cgroup was slow is not held against this one.

A run is summed up in an :class:`Account`, accounts of several runs add up, and :func:`judge` says
whether they keep a promise. Everything above - environment, advice, evaluation, tuning, training,
scores, the controller's rails - calls these and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from zswap_gym.errors import UserError, nearest
from zswap_gym.host.types import COLUMN, Table
from zswap_gym.units import PAGE_SIZE, is_finite

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

GIB = 1 << 30
MINUTE_S = 60.0

POINT_MORE = 1.0
"""Percentage points of broken minutes beyond those of doing nothing, where that breaks too many itself."""

BREACH_MOST = 5.0
"""What one clause adds to a breach at most: beyond six times what is allowed nothing is worse than before."""

CPU_US: Mapping[str, tuple[float, float]] = {
    "lz4": (3.0, 1.5),
    "lzo": (4.0, 2.0),
    "lzo-rle": (4.0, 2.0),
    "zstd": (10.0, 5.0),
}
"""Microseconds to compress and to decompress a page, by compressor: what the model charges (its
``COMPRESSORS``; a test holds them equal) and what a host is charged that has not measured its own."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What is promised to each cgroup; see the module's text."""

    disk_reads_pct_min: float = 0.2
    """Disk reads in a minute, percent of the resident set (memory.stat anon)."""
    minutes: float = 0.95
    """Share of the minutes that must keep to it."""
    psi_added_pct: float = 0.1
    """Pressure (some) beyond doing nothing, percent of the time, on average."""
    cpu_pct_per_gib: float = 0.25
    """Compression and decompression beyond doing nothing, percent of a core per GiB of footprint."""

    def __post_init__(self) -> None:
        for f in fields(self):
            value, most = getattr(self, f.name), 1.0 if f.name == "minutes" else 100.0
            if not is_finite(value) or not 0 < value <= most:
                raise UserError(f"promise: {f.name} = {value!r}; give a number above 0, at most {most:g}")

    @classmethod
    def of(cls, value: Promise | Mapping[str, Any] | str | None, where: str = "promise") -> Promise:
        """The usual promise with what ``value`` replaces.

        Args:
            value: a promise, some of its fields as a mapping, or as text ``minutes=0.9,psi_added_pct=0.2``.
            where: file and key, for errors.

        Raises:
            UserError: an unknown field, or a value out of range; names it.
        """
        if value is None:
            return cls()
        if isinstance(value, Promise):
            return value
        named = _parse(value, where) if isinstance(value, str) else value
        if not isinstance(named, Mapping):
            raise UserError(
                f"{where}: {value!r}; give some of {', '.join(f.name for f in fields(cls))} by name"
            )
        known = [f.name for f in fields(cls)]
        for key in named:
            if key not in known:
                raise UserError(
                    f"{where}: unknown key {key!r}{nearest(str(key), known)}; it has {', '.join(known)}"
                )
        try:
            return cls(**named)
        except UserError as error:
            raise UserError(f"{where}: {str(error).removeprefix('promise: ')}") from None

    @property
    def may_break_pct(self) -> float:
        """Percent of a cgroup's minutes that may be broken."""
        return 100.0 * (1.0 - self.minutes)

    def as_dict(self) -> dict[str, float]:
        """The fields by name."""
        return asdict(self)


def _parse(text: str, where: str) -> dict[str, float]:
    named: dict[str, float] = {}
    for part in text.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise UserError(
                f"{where}: {part.strip()!r} is no key=value; write disk_reads_pct_min=0.2,minutes=0.95"
            )
        if key in named:
            raise UserError(f"{where}: {key} is given twice; give it once")
        try:
            named[key] = float(value)
        except ValueError:
            raise UserError(f"{where}: {key} = {value!r}; give a number") from None
    return named


def footprint(table: Table) -> Array:
    """Bytes (...,) of anonymous memory of the cgroups of a table (..., K): resident, in zswap, on disk only.

    At least a page, so that shares of it can be taken.
    """
    on_disk = (
        table[..., COLUMN["swap_current"]] - table[..., COLUMN["zswapped"]] - table[..., COLUMN["swapcached"]]
    )
    total = table[..., COLUMN["anon"]] + table[..., COLUMN["zswapped"]] + np.maximum(on_disk, 0.0)
    bytes_: Array = np.maximum(total, PAGE_SIZE)
    return bytes_


def cpu_us(stored: Array, loaded: Array, written: Array, compress_us: float, decompress_us: float) -> Array:
    """Microseconds (...,) of compression and decompression, from pages zswpout, zswpin and zswpwb.

    A page written back is decompressed on its way to the disk (zswap_writeback_entry()).
    """
    return stored * compress_us + (loaded + written) * decompress_us


def reads_pct(reads: Array, resident: Array) -> Array:
    """Disk reads (...,) in pages as percent of the resident set (...,) in bytes."""
    return reads * (100.0 * PAGE_SIZE) / np.maximum(resident, PAGE_SIZE)


@dataclass(slots=True)
class Account:
    """What a run did to each of N cgroups: sums, so that accounts of several runs add up.

    All arrays are float64 (N,) or of any common shape.
    """

    elapsed_us: Array
    minutes: Array
    """Whole minutes seen."""
    broken: Array
    """Of these, minutes over the promise's disk reads."""
    stalled_us: Array
    """Growth of memory.pressure's some total."""
    cpu_us: Array
    """Compression and decompression, :func:`cpu_us`."""
    held_byte_us: Array
    """Integral of memory.current."""
    footprint_byte_us: Array
    """Integral of :func:`footprint`."""
    reads: Array
    """Pages read back from the swap device."""
    written: Array
    """Pages written to it."""

    @classmethod
    def of(cls, sums: Array) -> Account:
        """The account whose fields are the last axis of ``sums`` (..., len(SUMS)): views of it."""
        return cls(*(sums[..., k] for k in range(len(SUMS))))

    @property
    def sums(self) -> Array:
        """The fields as the last axis of one array (..., len(SUMS)): the inverse of :meth:`of`."""
        return np.stack([getattr(self, name) for name in SUMS], axis=-1)

    @classmethod
    def concatenate(cls, accounts: Sequence[Account]) -> Account:
        """Accounts (S, ...) and (T, ...) as one of (S + T, ...), in order."""
        return cls.of(np.concatenate([account.sums for account in accounts]))

    @classmethod
    def stack(cls, accounts: Sequence[Account]) -> Account:
        """S accounts (...) as one of (S, ...)."""
        return cls.of(np.stack([account.sums for account in accounts]))

    @classmethod
    def zeros(cls, shape: int | tuple[int, ...]) -> Account:
        """An account of nothing."""
        return cls(*(np.zeros(shape) for _ in fields(cls)))

    def __add__(self, other: Account) -> Account:
        return Account(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def take(self, index: Any) -> Account:
        """The account of the cgroups or hosts ``index`` picks."""
        return Account(*(getattr(self, f.name)[index] for f in fields(self)))

    def sum(self, axis: int = 0) -> Account:
        """Sums along an axis: over runs, seeds or hosts."""
        return Account(*(getattr(self, f.name).sum(axis=axis) for f in fields(self)))


SUMS: tuple[str, ...] = tuple(f.name for f in fields(Account))
"""Names of an account's sums, in order."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How accounts stand to a promise; arrays of the accounts' shape."""

    saved_pct: Array
    """Memory not held that doing nothing holds, percent of what it holds."""
    broken_pct: Array
    """Broken minutes, percent."""
    allowed_pct: Array
    """Broken minutes that are still keeping it, percent."""
    psi_added_pct: Array
    cpu_added_pct_gib: Array
    kept: Mask
    """Whether all three clauses hold."""
    breach: Array
    """By how much they do not: of each clause what is over, as a share of what it allows, at most
    :data:`BREACH_MOST`; summed. So 0 where it is kept, and 1 where one clause is twice over."""


def judge(account: Account, nothing: Account, promise: Promise) -> Verdict:
    """Whether each cgroup keeps the promise: **the** function that everybody asks.

    Args:
        account: of the run, or the sum over several.
        nothing: of the same hosts on the same seeds with nothing done.
        promise: what is promised.
    """
    broken, base = _share_pct(account.broken, account.minutes), _share_pct(nothing.broken, nothing.minutes)
    may = promise.may_break_pct
    allowed = np.where(base > may, base + POINT_MORE, may)
    psi = _share_pct(account.stalled_us, account.elapsed_us) - _share_pct(
        nothing.stalled_us, nothing.elapsed_us
    )
    cpu = _share_pct(account.cpu_us, account.elapsed_us) - _share_pct(nothing.cpu_us, nothing.elapsed_us)
    gib = account.footprint_byte_us / np.maximum(account.elapsed_us, 1.0) / GIB
    cpu_gib = cpu / np.maximum(gib, PAGE_SIZE / GIB)
    saved = _share_pct(nothing.held_byte_us - account.held_byte_us, nothing.held_byte_us)
    slack = 1e-9  # sums of many floats
    kept = (
        (broken <= allowed + slack)
        & (psi <= promise.psi_added_pct + slack)
        & (cpu_gib <= promise.cpu_pct_per_gib + slack)
    )
    breach = (
        _over(broken - allowed, max(may, POINT_MORE))
        + _over(psi - promise.psi_added_pct, promise.psi_added_pct)
        + _over(cpu_gib - promise.cpu_pct_per_gib, promise.cpu_pct_per_gib)
    )
    return Verdict(saved, broken, allowed, psi, cpu_gib, kept, breach)


def judge_hosts(account: Account, nothing: Account, promise: Promise) -> Verdict:
    """What :func:`judge` says of hosts (...,) with accounts (..., N) of their cgroups.

    Memory saved is that of the host; broken and allowed minutes and the breach are means over its cgroups,
    added pressure and CPU those of the worst one; it is kept where it is kept to every cgroup.
    """
    each = judge(account, nothing, promise)
    cgroups = each.kept.shape[-1]
    held = _sum(nothing.held_byte_us)
    return Verdict(
        _share_pct(held - _sum(account.held_byte_us), held),
        _sum(each.broken_pct) / cgroups,
        _sum(each.allowed_pct) / cgroups,
        each.psi_added_pct.max(axis=-1),
        each.cpu_added_pct_gib.max(axis=-1),
        np.asarray(each.kept.all(axis=-1)),
        _sum(each.breach) / cgroups,
    )


def _over(beyond: Array, allowed: float) -> Array:
    share: Array = np.minimum(
        np.maximum(beyond / allowed, 0.0), BREACH_MOST
    )  # clip() takes four times as long
    return share


def _sum(values: Array) -> Array:
    """Over the last axis, in order: sum() may add in another one, and one host would not equal many."""
    total: Array = np.add.accumulate(values, axis=-1)[..., -1]
    return total


def _share_pct(part: Array, whole: Array) -> Array:
    share: Array = 100.0 * (part / np.maximum(whole, 1.0))  # microseconds, minutes: at least 1, or nothing
    return share


class MinuteMeter:
    """Counts broken minutes of M cgroups from looks at any times.

    A look adds the disk reads since the last one. Reads of an interval that crosses the end of a minute
    are shared out evenly over its time: where whoever looks can, it looks at the ends of minutes too
    (the simulated host does) and nothing is shared out. A minute is judged by the resident set at its
    end. Rows that are new begin a minute.
    """

    def __init__(self, shape: int | tuple[int, ...], promise: Promise) -> None:
        self.promise = promise
        self.into_s = np.zeros(shape)
        """Seconds into the present minute."""
        self.reads = np.zeros(shape)
        """Pages read from disk in it so far."""

    def reset(self, mask: Any = ...) -> None:
        """Begin a minute everywhere, or where ``mask`` says."""
        self.into_s[mask], self.reads[mask] = 0.0, 0.0

    def add(self, seconds: Array | float, reads: Array, resident: Array) -> tuple[Array, Array]:
        """Take in an interval; returns minutes that ended in it and how many of those were broken.

        Args:
            seconds: length of the interval, one for all or per cgroup.
            reads: pages read from disk in it.
            resident: bytes resident at its end.
        """
        left = np.broadcast_to(np.asarray(seconds, float), self.into_s.shape).copy()
        rest = np.asarray(reads, float).copy()
        ended, broken = np.zeros_like(self.into_s), np.zeros_like(self.into_s)
        limit = self.promise.disk_reads_pct_min
        while True:
            room = MINUTE_S - self.into_s
            full = left >= room - 1e-6
            if not full.any():
                break
            part = np.where(full, rest * np.minimum(room / np.maximum(left, 1e-9), 1.0), 0.0)
            total = self.reads + part
            ended += full
            broken += full & (reads_pct(total, resident) > limit)
            left, rest = np.where(full, np.maximum(left - room, 0.0), left), rest - part
            self.into_s, self.reads = np.where(full, 0.0, self.into_s), np.where(full, 0.0, self.reads)
        self.into_s = self.into_s + left
        self.reads = self.reads + rest
        return ended, broken
