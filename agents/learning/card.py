"""A policy's card: what it was trained on, how it stands, what it is not for. Markdown, beside the policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zswap_gym.agents.config import Experiment

LIMITS = """\
## Limits

- Judged in the model of this version, whose counters agree with a real kernel's (`zswap-gym fidelity`); a
  host is not the model. Begin with `mode: observe`, then act within the controller's rails.
- The promise is per cgroup and over hours: some minutes may break, and it says nothing of a single request's
  latency.
- It was judged on {seeds} draws of each scenario above. What lies outside of them (other devices, limits,
  programs) is its own caution's to find out: from a caution of 0.95 on it leaves a cgroup alone, and it
  releases nothing on a host whose zswap pool is 90 % full.
- Hosts decide every {interval:g} s, as in training; another interval is refused by the controller.
"""


def card(
    told: Mapping[str, Any], experiment: Experiment, provenance: Mapping[str, Any], interval_s: float
) -> str:
    """The card of a run's champion.

    Args:
        told: what RUN/champion.json holds.
        experiment: what it was trained by.
        provenance: versions and command.
        interval_s: between its decisions.
    """
    champion, rule = told["champion"], told["best_rule"]
    promise = ", ".join(f"{key} {value:g}" for key, value in told["promise"].items())
    rows = [
        f"| {name} | {_cells(part)} | {_cells(rule['scenarios'][name])} |"
        for name, part in champion["scenarios"].items()
    ]
    rows.append(f"| **all** | {_cells(champion)} | {_cells(rule)} |")
    lines = [
        f"# {experiment.name}: {champion['policy']}",
        "",
        experiment.description or "A champion of zswap-gym.",
        "",
        "## How it stands",
        "",
        (
            f"On draws that chose nothing, {champion['seeds']} of each scenario. Promise to each cgroup: "
            f"{promise}. Best rule: {rule['policy']}."
        ),
        "",
        "| scenario | saved % | broken min % | keep it | rule: saved % | broken min % | keep it |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        "## How it came about",
        "",
        f"- learned on: {', '.join(experiment.scenarios.train)}; {experiment.draws} draws of each",
        f"- judged besides on: {', '.join(experiment.scenarios.validation) or 'new draws of these'}",
        f"- {experiment.trainings} trainings, started by imitation of `{experiment.imitation.teacher}`",
        f"- zswap-gym {provenance['zswap_gym']}, commit {provenance['commit']}; `{provenance['command']}`",
        "",
        LIMITS.format(seeds=champion["seeds"], interval=interval_s),
    ]
    return "\n".join(lines)


def _cells(part: Mapping[str, Any]) -> str:
    return (
        f"{part['saved_pct']:.2f} [{part['saved_low']:.1f}, {part['saved_high']:.1f}] | "
        f"{part['broken_pct']:.1f} | {part['keeping']} of {part['cgroups']}"
    )
