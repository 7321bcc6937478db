"""A picture of a scenario: who touches which memory when, how cold it gets, and what is going to happen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zswap_gym.kernel.access import AccessPlan
from zswap_gym.units import PAGE_SIZE, US_PER_S, format_size
from zswap_gym.workloads.coldness import bitmaps, cold_share
from zswap_gym.workloads.events import RealisedEvent
from zswap_gym.workloads.instance import Realised
from zswap_gym.workloads.scenario import Scenario

LOOKS, ROWS = 160, 72
COLOURS = {"critical": "#d62728", "arrival": "#1f77b4"}


def draw(scenario: Scenario, path: Path, *, seed: int = 0) -> Path:
    """One row per program: its memory over time (left) and how much of it lies idle for how long (right).

    Args:
        scenario: what to draw; one instance of it, from ``seed``.
        path: png, svg or pdf.
        seed: of the instance.
    """
    from matplotlib.figure import Figure

    real = scenario.realise(np.random.default_rng(seed))
    names = list(real.plans)
    figure = Figure(figsize=(12, 1.5 + 1.75 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), 2, squeeze=False, sharex="col", gridspec_kw={"width_ratios": [4, 1]})
    unit, word = _unit(scenario.span_s)
    for row, name in zip(axes, names, strict=True):
        plan = real.plans[name]
        times = np.linspace(0, plan.span_us, LOOKS + 1)[1:].astype(np.int64)
        touched, allocated = bitmaps(plan, times, np.random.default_rng(seed))
        _memory(row[0], plan, touched, allocated, scenario, unit)
        _events(row[0], [e for e in real.events if e.cgroup == name], unit)
        row[0].set_title(_caption(scenario, name, plan), loc="left", fontsize="small")
        _coldness(row[1], touched, allocated, times, unit)
    axes[-1][0].set_xlabel(f"time, {word}; the warm-up ends at the dashed line")
    axes[-1][1].set_xlabel(f"idle for at least, {word}")
    axes[0][1].set_title("share of memory that is cold", fontsize="small")
    figure.suptitle(f"{scenario.name} ({scenario.split}): {scenario.description}\n{_machine(scenario, real)}",
                    fontsize="medium")  # fmt: skip
    _legend(figure)
    figure.savefig(path, dpi=100)
    return path


def _unit(span_s: float) -> tuple[float, str]:
    for seconds, word in ((3600.0, "hours"), (60.0, "minutes")):
        if span_s >= 3 * seconds:
            return seconds, word
    return 1.0, "seconds"


def _memory(
    axes: Any,
    plan: AccessPlan,
    touched: npt.NDArray[np.bool_],
    allocated: npt.NDArray[np.bool_],
    scenario: Scenario,
    unit: float,
) -> None:
    """Bands of neighbouring pages over time: white not there, grey idle, darker the more is touched."""
    bounds = np.linspace(0, plan.n_pages, min(ROWS, plan.n_pages) + 1).astype(int)[:-1]
    there = np.add.reduceat(allocated.T.astype(float), bounds, axis=0)
    seen = np.add.reduceat(touched.T.astype(float), bounds, axis=0)
    size = np.diff(np.append(bounds, plan.n_pages))[:, None]
    share = np.where(there >= 0.5 * size, 0.12 + 0.88 * seen / np.maximum(there, 1), 0.0)
    high = plan.n_pages * scenario.host.page_scale * PAGE_SIZE / 2**20
    axes.imshow(
        share, aspect="auto", origin="lower", cmap="Greys", vmin=0, vmax=1, interpolation="nearest",
        extent=(0, plan.span_us / US_PER_S / unit, 0, high),
    )  # fmt: skip
    axes.axvline(scenario.episode.warmup / unit, color="black", ls="--", lw=0.8)
    axes.set_ylabel("MiB")


def _events(axes: Any, events: list[RealisedEvent], unit: float) -> None:
    for event in events:
        axes.axvspan(
            event.start_s / unit, event.end_s / unit, color=COLOURS[event.kind], alpha=0.3,
            hatch=None if event.announced else "///", lw=0,
        )  # fmt: skip


def _coldness(
    axes: Any,
    touched: npt.NDArray[np.bool_],
    allocated: npt.NDArray[np.bool_],
    times: npt.NDArray[np.int64],
    unit: float,
) -> None:
    seconds = times / US_PER_S
    ages = np.geomspace(seconds[1] - seconds[0], seconds[-1] / 2, 16)
    share = cold_share(touched, allocated, seconds, ages.tolist())
    axes.plot(ages / unit, share, color="black", lw=1.2)
    axes.fill_between(ages / unit, 0, share, color="#9ecae1")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(0, 1)
    axes.yaxis.tick_right()


def _caption(scenario: Scenario, name: str, plan: AccessPlan) -> str:
    cgroup = next(c for c in scenario.cgroups if c.name == name)
    work = cgroup.workload
    assert work is not None
    what = f"recording {work.trace}" if work.trace else " or ".join(work.archetypes[:2]) or "phases"
    if len(work.archetypes) > 2:
        what = f"one of {len(work.archetypes)} archetypes"
    limits = [
        f"{key} {value if isinstance(value, float) else format_size(value)}"
        for key, value in (("memory.max", cgroup.memory_max), ("memory.high", cgroup.memory_high))
        if value is not None
    ]
    where = f"{cgroup.parent}/{name}" if cgroup.parent else name
    size = format_size(plan.n_pages * scenario.host.page_scale * PAGE_SIZE)
    compressed = plan.clen.mean() / PAGE_SIZE
    return ", ".join([f"{where}: {what}", size, f"compresses to {100 * compressed:.0f} %", *limits])


def _machine(scenario: Scenario, real: Realised) -> str:
    host = real.host
    stage = scenario.stage_one
    reclaimer = {"none": "no stage-one reclaimer", "senpai": "stage one follows PSI"}.get(
        stage.kind, f"stage one reclaims {format_size(stage.rate)}/s"
    )
    return (
        f"{format_size(host.ram_bytes)} RAM, swap device reads in {host.device.read_us:g} us, {reclaimer}, "
        f"shrinker {'on' if host.shrinker_enabled else 'off'}, a decision every "
        f"{scenario.episode.decision_interval:g} s"
    )


def _legend(figure: Any) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor="black", label="touched"),
        Patch(facecolor="0.88", label="idle"),
        Patch(facecolor="white", edgecolor="0.7", label="not allocated"),
        *(Patch(facecolor=colour, alpha=0.3, label=f"{kind}, announced") for kind, colour in COLOURS.items()),
        *(
            Patch(facecolor=colour, alpha=0.3, hatch="///", label=f"{kind}, a surprise")
            for kind, colour in COLOURS.items()
        ),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize="x-small")
