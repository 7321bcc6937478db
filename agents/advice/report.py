"""Advice as a table, a plot in text, a picture and JSON."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zswap_gym.agents.advice.advise import Advice
from zswap_gym.agents.advice.assess import MINUTES_TO_TELL, Judged
from zswap_gym.agents.advice.grid import INTERFACES, size_text
from zswap_gym.agents.advice.intervals import CONFIDENCE, Interval
from zswap_gym.policy.promise import Promise
from zswap_gym.units import format_size

if TYPE_CHECKING:
    from rich.console import Console

MIB = 1 << 20
HEIGHT, WIDTH = 12, 64
LEAST_READS = 1.0
"""Pages a minute; what reads less is drawn there."""


def as_json(advice: Advice) -> dict[str, Any]:
    """What ``--json`` writes. Sizes in bytes, times in seconds, rates in the units of their names."""
    interval_s = advice.scenario.episode.decision_interval
    chosen = advice.recommended
    return {
        "subject": advice.scenario.name,
        "recommendation": _recommendation(chosen, interval_s),
        "reason": reason(advice),
        "warning": few_minutes(advice),
        "grid": [_row(j) for j in advice.grid if j.point.interface == "v1"],
        "pareto": [_row(j) for j in advice.pareto],
        "promise": advice.promise.as_dict(),
        "interval": {
            "confidence": CONFIDENCE,
            "seeds": (chosen or advice.never).seeds,
            "minutes": (chosen or advice.never).minutes,
            **_intervals(chosen or advice.never),
        },
        "never": _row(advice.never) | {"held_bytes": advice.held_bytes},
        "sizes_only": {
            which: {
                "recommendation": _recommendation(advice.best[which], interval_s),
                "grid": [_row(j) for j in advice.grid if j.point.interface == which],
            }
            for which in INTERFACES[1:]
        },
        "per_cgroup": {name: _recommendation(j, interval_s) for name, j in advice.per_cgroup.items()},
        "together": None if advice.together is None else _figures(advice.together),
        "age_limit_s": advice.age_limit_s,
        "interval_s": interval_s,
        "scenario": advice.scenario.model_dump(mode="json"),
    }


def _recommendation(judged: Judged | None, interval_s: float) -> dict[str, Any]:
    if judged is None:
        return {"age_s": None, "max_bytes": 0, "interval_s": interval_s, "line": "", "command": ""}
    point = judged.point
    return {
        "age_s": point.age_s if point.interface == "v1" else None,
        "max_bytes": point.max_bytes,
        "interval_s": interval_s,
        "line": judged.line,
        "command": judged.command,
        "release_bytes": point.max_bytes,
        **_figures(judged),
    }


_VERDICT = ("saved_pct", "broken_pct", "allowed_pct", "psi_added_pct", "cpu_added_pct_gib", "kept", "sure")
_BESIDE = ("minutes", "seeds", "keeps_share", "disk_reads_min", "written_bytes_h", "zswap_loads_min")
_BY_SEED = {
    "freed_bytes": "freed_bytes",
    "broken_pct": "broken",
    "psi_added_pct": "psi_added",
    "cpu_added_pct_gib": "cpu_added",
}
"""Intervals by the name of the quantity they are of."""


def _intervals(judged: Judged) -> dict[str, dict[str, float]]:
    found: dict[str, Interval] = {name: getattr(judged, field) for name, field in _BY_SEED.items()}
    return {
        name: {"low": i.low, "high": i.high, "most": i.most, "next_run": i.next_run}
        for name, i in found.items()
    }


def _figures(judged: Judged) -> dict[str, Any]:
    return {
        **{name: getattr(judged, name) for name in (*_VERDICT, *_BESIDE)},
        "freed_bytes": judged.freed_bytes.mean,
        "intervals": _intervals(judged),
    }


def _row(judged: Judged) -> dict[str, Any]:
    point = judged.point
    return {
        "interface": point.interface,
        "age_s": point.age_s if point.interface == "v1" else None,
        "max_bytes": point.max_bytes,
        "line": judged.line,
        **_figures(judged),
    }


def reason(advice: Advice) -> str:
    """Why this is the recommendation, in one or two sentences, the opponent included."""
    chosen, plain = advice.recommended, advice.best["memory.reclaim"]
    if chosen is None:
        soft, idle = advice.gentlest, advice.never
        words = (
            f"No age and size tried surely keeps the promise and frees memory; the gentlest ({soft.line}): "
            f"{_clauses(soft, advice.promise)}. Write nothing back."
        )
        if idle.broken_pct > advice.promise.may_break_pct:
            words += (
                f" Doing nothing already breaks {idle.broken_pct:.3g} % of the minutes: a limit, the pool or "
                "the shrinker writes there."
            )
        return words
    keeping = sum(j.sure for j in advice.grid if j.point.interface == "v1")
    words = (
        f"Of the {keeping} that keep the promise it frees most: {format_size(chosen.freed_bytes.mean)} "
        f"of {format_size(advice.held_bytes)}."
    )
    same = next(
        j for j in advice.grid
        if j.point.interface == "memory.reclaim" and j.point.max_bytes == chosen.point.max_bytes
    )  # fmt: skip
    words += (
        f" The release alone, without writing back, frees {format_size(same.freed_bytes.mean)}"
        f"{'' if same.kept else ' (and breaks the promise)'}."
    )
    if plain is not None and plain.freed_bytes.mean >= chosen.freed_bytes.mean:
        words += f" More reclaim ({plain.command}) frees as much with no disk read: prefer it."
    return words


def _clauses(j: Judged, promise: Promise) -> str:
    """The three clauses in words, with what is allowed where more is taken."""
    cpu, psi = promise.cpu_pct_per_gib, promise.psi_added_pct
    return ", ".join(
        (
            f"{j.broken_pct:.3g} % of {j.minutes} minutes broken" + _may(j.broken_pct, j.allowed_pct),
            f"pressure {j.psi_added_pct:+.3f} %" + _may(j.psi_added_pct, psi),
            f"CPU {j.cpu_added_pct_gib:+.3g} % of a core per GiB" + _may(j.cpu_added_pct_gib, cpu),
        )
    )


def _may(value: float, allowed: float) -> str:
    return f" (at most {allowed:g})" if value > allowed else ""


def in_words(promise: Promise) -> str:
    """The promise as a sentence."""
    return (
        f"Promise, to each cgroup: in {100 * promise.minutes:g} % of minutes disk reads of at most "
        f"{promise.disk_reads_pct_min:g} % of the resident set; beyond doing nothing at most "
        f"{promise.psi_added_pct:g} % of the time stalled and "
        f"{promise.cpu_pct_per_gib:g} % of a core per GiB."
    )


def few_minutes(advice: Advice) -> str:
    """A warning where the minutes are too few to tell what is promised; empty where they are not."""
    of = advice.recommended or max(advice.grid, key=lambda j: j.minutes)
    if not of.few_minutes:
        return ""
    return (
        f"Only {of.minutes} whole minutes of a cgroup, all {of.seeds} seeds together: too few to tell "
        f"{100 * advice.promise.minutes:g} % ({MINUTES_TO_TELL} are needed); record for longer or give "
        "more --seeds."
    )


def print_report(advice: Advice, console: Console) -> None:
    """The trade-off and the advice, for people."""
    scenario = advice.scenario
    console.print(
        f"[bold]{scenario.name}[/bold]: {scenario.description}; {len(advice.grid)} settings, one decision "
        f"every {scenario.episode.decision_interval:g} s, {format_size(advice.held_bytes)} held without any."
    )
    console.print(
        f"Largest age this workload supports: {advice.age_limit_s:.0f} s (half of what is replayed)."
    )
    console.print()
    _print_grid(advice, console)
    console.print(text_plot(advice), highlight=False)
    console.print()
    console.print(in_words(advice.promise), highlight=False)
    names = {
        "v1": "age and size (version 1)",
        "zswap_writeback_only": "size only (version 3)",
        "source=zswap": "size only (version 5)",
        "memory.reclaim": "no writeback (any kernel)",
    }
    for which, judged in advice.best.items():
        console.print(f"  {names[which]:26s} {_said(judged, advice.promise)}", highlight=False)
    for name, judged in advice.per_cgroup.items():
        console.print(f"  {'cgroup ' + name:26s} {_said(judged, advice.promise)}", highlight=False)
    if advice.together is not None:
        j = advice.together
        console.print(
            f"  all cgroups with their own: saves {j.saved_pct:.1f} % ({format_size(j.freed_bytes.mean)}), "
            f"{_clauses(j, advice.promise)}; {'keeps' if j.kept else 'BREAKS'} the promise",
            highlight=False,
        )
    console.print(reason(advice))
    if warning := few_minutes(advice):
        console.print(warning)


def _said(judged: Judged | None, promise: Promise) -> str:
    if judged is None:
        return "nothing: no setting tried surely keeps the promise and frees memory"
    j, point, freed = judged, judged.point, judged.freed_bytes
    return (
        f"{j.command}{'' if point.interface == 'memory.reclaim' else ', then release as much'}\n"
        f"{'':29s}saves {j.saved_pct:.1f} %: {freed.mean / MIB:.1f} MiB [{freed.low / MIB:.1f}, "
        f"{freed.high / MIB:.1f}]; {_clauses(j, promise)}\n"
        f"{'':29s}{100 * j.keeps_share:.3g} % of {j.seeds} runs keep it by themselves; reads "
        f"{j.disk_reads_min:.2g} pages/min, writes {j.written_bytes_h / MIB:.0f} MiB/h"
    )


def _print_grid(advice: Advice, console: Console) -> None:
    from rich import box
    from rich.table import Table

    sizes = sorted({j.point.max_bytes for j in advice.grid})
    chosen = advice.recommended
    best = {id(j) for j in advice.pareto}
    table = Table("age", *(f"max={size_text(size)}" for size in sizes), box=box.SIMPLE)
    rows: dict[str, dict[int, Judged]] = {}
    for j in advice.grid:
        label = {"v1": f"{j.point.age_s} s"}.get(j.point.interface, j.point.interface)
        rows.setdefault(label, {})[j.point.max_bytes] = j
    for label, by_size in rows.items():
        cells = []
        for size in sizes:
            j = by_size[size]
            text = f"{j.saved_pct:.1f} / {j.broken_pct:.3g} / {j.cpu_added_pct_gib:.2f}"
            text += "*" if j.sure else "+" if j.kept else ""
            style = "bold green" if j is chosen else "cyan" if id(j) in best else ""
            cells.append(f"[{style}]{text}[/{style}]" if style else text)
        table.add_row(label, *cells)
    console.print(table)
    console.print("Cells: memory saved % / broken minutes % / CPU, % of a core per GiB; * keeps the promise,")
    console.print("+ on these seeds only; cyan: no other beats it in memory, promise and writes at once.\n")


def text_plot(advice: Advice) -> str:
    """Memory saved (up) against disk reads (right, logarithmic), those that keep the promise marked."""
    shown = [j for j in advice.grid if j.point.interface == "v1"]
    x = [math.log10(max(j.disk_reads_min, LEAST_READS)) for j in shown]
    y = [j.saved_pct for j in shown]
    low, high = math.floor(min(x)), max(math.ceil(max(x)), math.floor(min(x)) + 1)
    bottom, top = min(0.0, *y), max(*y, 1.0)
    grid = [[" "] * WIDTH for _ in range(HEIGHT)]
    rank = " o#X"
    for j, a, b in zip(shown, x, y, strict=True):
        column = round((a - low) / (high - low) * (WIDTH - 1))
        line = HEIGHT - 1 - round((b - bottom) / (top - bottom) * (HEIGHT - 1))
        mark = "X" if j is advice.recommended else "#" if j.sure else "o"
        grid[line][column] = max(grid[line][column], mark, key=rank.index)
    lines = [
        f"{top:9.1f} % " if i == 0 else f"{bottom:9.1f} % " if i == HEIGHT - 1 else " " * 12
        for i in range(HEIGHT)
    ]
    body = [f"{label}|{''.join(row)}" for label, row in zip(lines, grid, strict=True)]
    ticks = f"{'<= ' if low <= math.log10(LEAST_READS) else ''}{10.0**low:g}"
    axis = f"{'':12s}+{'-' * WIDTH}\n{'':13s}{ticks}{10.0**high:>{WIDTH - len(ticks)}g}"
    legend = "saved against disk reads, pages/min: o setting  # keeps the promise  X recommended"
    return "\n".join([*body, axis, f"{'':13s}{legend}"])


def draw(advice: Advice, path: Path) -> Path:
    """The same as a picture: one line per age, a point per size, a ring if it keeps the promise.

    Needs matplotlib.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    v1 = [j for j in advice.grid if j.point.interface == "v1"]
    ages = sorted({j.point.age_s for j in v1})
    for i, age in enumerate(ages):
        mine = sorted((j for j in v1 if j.point.age_s == age), key=lambda j: j.point.max_bytes)
        shade = (0.1, 0.25 + 0.6 * i / max(len(ages) - 1, 1), 0.85 - 0.6 * i / max(len(ages) - 1, 1))
        _line(axes, mine, color=shade, label=f"age {age} s")
    for which, style in (("source=zswap", "--"), ("memory.reclaim", ":")):
        _line(
            axes, [j for j in advice.grid if j.point.interface == which], color="grey", ls=style, label=which
        )
    keeping = [j for j in advice.grid if j.sure]
    axes.scatter([_x(j) for j in keeping], [j.freed_bytes.mean / MIB for j in keeping], s=70, lw=1,
                 facecolors="none", edgecolors="green", zorder=4, label="keeps the promise")  # fmt: skip
    if (chosen := advice.recommended) is not None:
        axes.scatter([_x(chosen)], [chosen.freed_bytes.mean / MIB], s=160, marker="*", c="red", zorder=5,
                     label=chosen.line)  # fmt: skip
    axes.set_xscale("symlog", linthresh=LEAST_READS)
    axes.set_xlim(left=0)
    axes.set_xlabel("disk reads, pages a minute")
    axes.set_ylabel("memory freed, MiB (95 % interval)")
    axes.set_title(f"{advice.scenario.name}: every {advice.scenario.episode.decision_interval:g} s")
    axes.legend(fontsize="x-small", ncols=2)
    figure.savefig(path, dpi=110)
    return path


def _x(judged: Judged) -> float:
    return judged.disk_reads_min


def _line(axes: Any, judged: list[Judged], **style: Any) -> None:
    y = [j.freed_bytes.mean / MIB for j in judged]
    reach = [(j.freed_bytes.high - j.freed_bytes.mean) / MIB for j in judged]
    axes.errorbar([_x(j) for j in judged], y, yerr=reach, marker="o", ms=3, lw=1, **style)
