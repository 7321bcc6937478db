"""Draw one instance of a scenario: the parts of a simulated machine, with every random choice made."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zswap_gym.errors import UserError
from zswap_gym.kernel.access import AccessPlan
from zswap_gym.kernel.spec import COMPRESSORS, CgroupSpec, HostSpec, StageOneSpec
from zswap_gym.units import PAGE_SIZE, US_PER_S
from zswap_gym.workloads.archetypes import MIN_PAGES, archetype_parts
from zswap_gym.workloads.events import RealisedEvent, boosted, event_pages, event_parts, realise_events
from zswap_gym.workloads.plan import Part, assemble, working_set
from zswap_gym.workloads.profiles import PROFILES
from zswap_gym.workloads.programs import program_parts
from zswap_gym.workloads.replay import replay_parts, write_shares
from zswap_gym.workloads.traces import CLASS_MIDDLE, load_trace

if TYPE_CHECKING:
    import numpy.typing as npt

    from zswap_gym.workloads.scenario import Scenario
    from zswap_gym.workloads.schema import Cgroup, Device, Limit, Workload

RAM_FACTOR, SWAP_FACTOR = 1.25, 2.0
"""Of all working sets, where the file leaves ram or swap open."""
BASE_PAGES = 105
"""Charged to a process and never reclaimed: libc, stacks. Page tables come on top, one page per 512
(measured on a 6.12 kernel: memory.current = data + n/512 + libc about 105 + kernel about 14 pages)."""


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


def realise(scenario: Scenario, rng: np.random.Generator) -> Realised:
    """Draw one instance.

    Returns:
        (HostSpec, cgroups in file order, plans of the cgroups that have a workload, StageOneSpec,
        events of all cgroups sorted by start).

    Raises:
        UserError: sizes as drawn do not work out (an event larger than its cgroup).
    """
    drawn = _draw(scenario, rng)
    plans: dict[str, AccessPlan] = {}
    events: list[RealisedEvent] = []
    for cgroup in scenario.cgroups:
        # A stream of its own: a change to one cgroup leaves the others as they were.
        stream = np.random.default_rng(int(rng.integers(1 << 62)))
        if cgroup.workload is not None:
            plans[cgroup.name], mine = _plan(scenario, cgroup, cgroup.workload, drawn, stream)
            events += mine
    scale = scenario.host.page_scale
    base = {name: base_bytes(plan.n_pages * scale) for name, plan in plans.items()}
    size = {name: working_set(plan) * scale * PAGE_SIZE + base[name] for name, plan in plans.items()}
    return Realised(
        _host_spec(scenario, drawn, sum(size.values())),
        [
            _cgroup_spec(c, _subtree_size(scenario, c.name, size), base.get(c.name, 0))
            for c in scenario.cgroups
        ],
        plans,
        scenario.stage_one.spec(),
        sorted(events, key=lambda event: event.start_s),
    )


def _draw(scenario: Scenario, rng: np.random.Generator) -> Draws:
    """The host's choices. As many draws whatever is randomised: arms of a scenario stay paired."""
    random, host = scenario.randomise, scenario.host
    device, compressor, zero = rng.random(3)
    return Draws(
        device=random.device[int(device * len(random.device))] if random.device else host.device,
        compressor=random.compressor[int(compressor * len(random.compressor))]
        if random.compressor
        else host.compressor,
        load=_factor(random.load, rng),
        time_scale=_factor(random.time_scale, rng),
        zero_never=float(np.interp(zero, [0, 1], random.zero_never)) if random.zero_never else None,
    )


def _plan(
    scenario: Scenario, cgroup: Cgroup, work: Workload, drawn: Draws, rng: np.random.Generator
) -> tuple[AccessPlan, list[RealisedEvent]]:
    """One cgroup's accesses and its events."""
    factor = _factor(scenario.randomise.sizes, rng)
    episode, scale = scenario.episode, scenario.host.page_scale
    events = realise_events(
        cgroup.name,
        cgroup.events,
        rng,
        warmup_s=episode.warmup,
        length_s=episode.length,
        size_factor=factor,
    )
    if work.regions:
        parts, clen = program_parts(
            work, scale, round(scenario.span_s * US_PER_S), rng, compressor=drawn.compressor,
            load=work.load * drawn.load, time_scale=work.time_scale * drawn.time_scale, size_factor=factor,
            zero_never=work.zero_never if work.zero_never is not None else drawn.zero_never,
        )  # fmt: skip
        writes = float(np.mean([region.write_share for region in work.regions]))
    elif work.archetype is not None:
        name = _one_of(work.archetypes, rng)
        pages = max(MIN_PAGES, round((work.pages or 0) * factor)) - event_pages(events, scale)[0]
        if pages < MIN_PAGES:
            raise UserError(
                f"scenario {scenario.name!r}: cgroup {cgroup.name!r}: its events' bytes leave {pages} of "
                f"{work.pages} pages; raise workload.pages or lower bytes"
            )
        never = _never(scenario, name, rng)
        parts, clen = _archetype(work, name, pages, scenario.span_s, drawn, never, _bursts(events), rng)
        writes = PROFILES[name].write_share
    else:
        trace = load_trace(work.trace or "")
        spare = trace.span_s - scenario.span_s
        pages = max(MIN_PAGES, round((work.pages or trace.n_pages) * factor))
        parts, clen, _ = replay_parts(
            trace,
            rng,
            start_s=float(rng.uniform(0, spare)) if work.start == "random" else work.start,
            length_s=scenario.span_s,
            compressor=drawn.compressor,
            pages=min(trace.n_pages, pages),
        )
        writes = float(write_shares(trace)[CLASS_MIDDLE])
    asleep = event_parts(events, scale, writes, rng)
    if work.cache_pages:
        asleep.append(_cache(work, writes, rng))
    # What sleeps compresses like the rest: its sizes are drawn from the cgroup's own pages.
    clen = np.concatenate([clen, rng.choice(clen, sum(part.n_pages for part in asleep))])
    plan = assemble([*boosted(parts, events), *asleep], clen, round(scenario.span_s * US_PER_S), rng)
    return plan, events


def _one_of(names: tuple[str, ...], rng: np.random.Generator) -> str:
    return names[0] if len(names) == 1 else names[int(rng.integers(len(names)))]


def _never(scenario: Scenario, name: str, rng: np.random.Generator) -> dict[str, float]:
    """Over-provisioned memory: a drawn share of the pages is never touched."""
    bounds = scenario.randomise.never
    if bounds is None or PROFILES[name].never >= 0.5:
        return {}
    return {"never": float(rng.uniform(bounds[0], bounds[1]))}


def _bursts(events: list[RealisedEvent]) -> list[tuple[int, int]] | None:
    """What is resumed works then and rests in between; None where nothing is resumed."""
    resumes = [event for event in events if event.kind == "resume"]
    return [(round(e.start_s * US_PER_S), round(e.end_s * US_PER_S)) for e in resumes] or None


def _archetype(
    work: Workload,
    name: str,
    pages: int,
    span_s: float,
    drawn: Draws,
    never: dict[str, float],
    bursts: list[tuple[int, int]] | None,
    rng: np.random.Generator,
) -> tuple[list[Part], npt.NDArray[np.uint16]]:
    return archetype_parts(
        name,
        pages,
        round(span_s * US_PER_S),
        rng,
        compressor=drawn.compressor,
        load=work.load * drawn.load,
        time_scale=work.time_scale * drawn.time_scale,
        zero_never=work.zero_never if work.zero_never is not None else drawn.zero_never,
        contents=work.contents,
        day=(work.day.period, work.day.amplitude) if work.day else None,
        drift_s=work.drift,
        work=bursts,
        overrides=never | work.parameters.model_dump(exclude_none=True),
    )


def _cache(work: Workload, writes: float, rng: np.random.Generator) -> Part:
    """The page cache of a workload: pages of files, read at the rates of its archetype or of a store's."""
    told = PROFILES[work.archetypes[0] if work.archetypes else "kv_zipf"]
    n = work.cache_pages
    rate = np.exp(rng.normal(told.mu, told.sigma, n)) * work.load / work.time_scale
    return Part(rate, np.full(n, CLASS_MIDDLE, np.uint8), write_share=writes, file=True)


def _subtree_size(scenario: Scenario, name: str, size: dict[str, int]) -> int:
    """Working-set bytes of a cgroup and its descendants."""
    children = [cgroup.name for cgroup in scenario.cgroups if cgroup.parent == name]
    return size.get(name, 0) + sum(_subtree_size(scenario, child, size) for child in children)


def _host_spec(scenario: Scenario, drawn: Draws, total: int) -> HostSpec:
    host = scenario.host
    return HostSpec(
        ram_bytes=host.ram if host.ram is not None else _whole_pages(total * RAM_FACTOR),
        swap_bytes=host.swap if host.swap is not None else _whole_pages(total * SWAP_FACTOR),
        kernel=scenario.kernel,
        interface=scenario.dialect,
        lru=host.lru,
        zswap_enabled=host.zswap.enabled,
        max_pool_percent=host.zswap.max_pool_percent,
        accept_threshold_percent=host.zswap.accept_threshold_percent,
        shrinker_enabled=host.zswap.shrinker_enabled,
        compressor=COMPRESSORS[drawn.compressor],
        device=drawn.device.spec(),
        page_scale=host.page_scale,
        release_after_writeback=scenario.release_after_writeback,
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
        memory_min=limit(cgroup.memory_min),
        memory_low=limit(cgroup.memory_low),
        oom_group=cgroup.oom_group,
        swap_max=limit(cgroup.swap_max),
        swap_high=limit(cgroup.swap_high),
        zswap_max=limit(cgroup.zswap_max),
        zswap_writeback=cgroup.zswap_writeback,
        threads=cgroup.threads,
        base_bytes=base,
        stage_one=cgroup.stage_one and cgroup.workload is not None,
    )
