"""Recordings of a real 6.12 kernel, replayed: counters, errno, the order of accesses, policy trials."""

from __future__ import annotations

import statistics
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from zswap_gym.units import PAGE_SIZE
from zswap_gym.workloads.fidelity import (
    Row,
    TrialRow,
    Verdict,
    judge,
    kendall_tau,
    rows,
    spread,
    trial_row,
)
from zswap_gym.workloads.groundtruth import Phase, Recording, order_fnv
from zswap_gym.workloads.groundtruth_replay import Replay, replay

FOLDER = Path(__file__).parents[1] / "data" / "groundtruth"
NAMES = tuple(sorted(path.name for path in FOLDER.iterdir() if (path / "scenario.txt").is_file()))
TRIALS = tuple(sorted(path.name for path in (FOLDER / "policytrials").iterdir()))
EXACT = ("03_reclaim_and_back", "13_zero_pages", "14_readahead_pc3", "p1_age_basic")
FLOWS = ("zswpin", "zswpout", "zswpwb", "pgmajfault")
MISSES = {  # outside what the kernel's own runs allow; figures in experiments/fidelity/README.md
    ("04_zswap_max", "memory.zswap.current"),
    ("08_writeback_disabled", "zswpwb"),
}


@cache
def recorded(name: str) -> Recording:
    return Recording.load(FOLDER / name)


@cache
def replayed(name: str) -> Replay:
    return replay(recorded(name))


@cache
def compared(name: str) -> tuple[Row, ...]:
    return tuple(rows(recorded(name), [replayed(name)]))


@cache
def verdicts(name: str) -> tuple[Verdict, ...]:
    return tuple(judge(compared(name), spread(FOLDER / name)))


def final(name: str, cgroup: str = "A") -> dict[str, tuple[int, int]]:
    """Counter -> (kernel, model) at the end."""
    return {
        row.counter: (row.kernel, row.model)
        for row in compared(name)
        if row.label == "final" and row.cgroup == cgroup
    }


def test_there_is_something_to_replay() -> None:
    assert len(NAMES) == 27
    assert len(TRIALS) == 14


@pytest.mark.parametrize("name", NAMES)
def test_final_values_are_within_the_kernels_own_spread(name: str) -> None:
    judged = verdicts(name)
    assert judged
    missed = [v for v in judged if not v.passed]
    unexpected = [
        f"{v.row.cgroup} {v.row.counter}: {v.row.model}, allowed {v.low:.0f} to {v.high:.0f} ({v.rule})"
        for v in missed
        if (name, v.row.counter) not in MISSES
    ]
    assert not unexpected


def test_misses_are_few_and_still_misses() -> None:
    """A miss that was repaired leaves the list."""
    missed = {(name, v.row.counter) for name in NAMES for v in verdicts(name) if not v.passed}
    assert missed == MISSES
    judged = sum(len(verdicts(name)) for name in NAMES)
    assert judged >= 200


@pytest.mark.parametrize("name", EXACT)
def test_exact_to_eight_pages(name: str) -> None:
    end = final(name)
    for counter in (*FLOWS, "pgsteal"):
        kernel, model = end[counter]
        assert abs(model - kernel) <= 8, counter
    for counter in ("memory.zswap.current", "swapcached", "anon"):
        kernel, model = end[counter]
        assert abs(model - kernel) <= 8 * PAGE_SIZE, counter
    runs = spread(FOLDER / name)[name, "A", "memory.current"]  # those of 03 differ by a batch of 64
    assert min(abs(end["memory.current"][1] - run) for run in runs) <= 8 * PAGE_SIZE


def test_memory_current_is_charged_in_batches() -> None:
    """Multiples of 64 less what was freed, to the page at every sample where nothing slept between faults."""
    for name in ("p1_age_basic", "p2_errno_and_syntax", "p13_mixed_and_slow_disk"):
        mine = [row for row in compared(name) if row.counter == "memory.current"]
        exact = [row for row in mine if row.model == row.kernel]
        assert len(exact) >= 0.9 * len(mine), name


@pytest.mark.parametrize("name", EXACT)
def test_exact_at_every_sample(name: str) -> None:
    """Not only where it ends: after every phase and around every write."""
    assert {row.label for row in compared(name)} >= {"pre", "post", "end:w1:0", "final"}
    for row in compared(name):
        if row.counter in ("zswpout", "zswpin", "zswpwb"):
            # A write is sampled while its last pages may still be under way: a batch of 64.
            assert abs(row.model - row.kernel) <= (64 if row.label == "post" else 8), row


def test_the_kernels_own_runs_lie_within_the_seeds() -> None:
    """What a scan of all pages leaves in a zswap at its limit is chaotic: 192 and 162 pages in two runs."""
    left = []
    for seed in range(24):
        found = rows(recorded("04_zswap_max"), [replay(recorded("04_zswap_max"), seed=seed)])
        left += [row.model for row in found if row.label == "final" and row.counter == "memory.zswap.current"]
    runs = spread(FOLDER / "04_zswap_max")["04_zswap_max", "A", "memory.zswap.current"]
    low, high = np.quantile(left, (0.05, 0.95))
    assert low < min(runs)
    assert max(runs) < high


def test_placement_on_cpus_explains_the_kernels_two_runs() -> None:
    """03 ends a stock of 64 pages apart in its two runs: the model at the one or the other, by the seed."""
    ends = set()
    for seed in range(4):
        found = rows(recorded("03_reclaim_and_back"), [replay(recorded("03_reclaim_and_back"), seed=seed)])
        ends |= {r.model for r in found if r.label == "final" and r.counter == "memory.current"}
    assert ends == set(spread(FOLDER / "03_reclaim_and_back")["03_reclaim_and_back", "A", "memory.current"])


def test_median_error() -> None:
    every = [abs(row.error) for name in NAMES for row in compared(name)]
    ends = [abs(row.error) for name in NAMES for row in compared(name) if row.label == "final"]
    assert len(every) > 20_000
    assert statistics.median(every) <= 0.02
    assert statistics.median(ends) <= 0.02
    for counter in (*FLOWS, "pgscan", "memory.current"):
        mine = [abs(r.error) for name in NAMES for r in compared(name) if r.counter == counter]
        assert statistics.median(mine) <= 0.02, counter
        moved = [abs(r.error) for name in NAMES for r in compared(name) if r.counter == counter and r.kernel]
        assert moved
        assert statistics.median(moved) <= 0.02, counter


@pytest.mark.parametrize("name", [name for name in NAMES if name != "14_readahead_pc3"])
def test_refaults_are_faults_and_writebacks(name: str) -> None:
    """Without read-ahead every refault is a major fault or a writeback of zswap (FINDINGS 2)."""
    for cgroup in recorded(name).cgroups():
        if cgroup not in {row.cgroup for row in compared(name) if row.label == "final"}:
            continue
        end = final(name, cgroup)
        refaults = end["workingset_refault_anon"][1]
        assert refaults == end["pgmajfault"][1] + end["zswpwb"][1]


def test_out_of_memory_where_the_kernel_was() -> None:
    assert final("07_shrinker_off_max_oom")["ev_oom"] == (1, 1)
    assert final("06_shrinker_on_max")["ev_oom"] == (0, 0)
    for name in NAMES:
        assert not [row for row in compared(name) if row.counter == "ev_oom" and row.kernel != row.model]


def test_a_write_on_a_slow_disk_blocks_as_long() -> None:
    """Writeback waits for the device once its queue is full (FINDINGS 9)."""
    blocked = [w for w in replayed("p13_mixed_and_slow_disk").writes if "proactive" in w.path]
    assert len(blocked) == 4
    for write in blocked:
        assert 0.5 <= write.model_ms / write.kernel_ms <= 2.0
    small, large = blocked[1], blocked[3]
    assert 2.0 <= large.model_ms / small.model_ms <= 8.0


@pytest.mark.parametrize("name", NAMES)
def test_every_errno(name: str) -> None:
    writes = replayed(name).writes
    assert [(w.path, w.value, w.model_errno) for w in writes] == [
        (w.path, w.value, w.kernel_errno) for w in writes
    ]


@pytest.mark.parametrize("name", NAMES)
def test_order_of_every_phase(name: str) -> None:
    """The page order is derived again from seed and command; the guest recorded its checksum."""
    recording = recorded(name)
    workers = recording.workers()
    phases = [event for event in recording.of("phase") if event["accesses"]]
    assert phases or name == "07_shrinker_off_max_oom"
    for event in phases:
        worker = workers[event["wl"]]
        pages, writes = Phase.parse(event["cmd"]).order(worker.seed, worker.pages)
        assert len(pages) == event["accesses"]
        assert order_fnv(pages, writes) == event["order_fnv"], event["cmd"]


# --- policy trials ------------------------------------------------------------------------------


@cache
def trial(name: str) -> TrialRow:
    recording = Recording.load(FOLDER / "policytrials" / name)
    return trial_row(recording, [replay(recording)])


@pytest.mark.slow
@pytest.mark.parametrize("workload", ["t1", "t3"])
def test_policies_rank_as_on_the_kernel(workload: str) -> None:
    """Over the pairs the kernel tells apart: 3 % of memory, 5 % of disk reads and 80 (its own repeats)."""
    mine = [trial(name) for name in TRIALS if name.startswith(workload)]
    assert len(mine) >= 7
    memory = kendall_tau([t.mem_mib_kernel for t in mine], [t.mem_mib_model for t in mine], 0.03)
    assert memory >= 0.8
    read = [t for t in mine if not t.trial.endswith("_p1")]  # p1 and p2 are not told apart
    reads = kendall_tau(
        [t.disk_reads_kernel for t in read], [t.disk_reads_model for t in read], 0.05, least=80
    )
    assert reads >= 0.8
    swapped = [t for t in mine if not t.trial.endswith("_p2")]
    assert (
        kendall_tau(
            [t.disk_reads_kernel for t in swapped], [t.disk_reads_model for t in swapped], 0.05, least=80
        )
        >= 0.8
    )


@pytest.mark.slow
def test_trials_of_the_repeated_workload_come_close() -> None:
    """t1 was repeated: its runs differ by 1.5 % in memory and 6 % in disk reads."""
    for name in TRIALS:
        if name.startswith("t1"):
            row = trial(name)
            assert row.mem_mib_model == pytest.approx(row.mem_mib_kernel, rel=0.03), name
            assert row.disk_reads_model == pytest.approx(row.disk_reads_kernel, rel=0.1, abs=80), name


def test_kernel_figures_of_a_trial_are_those_of_its_readme() -> None:
    """The window and the definitions are the trials' own: 65.4 MiB, 55.0 MiB and 6266 reads there."""
    assert trial("t1_p0").mem_mib_kernel == pytest.approx(65.39, rel=0.005)
    assert trial("t1_p0").disk_reads_kernel == 0
    assert trial("t1_p2").mem_mib_kernel == pytest.approx(54.99, rel=0.005)
    assert trial("t1_p2").disk_reads_kernel == pytest.approx(6266, rel=0.005)
