"""``zswap-gym evaluate``: compare policies and rules on scenarios, seed by seed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zswap_gym.cli._options import ClusterAddress, Promised, WorkerCount
from zswap_gym.errors import UserError

if TYPE_CHECKING:
    from zswap_gym.controller.rails import Limits
    from zswap_gym.envs.reward import RewardWeights

HELD_OUT = 5000
"""The first seed of an evaluation unless told otherwise."""


def evaluate(
    scenario: Annotated[
        list[str], typer.Option("--scenario", help="A scenario's name or YAML file; repeat it for several.")
    ],
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", help="A training run's folder or an exported file; repeat it for several."),
    ] = None,
    laws: Annotated[
        str,
        typer.Option(
            help="Rules to compare with: names or files separated by commas, or 'all' (with the tuned ones "
            "of configs/laws and the kernel's own shrinker and pool limit), or 'none'."
        ),
    ] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds; everybody meets the same ones.")] = 5,
    first_seed: Annotated[
        int, typer.Option(min=0, help="The first of them. Training uses small ones, so these are new.")
    ] = HELD_OUT,
    promise: Promised = None,
    objective: Annotated[
        str,
        typer.Option(help="What ranks them: promise, memory saved while it is kept; or bill, prices."),
    ] = "promise",
    price: Annotated[
        list[str] | None,
        typer.Option(
            "--price",
            metavar="TERM=WEIGHT",
            help="With --objective bill: a weight of the reward, such as dram_held=-20; may be repeated.",
        ),
    ] = None,
    rails: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A controller YAML: its rails are those of NAME+rails. Default: the defaults.",
        ),
    ] = None,
    workers: WorkerCount = None,
    cluster: ClusterAddress = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for results.json, episodes.csv and report.html.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON for programs.")] = False,
) -> None:
    """Compare policies with the rules everybody knows, on the same workloads and seeds.

    Everybody meets every scenario on every seed. First stand those that keep the promise to every
    cgroup, by the memory they save against doing nothing, with 95 % intervals; who breaks it never
    stands above who keeps it. Where a rule does as well as a policy, it says so.

    A rule may have parameters in brackets, and an arm after @: the same rule on a machine with
    another setting, such as the kernel's own shrinker switched on. NAME+rails, policy or rule, is what the
    controller would let through of it: its age floor, byte caps, pressure limit and refault breaker.

    Two know the future, and say what there is to gain: hindsight, the best fixed setting for each
    cgroup, and oracle, a search on cloned machines (half a minute to two for a seed of two hours, once).

    Examples:

        zswap-gym evaluate --policy runs/mine --scenario bench-mix
        zswap-gym evaluate --policy policy.npz --scenario demo-test --seeds 20 --out results
        zswap-gym evaluate --scenario single-kv --laws "never,fixed_age(age_s=30,max_bytes=8M),tmo"
        zswap-gym evaluate --scenario single-kv --laws "never,never@shrinker" --json
        zswap-gym evaluate --scenario mixed-test --laws "promise,hindsight,oracle" --seeds 4
        zswap-gym evaluate --scenario mixed-test --promise minutes=0.99,cpu_pct_per_gib=0.1
        zswap-gym evaluate --scenario demo-test --objective bill --price dram_held=-20
        zswap-gym evaluate --scenario demo-test --policy policy.npz+rails --rails mine.yaml
    """
    from zswap_gym.cli._extras import optional_parts
    from zswap_gym.cli._output import console, ensure_writable, warn_of_coarse
    from zswap_gym.envs.objective import objective_named
    from zswap_gym.policy.promise import Promise
    from zswap_gym.workloads.scenario import load_scenario

    # Everything that can be wrong is looked at before the first second of simulation.
    promised = Promise.of(promise, "--promise")
    objective_named(objective, "--objective")
    rules = split_laws(laws)
    if policy:
        check_policies(policy)
    if price and objective != "bill":
        raise UserError("--price: only --objective bill asks for prices; give that too, or leave it out")
    reward = prices(price) if price else None
    contestants = {spec: spec for spec in policy or ()} | rules
    limits = _limits(rails, list(contestants)) if rails is not None else None
    scenarios = [load_scenario(name) for name in scenario]
    if objective == "promise":
        warn_of_coarse(scenarios, promised.disk_reads_pct_min)
    if out is not None:
        ensure_writable(out, folder=True)
    with optional_parts("evaluating"):
        from zswap_gym.agents.evaluate import count_episodes
        from zswap_gym.agents.evaluate import evaluate as run
        from zswap_gym.agents.parallel import open_workers
        from zswap_gym.agents.report import print_report, write_html

    chosen = range(first_seed, first_seed + seeds)
    total = count_episodes(scenarios, seeds, len(contestants) + ("never" not in contestants))
    with open_workers(workers, cluster) as work, episode_bar(total, quiet=as_json) as tick:
        results = run(
            contestants, scenarios, chosen, objective=objective, promise=promised, reward=reward,
            rails=limits, workers=work, on_episodes=tick,
        )  # fmt: skip

    if out is not None:
        written = results.save(out)
        with optional_parts("drawing the report"):
            written.append(write_html(results, out / "report.html"))
    if as_json:
        print(results.to_json())
        return
    print_report(results, console())
    if out is not None:
        print("wrote " + ", ".join(str(path) for path in written))


def _limits(path: Path, who: Sequence[str]) -> Limits:
    """The rails of a controller's settings. UserError where nobody in ``who`` runs within rails."""
    from zswap_gym.cli.control import read_config

    if not any("+rails" in name for name in who):
        raise UserError(f"--rails {path}: nobody runs within rails; write NAME+rails in --policy or --laws")
    return read_config(path)[1].rails


def prices(given: Sequence[str]) -> RewardWeights:
    """``["dram_held=-20"]`` as weights, the others as usual. UserError where one is wrong."""
    from zswap_gym.envs.reward import RewardWeights

    weights: dict[str, float] = {}
    for text in given:
        term, _, value = text.partition("=")
        try:
            weights[term.strip()] = float(value)
        except ValueError:
            raise UserError(f"--price {text}: write TERM=WEIGHT, such as dram_held=-20") from None
    return RewardWeights.of(weights, "--price")


def split_laws(text: str) -> dict[str, str]:
    """Rules by name: ``"a,b(x=1,y=2)@z=1,w=2"`` is ``a`` and ``b(x=1,y=2)@z=1,w=2``.

    UserError where one is wrong.
    """
    from zswap_gym.agents.contestants import contestant, rules

    if text.strip() == "none":
        return {}
    if text.strip() == "all":
        return rules()
    # A comma inside brackets, or before KEY=, belongs to the law it follows.
    specs = [part.strip() for part in re.split(r",(?![^()]*\))(?!\s*\w+=)", text) if part.strip()]
    if not specs:
        raise UserError("--laws: names no law; write 'all', 'none' or names separated by commas")
    for spec in specs:
        contestant(spec)
    return {spec: spec for spec in specs}


def check_policies(specs: Sequence[str]) -> None:
    """UserError where an exported file is missing, damaged or of another contract."""
    from zswap_gym.agents.contestants import RAILED
    from zswap_gym.controller.decider import load_policy

    for spec in specs:
        name = spec if Path(spec).exists() else spec.removesuffix(RAILED)
        if not Path(name).is_dir():
            load_policy(name)


@contextmanager
def episode_bar(total: int, *, quiet: bool) -> Iterator[Callable[[int, str], None]]:
    """A progress bar on stderr over ``total`` episodes; yields what to call after some of them."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("episodes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.description}"), console=Console(stderr=True), disable=quiet,
    )  # fmt: skip
    with bar:
        task = bar.add_task("", total=total)
        yield lambda number, what: bar.update(task, advance=number, description=what)
