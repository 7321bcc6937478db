"""What a table of contestants shows, by objective: a heading, what it means, and the cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zswap_gym.agents.results import OVERALL, Results
from zswap_gym.agents.scoring.bill import Bill
from zswap_gym.agents.scoring.inside import inside
from zswap_gym.agents.scoring.standing import Standing
from zswap_gym.agents.statistics import Estimate
from zswap_gym.policy.resumes import Resumes

_CHANCE = "runs better"
_PROMISE = (
    ("kept", "cgroups that keep the promise, of all"),
    ("saved %", "memory that {reference} held and this one did not, with 95 % interval"),
    (_CHANCE, "P(improvement): share of runs in which it saved more than the best rule ({rule})"),
    ("broken min %", "minutes of cgroups over the promise's disk reads"),
    ("PSI added", "pressure beyond {reference}, percent of the time, worst cgroup"),
    (
        "CPU added",
        "compression and decompression beyond {reference}, percent of a core per GiB, worst cgroup",
    ),
    ("reads /min", "pages read back from the swap device"),
    ("written MiB/min", "written to the swap device"),
    ("worst seed", "the one with most broken minutes, their share"),
)
_BILL = (
    ("gain %", "reward above {reference}, in percent of its loss, with 95 % interval"),
    ("seeds won", "share of seeds on which it earned more than {reference}"),
    ("DRAM saved", "memory that {reference} held and this policy did not"),
    ("disk reads/min", "pages read back from the swap device"),
    ("zswap loads/min", "pages loaded back from zswap"),
    ("written MiB/min", "written to the swap device"),
    ("PSI some", "pressure, mean of the cgroups"),
    ("promise", "whether every cgroup keeps it"),
    ("OOM kills", "over all seeds"),
)
_INSIDE = (
    ("events", "of the kind, a run"),
    ("stalled s", "thread-seconds an event, in the cgroup it belongs to"),
    ("nobody told", "the same on the same runs without the hints"),
)
_RESUMES = (
    ("p50 ms", "until a resumed sandbox answers, median"),
    ("p99 ms", "the same, one in a hundred waits longer"),
    ("sandboxes /GiB", "on average, where resumes are answered in time as promised"),
)


@dataclass(frozen=True)
class Row:
    """One contestant's, or one scenario's."""

    name: str
    cells: tuple[str, ...]
    kept: bool


@dataclass(frozen=True)
class Sheet:
    """A table without its looks."""

    title: str
    columns: Sequence[tuple[str, str]]
    """Headings and what they mean."""
    rows: Sequence[Row]
    first: str = "policy"
    """Heading of the rows' names."""


def sheet(results: Results, scenario: str) -> Sheet:
    """Every policy on one scenario, or on all, best first by the objective."""
    title = f"{scenario}: {len(results.seeds)} seeds, compared pair by pair with {results.reference}"
    rule = results.best_rule(scenario) or "none"
    names = _BILL if results.objective == "bill" else _PROMISE
    columns = [(name, meaning.format(reference=results.reference, rule=rule)) for name, meaning in names]
    if results.objective == "bill":
        rows = [_bill(b, results.standing(b.policy, scenario).kept) for b in results.bills(scenario)]
    else:
        rows = [
            _standing(s, results.improvement(s.policy, rule, scenario) if rule in results.policies else 0.5)
            for s in results.standings(scenario)
        ]
    return Sheet(title, columns, rows)


def sheet_of(results: Results, policy: str, title: str) -> Sheet:
    """One policy on every scenario and on all together, under the promise."""
    names = (*results.scenarios, OVERALL)
    columns = [(name, meaning) for name, meaning in _PROMISE if name != _CHANCE]
    at = [name for name, _ in _PROMISE].index(_CHANCE)
    rows = []
    for scenario in names:
        row = _standing(results.standing(policy, scenario), 0.0)
        rows.append(Row(scenario, (*row.cells[:at], *row.cells[at + 1 :]), row.kept))
    return Sheet(title, columns, rows, first="scenario")


def sheet_inside(results: Results, scenario: str, kind: str) -> Sheet:
    """What every policy stalls inside the events of a kind on a scenario, least first."""
    untold = {t.policy: inside(t, kind) for t in results.untold if t.scenario == scenario}
    resumed = False
    found = []
    for policy in results.policies:
        told = inside(results.trial(policy, scenario), kind)
        cells = [
            f"{told.events / len(results.seeds):.1f}",
            f"{told.stalled_each_s:.3f}",
            f"{untold[policy].stalled_each_s:.3f}" if policy in untold else "-",
        ]
        if told.resumes is not None:
            resumed = True
            cells += _resumes(told.resumes)
        kept = results.standing(policy, scenario).kept
        found.append(((not kept, told.stalled_s), Row(policy, tuple(cells), kept)))
    rows = [row for _, row in sorted(found, key=lambda pair: pair[0])]
    title = f"{scenario}: inside events of kind {kind}"
    return Sheet(title, [*_INSIDE, *(_RESUMES if resumed else ())], rows)


def _resumes(r: Resumes) -> list[str]:
    kept = f"{r.per_gib:.1f}" if r.kept else "broken"
    return [f"{r.p50_ms:.0f}", f"{r.p99_ms:.0f}", kept]


def _standing(s: Standing, better: float) -> Row:
    cells = (
        "yes" if s.kept else f"{s.keeping} of {s.cgroups}",
        span(s.saved_pct),
        f"{100 * better:.0f} %",
        f"{s.broken_pct:.2f}",
        f"{s.psi_added_pct:+.3f}",
        f"{s.cpu_added_pct_gib:+.3f}",
        f"{s.disk_reads_min:.0f}",
        f"{s.written_mib_min:.2f}",
        f"{s.worst.seed}: {s.worst.broken_pct:.0f} %",
    )
    return Row(s.policy, cells, s.kept)


def _bill(b: Bill, kept: bool) -> Row:
    cells = (
        span(b.gain_pct),
        f"{100 * b.better_share:.0f} %",
        f"{b.dram_saved_pct.value:.1f} %",
        f"{b.disk_reads_min.value:.0f}",
        f"{b.zswap_loads_min.value:.0f}",
        f"{b.written_mib_min.value:.1f}",
        f"{b.psi_some_pct.value:.2f} %",
        "kept" if kept else "broken",
        f"{b.oom_kills:.0f}",
    )
    return Row(b.policy, cells, kept)


def span(e: Estimate) -> str:
    """An estimate with its interval."""
    return f"{e.value:+.2f} [{e.low:+.2f}, {e.high:+.2f}]"
