"""The scenario file: every key, its unit and its range.

Sizes are bytes or text as the kernel's memparse() reads it (64M); durations are seconds or text
(30s, 5m). Unknown keys are refused; `findings.describe` turns pydantic's findings into one line.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from math import inf
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from zswap_gym.errors import UserError, nearest
from zswap_gym.kernel.spec import COMPRESSORS, DEVICES, DeviceSpec, StageOneSpec
from zswap_gym.units import PAGE_SIZE, US_PER_S, parse_duration, parse_size
from zswap_gym.workloads.archetypes import MIN_PAGES
from zswap_gym.workloads.profiles import PROFILES
from zswap_gym.workloads.programs import POPULARITY


class Model(BaseModel):
    """What all parts of a scenario share: no unknown keys, no silent conversions, no changes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _size(value: Any) -> Any:
    if isinstance(value, str):
        return _as_value_error(parse_size, value)
    return value


def _duration(value: Any) -> Any:
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return _as_value_error(parse_duration, value)
    return value


def _start(value: Any) -> Any:
    return value if value == "random" else _duration(value)


def _limit(value: Any) -> Any:
    """``max`` and null are no limit, 0.6 is a fraction of the working set, 64M and 67108864 are bytes."""
    if value is None or value == "max":
        return None
    if isinstance(value, str):
        return _as_value_error(parse_size, value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < inf:
        raise ValueError("give a fraction of the working set (0.6), bytes, a size (64M) or max")
    if isinstance(value, int) and 0 < value < PAGE_SIZE:
        raise ValueError(f"less than a page of bytes; write {value}.0 for a multiple of the working set")
    return value


def _as_value_error(parse: Any, value: Any) -> Any:
    """Pydantic adds the key to a ValueError, but lets a UserError through as it is."""
    try:
        return parse(value)
    except UserError as error:
        raise ValueError(str(error)) from None


def _device(value: Any) -> Any:
    """A name of DEVICES, or the fields of one."""
    if isinstance(value, str):
        if value not in DEVICES:
            raise ValueError(
                f"no such device{nearest(value, DEVICES)}; "
                f"use one of {', '.join(DEVICES)} or give read_us, write_us, ..."
            )
        return {"name": value, **asdict(DEVICES[value])}
    return value


def _known_compressor(value: str) -> str:
    if value not in COMPRESSORS:
        raise ValueError(f"not modelled{nearest(value, COMPRESSORS)}; use one of {', '.join(COMPRESSORS)}")
    return value


def _range(value: list[float]) -> list[float]:
    if len(value) != 2 or not 0 <= value[0] <= value[1]:
        raise ValueError("give [lowest, highest], both at least 0")
    return value


def _factor_range(value: list[float]) -> list[float]:
    if _range(value)[0] <= 0:
        raise ValueError("a factor must be above 0")
    return value


Bytes = Annotated[int, BeforeValidator(_size), Field(ge=0)]
Seconds = Annotated[float, BeforeValidator(_duration), Field(ge=0)]
PositiveSeconds = Annotated[float, BeforeValidator(_duration), Field(gt=0)]
Limit = Annotated[int | Annotated[float, Field(gt=0)] | None, BeforeValidator(_limit)]
"""float = fraction of the working set, int = bytes, None = max."""
Share = Annotated[float, Field(ge=0, le=1)]
Start = Annotated[Literal["random"] | Annotated[float, Field(ge=0)], BeforeValidator(_start)]
Compressor = Annotated[str, AfterValidator(_known_compressor)]
FactorRange = Annotated[list[float], AfterValidator(_factor_range)]
ShareRange = Annotated[list[Share], AfterValidator(_range)]


class Device(Model):
    """A swap device; see kernel.spec.DeviceSpec. Microseconds per 4 KiB."""

    name: str = "custom"
    read_us: Annotated[float, Field(gt=0)] = DeviceSpec.read_us
    write_us: Annotated[float, Field(gt=0)] = DeviceSpec.write_us
    channels: Annotated[int, Field(ge=1, le=1024)] = DeviceSpec.channels
    queue_depth: Annotated[int, Field(ge=1, le=65536)] = DeviceSpec.queue_depth
    rotated_fraction: Share = DeviceSpec.rotated_fraction
    jitter: Share = DeviceSpec.jitter
    latency_us: Annotated[float, Field(ge=0)] = DeviceSpec.latency_us
    in_ram: bool = DeviceSpec.in_ram
    """zram: what is written takes compressed RAM."""

    def spec(self) -> DeviceSpec:
        """As the simulated kernel takes it."""
        return DeviceSpec(**self.model_dump(exclude={"name"}))


NamedDevice = Annotated[Device, BeforeValidator(_device)]


class Zswap(Model):
    """/sys/module/zswap/parameters."""

    enabled: bool = True
    max_pool_percent: Annotated[int, Field(ge=0, le=100)] = 20
    accept_threshold_percent: Annotated[int, Field(ge=0, le=100)] = 90
    shrinker_enabled: bool = False


class Host(Model):
    """The machine. ``ram`` null = 1.25 x all working sets, ``swap`` null = 2 x."""

    ram: Annotated[Bytes | None, BeforeValidator(_size)] = None
    swap: Annotated[Bytes | None, BeforeValidator(_size)] = None
    device: NamedDevice = Field(default_factory=lambda: Device.model_validate(_device("nvme")))
    compressor: Compressor = "zstd"
    page_scale: int = 1
    """Or ``auto`` in a scenario whose programs are given by regions: see workloads.coarseness."""
    lru: Literal["mglru", "mglru-full", "classic"] = "mglru"
    zswap: Zswap = Zswap()

    @field_validator("page_scale")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value not in {1, 2, 4, 8, 16, 32, 64}:
            raise ValueError(
                "use a power of two up to 64, how many real pages a simulated one stands for, or auto"
            )
        return value

    @model_validator(mode="after")
    def _whole_lrus_are_of_single_pages(self) -> Host:
        if self.lru != "mglru" and self.page_scale != 1:
            raise ValueError(
                f"lru {self.lru} is about single pages: page_scale must be 1, not {self.page_scale}"
            )
        return self


class StageOne(Model):
    """Who fills zswap by memory.reclaim on every leaf: ``rate`` bytes a second (fixed) or PSI (senpai)."""

    kind: Literal["none", "fixed", "senpai"] = "none"
    interval: PositiveSeconds = StageOneSpec.interval_us / US_PER_S
    rate: Bytes = StageOneSpec.bytes_per_s
    ratio: Share = StageOneSpec.ratio
    psi_threshold: Annotated[float, Field(gt=0, le=1)] = StageOneSpec.psi_threshold

    def spec(self) -> StageOneSpec:
        """As the simulated kernel takes it."""
        return StageOneSpec(
            self.kind, round(self.interval * US_PER_S), self.rate, self.ratio, self.psi_threshold
        )


class Day(Model):
    """A sine on the load."""

    period: PositiveSeconds
    amplitude: Share


class Parameters(Model):
    """Numbers of an archetype to replace; see workloads.profiles.Profile."""

    mu: float | None = None
    sigma: Annotated[float, Field(ge=0)] | None = None
    never: Share | None = None
    always: Share | None = None
    run_pages: Annotated[float, Field(ge=1)] | None = None
    write_share: Share | None = None


def _known_archetype(value: str) -> str:
    if value not in PROFILES:
        raise ValueError(
            f"no such archetype{nearest(value, PROFILES)}; use one of {', '.join(sorted(PROFILES))}"
        )
    return value


Archetype = Annotated[str, AfterValidator(_known_archetype)]


class Region(Model):
    """Memory of one kind in a program described by phases; see workloads.programs."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    size: Annotated[int, BeforeValidator(_size), Field(ge=8 * PAGE_SIZE)]
    popularity: str = "idle"
    """idle, uniform:HZ, zipf:EXPONENT:MEAN_HZ or lognormal:MU:SIGMA; rates per page."""
    run_pages: Annotated[float, Field(ge=1)] = 1.0
    """Neighbours in runs of about this many share one rate."""
    write_share: Share = 0.3
    contents: Archetype = "py_service"
    """Archetype whose pages it compresses like."""
    transient: bool = False
    """Exists only in phases that name it under rates; else it is there from the start."""

    @field_validator("popularity")
    @classmethod
    def _law(cls, value: str) -> str:
        if re.fullmatch(POPULARITY, value) is None:
            raise ValueError("write idle, uniform:HZ, zipf:EXPONENT:MEAN_HZ or lognormal:MU:SIGMA")
        return value


class Phase(Model):
    """A stretch of a program's round."""

    name: str
    duration: Annotated[float, BeforeValidator(_duration), Field(gt=0)]
    rates: dict[str, Annotated[float, Field(ge=0)]] = {}
    """Factor on a region's rates; a region not named works as usual (1), a transient one not at all."""
    sweep: list[str] = []
    """Regions gone through once, end to end, over the phase."""


class Workload(Model):
    """A generator, a recording, or a program of regions and phases. ``pages`` counts simulated pages."""

    archetype: Archetype | Annotated[list[Archetype], Field(min_length=1)] | None = None
    """A list: one of them, drawn anew at every realisation."""
    trace: str | None = None
    regions: list[Region] = []
    phases: list[Phase] = []
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Phases: a draw's lengths are up to this share longer or shorter."""
    pages: Annotated[int, Field(ge=MIN_PAGES, le=1 << 24)] | None = None
    start: Start = 0.0
    """Trace only: seconds into the recording."""
    load: Annotated[float, Field(gt=0)] = 1.0
    time_scale: Annotated[float, Field(gt=0)] = 1.0
    zero_never: Share | None = None
    cache_pages: Annotated[int, Field(ge=0, le=1 << 24)] = 0
    """Page cache besides the memory: pages of files, read at rates like the memory's."""
    contents: Archetype | None = None
    day: Day | None = None
    drift: Annotated[PositiveSeconds | None, BeforeValidator(_duration)] = None
    parameters: Parameters = Parameters()

    @property
    def archetypes(self) -> tuple[str, ...]:
        """The archetypes it may be."""
        if self.archetype is None:
            return ()
        return (self.archetype,) if isinstance(self.archetype, str) else tuple(self.archetype)

    @model_validator(mode="after")
    def _one_source(self) -> Workload:
        sources = [self.archetype is not None, self.trace is not None, bool(self.regions)]
        if sum(sources) != 1:
            raise ValueError("give either archetype or trace, or regions with phases")
        if self.archetype is not None and self.pages is None:
            raise ValueError("an archetype needs pages, e.g. pages: 8192")
        program = {"regions", "phases", "jitter"}
        if self.regions:
            kind, foreign = "a program of phases", set(Workload.model_fields) - program - _ANY_GENERATOR
            self._check_phases()
        elif self.archetype is not None:
            kind, foreign = "an archetype", {"start", *program}
        else:
            kind, foreign = "a recording", set(Workload.model_fields) - {"trace", "pages", "start"}
        # Compared with the defaults, not with what was given: a dumped scenario gives everything.
        wrong = {key for key in foreign if getattr(self, key) != Workload.model_fields[key].default}
        if wrong:
            raise ValueError(f"{min(wrong)} does not apply to {kind}; remove it")
        return self

    def _check_phases(self) -> None:
        names = [region.name for region in self.regions]
        if len(set(names)) < len(names):
            raise ValueError("two regions have the same name; give each its own")
        if not self.phases:
            raise ValueError("regions need phases; write at least one with a duration")
        swept: set[str] = set()
        for phase in self.phases:
            for name in (*phase.rates, *phase.sweep):
                if name not in names:
                    raise ValueError(f"phase {phase.name!r}: no region {name!r}{nearest(name, names)}")
            if twice := swept & set(phase.sweep):
                raise ValueError(f"phase {phase.name!r}: {min(twice)} is swept in another phase already")
            swept |= set(phase.sweep)
        for region in self.regions:
            used = any(phase.rates.get(region.name, 0) > 0 for phase in self.phases)
            if region.transient and not used:
                raise ValueError(f"region {region.name!r}: transient, and no phase names it under rates")
            if region.transient and region.name in swept:
                raise ValueError(f"region {region.name!r}: transient, it cannot be swept; use rates")


_ANY_GENERATOR = {"load", "time_scale", "zero_never"}


class Event(Model):
    """Something that touches a cgroup hard: its rates times ``multiplier``, and ``bytes`` of idle memory.

    ``critical``: a window in which stalls count more. ``arrival``: work that comes and wants memory.
    ``resume``: somebody wakes a sandbox and waits until it answers: it touches its ``bytes`` at once, in
    ``base``, and works for ``duration``. A sandbox's archetype is idle but for its resumes.
    """

    kind: Literal["critical", "arrival", "resume"]
    at: Seconds
    """Of the episode: the warm-up does not count."""
    duration: PositiveSeconds
    every: Annotated[PositiveSeconds | None, BeforeValidator(_duration)] = None
    """Comes again this long after its last start, until the episode ends."""
    idle: Annotated[list[PositiveSeconds] | None, Field(min_length=2, max_length=2)] = None
    """Comes again after a rest of [shortest, longest], log-uniform: irregularly. Instead of ``every``."""
    base: PositiveSeconds = 0.2
    """resume only: time until the answer when everything is in memory."""
    jitter: Seconds = 0.0
    """Each start is up to this much earlier or later."""
    bytes: Bytes = 0
    fresh: bool = False
    """The bytes are new memory, allocated by the event and freed when it ends; else they sleep till then."""
    multiplier: Annotated[float, Field(gt=0)] = 1.0
    announced: bool = True

    @model_validator(mode="after")
    def _does_something(self) -> Event:
        if self.kind == "arrival" and self.bytes == 0 and self.multiplier == 1:
            raise ValueError("an arrival touches something; give bytes or a multiplier")
        if self.kind == "resume" and (self.bytes == 0 or self.fresh):
            raise ValueError("a resume touches memory that slept; give bytes, and not fresh")
        if self.kind == "resume" and self.base >= self.duration:
            raise ValueError("the answer comes within the work: base must be below duration")
        if self.kind != "resume" and self.base != Event.model_fields["base"].default:
            raise ValueError("base is the answer time of a resume; remove it")
        if self.idle is not None and (self.every is not None or self.idle[0] > self.idle[1]):
            raise ValueError("idle is [shortest, longest], and instead of every")
        if self.every is not None and self.every < self.duration + 2 * self.jitter:
            raise ValueError("every must be at least duration + 2 x jitter, or the event overlaps itself")
        return self


class Cgroup(Model):
    """One cgroup; without a workload it only holds others."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@:-]*$")]
    parent: str | None = None
    workload: Workload | None = None
    memory_max: Limit = None
    memory_high: Limit = None
    memory_min: Limit = 0
    memory_low: Limit = 0
    swap_max: Limit = None
    swap_high: Limit = None
    zswap_max: Limit = None
    zswap_writeback: bool = True
    oom_group: bool = False
    threads: Annotated[int, Field(ge=1, le=32)] = 4
    stage_one: bool = True
    events: list[Event] = []

    @model_validator(mode="after")
    def _events_fit(self) -> Cgroup:
        if self.events and self.workload is None:
            raise ValueError("events need a workload; move them to a cgroup that has one")
        if self.workload is not None and self.workload.trace and any(e.multiplier != 1 for e in self.events):
            raise ValueError("a recording cannot be sped up: leave out the events' multiplier and give bytes")
        return self


class Episode(Model):
    """How long, how often."""

    decision_interval: Annotated[float, BeforeValidator(_duration), Field(ge=0.01)] = 10.0
    """/proc/uptime, by which intervals are measured, counts hundredths."""
    length: PositiveSeconds = 600.0
    warmup: Seconds = 120.0
    snapshots: Annotated[int, Field(ge=1, le=1024)] = 4

    @model_validator(mode="after")
    def _at_least_one_decision(self) -> Episode:
        if self.length < self.decision_interval:
            raise ValueError("length must be at least one decision_interval")
        return self

    @property
    def steps(self) -> int:
        """Whole decision intervals within the length."""
        return max(1, int(self.length / self.decision_interval + 1e-6))


class Randomise(Model):
    """Drawn anew at every realisation. Factors are log-uniform; ``load``, ``time_scale`` and
    ``zero_never`` are of the archetypes, a recording is what it is.
    """

    sizes: FactorRange | None = None
    load: FactorRange | None = None
    time_scale: FactorRange | None = None
    zero_never: ShareRange | None = None
    never: ShareRange | None = None
    """Share of never touched pages of archetypes that have less than half of them; per cgroup."""
    device: list[NamedDevice] = []
    compressor: list[Compressor] = []
