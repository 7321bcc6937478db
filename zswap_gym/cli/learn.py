"""``zswap-gym learn``: from a recording or a scenario to a policy file and its card, in so many minutes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from zswap_gym.cli._options import ClusterAddress, Promised, WorkerCount
from zswap_gym.errors import UserError

MINUTES_MOST = 60 * 24 * 7


def learn(
    subject: Annotated[
        str, typer.Argument(metavar="RECORDING|SCENARIO", help="A recording, or a scenario, by name or file.")
    ],
    minutes: Annotated[float, typer.Option(help="About how long it may take.")] = 10.0,
    promise: Promised = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write to. Default: runs/learn-NAME.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, exploration and draws.")] = 1,
    workers: WorkerCount = None,
    cluster: ClusterAddress = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Make a policy for what one has: tune the rules, train, choose a champion, judge it, export it.

    All on draws of the scenario (sizes, devices, events): rules are tuned and policies learn on some, a
    champion is chosen on others, and its figures are told of a third kind, which chose nothing. If no
    policy beats the tuned rules, the best rule is handed out. Stopped, the same command goes on.

    Examples:

        zswap-gym learn mixed-host
        zswap-gym learn mine.npz --minutes 30 --promise disk_reads_pct_min=0.5
        zswap-gym learn hourly-jobs --out runs/jobs --seed 7
    """
    from zswap_gym.cli._extras import optional_parts
    from zswap_gym.cli._output import ensure_writable, print_json, warn_of_coarse
    from zswap_gym.cli.train import print_champion, progress_bar
    from zswap_gym.policy.promise import Promise

    if not 0.5 <= minutes <= MINUTES_MOST:
        raise UserError(f"--minutes {minutes:g}; give 0.5 to {MINUTES_MOST}")
    promised = Promise.of(promise, "--promise")
    with optional_parts("learning"):
        from zswap_gym.agents.advice.subject import subject as scenario_named
        from zswap_gym.agents.learning.learn import Wish
        from zswap_gym.agents.learning.learn import learn as run
        from zswap_gym.agents.parallel import open_workers
        from zswap_gym.agents.tuning.objective import shortest_s

    scenario = scenario_named(subject)
    folder = out or Path("runs") / f"learn-{scenario.name}"
    ensure_writable(folder, folder=True)
    warn_of_coarse([scenario], promised.disk_reads_pct_min)
    _warn_of_short(scenario.name, scenario.episode.length, shortest_s(promised))
    with open_workers(workers, cluster) as work, progress_bar(scenario.name, quiet=as_json) as tick:
        told = run(Wish(scenario, promised, minutes, seed), folder, work, tick)
    if as_json:
        print_json(told)
        return
    print_champion(told, folder / "run")
    kind = "policy.npz" if told["champion"]["kind"] == "policy" else "rule.yaml"
    print(f"wrote {folder / kind} and {folder / 'card.md'}")


def _warn_of_short(name: str, length_s: float, least_s: float) -> None:
    if length_s < least_s:
        print(
            f"zswap-gym: {name}: episodes of {length_s:.0f} s are short of the {least_s:.0f} s in which one "
            "broken minute may be made good; minutes of all draws are judged together",
            file=sys.stderr,
        )
