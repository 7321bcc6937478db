"""Compiled: what every decision of many hosts needs, requests in the kernel's units, terms and accounts.

A handful of numbers each, on which numpy would spend its time being called.
"""

from __future__ import annotations

import numpy as np

from zswap_gym.envs.reward import COUNTS, GIB, TERMS
from zswap_gym.kernel.jit import entry_for, inline
from zswap_gym.kernel.layout import INF_PAGES, STAT
from zswap_gym.kernel.memcg import usage
from zswap_gym.kernel.requests import read_counters
from zswap_gym.kernel.stateref import state_ref
from zswap_gym.policy.promise import BREACH_MOST, MINUTE_S, POINT_MORE, SUMS
from zswap_gym.units import PAGE_SIZE, US_PER_S

_ALL = float(INF_PAGES)  # what is more would not fit an int64
_MINUTE_US = int(MINUTE_S * US_PER_S)
_COUNTED = ("stall_us", "pswpin", "zswpin", "pswpout", "stores_refused", "events_oom_kill")
STALL, _PSWPIN, _ZSWPIN, _PSWPOUT, _REFUSED, _OOM = (STAT.index(name) for name in _COUNTED)
_ZSWPOUT, _ZSWPWB = STAT.index("zswpout"), STAT.index("zswpwb")
assert ("held_bytes", *_COUNTED) == COUNTS
assert TERMS == (
    "dram_held", "stall_s", "disk_refaults", "zswap_loads", "bytes_written", "rejects", "oom_kills"
)  # fmt: skip
assert SUMS == (
    "elapsed_us", "minutes", "broken", "stalled_us", "cpu_us", "held_byte_us", "footprint_byte_us", "reads",
    "written",
)  # fmt: skip
JUDGED = ("saved_pct", "broken_pct", "psi_added_pct", "cpu_added_pct_gib", "breach")
"""Of a verdict on a host, what an environment tells."""
LOOKED = 8
"""What is kept of a look at a cgroup: bytes held, footprint, pressure, five counters."""


@entry_for(
    "(float64[:,::1], float64[:,::1], float64[:,::1], float64, int64[:,::1], int64[:,::1], int64[:,::1])"
)
def whole_requests(age_s, max_bytes, release_bytes, limit_s, age_us, pages, release):
    """Requests (E, N) as :func:`zswap_gym.host.dialects.whole` rounds them, sizes in pages.

    ``age_us`` is -1 where nothing is written back; an age is at least a second and at most ``limit_s``.
    """
    for e in range(len(age_s)):
        for i in range(age_s.shape[1]):
            age_us[e, i] = -1
            pages[e, i] = 0
            if age_s[e, i] == age_s[e, i] and max_bytes[e, i] > 0:  # an age of NaN is none
                age_us[e, i] = np.int64(min(max(np.ceil(age_s[e, i]), 1.0), limit_s) * US_PER_S)
                pages[e, i] = max(np.int64(min(max_bytes[e, i] / PAGE_SIZE, _ALL)), 1)
            release[e, i] = 0
            if release_bytes[e, i] > 0:
                release[e, i] = max(np.int64(min(release_bytes[e, i] / PAGE_SIZE, _ALL)), 1)


@inline
def own_bytes(st, own):
    """Bytes each cgroup holds itself into ``own`` (c,): what it and its children hold less the latter.

    What zram holds, which the kernel charges to no cgroup, is the root's.
    """
    for c in range(len(own)):
        cg = st.cgs[c]
        own[c] = (cg.resident + cg.base) * PAGE_SIZE + cg.zbytes
    own[0] += st.host[0].zram_bytes
    for c in range(1, len(own)):  # parents come before their children
        cg = st.cgs[c]
        own[cg.parent] -= (cg.resident + cg.base) * PAGE_SIZE + cg.zbytes


@inline
def _count(st, own, stat, counts):
    """Fill ``counts`` (c, len(COUNTS)): own bytes held on average, own counters since ``stat`` (c, STAT)."""
    for c in range(len(stat)):
        counts[c, 0] = 0.5 * own[c]
        counts[c, 1] = st.stat[c, STALL] - stat[c, STALL]
        counts[c, 2] = st.stat[c, _PSWPIN] - stat[c, _PSWPIN]
        counts[c, 3] = st.stat[c, _ZSWPIN] - stat[c, _ZSWPIN]
        counts[c, 4] = st.stat[c, _PSWPOUT] - stat[c, _PSWPOUT]
        counts[c, 5] = st.stat[c, _REFUSED] - stat[c, _REFUSED]
        counts[c, 6] = st.stat[c, _OOM] - stat[c, _OOM]
    own_bytes(st, own)
    for c in range(len(stat)):
        counts[c, 0] += 0.5 * own[c]


@inline
def _add_up(counts, seconds, terms):
    """Fill ``terms`` (len(TERMS),) of the host from ``counts`` (c, len(COUNTS)) of its cgroups."""
    terms[:] = 0.0
    for c in range(len(counts)):
        terms[0] += counts[c, 0]  # half bytes: exact in any order
        terms[1] += counts[c, 1] / US_PER_S
        terms[2] += counts[c, 2]
        terms[3] += counts[c, 3]
        terms[4] += counts[c, 4] * PAGE_SIZE
        terms[5] += counts[c, 5]
        terms[6] += counts[c, 6]
    terms[0] = terms[0] / GIB * seconds / 3600.0


@entry_for(
    "(uint64[:,::1], int64[::1], int64[:,::1], int64[:,:,::1], float64[:,:,::1], float64[:,::1], "
    "int64, int64)"
)
def charge(blocks, now_us, own, stat, counts, terms, first, end):
    """Charge machines ``first`` to before ``end`` of E for the time since the last reading, and read them.

    The last reading is brought up to date: ``now_us`` (E,), own bytes ``own`` (E, c) and own counters
    ``stat`` (E, c, len(STAT)). Filled are ``counts`` (E, c, len(COUNTS)) of every cgroup of the machine, and
    what they add up to, ``terms`` (E, len(TERMS)).
    """
    for e in range(first, end):
        st = state_ref(blocks[e])
        seconds = (st.host[0].now - now_us[e]) / US_PER_S
        now_us[e] = st.host[0].now
        _count(st, own[e], stat[e], counts[e])
        _add_up(counts[e], seconds, terms[e])
        read_counters(st, stat[e])


@entry_for("(uint64[::1], int64[::1], int64[::1], int64[:,::1])")
def first_reading(block, now_us, own, stat):
    """Of one machine: boot time (1,), own bytes (c,), own counters (c, STAT)."""
    st = state_ref(block)
    now_us[0] = st.host[0].now
    own_bytes(st, own)
    read_counters(st, stat)


@inline
def _look(st, c):
    """LOOKED numbers of cgroup c; the footprint as :func:`zswap_gym.policy.promise.footprint`."""
    cg = st.cgs[c]
    on_disk = max(cg.slots - cg.zpages - cg.swapcached, 0)
    return (
        np.float64(usage(st, c) * PAGE_SIZE),
        np.float64(max(cg.mapped + cg.zpages + on_disk, 1) * PAGE_SIZE),
        np.float64(cg.some_us),
        np.float64(st.stat[c, _ZSWPOUT]),
        np.float64(st.stat[c, _ZSWPIN]),
        np.float64(st.stat[c, _ZSWPWB]),
        np.float64(st.stat[c, _PSWPIN]),
        np.float64(st.stat[c, _PSWPOUT]),
    )


@inline
def _keep(seen, look):
    for k in range(LOOKED):
        seen[k] = look[k]


@entry_for("(uint64[::1], int64[::1], float64[:,::1])")
def first_look(block, rows, seen):
    """``seen`` (N, LOOKED) of the cgroups ``rows`` of one machine."""
    st = state_ref(block)
    for i in range(len(rows)):
        _keep(seen[i], _look(st, rows[i]))


@entry_for(
    "(uint64[:,::1], int64[::1], float64[:,::1], float64, int64[::1], int64[::1], "
    "float64[:,:,::1], float64[:,::1], float64[:,:,::1], int64[::1], int64[::1], int64, int64)"
)
def account(
    blocks, rows, cpu_us, limit_pct, began_us, looked_us, seen, minute, sums, until_us, stop_us, first, end
):
    """Add to accounts what happened since the last look, at most a minute of the episode.

    Of machines ``first`` to before ``end`` of E. Where to look next on their way to ``until_us`` (E,), at the
    end of the present minute or there, goes to ``stop_us`` (E,); returns whether any still has a way to go.

    ``rows`` (N,) are the machine's indices of the sampled cgroups, ``cpu_us`` (E, 2) what compressing and
    decompressing a page takes, ``limit_pct`` the promise's disk reads, ``began_us`` (E,) when minutes began
    to count. Brought up to date: ``looked_us`` (E,) and ``seen`` (E, N, LOOKED), the last look, and
    ``minute`` (E, N), pages read in the present minute. Added to: ``sums`` (E, N, len(SUMS)).
    A parent's counters are its own; rows are leaves unless somebody chose otherwise.
    """
    left = False
    for e in range(first, end):
        st = state_ref(blocks[e])
        elapsed = st.host[0].now - looked_us[e]
        looked_us[e] = st.host[0].now
        into_us = (looked_us[e] - began_us[e]) % _MINUTE_US
        stop_us[e] = min(looked_us[e] - into_us + _MINUTE_US, until_us[e])
        left = left or looked_us[e] < until_us[e]
        if elapsed == 0:
            continue
        ended = into_us == 0
        for i in range(len(rows)):
            now = _look(st, rows[i])
            last = seen[e, i]
            out = sums[e, i]
            reads = now[6] - last[6]
            minute[e, i] += reads
            out[0] += elapsed
            if ended:
                resident = max(st.cgs[rows[i]].mapped, 1) * PAGE_SIZE
                out[1] += 1.0
                out[2] += minute[e, i] * (100.0 * PAGE_SIZE) / resident > limit_pct
                minute[e, i] = 0.0
            out[3] += now[2] - last[2]
            loaded = now[4] - last[4] + (now[5] - last[5])
            out[4] += (now[3] - last[3]) * cpu_us[e, 0] + loaded * cpu_us[e, 1]
            out[5] += 0.5 * (last[0] + now[0]) * elapsed
            out[6] += 0.5 * (last[1] + now[1]) * elapsed
            out[7] += reads
            out[8] += now[7] - last[7]
            _keep(last, now)
    return left


# --- what a step was worth: objective.Earned, in the words of policy/promise.py -----------------------


@inline
def _share_pct(part, whole):
    return 100.0 * (part / max(whole, 1.0))


@inline
def _over(beyond, allowed):
    return min(max(beyond / allowed, 0.0), BREACH_MOST)


@inline
def _judge(account, nothing, limits, verdict):
    """:func:`zswap_gym.policy.promise.judge_hosts` of one host into ``verdict`` (len(JUDGED),)."""
    may = limits[0]
    held = own = broken = breach = 0.0
    for i in range(len(account)):
        mine, base = account[i], nothing[i]
        broken_pct, base_pct = _share_pct(mine[2], mine[1]), _share_pct(base[2], base[1])
        allowed = base_pct + POINT_MORE if base_pct > may else may
        psi = _share_pct(mine[3], mine[0]) - _share_pct(base[3], base[0])
        cpu = _share_pct(mine[4], mine[0]) - _share_pct(base[4], base[0])
        cpu /= max(mine[6] / max(mine[0], 1.0) / GIB, PAGE_SIZE / GIB)
        breach += (
            _over(broken_pct - allowed, max(may, POINT_MORE))
            + _over(psi - limits[1], limits[1])
            + _over(cpu - limits[2], limits[2])
        )
        broken += broken_pct
        held += base[5]
        own += mine[5]
        verdict[2] = psi if i == 0 else max(verdict[2], psi)
        verdict[3] = cpu if i == 0 else max(verdict[3], cpu)
    verdict[0] = _share_pct(held - own, held)
    verdict[1] = broken / len(account)
    verdict[4] = breach / len(account)


@inline
def _cost(step, table, anon, cost):
    """:func:`zswap_gym.envs.reward.step_costs` of one host into ``cost`` (len(COSTS),)."""
    cost[2] = 0.0
    for i in range(len(step)):
        reads = step[i, 7] * (100.0 * PAGE_SIZE) / max(table[i, anon], PAGE_SIZE)
        reads *= _MINUTE_US / step[i, 0]
        psi = 100.0 * step[i, 3] / step[i, 0]
        cost[0] = reads if i == 0 else max(cost[0], reads)
        cost[1] = psi if i == 0 else max(cost[1], psi)
        cost[2] += step[i, 2]


@entry_for("(float64[:,:,::1], float64[:,:,::1], int64, float64[:,::1])")
def cost_steps(steps, tables, anon, costs):
    """``costs`` (E, len(COSTS) or more) of E steps from their sums (E, N, len(SUMS)) and tables (E, N, K)."""
    for e in range(len(steps)):
        _cost(steps[e], tables[e], anon, costs[e])


@entry_for(
    "(float64[:,:,::1], float64[:,:,::1], float64[:,:,:,::1], float64[:,::1], int64[::1], float64[::1], "
    "float64, float64[::1], float64[::1], float64[:,::1])"
)
def earn(sums, steps, nothing, held, at, limits, penalty, due, rewards, verdicts):
    """Rewards (E,) of :class:`zswap_gym.envs.objective.Earned`, and ``verdicts`` (E, len(JUDGED)) so far.

    ``sums`` and ``steps`` (E, N, len(SUMS)) are accounts so far and of the last step, ``nothing``
    (E, T + 1, N, len(SUMS)) the references' so far, ``held`` (E, T + 1) what they held in each step, its mean
    first, ``at`` (E,) the number of the step, ``limits`` (3,) a promise's broken minutes, pressure and CPU.
    ``due`` (E,), what the breach has cost so far, is brought up to date.
    """
    for e in range(len(sums)):
        _judge(sums[e], nothing[e, at[e]], limits, verdicts[e])
        own = 0.0
        for i in range(sums.shape[1]):
            own += steps[e, i, 5]
        costs = penalty * at[e] * verdicts[e, 4]
        rewards[e] = 100.0 * (held[e, at[e]] - own) / held[e, 0] - (costs - due[e])
        due[e] = costs
