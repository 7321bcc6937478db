"""``zswap-gym evaluate``: compare policies and rules on scenarios, seed by seed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
        str, typer.Option(help="Rules to compare with: names separated by commas, or 'all', or 'none'.")
    ] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds; everybody meets the same ones.")] = 5,
    first_seed: Annotated[
        int, typer.Option(min=0, help="The first of them. Training uses small ones, so these are new.")
    ] = HELD_OUT,
    price: Annotated[
        list[str] | None,
        typer.Option(
            "--price",
            metavar="TERM=WEIGHT",
            help="A weight of the reward, such as dram_held=-20; repeat it for several. Default: what the "
            "policies were trained for.",
        ),
    ] = None,
    rails: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A controller YAML: its rails are those of NAME+rails. Default: the defaults.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for results.json, episodes.csv and report.html.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON for programs.")] = False,
) -> None:
    """Compare policies with the rules everybody knows, on the same workloads and seeds.

    Everybody meets every scenario on every seed. What is printed is the difference to doing nothing,
    pair by pair, with 95 % intervals; where a rule does as well as a policy, it says so.

    A rule may have parameters in brackets, and an arm after @: the same rule on a machine with
    another setting, such as the kernel's own shrinker switched on. NAME+rails, policy or rule, is what the
    controller would let through of it: its age floor, byte caps, pressure limit and refault breaker.

    Examples:

        zswap-gym evaluate --policy runs/mine --scenario bench-mix
        zswap-gym evaluate --policy policy.npz --scenario demo-test --seeds 20 --out results
        zswap-gym evaluate --scenario single-kv --laws "never,fixed_age(age_s=30,max_bytes=8M),tmo"
        zswap-gym evaluate --scenario single-kv --laws "never,never@shrinker" --json
        zswap-gym evaluate --scenario demo-test --price dram_held=-20
        zswap-gym evaluate --scenario demo-test --policy policy.npz+rails --rails mine.yaml
    """
    from zswap_gym.cli._extras import optional_parts
    from zswap_gym.cli._output import console, ensure_writable
    from zswap_gym.workloads.scenario import load_scenario

    # Everything that can be wrong is looked at before the first second of simulation.
    names = split_laws(laws)
    if policy:
        check_policies(policy)
    reward = prices(price) if price else None
    who = list(dict.fromkeys([*(policy or ()), *names]))
    limits = _limits(rails, who) if rails is not None else None
    scenarios = [load_scenario(name) for name in scenario]
    if out is not None:
        ensure_writable(out, folder=True)
    with optional_parts("evaluating"):
        from zswap_gym.agents.evaluate import evaluate as run
        from zswap_gym.agents.report import print_report, write_html

    chosen = range(first_seed, first_seed + seeds)
    with episode_bar((len(who) + ("never" not in who)) * len(scenarios) * seeds, quiet=as_json) as tick:
        results = run(who, scenarios, chosen, reward=reward, rails=limits, on_episode=tick)

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


def split_laws(text: str) -> list[str]:
    """``"a,b(x=1,y=2)@z=1,w=2"`` as ``["a", "b(x=1,y=2)@z=1,w=2"]``. UserError where one is wrong."""
    from zswap_gym.agents.contestants import contestant
    from zswap_gym.policy.laws import LAWS

    if text.strip() == "none":
        return []
    if text.strip() == "all":
        return list(LAWS)
    # A comma inside brackets, or before KEY=, belongs to the law it follows.
    specs = [part.strip() for part in re.split(r",(?![^()]*\))(?!\s*\w+=)", text) if part.strip()]
    if not specs:
        raise UserError("--laws: names no law; write 'all', 'none' or names separated by commas")
    for spec in specs:
        contestant(spec)
    return list(dict.fromkeys(specs))


def check_policies(specs: Sequence[str]) -> None:
    """UserError where an exported file is missing, damaged or of another contract."""
    from zswap_gym.agents.contestants import RAILED
    from zswap_gym.controller.decider import load_policy

    for spec in specs:
        name = spec if Path(spec).exists() else spec.removesuffix(RAILED)
        if not Path(name).is_dir():
            load_policy(name)


@contextmanager
def episode_bar(total: int, *, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A progress bar on stderr over ``total`` episodes; yields what to call after each."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("episodes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.description}"), console=Console(stderr=True), disable=quiet,
    )  # fmt: skip
    with bar:
        task = bar.add_task("", total=total)
        yield lambda what: bar.update(task, advance=1, description=what)
