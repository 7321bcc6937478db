"""What a host may lack, what follows from each gap, what to do: one list for table, JSON, log and stderr."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from zswap_gym.controller.config import ControllerConfig
from zswap_gym.controller.survey import FACTS, Survey, shown
from zswap_gym.errors import UserError
from zswap_gym.host.dialects import STOCK_PULSE

NAMED_MAX = 3
"""So many cgroups are named in a line; the log and ``--json`` have them all."""

Where = bool | tuple[str, ...]
"""Whether a host has a gap, or which cgroups have it."""


@dataclass(frozen=True)
class Gap:
    """Something that may be missing. In the texts ``{name}`` is a fact of the survey, in words."""

    name: str
    about: str
    """The fact it shows in; ``cgroups`` for one of single cgroups."""
    what: str
    consequence: str
    remedy: str
    where: Callable[[Survey, ControllerConfig], Where]
    stops_act: Callable[[ControllerConfig], bool] = lambda _: False
    """Whether mode act is refused with it: a rail would be blind."""


@dataclass(frozen=True)
class Finding:
    """A gap that this host has."""

    name: str
    about: str
    cgroups: tuple[str, ...]
    """Those that have it; empty where it is the machine's."""
    what: str
    consequence: str
    remedy: str
    stops_act: bool

    @property
    def short(self) -> str:
        """What, where, and what follows, in one line."""
        named = ", ".join(self.cgroups[:NAMED_MAX])
        more = f" and {len(self.cgroups) - NAMED_MAX} more" if len(self.cgroups) > NAMED_MAX else ""
        return f"{named}{more}{': ' if named else ''}{self.what}: {self.consequence}"

    @property
    def line(self) -> str:
        """The same, and what to do."""
        return f"{self.short}; {self.remedy}"

    def record(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"cgroups": list(self.cgroups)}


def findings(survey: Survey, config: ControllerConfig) -> list[Finding]:
    """The gaps of a host, in the order of :data:`GAPS`."""
    words = {f.name: shown(survey, f.name) for f in FACTS}
    found = []
    for gap in GAPS:
        where = gap.where(survey, config)
        if where:
            what, follows, remedy = (t.format_map(words) for t in (gap.what, gap.consequence, gap.remedy))
            cgroups = () if isinstance(where, bool) else where
            found.append(Finding(gap.name, gap.about, cgroups, what, follows, remedy, gap.stops_act(config)))
    return found


def _lacking(what: str) -> Callable[[Survey, ControllerConfig], Where]:
    return lambda survey, _: survey.lacking[what]


def _some_lack(what: str) -> Callable[[Survey, ControllerConfig], Where]:
    """The cgroups that lack it, unless all do: then it is the kernel's, and a gap of its own."""
    return lambda survey, _: () if survey.lacking[what] == survey.cgroups else survey.lacking[what]


def _swap_is(kind: str) -> Callable[[Survey, ControllerConfig], Where]:
    return lambda survey, _: any(swap.kind == kind for swap in survey.swaps or ())


GAPS: tuple[Gap, ...] = (
    Gap(
        "own-cgroup-unknown", "own_cgroup",
        "the controller's own cgroup is not known",
        "it may be acted on like any other, and no rail can keep it from that ({own_cgroup_from})",
        "set own_cgroup: PATH",
        lambda survey, _: survey.own_cgroup is None,
        stops_act=lambda _: True,
    ),
    Gap(
        "no-psi", "psi",
        "this kernel tells no memory pressure",
        "the rail psi is blind and law tmo sees none, so nothing is done unless psi is ignored",
        "boot with psi=1, or set psi: ignore",
        lambda survey, _: not survey.psi,
        stops_act=lambda config: config.psi != "ignore",
    ),
    Gap(
        "no-zswap", "zswap",
        "this kernel has no zswap",
        "there is nothing to write back",
        "run a kernel with CONFIG_ZSWAP",
        lambda survey, _: survey.zswap is None,
    ),
    Gap(
        "zswap-off", "zswap",
        "zswap is off",
        "nothing new is stored in it, so there is ever less to write back",
        "echo Y > /sys/module/zswap/parameters/enabled",
        lambda survey, _: survey.zswap is False,
    ),
    Gap(
        "shrinker-on", "shrinker",
        "zswap's shrinker is on",
        "the kernel writes back by itself too, which no rail bounds and no budget counts",
        "echo N > /sys/module/zswap/parameters/shrinker_enabled, or leave it on and expect both",
        lambda survey, _: survey.shrinker is True,
    ),
    Gap(
        "no-counters", "counters",
        "memory.stat has no zswap keys",
        "every cgroup looks as if it had nothing in zswap, so laws and policies ask for nothing",
        "run a kernel from 5.19 on, with CONFIG_ZSWAP",
        lambda survey, _: bool(survey.cgroups) and not survey.counters,
    ),
    Gap(
        "no-swap", "swaps",
        "no swap device is in use",
        "zswap stores nothing without one, and there is nowhere to write back to",
        "swapon a device",
        lambda survey, _: survey.swaps == (),
    ),
    Gap(
        "swap-is-zram", "swaps",
        "the swap behind zswap is on zram ({swaps})",
        "writing back moves pages from one part of RAM to another and frees no RAM",
        "swapon a disk with a higher priority, or leave writeback off",
        _swap_is("zram"),
    ),
    Gap(
        "swap-is-rotational", "swaps",
        "the swap behind zswap is on a rotating disk ({swaps})",
        "a page read back takes some 10 ms, 100 times what an SSD takes",
        "swapon an SSD with a higher priority, or write back only what is very old",
        _swap_is("rotational"),
    ),
    Gap(
        "no-writeback", "dialect",
        "this kernel cannot write back on request",
        "only releases (memory.reclaim) are asked for, whatever age and size a law or policy names",
        "run a kernel with the proactive writeback series, or one from 6.8 on and set dialect: stock-pulse",
        lambda survey, _: not survey.offers.writeback,
    ),
    Gap(
        "no-pulses", "pulses",
        "this kernel's zswap has no shrinker",
        "there can be no pulse, which dialect stock-pulse asks for",
        "run a kernel from 6.8 on, or leave dialect out",
        lambda survey, config: config.dialect == STOCK_PULSE.name and not survey.pulses,
        stops_act=lambda _: True,
    ),
    Gap(
        "pulses-refused", "pulses",
        "zswap's shrinker is on already",
        "every pulse is refused: the kernel writes back by itself",
        "echo N > /sys/module/zswap/parameters/shrinker_enabled, or leave dialect out",
        lambda survey, config: config.dialect == STOCK_PULSE.name and survey.shrinker is True,
    ),
    Gap(
        "no-cgroups", "cgroups",
        "no cgroup matches {patterns}",
        "nothing is done until one appears",
        "write paths below {cgroup_root} under cgroups",
        lambda survey, _: not survey.cgroups,
    ),
    Gap(
        "unreadable", "cgroups",
        "files that cannot be read or understood",
        "left out; a note says which file",
        "mend the file, or leave the cgroup out",
        _lacking("reading"),
    ),
    Gap(
        "is-own", "cgroups",
        "the controller itself lives here",
        "never touched",
        "nothing, or leave it out of cgroups",
        _lacking("own"),
    ),
    Gap(
        "writeback-off", "cgroups",
        "memory.zswap.writeback is 0 here or in a cgroup above",
        "nothing of it is written back, nor released after that",
        "echo 1 > memory.zswap.writeback all the way up, or leave the cgroup out",
        _lacking("writeback"),
    ),
    Gap(
        "no-reclaim", "cgroups",
        "no memory.reclaim",
        "nothing can be released, and writing back alone frees no memory",
        "run a kernel from 5.19 on",
        _lacking("reclaim"),
    ),
    Gap(
        "no-cgroup-pressure", "cgroups",
        "no memory.pressure",
        "the whole machine's pressure stands in for its own",
        "echo 1 > cgroup.pressure",
        lambda survey, _: survey.psi and survey.lacking["pressure"],
    ),
    Gap(
        "no-cgroup-counters", "cgroups",
        "no zswap keys in memory.stat, which those of others have",
        "looks as if there were nothing in zswap",
        "enable the memory controller for it",
        _some_lack("counters"),
    ),
    Gap(
        "contains-others", "cgroups",
        "others inside that match too",
        "the memory is theirs, and decisions are made for them alone",
        "nothing, or levels: listed to decide for all",
        lambda survey, config: config.levels == "leaves" and survey.lacking["containers"],
    ),
    Gap(
        "decided-at-two-levels", "cgroups",
        "decided for, and so are others inside",
        "the same memory may be asked for twice in a round; the budgets of the outer one bound both",
        "levels: leaves",
        lambda survey, config: config.levels == "listed" and survey.lacking["containers"],
    ),
)  # fmt: skip


def refuse_blind_rails(found: Sequence[Finding], config: ControllerConfig) -> None:
    """UserError, in one line, where mode act must not start on this host."""
    blind = [finding for finding in found if finding.stops_act]
    if config.mode == "act" and blind:
        raise UserError("; ".join(f"mode act does not start: {finding.line}" for finding in blind))


def survey_record(survey: Survey, found: Sequence[Finding]) -> dict[str, Any]:
    """The log's record, and what ``--check --json`` prints."""
    return {
        "kind": "survey",
        "facts": survey.facts(),
        "findings": [finding.record() for finding in found],
    }
