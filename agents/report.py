"""Results for people: a table in the terminal, and one HTML file with figures that needs no network."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zswap_gym.agents.figures import figures
from zswap_gym.agents.figures import learning as draw_learning
from zswap_gym.agents.results import OVERALL, Results
from zswap_gym.agents.scoring.columns import Sheet, sheet, sheet_inside
from zswap_gym.agents.scoring.inside import kinds_of
from zswap_gym.agents.verdict import verdicts
from zswap_gym.atomic import write_atomically
from zswap_gym.envs.reward import RewardWeights

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table


def table(of: Sheet, learned: Sequence[str]) -> Table:
    """A rich table of a sheet; learned policies in bold, those that break the promise dim."""
    from rich import box
    from rich.table import Table as RichTable

    out = RichTable(title=of.title, box=box.SIMPLE, title_justify="left", padding=(0, 1, 0, 0))
    out.add_column(of.first, overflow="fold", min_width=10)
    for name, _ in of.columns:
        out.add_column(name.replace(" ", "\n", 1), justify="right", vertical="top", no_wrap=True)
    for row in of.rows:
        style = " ".join(["bold"] * (row.name in learned) + ["dim"] * (not row.kept))
        out.add_row(row.name, *row.cells, style=style or None)
    return out


def sheets(results: Results) -> list[Sheet]:
    """A table per scenario, with what was stalled inside its events, and one over all."""
    found = []
    for scenario in results.scenarios:
        found.append(sheet(results, scenario))
        kinds = kinds_of(results.trial(results.reference, scenario))
        found += [sheet_inside(results, scenario, kind) for kind in kinds]
    return [*found, sheet(results, OVERALL)] if len(results.scenarios) > 1 else found


def print_report(results: Results, console: Any = None) -> None:
    """Print a table per scenario, one over all, and what may be concluded."""
    from rich.console import Console

    console = console or Console()
    for line in conditions_of(results):
        console.print(line, soft_wrap=True, highlight=False)
    for each in sheets(results):
        console.print(table(each, results.learned))
    for sentence in verdicts(results):
        console.print(sentence, soft_wrap=True, highlight=False)


def conditions_of(results: Results) -> list[str]:
    """What was promised, or at which prices that are not the usual ones."""
    if results.objective == "bill":
        prices = prices_of(results)
        return [prices] if prices else []
    promise = results.promise
    words = (
        f"Promise to each cgroup: disk reads of at most {promise.disk_reads_pct_min:g} % of its resident set "
        f"in {100 * promise.minutes:g} % of its minutes, at most {promise.psi_added_pct:g} % more pressure "
        f"and {promise.cpu_pct_per_gib:g} % of a core per GiB more compression than with nothing done."
    )
    return [words]


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
        learning: (rounds, memory saved in percent) of a training run's candidates, for a curve.
        notes: paragraphs to put under the conclusions.
    """
    parts = [f"<h1>{html.escape(title)}</h1>", _conclusions(results, notes)]
    parts += [_figure(figure, caption) for figure, caption in figures(results)]
    if learning:
        caption = "Training: memory saved by each candidate as it was judged, and the mean of each round."
        parts.append(_figure(draw_learning(learning), caption))
    parts += [_html_table(each, results.learned) for each in sheets(results)]
    parts.append(_making(results))
    page = _PAGE.format(title=html.escape(title), body="\n".join(parts))
    return write_atomically(Path(path), page)


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
tr.broken {{ color: #888; }}
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
    words = [*conditions_of(results), *notes]
    return body + "".join(f"<p>{html.escape(note)}</p>" for note in words)


def _html_table(of: Sheet, learned: Sequence[str]) -> str:
    head = "".join(
        f'<th title="{html.escape(meaning)}">{html.escape(name)}</th>' for name, meaning in of.columns
    )
    rows = []
    for row in of.rows:
        cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in row.cells)
        kinds = " ".join(["learned"] * (row.name in learned) + ["broken"] * (not row.kept))
        rows.append(f'<tr class="{kinds}"><td>{html.escape(row.name)}</td>{cells}</tr>')
    return (
        f"<h2>{html.escape(of.title)}</h2><table><thead><tr><th>{of.first}</th>{head}</tr></thead>"
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
