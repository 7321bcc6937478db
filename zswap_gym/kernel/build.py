"""From specs and plans to the arrays of a State, and from the arrays to gauges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from zswap_gym.kernel import jobs, layout
from zswap_gym.kernel.access import FREE, NEVER, REGION, AccessPlan
from zswap_gym.kernel.host_record import HOST
from zswap_gym.kernel.kswapd import set_watermarks
from zswap_gym.kernel.layout import INF_PAGES, State
from zswap_gym.kernel.spec import (
    INTERFACES,
    KERNELS,
    LRUS,
    CgroupSpec,
    HostSpec,
    InterfaceSpec,
    StageOneSpec,
)
from zswap_gym.kernel.zsmalloc import size_classes
from zswap_gym.units import PAGE_SIZE

SCALES = (1, 2, 4, 8, 16, 32, 64)
_STAGE_KINDS = {"none": 0, "fixed": 1, "senpai": 2}


def order(cgroups: Sequence[CgroupSpec]) -> tuple[list[CgroupSpec], list[str], dict[str, int]]:
    """Cgroups in pre-order behind the implicit root. ValueError on unknown parents, cycles, twins."""
    children: dict[str | None, list[CgroupSpec]] = {}
    for spec in cgroups:
        children.setdefault(spec.parent, []).append(spec)
    ordered: list[CgroupSpec] = []

    def visit(parent: str | None) -> None:
        for spec in children.get(parent, []):
            ordered.append(spec)
            visit(spec.name)

    visit(None)
    names = [""] + [spec.name for spec in ordered]
    if len(ordered) != len(cgroups) or len(set(names)) != len(names):
        raise ValueError("cgroup names must be unique and every parent must exist, without cycles")
    return ordered, names, {name: i for i, name in enumerate(names)}


def _pages(size: int | None) -> int:
    return int(INF_PAGES) if size is None else size // PAGE_SIZE


def _cgroup_records(
    specs: Sequence[CgroupSpec], names: Sequence[str], plans: Mapping[str, AccessPlan]
) -> npt.NDArray[np.void]:
    cgs = np.zeros(len(names), layout.CGROUP)
    index = {name: i for i, name in enumerate(names)}
    cgs["parent"][0] = -1
    cgs["threads"] = 1
    for field in ("max", "high", "zswap_max", "swap_max", "swap_high"):
        cgs[field] = INF_PAGES
    cgs["writeback"] = 1
    first = 0
    for c, spec in enumerate(specs, start=1):
        rec = cgs[c]
        rec["parent"] = index[spec.parent] if spec.parent else 0
        rec["max"], rec["high"] = _pages(spec.memory_max), _pages(spec.memory_high)
        rec["zswap_max"], rec["swap_max"] = _pages(spec.zswap_max), _pages(spec.swap_max)
        rec["swap_high"] = _pages(spec.swap_high)
        rec["min"], rec["low"] = _pages(spec.memory_min), _pages(spec.memory_low)
        rec["oom_group"], rec["oom_protected"] = spec.oom_group, spec.oom_protected
        rec["writeback"] = spec.zswap_writeback
        rec["threads"] = spec.threads
        rec["first_page"] = first
        rec["n_pages"] = plans[spec.name].n_pages if spec.name in plans else 0
        rec["leaf"] = spec.name in plans
        rec["stage_one"] = spec.stage_one and spec.name in plans
        first += int(rec["n_pages"])
        at = c
        while at >= 0:
            cgs["base"][at] += spec.base_bytes // PAGE_SIZE
            at = int(cgs["parent"][at])
    ends = np.arange(1, len(names) + 1)
    for c in range(len(names) - 1, 0, -1):
        parent = cgs["parent"][c]
        ends[parent] = max(ends[parent], ends[c])
    cgs["sub_end"] = ends
    threads = cgs["threads"].copy()
    for c in range(len(names) - 1, 0, -1):  # a parent has the threads of its subtree
        if not cgs["leaf"][c]:
            threads[c] = max(1, threads[c + 1 : ends[c]][cgs["leaf"][c + 1 : ends[c]] == 1].sum())
    threads[0] = max(1, threads[1:][cgs["leaf"][1:] == 1].sum())
    cgs["threads"] = threads
    cgs["max_seq"], cgs["min_seq"] = 3, 0  # lru_gen_init_lruvec()
    cgs["wb_iter"] = -1
    cgs["free_rate"] = 1.0
    cgs["zlru"] = np.arange(len(cgs))
    cgs["last_walk"] = cgs["walked_at"] = cgs["flushed_at"] = -1
    cgs["run_until"] = NEVER
    return cgs


def _page_records(cgs: npt.NDArray[np.void], plans: Sequence[AccessPlan | None]) -> npt.NDArray[np.void]:
    pages = layout.page_array(int(cgs["n_pages"].sum()))
    pages["shadow"] = -1
    pages["when"] = NEVER
    region_base = 0
    for c, plan in enumerate(plans):
        if plan is None:
            continue
        span = slice(int(cgs["first_page"][c]), int(cgs["first_page"][c]) + plan.n_pages)
        pages["rate"][span] = plan.rate
        pages["clen"][span] = plan.clen
        pages["region"][span] = plan.region + region_base
        region_base += len(plan.regions)
    return pages


class _Sources:
    """Concatenates the plans' access arrays, shifting indices to the machine's."""

    def __init__(self, cgs: npt.NDArray[np.void], plans: Sequence[AccessPlan | None]) -> None:
        regions, times, mults, integrals, touches, offsets, traces, ops, frees = ([] for _ in range(9))
        segments = traced = n_frees = 0
        any_trace = any(plan is not None and len(plan.trace_offset) > 0 for plan in plans)
        for c, plan in enumerate(plans):
            if plan is None:
                continue
            first = int(cgs["first_page"][c])
            region = plan.regions.copy()
            region["first_page"] += first
            region["seg_start"] += segments
            region["seg_hint"] = region["seg_start"]
            region["sweep_block"] = np.maximum(region["sweep_block"], 1)
            region["sweep_period"] = np.maximum(region["sweep_period"], 1)
            regions.append(region)
            times.append(plan.seg_time)
            mults.append(plan.seg_mult)
            integrals.append(plan.seg_integral)
            touches.append(plan.first_touch)
            segments += len(plan.seg_time)
            if any_trace:
                own = plan.trace_offset if len(plan.trace_offset) else np.zeros(plan.n_pages + 1, np.int64)
                offsets.append(own[:-1] + traced)
                traces.append(plan.trace_time)
                ops.append(plan.trace_op)
                traced += len(plan.trace_time)
            free = plan.frees.copy()
            free["first_page"] += first
            frees.append(free)
            cgs["free_next"][c] = n_frees
            n_frees += len(free)
            cgs["free_end"][c] = n_frees
        self.regions = np.concatenate(regions) if regions else np.zeros(0, REGION)
        self.seg_time = np.concatenate([*times, np.zeros(0, np.int64)])
        self.seg_mult = np.concatenate([*mults, np.zeros(0)])
        self.seg_integral = np.concatenate([*integrals, np.zeros(0)])
        self.first_touch = np.concatenate([*touches, np.zeros(0, np.int64)])
        self.trace_offset = np.concatenate([*offsets, np.array([traced], np.int64)])
        self.trace_time = np.concatenate([*traces, np.zeros(0, np.int64)])
        self.trace_op = np.concatenate([*ops, np.zeros(0, np.uint8)])
        self.frees = np.concatenate([*frees, np.zeros(0, FREE)])


def _vmas(regions: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Each region is a mapping; its first page table is one no other region uses."""
    vmas = np.zeros(len(regions), layout.VMA)
    vmas["table"] = regions["first_page"] // layout.TABLE + np.arange(len(regions))
    vmas["ra_hits"] = 4  # get_vma_policy(): SWAP_RA_VAL starts at 4 hits
    return vmas


def _zspages(n: int) -> npt.NDArray[np.void]:
    """N free zspage records, linked."""
    records = np.zeros(n, layout.ZSPAGE)
    records["after"] = np.arange(1, n + 1)
    return records


def _host_record(
    host: HostSpec, stage_one: StageOneSpec, seed: int, restart_on_oom: bool, exact: bool
) -> npt.NDArray[np.void]:
    rec = np.zeros(1, HOST)
    rec["now"] = host.boot_us
    rec["rng"] = np.uint64(seed & (2**64 - 1))
    rec["scale"] = host.page_scale
    rec["swap_pages"] = host.swap_bytes // PAGE_SIZE
    rec["ram_pages"] = host.ram_bytes // PAGE_SIZE
    rec["zswap_enabled"] = host.zswap_enabled
    rec["shrinker"] = host.shrinker_enabled
    rec["wb_pulse"] = host.interface == "stock-pulse"
    rec["restart_on_oom"] = restart_on_oom
    rec["worker_iter"] = -1
    rec["exact"] = exact
    rec["compress_us"] = host.compressor.compress_us
    rec["decompress_us"] = host.compressor.decompress_us
    rec["read_us"], rec["write_us"] = host.device.read_us, host.device.write_us
    rec["jitter"], rec["rotated"] = host.device.jitter, host.device.rotated_fraction
    rec["stage_kind"] = _STAGE_KINDS[stage_one.kind]
    rec["stage_interval"] = stage_one.interval_us
    rec["stage_pages"] = stage_one.bytes_per_s * stage_one.interval_us // 1_000_000 // PAGE_SIZE
    rec["stage_ratio"], rec["stage_psi"] = stage_one.ratio, stage_one.psi_threshold
    rec["lru"] = LRUS.index(host.lru)
    rec["preempted"] = host.preempted
    rec["charge_cpu"] = min(1, max(0, host.charge_cpus - 1))
    rec["swappiness"], rec["page_cluster"] = host.swappiness, host.page_cluster
    rec["next_slot"], rec["ra_hits"] = 1, 4  # swapin_readahead_hits starts at 4
    rec["latency_us"], rec["writeback_us"] = host.device.latency_us, host.writeback_us
    kernel = KERNELS[host.kernel]
    rec["counts_swap"] = kernel.counts_swap_per_cgroup
    rec["store_raw"], rec["shrink_scan"] = kernel.stores_incompressible, kernel.shrink_scan
    rec["refusal_us"], rec["visit_us"] = host.refusal_us, host.worker_visit_us
    rec["stores_large"] = kernel.stores_large_folios
    rules = interface_rules(host)
    if rules is not None:
        set_rules(rec, rules)
    return rec


def interface_rules(host: HostSpec) -> InterfaceSpec | None:
    """The rules of the host's proactive writeback interface; None where it has none."""
    return INTERFACES[host.interface] if isinstance(host.interface, str) else host.interface


def set_rules(rec: npt.NDArray[np.void], rules: InterfaceSpec) -> None:
    """Enter the rules of a proactive writeback interface in a HOST record."""
    rec["wb_batch"], rec["wb_walk"] = rules.batch_pages, rules.walk
    rec["wb_exists"], rec["wb_age"], rec["wb_einval"] = 1, rules.key is None, rules.disabled_is_einval
    rec["wb_scan_ratio"] = rules.scan_ratio
    rec["wb_compressed"], rec["wb_round"] = rules.compressed, rules.whole_pages
    rec["wb_cursor"], rec["wb_second_chance"] = rules.cursor_persists, rules.second_chance
    rec["wb_whole"], rec["wb_signals"] = rules.whole_target, rules.obeys_signals
    rec["wb_empty_fails"] = rules.empty_fails


def note_limits(st: State) -> None:
    """Tell the fault path whether any cgroup throttles, and reclaim whether any is protected."""
    cgs = st.cgs
    st.host["throttled"] = bool(((cgs["high"] < INF_PAGES) | (cgs["swap_high"] < INF_PAGES)).any())
    st.host["protected"] = bool(((cgs["min"] > 0) | (cgs["low"] > 0)).any())


def state(
    host: HostSpec,
    specs: Sequence[CgroupSpec],
    names: Sequence[str],
    plans: Mapping[str, AccessPlan],
    stage_one: StageOneSpec,
    seed: int,
    restart_on_oom: bool,
    exact: bool,
) -> State:
    """All arrays of a machine at boot. ValueError where the specs contradict each other."""
    if host.page_scale not in SCALES:
        raise ValueError(f"page_scale must be one of {SCALES}, not {host.page_scale}")
    if host.lru not in LRUS:
        raise ValueError(f"lru must be one of {LRUS}, not {host.lru!r}")
    if host.page_scale != 1 and (host.lru != LRUS[0] or host.page_cluster):
        raise ValueError(f"lru {host.lru!r} and read-ahead are about single pages: page_scale must be 1")
    unknown = set(plans) - set(names)
    if unknown:
        raise ValueError(f"workloads for cgroups that do not exist: {sorted(unknown)}")
    n = len(names)
    cgs = _cgroup_records(specs, names, plans)
    by_index = [plans.get(name) if name else None for name in names]
    pages = _page_records(cgs, by_index)
    sources = _Sources(cgs, by_index)
    classes, class_of, _ = size_classes(host.page_scale)
    lists = np.zeros(n * layout.LISTS_PER_CGROUP, layout.LIST)
    lists["oldest"] = lists["newest"] = -1
    by_slot = host.rotational and host.page_cluster > 0
    result = State(
        pages=pages,
        links=np.full(len(pages), -1, layout.LINK),
        calendar=np.full(len(pages), -1, layout.CALENDAR),
        on_list=np.full(len(pages), layout.NO_LIST, np.uint8),
        gen=np.full(len(pages), layout.UNMAPPED, np.uint8),
        source_at=np.zeros(len(pages), np.int64),
        trace_at=np.zeros(len(pages) if len(sources.trace_offset) > 1 else 0, np.int32),
        owner=np.repeat(np.arange(n, dtype=np.uint16), cgs["n_pages"]),
        cgs=cgs,
        lists=lists,
        gen_count=np.zeros((n, 4), np.int64),
        stat=np.zeros((n, len(layout.STAT)), np.int64),
        regions=sources.regions,
        seg_time=sources.seg_time,
        seg_mult=sources.seg_mult,
        seg_integral=sources.seg_integral,
        first_touch=sources.first_touch,
        trace_offset=sources.trace_offset,
        trace_time=sources.trace_time,
        trace_op=sources.trace_op,
        frees=sources.frees,
        wheel=np.full((n, 1 + layout.LANES, layout.WHEEL), -1, np.int32),
        heap=np.zeros(len(pages), np.int32),
        host=_host_record(host, stage_one, seed, restart_on_oom, exact),
        jobs=np.zeros(n * jobs.SLOTS + jobs.HOST_JOBS, jobs.JOB),
        due=np.full(3 * n + n * jobs.SLOTS + jobs.HOST_JOBS, NEVER, np.int64),
        zclass=classes,
        zclass_of=class_of,
        ring=np.zeros(host.device.queue_depth, layout.RING),
        channels=np.zeros(host.device.channels, np.int64),
        threads=np.zeros((n, layout.MAX_THREADS), np.int64),
        done=np.zeros(jobs.DONE_LOG, jobs.DONE),
        scratch=np.zeros(64, np.int32),
        stocks=np.zeros((host.charge_cpus, 4), np.int64),
        batches=np.zeros((layout.CPUS, 3, layout.BATCH + 1), np.int32),
        vmas=_vmas(sources.regions),
        zspages=_zspages(len(pages) if host.lru != LRUS[0] else 0),
        zspage_of=np.full(len(pages) if host.lru != LRUS[0] else 0, -1, np.int32),
        zgroups=np.full((len(classes), layout.ZSPAGE_GROUPS), -1, np.int32),
        tables=np.zeros(len(pages) // layout.TABLE + len(sources.regions) + 2, np.uint8),
        slot_of=np.zeros(len(pages) if by_slot else 0, np.int32),
        zram=np.zeros(len(pages) if host.device.in_ram else 0, np.uint16),
        slot_page=np.full(host.swap_bytes // PAGE_SIZE + 1 if by_slot else 0, -1, np.int32),
    )
    set_pool_limit(result, host.max_pool_percent, host.accept_threshold_percent)
    note_limits(result)
    set_watermarks(result)
    return result


def set_pool_limit(st: State, max_pool_percent: int, accept_threshold_percent: int) -> None:
    """zswap_max_pages() and zswap_accept_thr_pages(): integer floors."""
    limit = int(st.host["ram_pages"][0]) * max_pool_percent // 100
    st.host["max_pool_pages"] = limit
    st.host["accept_pages"] = limit * accept_threshold_percent // 100


def file_lists(st: State) -> npt.NDArray[np.int64]:
    """int64 (n_cgroups, 2): simulated pages on each cgroup's own inactive and active file list."""
    lengths: npt.NDArray[np.int64] = st.lists["length"].reshape(len(st.cgs), layout.LISTS_PER_CGROUP)
    return lengths[:, [layout.FILE_INACTIVE, layout.FILE_ACTIVE]]


def gauges(st: State) -> npt.NDArray[np.float64]:
    """float64 (n_cgroups, len(machine.GAUGES)): bytes, hierarchical."""
    cgs = st.cgs
    scale = int(st.host["scale"][0])
    rows = np.arange(len(cgs))
    if st.host["lru"][0] == layout.LRU_CLASSIC:
        active = st.gen_count[:, 1]
    else:
        active = st.gen_count[rows, cgs["max_seq"] & 3] + st.gen_count[rows, (cgs["max_seq"] - 1) & 3]
    inactive = st.gen_count.sum(axis=1) - active
    file = file_lists(st)
    lru = np.stack([active, inactive, file[:, 1], file[:, 0]], axis=1) * scale
    for c in range(len(cgs) - 1, 0, -1):
        lru[cgs["parent"][c]] += lru[c]
    usage = cgs["resident"] + cgs["base"] + cgs["ahead"] + (cgs["zbytes"] + 4095) // 4096
    columns = (
        usage * PAGE_SIZE,
        cgs["mapped"] * PAGE_SIZE,
        cgs["swapcached"] * PAGE_SIZE,
        cgs["zbytes"],
        cgs["zpages"] * PAGE_SIZE,
        cgs["slots"] * PAGE_SIZE,
        lru[:, 0] * PAGE_SIZE,
        lru[:, 1] * PAGE_SIZE,
        np.maximum(cgs["peak"], cgs["base"]) * PAGE_SIZE,
        cgs["swap_peak"] * PAGE_SIZE,
        cgs["file"] * PAGE_SIZE,
        lru[:, 2] * PAGE_SIZE,
        lru[:, 3] * PAGE_SIZE,
    )
    return np.stack(columns, axis=1).astype(np.float64)
