"""What a host offers the controller: looked at once, before anything is decided.

``control --check`` prints it; a run says at its start what is missing (:mod:`zswap_gym.controller.gaps`)
and writes all of it into its log. Nothing here writes to a file of the host, but for ``0 KEY`` to
memory.reclaim on a kernel whose counters show that it has one of the series' interfaces, which does
nothing (:func:`zswap_gym.host.dialects.probe`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any, Protocol

from zswap_gym.controller.config import ControllerConfig
from zswap_gym.controller.judge import Offers
from zswap_gym.errors import UserError
from zswap_gym.host.dialects import RELEASE_FILE, STOCK, STOCK_PULSE, V1, Dialect
from zswap_gym.host.files import OF_THE_SERIES, keys_of, parse_flag, parse_number
from zswap_gym.host.names import above
from zswap_gym.host.own import OwnCgroup
from zswap_gym.host.reading import STAT_WITH_ZSWAP
from zswap_gym.host.swaps import Swap, swaps
from zswap_gym.host.types import Host, Sample
from zswap_gym.units import format_size

PARAMETERS = "/sys/module/zswap/parameters/"


class SurveyedHost(Host, Protocol):
    """A host whose files can be asked for one by one."""

    page_size: int

    def read(self, cgroup: str, file: str) -> str:
        """The text of a cgroup's file, or of the machine's where ``file`` starts with a slash.

        FileNotFoundError: there is none. OSError: it cannot be read.
        """

    def dialect(self, cgroup: str) -> Dialect:
        """What its kernel understands."""


def _fact(title: str, unit: str = "") -> Any:
    return field(metadata={"title": title, "unit": unit})


@dataclass(frozen=True)
class Survey:
    """What was found. A field's title and unit are those of its row in every table; None = not there."""

    kernel: str | None = _fact("kernel")
    cgroup_root: str = _fact("cgroup v2 at")
    own_cgroup: str | None = _fact("own cgroup")
    own_cgroup_from: str = _fact("own cgroup, found by")
    psi: bool = _fact("memory pressure (PSI)")
    zswap: bool | None = _fact("zswap")
    compressor: str | None = _fact("zswap compressor")
    shrinker: bool | None = _fact("zswap shrinker")
    pool_bytes: int = _fact("zswap pool", "B")
    max_pool_percent: int | None = _fact("zswap pool, most", "% of RAM")
    counters: bool = _fact("zswap's counters")
    page_size: int = _fact("page size", "B")
    swaps: tuple[Swap, ...] | None = _fact("swap behind zswap")
    dialect: str | None = _fact("writeback interface")
    has_age: bool | None = _fact("writeback by age")
    pulses: bool = _fact("writeback by pulses (dialect: stock-pulse)")
    patterns: tuple[str, ...] = _fact("cgroups asked for")
    cgroups: tuple[str, ...] = _fact("cgroups found")
    lacking: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Cgroups by what they lack or are; see :func:`_lacking`."""

    @property
    def offers(self) -> Offers:
        """What of this matters to each decision. What could not be found out is taken to be there."""
        return Offers(writeback=self.dialect != STOCK.name, counters=self.counters or not self.cgroups)

    def facts(self) -> dict[str, Any]:
        """JSON values by name."""
        return {f.name: _plain(getattr(self, f.name)) for f in FACTS}


FACTS = tuple(f for f in fields(Survey) if "title" in f.metadata)
"""The rows of a survey, in order."""


def shown(survey: Survey, name: str) -> str:
    """A fact in words, with its unit."""
    value = getattr(survey, name)
    unit = next(f.metadata["unit"] for f in FACTS if f.name == name)
    if value is None:
        return "not known" if name in ("kernel", "own_cgroup", "dialect", "has_age", "swaps") else "none"
    if name == "own_cgroup":
        return value or "outside of the cgroup root"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        if name == "cgroups":
            return str(len(value))
        return ", ".join(map(str, value)) or "none"
    return format_size(value) if unit == "B" else f"{value} {unit}".strip()


def take_survey(host: SurveyedHost, config: ControllerConfig, own: OwnCgroup) -> Survey:
    """Look at a host.

    Raises:
        UserError: /proc/uptime or /proc/meminfo is missing or makes no sense.
    """
    names = tuple(host.cgroups())
    samples = host.sample()
    lacking = _lacking(host, config, own, names, samples)
    dialect = STOCK_PULSE if config.dialect == STOCK_PULSE.name else _dialect(host, names)
    return Survey(
        kernel=_text(host, "/proc/sys/kernel/osrelease"),
        cgroup_root=config.cgroup_root,
        own_cgroup=own.name,
        own_cgroup_from=own.how,
        psi=_exists(host, "", "/proc/pressure/memory") or any(not sample.psi_unknown for sample in samples),
        zswap=_parameter(host, "enabled", parse_flag),
        compressor=_text(host, f"{PARAMETERS}compressor"),
        shrinker=_parameter(host, "shrinker_enabled", parse_flag),
        pool_bytes=int(max((sample.host_pool_bytes for sample in samples), default=0)),
        max_pool_percent=_parameter(host, "max_pool_percent", parse_number),
        counters=any(name not in lacking["counters"] for name in names),
        page_size=host.page_size,
        swaps=swaps(lambda file: host.read("", file)),
        dialect=None if dialect is None else dialect.name,
        has_age=None if dialect is None else dialect.has_age,
        pulses=_exists(host, "", f"{PARAMETERS}shrinker_enabled"),
        patterns=config.cgroups or ("*",),
        cgroups=names,
        lacking=lacking,
    )


def _lacking(
    host: SurveyedHost,
    config: ControllerConfig,
    own: OwnCgroup,
    names: Sequence[str],
    samples: Sequence[Sample],
) -> dict[str, tuple[str, ...]]:
    found = {sample.cgroup: sample for sample in samples}
    patterns = config.cgroups or ("*",)
    containers = {
        container
        for name in names
        for container in above(name)
        if any(fnmatchcase(container, pattern) for pattern in patterns)
    }
    own_path = {own.name, *above(own.name)} if own.name else set()

    def where(lacks: Callable[[str], bool]) -> tuple[str, ...]:
        return tuple(name for name in names if lacks(name))

    return {
        "reading": where(lambda name: name not in found),
        "counters": where(lambda name: not _counts_zswap(host, name)),
        "pressure": where(lambda name: not _exists(host, name, "memory.pressure")),
        "reclaim": where(lambda name: not _exists(host, name, RELEASE_FILE)),
        "writeback": where(lambda name: name in found and found[name].zswap_writeback == 0),
        "own": where(lambda name: name in own_path),
        "containers": tuple(sorted(containers)),
    }


def _dialect(host: SurveyedHost, names: Sequence[str]) -> Dialect | None:
    """The kernel's interface, asked of the first cgroup that can tell; None where there is none."""
    for name in names:
        if V1.file is not None and _exists(host, name, V1.file):
            return V1
        keys = _stat_keys(host, name)
        if keys:  # every version of the series counts what it writes, so without a counter nothing is tried
            return host.dialect(name) if any(key in keys for key in OF_THE_SERIES) else STOCK
    return None


def _stat_keys(host: SurveyedHost, cgroup: str) -> frozenset[str]:
    try:
        return keys_of(host.read(cgroup, "memory.stat"))
    except OSError:
        return frozenset()


def _counts_zswap(host: SurveyedHost, cgroup: str) -> bool:
    return any(key in _stat_keys(host, cgroup) for key in STAT_WITH_ZSWAP)


def _exists(host: SurveyedHost, cgroup: str, file: str) -> bool:
    try:
        host.read(cgroup, file)
    except FileNotFoundError:
        return False
    except OSError:  # there, and for writing only
        return True
    return True


def _text(host: SurveyedHost, file: str) -> str | None:
    try:
        return host.read("", file).strip() or None
    except OSError:
        return None


def _parameter(host: SurveyedHost, name: str, parse: Callable[[str, str], Any]) -> Any:
    file = f"{PARAMETERS}{name}"
    try:
        return parse(host.read("", file), file)
    except (OSError, UserError):  # a value nobody decides by: not told is enough
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value._asdict() if hasattr(value, "_asdict") else value
