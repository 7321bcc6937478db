"""``zswap-gym demo``: the whole road on recorded workloads, in minutes."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zswap_gym.errors import UserError

if TYPE_CHECKING:
    from zswap_gym.agents.config import Experiment
    from zswap_gym.agents.results import Results
    from zswap_gym.controller.config import ControllerConfig
    from zswap_gym.controller.rails import Limits

AGENT = "agent"
SEED = 1
SEEDS = 10
HOST_SEED = 2000
DECISIONS = 10
RUN, POLICY, EVALUATION, CONTROLLER, LOG, REPORT = (
    "run", "policy.npz", "evaluation", "controller.yaml", "decisions.jsonl", "report.html",
)  # fmt: skip
MARK = "demo.json"
"""Tells a folder that an earlier demo wrote, and may be written anew, from one that is somebody's."""

TRAINING_SHARE = 0.6
"""Of the minutes asked for: evaluation, compilation and the report take the rest."""
PROBE_ROLLOUTS = 4

LEGEND = """
Saved is memory that doing nothing holds and this one does not, with its 95 % interval; first stand those
that keep the promise to every cgroup. "agent+rails" is what the controller lets through of the agent;
"shrinker" is doing nothing on a kernel with zswap's own shrinker on.
"""

CONTROLLER_YAML = """\
# What the demo's fourth step ran; again: zswap-gym control {out}/{controller} --decisions {decisions}
host: {{kind: simulated, scenario: {scenario}, seed: {seed}}}
mode: act
interval: {interval:g}s
cgroups: ["*"]
policy: {out}/{policy}
law: never
log: {out}/{log}
rails:
  age_floor: 10s   # a recording of minutes has nothing older than that to show
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
    """Walk the whole road on recorded workloads: train, export, evaluate, control, report.

    Trains a policy on four recordings, compares it with every rule on four other recordings and on
    new seeds, exports it to one file, and lets the controller take ten decisions with it on a
    simulated host, through the text of the kernel's files. Prints what came out, whoever won, and
    writes a report with figures.

    Examples:

        zswap-gym demo
        zswap-gym demo --out /tmp/demo --minutes 3
    """
    from zswap_gym.cli._extras import optional_parts
    from zswap_gym.cli._output import console, ensure_writable
    from zswap_gym.cli.control import print_summary, run_controller

    began = time.monotonic()
    ensure_writable(out, folder=True)
    _check_is_ours(out)
    with optional_parts("the demo"):
        from zswap_gym.agents.config import load_experiment
        from zswap_gym.agents.export import export_run
        from zswap_gym.agents.report import print_report
        from zswap_gym.agents.train import train

    experiment = load_experiment("demo")
    _clear(out)
    if minutes is not None:
        experiment = _paced(experiment, 60.0 * minutes - (time.monotonic() - began))

    _say(1, f"training {experiment.total_steps} steps on {_sources(experiment.scenarios.train)}")
    run = train(experiment, out / RUN, SEED)
    _say(2, f"exporting to {out / POLICY}")
    export_run(out / RUN, out / POLICY)
    _say(3, f"comparing with the rules on {_sources(experiment.scenarios.evaluate)}, {SEEDS} new seeds")
    settings, host = _settings(experiment, out)
    results = _evaluate(experiment, out, settings.rails)
    _say(4, f"letting the controller take {DECISIONS} decisions on a simulated host, through its files")
    summary = run_controller(settings, host, str(out / CONTROLLER), DECISIONS)
    _say(5, f"writing {out / REPORT}")
    took = time.monotonic() - began
    _report(out, results, summary, f"{run.steps} steps of training in {run.seconds:.0f} s on seed {SEED}.")

    print()
    print_report(results, console())
    print(LEGEND)
    print_summary(summary)
    print(f"report with figures: {out / REPORT} ({took:.0f} s in all)")


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
    for name in (POLICY, CONTROLLER, LOG, REPORT):
        (out / name).unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).write_text(json.dumps({"zswap_gym": __version__, "made_by": "zswap-gym demo"}) + "\n")


def _sources(scenarios: tuple[str, ...]) -> str:
    from zswap_gym.workloads.scenario import load_scenario

    return "; ".join(load_scenario(name).description for name in scenarios)


def _paced(experiment: Experiment, seconds: float) -> Experiment:
    """The experiment with as many steps as fit, going by a short training run; never fewer than its own."""
    from zswap_gym.agents.config import Ppo
    from zswap_gym.agents.train import train

    steps = (
        experiment.algorithm.n_steps * experiment.n_envs if isinstance(experiment.algorithm, Ppo) else 1000
    )
    probe = experiment.model_copy(update={"total_steps": PROBE_ROLLOUTS * steps})
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        train(probe, Path(folder) / "compile", SEED, progress=False)
        rate = train(probe, Path(folder) / "measure", SEED, progress=False).steps_per_s
    left = TRAINING_SHARE * seconds - (time.monotonic() - began)
    total = max(int(rate * left) // steps * steps, probe.total_steps)
    return experiment.model_copy(update={"total_steps": total})


def _evaluate(experiment: Experiment, out: Path, rails: Limits) -> Results:
    """The agent, by itself and within the controller's rails, every law, and the kernel's own shrinker.

    All on what training never saw.
    """
    from zswap_gym.agents.contestants import RAILED
    from zswap_gym.agents.evaluate import evaluate
    from zswap_gym.agents.parallel import open_workers
    from zswap_gym.cli.evaluate import HELD_OUT, episode_bar
    from zswap_gym.policy.laws import LAWS

    who: dict[str, Any] = {
        AGENT: out / POLICY,
        f"{AGENT}{RAILED}": f"{out / POLICY}{RAILED}",
        **{law: law for law in LAWS},
        "shrinker": "never@shrinker",
    }
    scenarios = experiment.scenarios.evaluate
    seeds = range(HELD_OUT, HELD_OUT + SEEDS)
    with (
        open_workers() as workers,
        episode_bar(len(who) * len(scenarios) * SEEDS, quiet=False) as tick,
    ):
        results = evaluate(
            who,
            scenarios,
            seeds,
            reward=experiment.env.reward,
            rails=rails,
            workers=workers,
            on_episodes=tick,
        )
    results.save(out / EVALUATION)
    return results


def _settings(experiment: Experiment, out: Path) -> tuple[ControllerConfig, dict[str, Any]]:
    """Write a controller's config; its settings and host, as ``zswap-gym control`` reads them."""
    from zswap_gym.cli.control import read_config
    from zswap_gym.workloads.scenario import load_scenario

    scenario = experiment.scenarios.evaluate[0]
    text = CONTROLLER_YAML.format(
        out=out, controller=CONTROLLER, policy=POLICY, log=LOG, decisions=DECISIONS, scenario=scenario,
        seed=HOST_SEED, interval=load_scenario(scenario).episode.decision_interval,
    )  # fmt: skip
    (out / CONTROLLER).write_text(text, encoding="utf-8")
    host, settings = read_config(out / CONTROLLER)
    return settings, host


def _report(out: Path, results: Results, summary: dict[str, Any], trained: str) -> None:
    from zswap_gym.agents.callbacks import read_episodes
    from zswap_gym.agents.report import write_html
    from zswap_gym.units import format_size

    asked = sum(row["proposed"] for row in summary["cgroups"].values())
    allowed = sum(row["allowed"] for row in summary["cgroups"].values())
    written = sum(row["written_bytes"] for row in summary["cgroups"].values())
    controlled = (
        f"Afterwards the controller took {summary['rounds']} rounds of decisions with the exported policy "
        f"on a simulated host: {asked} requests, {allowed} of them let through by the rails in whole or in "
        f"part, {format_size(written)} written back. Each decision and its reasons are in {LOG}."
    )
    notes = [trained + " So short a training is no measure of what training can do.", controlled]
    write_html(
        results,
        out / REPORT,
        title="zswap-gym demo",
        learning=read_episodes(out / RUN / "episodes.csv"),
        notes=notes,
    )
