"""``zswap-gym demo``: the whole road, in minutes."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zswap_gym.errors import UserError

if TYPE_CHECKING:
    from zswap_gym.agents.config import Experiment
    from zswap_gym.agents.parallel import Workers
    from zswap_gym.agents.results import Results
    from zswap_gym.controller.config import ControllerConfig
    from zswap_gym.controller.rails import Limits

AGENT = "champion"
SEEDS = 6
HOST_SEED = 40_000
DECISIONS = 10
RUN, EVALUATION, CONTROLLER, LOG, REPORT = (
    "run", "evaluation", "controller.yaml", "decisions.jsonl", "report.html",
)  # fmt: skip
MARK = "demo.json"
"""Tells a folder that an earlier demo wrote, and may be written anew, from one that is somebody's."""

TRAINING_SHARE = 0.5
"""Of the minutes asked for: judging, evaluation and the report take the rest."""

LEGEND = """
Saved is memory that doing nothing holds and this one does not, with its 95 % interval; first stand those
that keep the promise to every cgroup. "champion" is who did best on draws that no training saw: a trained
policy, or a tuned rule where none was better. "champion+rails" is what the controller lets through of it.
"""

CONTROLLER_YAML = """\
# What the demo's fourth step ran; again: zswap-gym control {out}/{controller} --decisions {decisions}
host: {{kind: simulated, scenario: {scenario}, seed: {seed}}}
mode: act
interval: {interval:g}s
cgroups: ["*"]
{who}
log: {out}/{log}
"""


def demo(
    out: Annotated[
        Path, typer.Option("--out", help="Folder to write to; an earlier demo's is replaced.")
    ] = Path("demo-out"),
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.5, help="About how long it may take. Default: the experiment's own number of steps."
        ),
    ] = None,
) -> None:
    """Walk the whole road: train, choose a champion, export, evaluate, control, report.

    Trains policies on a host of eight programs, chooses a champion among them and the tuned rules, compares
    it with every rule on new draws of that host and, beside it, on programs it has never seen, exports it to
    one file, and lets the controller take ten decisions with it on a simulated host, through the text of the
    kernel's files. Prints what came out, whoever won, and writes a report with figures.

    Examples:

        zswap-gym demo
        zswap-gym demo --out /tmp/demo --minutes 10
    """
    from zswap_gym.cli._extras import optional_parts
    from zswap_gym.cli._output import console, ensure_writable
    from zswap_gym.cli.control import print_summary, run_controller
    from zswap_gym.cli.train import print_champion, progress_bar

    began = time.monotonic()
    ensure_writable(out, folder=True)
    _check_is_ours(out)
    with optional_parts("the demo"):
        from zswap_gym.agents.config import load_experiment
        from zswap_gym.agents.learning.train import train
        from zswap_gym.agents.parallel import open_workers
        from zswap_gym.agents.report import print_report

    experiment = load_experiment("demo")
    _clear(out)
    seconds = None
    if minutes is not None:
        seconds = TRAINING_SHARE * 60.0 * minutes
        experiment = experiment.model_copy(update={"rounds": 100_000})

    with open_workers() as workers:
        _say(1, f"training {experiment.trainings} policies on {_sources(experiment.scenarios.train)}")
        with progress_bar("training", quiet=False) as tick:
            found = train(experiment, out / RUN, seconds=seconds, workers=workers, on_progress=tick)
        print_champion(found, out / RUN)
        policy = _export(out)
        _say(2, f"exported the champion to {policy}")
        _say(3, f"comparing with the rules on {_sources(experiment.scenarios.evaluate)}, {SEEDS} new draws")
        settings, host = _settings(experiment, out, policy)
        results = _evaluate(experiment, out, policy, settings.rails, workers)
    _say(4, f"letting the controller take {DECISIONS} decisions on a simulated host, through its files")
    summary = run_controller(settings, host, str(out / CONTROLLER), DECISIONS)
    _say(5, f"writing {out / REPORT}")
    _report(out, results, summary)

    print()
    print_report(results, console())
    print(LEGEND)
    print_summary(summary)
    print(f"report with figures: {out / REPORT} ({time.monotonic() - began:.0f} s in all)")


def _say(number: int, what: str) -> None:
    print(f"{number}/5 {what}", flush=True)


def _check_is_ours(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()) and not (out / MARK).is_file():
        raise UserError(f"{out}: is not empty and no earlier demo wrote it; name another folder with --out")


def _clear(out: Path) -> None:
    """Remove what an earlier demo wrote, and mark the folder as a demo's."""
    from zswap_gym import __version__

    for name in (RUN, EVALUATION):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in ("policy.npz", "rule.yaml", CONTROLLER, LOG, REPORT):
        (out / name).unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).write_text(json.dumps({"zswap_gym": __version__, "made_by": "zswap-gym demo"}) + "\n")


def _sources(scenarios: tuple[str, ...]) -> str:
    from zswap_gym.workloads.scenario import load_scenario

    return "; ".join(load_scenario(name).description for name in scenarios)


def _export(out: Path) -> Path:
    """The champion's file, beside the run."""
    from zswap_gym.agents.learning.champion import champion_file, hand_out

    return hand_out(champion_file(out / RUN), out)


def _evaluate(experiment: Experiment, out: Path, policy: Path, rails: Limits, workers: Workers) -> Results:
    """The champion, alone and within the controller's rails, every rule, and the kernel's own shrinker."""
    from zswap_gym.agents.contestants import RAILED, rules
    from zswap_gym.agents.evaluate import evaluate
    from zswap_gym.cli.evaluate import HELD_OUT, episode_bar

    who: dict[str, Any] = {AGENT: policy, f"{AGENT}{RAILED}": f"{policy}{RAILED}", "never": "never"}
    who |= rules(untuned=False)
    scenarios = experiment.scenarios.evaluate
    seeds = range(HELD_OUT, HELD_OUT + SEEDS)
    with episode_bar(len(who) * len(scenarios) * SEEDS, quiet=False) as tick:
        results = evaluate(
            who, scenarios, seeds, promise=experiment.promise, rails=rails, workers=workers, on_episodes=tick
        )
    results.save(out / EVALUATION)
    return results


def _settings(experiment: Experiment, out: Path, policy: Path) -> tuple[ControllerConfig, dict[str, Any]]:
    """Write a controller's config; its settings and host, as ``zswap-gym control`` reads them."""
    from zswap_gym.cli.control import read_config
    from zswap_gym.workloads.scenario import load_scenario

    scenario = experiment.scenarios.evaluate[0]
    text = CONTROLLER_YAML.format(
        out=out, controller=CONTROLLER, log=LOG, decisions=DECISIONS, scenario=scenario, seed=HOST_SEED,
        interval=load_scenario(scenario).episode.decision_interval,
        who=f"policy: {policy}\nlaw: never" if policy.suffix == ".npz" else f"law: {policy}",
    )  # fmt: skip
    (out / CONTROLLER).write_text(text, encoding="utf-8")
    host, settings = read_config(out / CONTROLLER)
    return settings, host


def _report(out: Path, results: Results, summary: dict[str, Any]) -> None:
    from zswap_gym.agents.learning.train import read_progress
    from zswap_gym.agents.report import write_html
    from zswap_gym.units import format_size

    asked = sum(row["proposed"] for row in summary["cgroups"].values())
    allowed = sum(row["allowed"] for row in summary["cgroups"].values())
    written = sum(row["written_bytes"] for row in summary["cgroups"].values())
    controlled = (
        f"Afterwards the controller took {summary['rounds']} rounds of decisions with the champion on a "
        f"simulated host: {asked} requests, {allowed} of them let through by the rails in whole or in part, "
        f"{format_size(written)} written back. Each decision and its reasons are in {LOG}."
    )
    progress = read_progress(out / RUN)
    learned = f"{len(progress)} candidates of {max(at[0] for at, _ in progress)} trainings were judged."
    write_html(
        results,
        out / REPORT,
        title="zswap-gym demo",
        learning=[(at[1], judged.saved_pct) for at, judged in progress],
        notes=[learned, controlled],
    )
