"""Advice as a table, a plot in text, a picture and JSON."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zswap_gym.agents.advice.advise import Advice
from zswap_gym.agents.advice.choose import CONFIDENCE, Interval, Judged
from zswap_gym.agents.advice.grid import INTERFACES, size_text
from zswap_gym.units import format_size

if TYPE_CHECKING:
    from rich.console import Console

MIB = 1 << 20
HEIGHT, WIDTH = 12, 64


def as_json(advice: Advice) -> dict[str, Any]:
    """What ``--json`` writes. Sizes in bytes, times in seconds, rates in the units of their names."""
    interval_s = advice.scenario.episode.decision_interval
    chosen = advice.recommended
    return {
        "subject": advice.scenario.name,
        "recommendation": _recommendation(chosen, interval_s),
        "reason": reason(advice),
        "grid": [_row(j) for j in advice.grid if j.point.interface == "v1"],
        "pareto": [_row(j) for j in advice.pareto],
        "slo": asdict(advice.slo)
        | {"of": "the mean over a run's decisions, worst cgroup", "runs_that_keep_it": CONFIDENCE},
        "interval": {
            "confidence": CONFIDENCE,
            "seeds": chosen.seeds if chosen else advice.never.seeds,
            **{name: [i.low, i.high] for name, i in _intervals(chosen or advice.never).items()},
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


def _intervals(judged: Judged) -> dict[str, Interval]:
    names = ("freed_bytes", "refault_pct_wss_min", "psi_some_pct", "psi_added_pct", "written_bytes_h",
             "zswap_loads_min")  # fmt: skip
    return {name: getattr(judged, name) for name in names}


def _figures(judged: Judged) -> dict[str, Any]:
    return {
        "meets_slo": judged.meets_slo,
        "keeps_share": judged.keeps_share,
        "seeds": judged.seeds,
        **{
            name: {"mean": i.mean, "low": i.low, "high": i.high, "next_run": i.next_run}
            for name, i in _intervals(judged).items()
        },
    }


def _row(judged: Judged) -> dict[str, Any]:
    point = judged.point
    return {
        "interface": point.interface,
        "age_s": point.age_s if point.interface == "v1" else None,
        "max_bytes": point.max_bytes,
        "line": judged.line,
        "meets_slo": judged.meets_slo,
        "keeps_share": judged.keeps_share,
        "seeds": judged.seeds,
        **{name: i.mean for name, i in _intervals(judged).items()},
        "intervals": {name: [i.low, i.high] for name, i in _intervals(judged).items()},
        "next_run": {name: i.next_run for name, i in _intervals(judged).items()},
    }


def reason(advice: Advice) -> str:
    """Why this is the recommendation, in one or two sentences, the opponent included."""
    chosen, plain = advice.recommended, advice.best["memory.reclaim"]
    slo = advice.slo
    if chosen is None:
        idle = advice.never.refault_pct_wss_min.next_run
        if idle > slo.refault_pct_wss_min:
            return (
                f"Doing nothing already reads {idle:.2g} % of the resident set a minute back from disk, over "
                f"the {slo.refault_pct_wss_min:g} asked for: a limit, the pool or the shrinker writes there."
            )
        soft = advice.gentlest
        return (
            f"No age and size tried keeps the promise: the gentlest ({soft.line}) may read "
            f"{soft.refault_pct_wss_min.next_run:.2g} % of the resident set a minute back from disk and add "
            f"{max(soft.psi_added_pct.most, 0):.2g} % of pressure. Write nothing back."
        )
    words = (
        f"Of {sum(j.meets_slo for j in advice.grid if j.point.interface == 'v1')} settings that keep the "
        f"promise it frees most: {format_size(chosen.freed_bytes.mean)} of "
        f"{format_size(advice.held_bytes)}."
    )
    same = next(
        j for j in advice.grid
        if j.point.interface == "memory.reclaim" and j.point.max_bytes == chosen.point.max_bytes
    )  # fmt: skip
    words += (
        f" The release alone, without writing back, frees {format_size(same.freed_bytes.mean)}"
        f"{'' if same.meets_slo else ' (and breaks the promise)'}."
    )
    if plain is not None and plain.freed_bytes.mean >= chosen.freed_bytes.mean:
        words += f" More reclaim ({plain.command}) frees as much with no disk read: prefer it."
    return words


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
    console.print(
        f"Promise: disk reads at most {advice.slo.refault_pct_wss_min:g} % of the resident set a minute "
        f"in 95 % of runs, memory pressure on average at most {advice.slo.psi_added_pct:g} % above "
        "doing nothing."
    )
    names = {
        "v1": "age and size (version 1)",
        "zswap_writeback_only": "size only (version 3)",
        "source=zswap": "size only (version 5)",
        "memory.reclaim": "no writeback (any kernel)",
    }
    for which, judged in advice.best.items():
        console.print(f"  {names[which]:26s} {_said(judged)}", highlight=False)
    for name, judged in advice.per_cgroup.items():
        console.print(f"  {'cgroup ' + name:26s} {_said(judged)}", highlight=False)
    if advice.together is not None:
        j = advice.together
        console.print(
            f"  all cgroups with their own: frees {format_size(j.freed_bytes.mean)}, reads "
            f"{j.refault_pct_wss_min.mean:.2g} %/min; {'keeps' if j.meets_slo else 'BREAKS'} the promise"
        )
    console.print(reason(advice))


def _said(judged: Judged | None) -> str:
    if judged is None:
        return "nothing: no setting tried keeps the promise"
    j, point = judged, judged.point
    return (
        f"{j.command}{'' if point.interface == 'memory.reclaim' else ', then release as much'}\n"
        f"{'':29s}frees {j.freed_bytes.mean / MIB:.1f} MiB [{j.freed_bytes.low / MIB:.1f}, "
        f"{j.freed_bytes.high / MIB:.1f}], reads {j.refault_pct_wss_min.mean:.2g} %/min (next run below "
        f"{j.refault_pct_wss_min.next_run:.2g}), pressure {j.psi_added_pct.mean:+.3f} %, writes "
        f"{j.written_bytes_h.mean / MIB:.0f} MiB/h, {j.seeds} seeds"
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
            text = f"{j.freed_bytes.mean / MIB:.1f} / {j.refault_pct_wss_min.mean:.3g}"
            text += "*" if j.meets_slo else ""
            style = "bold green" if j is chosen else "cyan" if id(j) in best else ""
            cells.append(f"[{style}]{text}[/{style}]" if style else text)
        table.add_row(label, *cells)
    console.print(table)
    console.print("Cells: MiB freed / disk reads in % of the resident set a minute; * keeps the promise;")
    console.print("cyan: no other setting beats it in memory, reads, pressure and writes at once.\n")


def text_plot(advice: Advice) -> str:
    """MiB freed (up) against disk reads (right, logarithmic); o a setting, # Pareto, X recommended."""
    shown = [j for j in advice.grid if j.point.interface == "v1"]
    least = 0.01
    x = [math.log10(max(j.refault_pct_wss_min.mean, least)) for j in shown]
    y = [j.freed_bytes.mean / MIB for j in shown]
    low, high = math.floor(min(x)), max(math.ceil(max(x)), math.floor(min(x)) + 1)
    bottom, top = min(0.0, *y), max(*y, 1.0)
    grid = [[" "] * WIDTH for _ in range(HEIGHT)]
    mark = {id(j): "#" for j in advice.pareto} | {id(advice.recommended): "X"}
    limit = math.log10(max(advice.slo.refault_pct_wss_min, least))
    if low <= limit <= high:
        for row in grid:
            row[round((limit - low) / (high - low) * (WIDTH - 1))] = "|"
    rank = " |o#X"
    for j, a, b in zip(shown, x, y, strict=True):
        column = round((a - low) / (high - low) * (WIDTH - 1))
        line = HEIGHT - 1 - round((b - bottom) / (top - bottom) * (HEIGHT - 1))
        grid[line][column] = max(grid[line][column], mark.get(id(j), "o"), key=rank.index)
    lines = [
        f"{top:7.1f} MiB " if i == 0 else f"{bottom:7.1f} MiB " if i == HEIGHT - 1 else " " * 12
        for i in range(HEIGHT)
    ]
    body = [f"{label}|{''.join(row)}" for label, row in zip(lines, grid, strict=True)]
    ticks = f"{'<= ' if low <= math.log10(least) else ''}{10.0**low:g}"
    axis = f"{'':12s}+{'-' * WIDTH}\n{'':13s}{ticks}{10.0**high:>{WIDTH - len(ticks)}g}"
    legend = "freed against disk reads, %/min: o setting  # Pareto  X recommended  | the promise"
    return "\n".join([*body, axis, f"{'':13s}{legend}"])


def draw(advice: Advice, path: Path) -> Path:
    """The same as a picture: one line per age, a point per size. Needs matplotlib."""
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
    if (chosen := advice.recommended) is not None:
        axes.scatter([_x(chosen)], [chosen.freed_bytes.mean / MIB], s=160, marker="*", c="red", zorder=5,
                     label=chosen.line)  # fmt: skip
    axes.axvline(advice.slo.refault_pct_wss_min, color="red", lw=1, label="promise")
    axes.set_xscale("symlog", linthresh=0.01)
    axes.set_xlim(left=0)
    axes.set_xlabel("disk reads, % of the resident set a minute")
    axes.set_ylabel("memory freed, MiB (95 % interval)")
    axes.set_title(f"{advice.scenario.name}: every {advice.scenario.episode.decision_interval:g} s")
    axes.legend(fontsize="x-small", ncols=2)
    figure.savefig(path, dpi=110)
    return path


def _x(judged: Judged) -> float:
    return judged.refault_pct_wss_min.mean


def _line(axes: Any, judged: list[Judged], **style: Any) -> None:
    y = [j.freed_bytes.mean / MIB for j in judged]
    reach = [(j.freed_bytes.high - j.freed_bytes.mean) / MIB for j in judged]
    axes.errorbar([_x(j) for j in judged], y, yerr=reach, marker="o", ms=3, lw=1, **style)
