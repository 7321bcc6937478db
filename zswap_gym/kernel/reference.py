"""The reference: the same kernel, simulated access by access. Plain and slow, to prove the lazy core by.

The lazy core decides only when reclaim looks whether a page was accessed since the last look. Here
every access is drawn from the superposed Poisson process and lands on its page: it sets the page's
accessed and dirty bits, or faults. Aging walks all pages of the cgroup and clears real bits. The rules
of reclaim and zswap are written down a second time, in ``reference_rules``; shared with the core are
only names, constants, size classes and the random generator.

It covers rates with phases, first touches, memory.max, memory.zswap.max, the pool limit and its worker,
the dynamic shrinker, fixed-rate stage one, and several cgroups side by side. Operations take no time, as
in ``Machine(exact=True)``, so there are no stalls and the work clock is boot time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from zswap_gym.kernel import layout as lo
from zswap_gym.kernel import reference_rules as rules
from zswap_gym.kernel.access import NEVER, AccessPlan
from zswap_gym.kernel.jit import entry, njit
from zswap_gym.kernel.layout import DISK, NEW, RESIDENT, STAT, SWAPCACHE, ZERO, ZSWAP
from zswap_gym.kernel.reference_rules import add, land, note_refault, try_free, unlink
from zswap_gym.kernel.rng import exponential, uniform
from zswap_gym.kernel.spec import KERNELS, CgroupSpec, HostSpec, StageOneSpec
from zswap_gym.kernel.zsmalloc import size_classes
from zswap_gym.units import PAGE_SIZE

RETRIES = 16


@njit
def usage(st, c):
    """memory.current in pages."""
    return st.cgs[c].resident + st.cgs[c].base + (st.cgs[c].zbytes + 4095) // 4096


@njit
def charge(st, c, in_fault):
    """try_charge_memcg() for one page: False if reclaim cannot make room."""
    tries = 0
    while usage(st, c) >= st.cgs[c].max:
        st.stat[c, lo.S_EV_MAX] += 1
        freed = try_free(st, c, 1, in_fault)
        tries = 0 if freed > 0 else tries + 1
        if tries > RETRIES or (freed == 0 and usage(st, c) <= st.cgs[c].base):
            return False
    return True


@njit
def run_worker(st):
    """shrink_worker(): one entry of each cgroup in turn, until the pool is small enough or it gives up."""
    host = st.host[0]
    host.worker_queued = False
    failures = attempts = 0
    while host.pool_pages > host.pool_accept and failures < RETRIES:
        host.worker_at += 1
        c = host.worker_at
        if c == len(st.cgs):
            host.worker_at = -1
            failures += attempts == 0
            attempts = 0
            continue
        p = st.pages[rules.head(st, c, -1)].newer
        due = st.cgs[c].writeback and st.cgs[c].zpages > 0 and not st.pages[p].second_chance
        if due and not charge(st, c, False):  # the page it is to be written from
            st.pages[p].second_chance = True  # is refused: the entry stays, behind the others
        result = rules.try_oldest(st, c, False)
        attempts += result != rules.NOTHING
        failures += result == rules.SPARED


@njit
def fault(st, p, write):
    """The access to page p, which is not mapped: False if its cgroup is out of memory."""
    page, cg, stat = st.pages[p], st.cgs[st.pages[p].cg], st.stat[st.pages[p].cg]
    land(st)
    stat[lo.S_PGFAULT] += 1
    if page.state != SWAPCACHE and not charge(st, page.cg, True):
        return False
    if page.state != SWAPCACHE:  # else it was, or reclaim has just written this very page back
        if page.state != NEW:
            stat[lo.S_PGMAJFAULT] += 1
            stat[lo.S_RESTORE] += note_refault(st, p)
        if page.state == ZSWAP:
            unlink(st, p)
            rules.account_entry(st, p, -1)
            stat[lo.S_ZSWPIN] += 1
        elif page.state == ZERO:
            stat[lo.S_SWPIN_ZERO] += 1
        elif page.state == DISK:
            stat[lo.S_PSWPIN] += 1
            cg.disk_swapins += 1
        page.dirty = page.state == NEW or page.state == ZSWAP
        cg.resident += 1
        add(st, p, cg.max_seq)
    page.state, page.accessed = RESIDENT, True
    if write:
        page.slot, page.dirty = False, True  # only a write fault gives the slot up, not a later store
    while st.host[0].worker_queued:
        run_worker(st)
    return True


@njit
def stage_one(st):
    """memory.reclaim on every cgroup that has stage one."""
    st.host[0].stage_next += st.host[0].stage_interval
    for c in range(1, len(st.cgs)):
        reclaimed, retries = 0, RETRIES
        while st.cgs[c].stage_one and reclaimed < st.host[0].stage_pages and retries >= 0:
            freed = try_free(st, c, (st.host[0].stage_pages - reclaimed) // 4, False)
            reclaimed += freed
            retries -= freed == 0
    while st.host[0].worker_queued:
        run_worker(st)


@njit
def sum_rates(st):
    """The cumulative intensity over all pages, for the segment that begins now."""
    total = 0.0
    for p in range(len(st.cumulative)):
        total += st.pages[p].rate * st.mult[st.host[0].segment, st.pages[p].region]
        st.cumulative[p] = total


@entry
def advance(st, until):
    """Access after access up to time ``until`` (us since boot): False if a cgroup ran out of memory."""
    host = st.host[0]
    sum_rates(st)
    while True:
        timer = min(until, st.change[host.segment], st.touch_time[host.touched], host.stage_next)
        total = st.cumulative[-1]
        when = host.now + exponential(st) * 1e6 / total if total > 0.0 else np.inf
        if when < timer:  # else draw anew from the timer on: a Poisson process has no memory
            host.now = when
            host.accesses += 1
            p = np.searchsorted(st.cumulative, uniform(st) * total, side="right")
            page = st.pages[p]
            write = uniform(st) < page.write_share
            if page.state == RESIDENT:
                page.accessed = True
                page.dirty |= write
            elif page.state != NEW and not fault(st, p, write):
                return False
            continue
        host.now = timer
        if timer == st.change[host.segment]:
            host.segment += 1
            sum_rates(st)
        elif timer == st.touch_time[host.touched]:
            host.touched += 1
            if not fault(st, st.touch_page[host.touched - 1], False):
                return False
        elif timer == host.stage_next:
            stage_one(st)
        else:
            return True


class Reference:
    """A host simulated access by access, made like a ``Machine(exact=True)``.

    Args:
        host: RAM, swap, device, zswap parameters; page_scale must be 1, swap at least twice all pages.
        cgroups: side by side below the root, with memory.max and memory.zswap.max at most.
        plans: rates, phases and first touches by cgroup name; no sweeps, traces or frees.
        seed: of the one random stream.
        stage_one: ``none`` or ``fixed``.

    Raises:
        ValueError: something that the reference does not cover.
    """

    def __init__(
        self,
        host: HostSpec,
        cgroups: Sequence[CgroupSpec],
        plans: Mapping[str, AccessPlan],
        *,
        seed: int,
        stage_one: StageOneSpec | None = None,
    ) -> None:
        stage = stage_one or StageOneSpec()
        self.names = ["", *(spec.name for spec in cgroups)]
        ordered = [plans[spec.name] for spec in cgroups]
        pages = sum(plan.n_pages for plan in ordered)
        _refuse_the_rest(host, cgroups, ordered, pages, stage)
        self._boot_us = host.boot_us
        self.world = _world(cgroups, ordered, pages)
        rec = self.world.host[0]
        rec["rng"] = np.uint64(seed)
        rec["rotated"] = host.device.rotated_fraction
        rec["shrinker"] = host.shrinker_enabled
        rec["store_raw"] = KERNELS[host.kernel].stores_incompressible
        rec["worker_at"] = -1
        rec["pool_max"] = host.ram_bytes // PAGE_SIZE * host.max_pool_percent // 100
        rec["pool_accept"] = rec["pool_max"] * host.accept_threshold_percent // 100
        rec["stage_interval"] = stage.interval_us
        rec["stage_next"] = stage.interval_us if stage.kind == "fixed" else np.inf
        rec["stage_pages"] = stage.bytes_per_s * stage.interval_us // 1_000_000 // PAGE_SIZE

    @property
    def now_us(self) -> int:
        """CLOCK_BOOTTIME in microseconds."""
        return self._boot_us + int(self.world.host["now"][0])

    @property
    def accesses(self) -> int:
        """Accesses drawn so far."""
        return int(self.world.host["accesses"][0])

    def advance(self, until_us: int) -> None:
        """Simulate up to boot time ``until_us``. MemoryError where the kernel would kill."""
        if not advance(self.world, float(until_us - self._boot_us)):
            raise MemoryError("a cgroup is out of memory, and the reference has no OOM killer")

    def counters(self) -> npt.NDArray[np.int64]:
        """int64 (n_cgroups, len(STAT)): cumulative, hierarchical, as Machine.counters()."""
        total = self.world.stat.copy()
        total[0] += total[1:].sum(axis=0)
        return total

    def counter(self, cgroup: str, name: str) -> int:
        """One hierarchical counter by name."""
        return int(self.counters()[self.names.index(cgroup), STAT.index(name)])


def _refuse_the_rest(
    host: HostSpec,
    cgroups: Sequence[CgroupSpec],
    plans: Sequence[AccessPlan],
    pages: int,
    stage: StageOneSpec,
) -> None:
    """ValueError for what the reference does not simulate."""
    if host.page_scale != 1 or host.swap_bytes < 2 * pages * PAGE_SIZE or not host.zswap_enabled:
        raise ValueError("the reference needs page_scale 1, swap of twice all pages, and zswap")
    if stage.kind == "senpai":
        raise ValueError("the reference has no PSI, so no senpai")
    if any(s.parent or s.memory_high is not None or s.swap_max is not None for s in cgroups):
        raise ValueError("the reference has no nested cgroups, no memory.high and no memory.swap.max")
    if any(p.regions["traced"].any() or p.regions["sweep_kind"].any() or len(p.frees) for p in plans):
        raise ValueError("the reference has no traces, sweeps and frees")


def _world(cgroups: Sequence[CgroupSpec], plans: Sequence[AccessPlan], n: int) -> rules.World:
    """The arrays at boot: every page NEW, every list empty."""
    pages = np.zeros(n + 5 * (len(cgroups) + 1), rules.PAGE)
    pages["older"] = pages["newer"] = np.arange(len(pages))
    pages["seq"] = -1
    cgs = np.zeros(len(cgroups) + 1, rules.CGROUP)
    cgs["max"] = cgs["zswap_max"] = lo.INF_PAGES
    cgs["max_seq"] = 3
    first = n_regions = 0
    for spec, plan, rec in zip(cgroups, plans, cgs[1:], strict=True):
        own = pages[first : first + plan.n_pages]
        own["cg"], own["rate"], own["region"] = cgroups.index(spec) + 1, plan.rate, plan.region + n_regions
        own["clen"] = np.minimum(plan.clen, 4096)
        own["write_share"] = plan.regions["write_share"][plan.region]
        rec["first"], rec["end"] = first, first + plan.n_pages
        rec["base"] = spec.base_bytes // PAGE_SIZE
        if spec.memory_max is not None:
            rec["max"] = spec.memory_max // PAGE_SIZE
        if spec.zswap_max is not None:
            rec["zswap_max"] = spec.zswap_max // PAGE_SIZE
        rec["writeback"] = spec.zswap_writeback
        rec["stage_one"] = spec.stage_one
        first += plan.n_pages
        n_regions += len(plan.regions)
    starts = np.unique(np.concatenate([plan.seg_time for plan in plans]))
    touch = np.concatenate([plan.first_touch for plan in plans])
    order = np.argsort(touch, kind="stable")
    classes, class_of, _ = size_classes()
    return rules.World(
        pages=pages,
        cgs=cgs,
        host=np.zeros(1, rules.HOST),
        stat=np.zeros((len(cgs), len(STAT)), np.int64),
        tagged=np.zeros((len(cgs), 4), np.int64),
        change=np.append(starts[1:], np.inf).astype(np.float64),
        mult=np.stack(
            [_multipliers(plan, r, starts) for plan in plans for r in range(len(plan.regions))], axis=1
        ),
        cumulative=np.zeros(n),
        touch_page=order,
        touch_time=np.append(np.where(touch < NEVER, touch, np.inf)[order], np.inf),
        flight=np.zeros(n, np.int64),
        batch=np.zeros(64, np.int64),
        zclass=classes,
        zclass_of=class_of,
    )


def _multipliers(plan: AccessPlan, region: int, at: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """m(t) of one region from each of the times ``at`` on."""
    start, count = (int(plan.regions[field][region]) for field in ("seg_start", "seg_count"))
    own = slice(start, start + count)
    return np.ascontiguousarray(plan.seg_mult[own][np.searchsorted(plan.seg_time[own], at, side="right") - 1])
