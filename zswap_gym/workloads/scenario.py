"""Scenarios: a host, its cgroups and what runs in them, from a YAML file to a simulated machine's parts.

A `Scenario` is what the file says; `Scenario.realise` draws one instance of it: sizes, phases,
event times, compressed sizes. Same generator state, same instance.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import yaml
from pydantic import ValidationError, model_validator

import zswap_gym
from zswap_gym.errors import UserError, nearest
from zswap_gym.kernel.access import AccessPlan
from zswap_gym.kernel.spec import COMPRESSORS, CgroupSpec, HostSpec, StageOneSpec
from zswap_gym.units import PAGE_SIZE, US_PER_S
from zswap_gym.workloads.archetypes import MIN_PAGES, archetype_parts
from zswap_gym.workloads.events import RealisedEvent, boosted, event_pages, event_parts, realise_events
from zswap_gym.workloads.plan import assemble, working_set
from zswap_gym.workloads.profiles import PROFILES
from zswap_gym.workloads.replay import replay_parts, write_shares
from zswap_gym.workloads.schema import (
    Cgroup,
    Device,
    Episode,
    Host,
    Limit,
    Model,
    Randomise,
    StageOne,
    Workload,
    describe,
)
from zswap_gym.workloads.traces import load_trace

RAM_FACTOR, SWAP_FACTOR = 1.25, 2.0
"""Of all working sets, where the file leaves ram or swap open."""
BASE_PAGES = 105
"""Charged to a cgroup with a process and never reclaimed: libc, stacks, kernel objects; page tables come
on top, 8 bytes a page (groundtruth: an idle cgroup's memory.current)."""


class Realised(NamedTuple):
    """One instance of a scenario: what kernel.machine.Machine is built from, and what will happen."""

    host: HostSpec
    cgroups: list[CgroupSpec]
    plans: dict[str, AccessPlan]
    stage_one: StageOneSpec
    events: list[RealisedEvent]


class Draws(NamedTuple):
    """What is drawn once per instance, for the whole host."""

    device: Device
    compressor: str
    load: float
    time_scale: float
    zero_never: float | None


class Scenario(Model):
    """A validated scenario file. Keys and units are those of the file; see configs/scenarios."""

    name: str
    description: str = ""
    kernel: Literal["6.12", "6.18", "7.3"] = "6.12"
    split: Literal["train", "validation", "test"] = "train"
    host: Host = Host()
    stage_one: StageOne = StageOne()
    release_after_writeback: bool = True
    cgroups: list[Cgroup]
    episode: Episode = Episode()
    randomise: Randomise = Randomise()

    @model_validator(mode="after")
    def _tree(self) -> Self:
        names: set[str] = set()
        parents = {cgroup.parent for cgroup in self.cgroups}
        for cgroup in self.cgroups:
            if cgroup.name in names:
                raise ValueError(f"cgroup {cgroup.name!r} appears twice; names are unique")
            if cgroup.parent is not None and cgroup.parent not in names:
                raise ValueError(
                    f"cgroup {cgroup.name!r}: parent {cgroup.parent!r} is not defined above it"
                    f"{nearest(cgroup.parent, names)}"
                )
            names.add(cgroup.name)
            # Documentation/admin-guide/cgroup-v2.rst: no internal processes.
            if (cgroup.workload is not None) == (cgroup.name in parents):
                raise ValueError(
                    f"cgroup {cgroup.name!r}: a cgroup has either a workload or children"
                    f"; {'move the workload to a child' if cgroup.workload else 'give it a workload'}"
                )
            for event in cgroup.events:
                if event.at > self.episode.length:
                    raise ValueError(
                        f"cgroup {cgroup.name!r}: event at {event.at:g} s is after the episode of "
                        f"{self.episode.length:g} s; lengthen episode.length or move it"
                    )
        if not self.cgroups:
            raise ValueError("a scenario needs at least one cgroup")
        if self.randomise.load and not any(c.workload and c.workload.archetype for c in self.cgroups):
            raise ValueError("randomise.load needs an archetype: recordings have the load they had")
        return self

    @property
    def span_s(self) -> float:
        """Seconds an episode covers, with its warm-up."""
        return self.episode.warmup + self.episode.length

    def age_limit_s(self) -> float | None:
        """The largest age a policy may learn here: half of what is replayed; None without recordings."""
        traced = any(cgroup.workload and cgroup.workload.trace for cgroup in self.cgroups)
        return self.span_s / 2 if traced else None

    def arm(
        self,
        *,
        shrinker_enabled: bool | None = None,
        max_pool_percent: int | None = None,
        stage_one: StageOne | dict[str, Any] | str | None = None,
        release_after_writeback: bool | None = None,
        device: str | dict[str, Any] | None = None,
        compressor: str | None = None,
    ) -> Scenario:
        """This scenario with a setting changed, for a comparison. Raises :class:`UserError`.

        ``stage_one`` may be a kind ("none", "fixed", "senpai") or a whole section. A device or a
        compressor given here is no longer randomised.
        """
        new = self.model_dump(mode="json")
        zswap = {"shrinker_enabled": shrinker_enabled, "max_pool_percent": max_pool_percent}
        new["host"]["zswap"] |= {key: value for key, value in zswap.items() if value is not None}
        if isinstance(stage_one, StageOne):
            new["stage_one"] = stage_one.model_dump(mode="json")
        elif stage_one is not None:
            new["stage_one"] |= {"kind": stage_one} if isinstance(stage_one, str) else stage_one
        if release_after_writeback is not None:
            new["release_after_writeback"] = release_after_writeback
        for key, value in (("device", device), ("compressor", compressor)):
            if value is not None:
                new["host"][key] = value
                new["randomise"][key] = []
        return _validated(f"arm of {self.name}", new)

    def realise(self, rng: np.random.Generator) -> Realised:
        """Draw one instance.

        Returns:
            (HostSpec, cgroups in file order, plans of the cgroups that have a workload, StageOneSpec,
            events of all cgroups sorted by start).

        Raises:
            UserError: sizes as drawn do not work out (an event larger than its cgroup).
        """
        drawn = self._draw(rng)
        plans: dict[str, AccessPlan] = {}
        events: list[RealisedEvent] = []
        for cgroup in self.cgroups:
            # A stream of its own: a change to one cgroup leaves the others as they were.
            stream = np.random.default_rng(int(rng.integers(1 << 62)))
            if cgroup.workload is not None:
                plan, mine = self._plan(cgroup, cgroup.workload, drawn, stream)
                plans[cgroup.name] = plan
                events += mine
        scale = self.host.page_scale
        base = {name: base_bytes(plan.n_pages * scale) for name, plan in plans.items()}
        size = {name: working_set(plan) * scale * PAGE_SIZE + base[name] for name, plan in plans.items()}
        total = sum(size.values())
        cgroups = [_cgroup_spec(c, self._subtree_size(c.name, size), base.get(c.name, 0)) for c in self.cgroups]
        return Realised(
            self._host_spec(drawn, total),
            cgroups,
            plans,
            self.stage_one.spec(),
            sorted(events, key=lambda event: event.start_s),
        )

    def _draw(self, rng: np.random.Generator) -> Draws:
        random = self.randomise
        return Draws(
            device=random.device[int(rng.integers(len(random.device)))] if random.device else self.host.device,
            compressor=random.compressor[int(rng.integers(len(random.compressor)))]
            if random.compressor
            else self.host.compressor,
            load=_factor(random.load, rng),
            time_scale=_factor(random.time_scale, rng),
            zero_never=float(rng.uniform(*random.zero_never)) if random.zero_never else None,
        )

    def _plan(
        self, cgroup: Cgroup, work: Workload, drawn: Draws, rng: np.random.Generator
    ) -> tuple[AccessPlan, list[RealisedEvent]]:
        """One cgroup's accesses and its events."""
        size_factor = _factor(self.randomise.sizes, rng)
        events = realise_events(
            cgroup.name,
            cgroup.events,
            rng,
            warmup_s=self.episode.warmup,
            length_s=self.episode.length,
            size_factor=size_factor,
        )
        scale = self.host.page_scale
        if work.archetype is not None:
            assert work.pages is not None
            pages = max(MIN_PAGES, round(work.pages * size_factor)) - event_pages(events, scale)[0]
            if pages < MIN_PAGES:
                raise UserError(
                    f"scenario {self.name!r}: cgroup {cgroup.name!r}: its events' bytes leave {pages} of "
                    f"{work.pages} pages; raise workload.pages or lower bytes"
                )
            zero = work.zero_never if work.zero_never is not None else drawn.zero_never
            parts, clen = archetype_parts(
                work.archetype,
                pages,
                round(self.span_s * US_PER_S),
                rng,
                compressor=drawn.compressor,
                load=work.load * drawn.load,
                time_scale=work.time_scale * drawn.time_scale,
                zero_never=zero,
                contents=work.contents,
                day=(work.day.period, work.day.amplitude) if work.day else None,
                drift_s=work.drift,
                overrides=work.parameters.model_dump(exclude_none=True),
            )
            span = round(self.span_s * US_PER_S)
            writes = PROFILES[work.archetype].write_share
        else:
            assert work.trace is not None
            trace = load_trace(work.trace)
            spare = trace.span_s - self.span_s
            start = float(rng.uniform(0, spare)) if work.start == "random" else work.start
            wanted = min(trace.n_pages, round((work.pages or trace.n_pages) * size_factor))
            parts, clen, span = replay_parts(
                trace, rng, start_s=start, compressor=drawn.compressor, pages=max(MIN_PAGES, wanted)
            )
            writes = float(write_shares(trace)[1])
        parts = boosted(parts, events) + (asleep := event_parts(events, scale, writes, rng))
        sleepers = sum(part.n_pages for part in asleep)
        # What sleeps compresses like the rest: its sizes are drawn from the cgroup's own pages.
        clen = np.concatenate([clen, rng.choice(clen, sleepers)])
        return assemble(parts, clen, span, rng), events

    def _subtree_size(self, name: str, size: dict[str, int]) -> int:
        """Working-set bytes of a cgroup and its descendants."""
        children = [cgroup.name for cgroup in self.cgroups if cgroup.parent == name]
        return size.get(name, 0) + sum(self._subtree_size(child, size) for child in children)

    def _host_spec(self, drawn: Draws, total: int) -> HostSpec:
        host = self.host
        return HostSpec(
            ram_bytes=host.ram if host.ram is not None else _whole_pages(total * RAM_FACTOR),
            swap_bytes=host.swap if host.swap is not None else _whole_pages(total * SWAP_FACTOR),
            zswap_enabled=host.zswap.enabled,
            max_pool_percent=host.zswap.max_pool_percent,
            accept_threshold_percent=host.zswap.accept_threshold_percent,
            shrinker_enabled=host.zswap.shrinker_enabled,
            compressor=COMPRESSORS[drawn.compressor],
            device=drawn.device.spec(),
            page_scale=host.page_scale,
            release_after_writeback=self.release_after_writeback,
        )


def base_bytes(real_pages: int) -> int:
    """Memory charged to a process besides its anonymous pages: BASE_PAGES and its page tables."""
    return (BASE_PAGES + -(-real_pages // 512)) * PAGE_SIZE


def _whole_pages(size: float) -> int:
    return int(size) // PAGE_SIZE * PAGE_SIZE


def _factor(bounds: list[float] | None, rng: np.random.Generator) -> float:
    """Log-uniform between the bounds; always one draw, so that later draws stay where they are."""
    u = rng.random()
    return 1.0 if bounds is None else float(bounds[0] * (bounds[1] / bounds[0]) ** u)


def _cgroup_spec(cgroup: Cgroup, size: int, base: int) -> CgroupSpec:
    def limit(value: Limit) -> int | None:
        return _whole_pages(value * size) if isinstance(value, float) else value

    return CgroupSpec(
        name=cgroup.name,
        parent=cgroup.parent,
        memory_max=limit(cgroup.memory_max),
        memory_high=limit(cgroup.memory_high),
        swap_max=limit(cgroup.swap_max),
        zswap_max=limit(cgroup.zswap_max),
        zswap_writeback=cgroup.zswap_writeback,
        threads=cgroup.threads,
        base_bytes=base,
        stage_one=cgroup.stage_one and cgroup.workload is not None,
    )


def _folders() -> list[Path]:
    """Where names are looked up: here, then beside the package in a checkout."""
    places = [Path.cwd(), Path(zswap_gym.__file__).parents[1]]
    return [place / "configs" / "scenarios" for place in dict.fromkeys(places)]


def scenario_names() -> list[str]:
    """Names `load_scenario` knows, sorted."""
    return sorted({path.stem for folder in _folders() for path in folder.glob("*.yaml")})


def load_scenario(name_or_path: str | Path) -> Scenario:
    """The scenario in that file, or of that name under configs/scenarios.

    Raises:
        UserError: not found, not YAML, an unknown key, a value out of range, an episode longer than
            a recording it replays.
    """
    text = str(name_or_path)
    candidates = [Path(text), *(folder / f"{text}.yaml" for folder in _folders())]
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        raise UserError(
            f"scenario {text!r}: no such file or name{nearest(text, scenario_names())}; "
            f"known are {', '.join(scenario_names()) or 'none here'}"
        )
    scenario = _validated(str(path), _beside(path, read_yaml(path)))
    _check_recordings(str(path), scenario)
    return scenario


def _validated(source: str, content: dict[str, Any]) -> Scenario:
    try:
        return Scenario.model_validate(content)
    except ValidationError as error:
        raise describe(source, Scenario, error) from None
