"""Figures of a report: drawn without a display, leaving no global state behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from zswap_gym.agents.results import Results
from zswap_gym.agents.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw = Callable[[Results], "Figure"]

_LEARNED, _RULE, _GREY = "#2f6db5", "#7a8089", "#bbbbbb"


def figures(results: Results) -> list[tuple[Figure, str]]:
    """The figures of a result with their captions, by its objective."""
    drawn = _UNDER_BILL if results.objective == "bill" else _UNDER_PROMISE
    return [(draw(results), caption) for draw, caption in drawn]


def saved(results: Results) -> Figure:
    """Memory saved with intervals, one panel per scenario; hollow where the promise is broken."""

    def value(policy: str, scenario: str) -> tuple[Estimate, bool]:
        found = results.standing(policy, scenario)
        return found.saved_pct, found.kept

    return _intervals(results, value, "memory saved, %")


def gain(results: Results) -> Figure:
    """Reward above the reference with intervals, one panel per scenario."""
    found = {(b.policy, s): b.gain_pct for s in results.scenarios for b in results.bills(s)}
    return _intervals(results, lambda p, s: (found[p, s], True), f"gain over {results.reference}, %")


def trade(results: Results) -> Figure:
    """Broken minutes against memory saved, one panel per scenario."""
    figure, axes = _new(max(4.0 * len(results.scenarios), 6.0), 3.6, len(results.scenarios))
    for ax, scenario in zip(axes, results.scenarios, strict=True):
        ranked = sorted(results.standings(scenario), key=lambda s: s.saved_pct.value)
        for i, s in enumerate(ranked):
            at = (s.saved_pct.value, s.broken_pct)
            above = (4, 4 + 9 * (i % 3))  # neighbours on the axis do not write over each other
            _point(ax, at, _colour(results, s.policy), s.kept)
            ax.annotate(s.policy, at, xytext=above, textcoords="offset points", fontsize=8)
        ax.axhline(results.promise.may_break_pct, color=_GREY, linewidth=1, zorder=0)
        ax.set_xlabel("memory saved, %")
        ax.set_title(scenario, fontsize=10)
    axes[0].set_ylabel("minutes broken, %")
    return figure


def profile(results: Results) -> Figure:
    """Performance profile: the share of all runs that save at least so much."""
    figure, (ax,) = _new(7.0, 3.6)
    values = {policy: np.sort(results.saved_pct(policy).ravel()) for policy in results.ranking()}
    low = min(v[0] for v in values.values())
    high = max(v[-1] for v in values.values())
    at = np.linspace(low, high, 200)
    for policy, ordered in values.items():
        share = 1.0 - np.searchsorted(ordered, at, side="left") / len(ordered)
        kept = results.standing(policy).kept
        ax.plot(at, 100.0 * share, "-" if kept else ":", label=policy if kept else f"{policy} (breaks it)",
                linewidth=2.5 if policy in results.learned else 1.2)  # fmt: skip
    ax.set_xlabel("memory saved, at least, %")
    ax.set_ylabel("share of runs, %")
    ax.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def learning(candidates: Sequence[tuple[int, float]]) -> Figure:
    """A training run: (rounds, memory saved in percent) of each candidate, and the mean of each round's."""
    figure, (ax,) = _new(7.0, 3.0)
    ax.plot(*zip(*candidates, strict=True), "o", color="#c5cbd3")
    rounds = sorted({at for at, _ in candidates})
    means = [np.mean([saved for at, saved in candidates if at == number]) for number in rounds]
    ax.plot(rounds, means, color=_LEARNED)
    ax.set_xlabel("rounds of learning")
    ax.set_ylabel("memory saved where judged, %")
    return figure


def _intervals(results: Results, value: Callable[[str, str], tuple[Estimate, bool]], label: str) -> Figure:
    others = [policy for policy in results.ranking() if policy != results.reference]
    panels = len(results.scenarios)
    figure, axes = _new(max(4.0 * panels, 6.0), 1.0 + 0.4 * len(others), panels)
    for ax, scenario in zip(axes, results.scenarios, strict=True):
        for y, policy in enumerate(reversed(others)):
            estimate, full = value(policy, scenario)
            colour = _colour(results, policy)
            ax.plot([estimate.low, estimate.high], [y, y], color=colour, linewidth=2)
            _point(ax, (estimate.value, y), colour, full)
        ax.axvline(0.0, color=_GREY, linewidth=1, zorder=0)
        ax.set_yticks(range(len(others)), list(reversed(others)) if ax is axes[0] else [""] * len(others))
        ax.set_xlabel(label)
        ax.set_title(scenario, fontsize=10)
    return figure


def _point(ax: Any, at: tuple[float, float], colour: str, full: bool) -> None:
    ax.plot(*at, "o", color=colour, markerfacecolor=colour if full else "white")


def _colour(results: Results, policy: str) -> str:
    return _LEARNED if policy in results.learned else _RULE


def _new(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Any]]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as MatplotlibFigure

    figure = MatplotlibFigure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)


_SAVED = (
    "Memory saved against doing nothing, by scenario. Points are interquartile means over the seeds, bars "
    "their 95 % bootstrap intervals; hollow where some cgroup's promise is broken."
)
_GAIN = (
    "Reward above the reference, by scenario. Points are interquartile means of paired differences, bars "
    "their 95 % bootstrap intervals; left of zero is worse than doing nothing."
)
_TRADE = (
    "What the memory cost: minutes of cgroups over the promise's disk reads against memory saved. Right and "
    "low is good; above the line more are broken than may be."
)
_PROFILE = "Performance profile: in how many of all runs at least so much memory was saved."
_UNDER_PROMISE: Sequence[tuple[Draw, str]] = ((saved, _SAVED), (trade, _TRADE), (profile, _PROFILE))
_UNDER_BILL: Sequence[tuple[Draw, str]] = ((gain, _GAIN), (trade, _TRADE))
