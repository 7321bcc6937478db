"""Results for people: a table in the terminal, and one HTML file with figures that needs no network."""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zswap_gym.agents.results import OVERALL, Results, Summary
from zswap_gym.agents.statistics import Estimate
from zswap_gym.agents.verdict import verdicts
from zswap_gym.atomic import write_atomically
from zswap_gym.envs.reward import RewardWeights

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

_COLUMNS: tuple[tuple[str, str, Callable[[Summary], str]], ...] = (
    (
        "gain %",
        "reward above {reference}, in percent of its loss, with 95 % interval",
        lambda s: _range(s.gain_pct),
    ),
    (
        "seeds won",
        "share of seeds on which it earned more than {reference}",
        lambda s: f"{100 * s.better_share:.0f} %",
    ),
    (
        "DRAM saved",
        "memory that {reference} held and this policy did not",
        lambda s: f"{s.dram_saved_pct.value:.1f} %",
    ),
    ("disk reads/min", "pages read back from the swap device", lambda s: f"{s.disk_reads_min.value:.0f}"),
    ("zswap loads/min", "pages loaded back from zswap", lambda s: f"{s.zswap_loads_min.value:.0f}"),
    ("written MiB/min", "written to the swap device", lambda s: f"{s.written_mib_min.value:.1f}"),
    ("PSI some", "pressure of the worst cgroup", lambda s: f"{s.psi_some_pct.value:.2f} %"),
    (
        "SLO broken",
        "share of decisions after which some cgroup was over",
        lambda s: f"{100 * s.violation_share.value:.0f} %",
    ),
    ("OOM kills", "over all seeds", lambda s: f"{s.oom_kills:.0f}"),
)


def table(results: Results, scenario: str = OVERALL) -> Table:
    """A rich table of every policy on one scenario, best first; learned policies in bold."""
    from rich import box
    from rich.table import Table as RichTable

    title = f"{scenario}: {len(results.seeds)} seeds, compared pair by pair with {results.reference}"
    out = RichTable(
        "policy", *(name for name, _, _ in _COLUMNS), title=title, box=box.SIMPLE, title_justify="left"
    )
    for column in out.columns[1:]:
        column.justify = "right"
    for summary in results.summaries(scenario):
        style = "bold" if summary.policy in results.learned else None
        out.add_row(summary.policy, *(cell(summary) for _, _, cell in _COLUMNS), style=style)
    return out


def print_report(results: Results, console: Any = None) -> None:
    """Print a table per scenario, one over all, and what may be concluded."""
    from rich.console import Console

    console = console or Console()
    if prices := prices_of(results):
        console.print(prices, soft_wrap=True, highlight=False)
    for scenario in results.scenarios:
        console.print(table(results, scenario))
    if len(results.scenarios) > 1:
        console.print(table(results))
    for sentence in verdicts(results):
        console.print(sentence, soft_wrap=True, highlight=False)


def prices_of(results: Results) -> str:
    """Which reward weights were not the usual ones; empty where all were."""
    weights = results.provenance.get("weights")
    changed = RewardWeights.of(weights).changed() if weights else {}
    told = ", ".join(f"{name} = {value:g}" for name, value in changed.items())
    return f"Prices unlike the defaults: {told}." if told else ""


def write_html(
    results: Results,
    path: str | Path,
    *,
    title: str = "Who writes back best?",
    learning: Sequence[tuple[int, float]] = (),
    notes: Sequence[str] = (),
) -> Path:
    """Write a self-contained HTML report: conclusions, tables, figures, how it was made.

    Args:
        results: what :func:`zswap_gym.agents.evaluate.evaluate` returned.
        path: the file; written at once or not at all.
        title: heading.
        learning: (step, return of the episode that ended there) of the training run, for a curve.
        notes: paragraphs to put under the conclusions.
    """
    scenarios = [*results.scenarios, *([OVERALL] if len(results.scenarios) > 1 else [])]
    parts = [f"<h1>{html.escape(title)}</h1>", _conclusions(results, notes)]
    parts += [_figure(_gain_figure(results), _GAIN_CAPTION), _figure(_trade_figure(results), _TRADE_CAPTION)]
    if learning:
        parts.append(
            _figure(_learning_figure(learning), "Training: return of each episode, and a running mean.")
        )
    parts += [_html_table(results, scenario) for scenario in scenarios]
    parts.append(_making(results))
    page = _PAGE.format(title=html.escape(title), body="\n".join(parts))
    return write_atomically(Path(path), page)


_GAIN_CAPTION = (
    "Reward above the reference, by scenario. Points are interquartile means of paired differences, bars "
    "their 95 % bootstrap intervals; left of zero is worse than doing nothing."
)
_TRADE_CAPTION = (
    "What the memory cost: pages read back from disk against memory saved. Right and low is good."
)

# --- HTML ------------------------------------------------------------------------------------------

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }}
table {{ border-collapse: collapse; font-size: .85rem; margin: 1rem 0 2rem; }}
th, td {{ padding: .3rem .6rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; }}
tr.learned {{ font-weight: 600; background: #f3f7fc; }}
figure {{ margin: 1.5rem 0; }} figure svg {{ max-width: 100%; height: auto; }}
figcaption {{ color: #555; font-size: .85rem; }}
code, pre {{ font-size: .8rem; }} pre {{ background: #f6f6f6; padding: .8rem; overflow-x: auto; }}
</style></head><body>
{body}
</body></html>
"""


def _conclusions(results: Results, notes: Sequence[str]) -> str:
    said = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in verdicts(results))
    body = f"<h2>What can be said</h2><ul>{said}</ul>" if said else ""
    told = [note for note in (prices_of(results), *notes) if note]
    return body + "".join(f"<p>{html.escape(note)}</p>" for note in told)


def _html_table(results: Results, scenario: str) -> str:
    head = "".join(
        f'<th title="{html.escape(meaning.format(reference=results.reference))}">{html.escape(name)}</th>'
        for name, meaning, _ in _COLUMNS
    )
    rows = []
    for s in results.summaries(scenario):
        cells = "".join(f"<td>{html.escape(cell(s))}</td>" for _, _, cell in _COLUMNS)
        kind = ' class="learned"' if s.policy in results.learned else ""
        rows.append(f"<tr{kind}><td>{html.escape(s.policy)}</td>{cells}</tr>")
    return (
        f"<h2>{html.escape(scenario)}</h2><table><thead><tr><th>policy</th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _making(results: Results) -> str:
    lines = [f"seeds: {', '.join(map(str, results.seeds))}", f"reference: {results.reference}"]
    lines += [f"{key}: {value}" for key, value in results.provenance.items()]
    return f"<h2>How this was made</h2><pre>{html.escape(chr(10).join(lines))}</pre>"


def _figure(figure: Figure, caption: str) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    svg = out.getvalue()
    return f"<figure>{svg[svg.index('<svg') :]}<figcaption>{html.escape(caption)}</figcaption></figure>"


# --- figures ---------------------------------------------------------------------------------------

_LEARNED, _RULE = "#2f6db5", "#7a8089"


def _new_figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Any]]:
    """A figure that needs no display and leaves no global state behind."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as MatplotlibFigure

    figure = MatplotlibFigure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)


def _gain_figure(results: Results) -> Figure:
    others = [s.policy for s in results.summaries() if s.policy != results.reference]
    figure, axes = _new_figure(
        max(4.0 * len(results.scenarios), 6.0), 1.0 + 0.4 * len(others), len(results.scenarios)
    )
    for ax, scenario in zip(axes, results.scenarios, strict=True):
        for y, policy in enumerate(reversed(others)):
            gain = results.summary(policy, scenario).gain_pct
            colour = _LEARNED if policy in results.learned else _RULE
            ax.plot([gain.low, gain.high], [y, y], color=colour, linewidth=2)
            ax.plot(gain.value, y, "o", color=colour)
        ax.axvline(0.0, color="#bbbbbb", linewidth=1, zorder=0)
        ax.set_yticks(range(len(others)), list(reversed(others)) if ax is axes[0] else [""] * len(others))
        ax.set_xlabel(f"gain over {results.reference}, %")
        ax.set_title(scenario, fontsize=10)
    return figure


def _trade_figure(results: Results) -> Figure:
    figure, axes = _new_figure(max(4.0 * len(results.scenarios), 6.0), 3.6, len(results.scenarios))
    for ax, scenario in zip(axes, results.scenarios, strict=True):
        for i, s in enumerate(sorted(results.summaries(scenario), key=lambda s: s.dram_saved_pct.value)):
            colour = _LEARNED if s.policy in results.learned else _RULE
            at = (s.dram_saved_pct.value, s.disk_reads_min.value)
            above = (4, 4 + 9 * (i % 3))  # neighbours on the axis do not write over each other
            ax.plot(*at, "o", color=colour)
            ax.annotate(s.policy, at, xytext=above, textcoords="offset points", fontsize=8)
        ax.set_xlabel("memory saved, %")
        ax.set_title(scenario, fontsize=10)
    axes[0].set_ylabel("disk reads per minute")
    return figure


def _learning_figure(learning: Sequence[tuple[int, float]]) -> Figure:
    import numpy as np

    figure, (ax,) = _new_figure(7.0, 3.0)
    steps = np.array([step for step, _ in learning], float)
    returns = np.array([value for _, value in learning], float)
    ax.plot(steps, returns, ".", color="#c5cbd3", markersize=3)
    window = max(1, min(50, len(returns) // 5))
    smooth = np.convolve(returns, np.ones(window) / window, mode="valid")
    ax.plot(steps[window - 1 :], smooth, color=_LEARNED)
    ax.set_xlabel("decisions seen")
    ax.set_ylabel("return of an episode, GiB*h")
    return figure


def _range(e: Estimate) -> str:
    return f"{e.value:+.2f} [{e.low:+.2f}, {e.high:+.2f}]"
