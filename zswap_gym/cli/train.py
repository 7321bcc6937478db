"""``zswap-gym train``: learn a policy from an experiment YAML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zswap_gym.errors import UserError

if TYPE_CHECKING:
    from zswap_gym.agents.train import RunResult


def train(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG", help="An experiment YAML, or a name in configs/experiments.")
    ],
    seed: Annotated[
        list[int] | None,
        typer.Option("--seed", help="Repeat it for several runs. Default: the experiment's."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to write to. Default: runs/ and the experiment's name."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Train a policy.

    The experiment says on which scenarios, with which algorithm, for how many steps and how the reward
    is weighed. The folder gets the resolved experiment, checkpoints, TensorBoard logs and the final
    model. A run that was stopped goes on with --resume. With several seeds, each has a folder seed-N.

    Examples:

        zswap-gym train demo
        zswap-gym train mine.yaml --out runs/mine
        zswap-gym train mine.yaml --out runs/mine --resume
        zswap-gym train mine.yaml --seed 1 --seed 2 --seed 3 --out runs/three
        tensorboard --logdir runs
    """
    from zswap_gym.cli._extras import optional_parts
    from zswap_gym.cli._output import ensure_writable, print_json

    with optional_parts("training"):
        from zswap_gym.agents.config import SEED_MAX, load_experiment

        experiment = load_experiment(config)
        folder = out or experiment.folder
        ensure_writable(folder, folder=True)
        for number in seed or ():
            if not 0 <= number <= SEED_MAX:
                raise UserError(f"--seed {number}: seeds are 0 to {SEED_MAX}; name another")
        seeds = list(dict.fromkeys(seed or experiment.seeds))
        from zswap_gym.agents.train import train as train_one

    runs = []
    for number in seeds:
        where = folder / f"seed-{number}" if len(seeds) > 1 else folder
        runs.append(train_one(experiment, where, number, resume=resume, progress=not as_json))
        if not as_json:
            done = runs[-1]
            print(f"seed {number}: {done.steps} steps in {done.seconds:.0f} s; {_returns(done)}; {where}")
    if as_json:
        print_json(runs)


def _returns(done: RunResult) -> str:
    if not done.episodes:
        return "no episode ended"
    return (
        f"mean return of the first tenth of its episodes {done.return_first:.4f}, "
        f"of the last {done.return_last:.4f}"
    )
