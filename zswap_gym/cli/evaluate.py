"""``zswap-gym evaluate``: compare policies and rules on scenarios, seed by seed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from zswap_gym.errors import UserError


def evaluate(
    scenario: Annotated[
        list[str], typer.Option("--scenario", help="A scenario's name or YAML file; repeat it for several.")
    ],
    policy: Annotated[
        list[Path] | None,
        typer.Option("--policy", help="A training run's folder or an exported file; repeat it for several."),
    ] = None,
    laws: Annotated[
        str,
        typer.Option(
            help="Rules to compare with, separated by commas; parameters in brackets. 'all', 'none'."
        ),
    ] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds; every policy meets the same ones.")] = 5,
    first_seed: Annotated[
        int, typer.Option(min=0, help="The first of them. Training used small numbers; these should be new.")
    ] = 1000,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for results.json, episodes.csv and report.html.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON for programs.")] = False,
) -> None:
    """Compare policies with the rules everybody knows, on the same workloads and seeds.

    Each policy and rule meets every scenario on every seed. What is printed is the difference to
    doing nothing, pair by pair, with 95 % intervals; where a rule does as well, it says so.

    Examples:

        zswap-gym evaluate --policy runs/mine --scenario bench-mix
        zswap-gym evaluate --policy policy.npz --scenario A --scenario B --seeds 20 --out results
        zswap-gym evaluate --scenario A --laws "never,fixed_age(age_s=30,max_bytes=8M),tmo" --json
    """


def split_laws(text: str) -> list[str]:
    """``"a,b(x=1,y=2)"`` as ``["a", "b(x=1,y=2)"]``; each is checked, UserError names a wrong one."""
    from zswap_gym.policy.laws import LAWS, make_law

    if text.strip() == "none":
        return []
    if text.strip() == "all":
        return list(LAWS)
    specs = [part.strip() for part in re.split(r",(?![^()]*\))", text) if part.strip()]
    for spec in specs:
        make_law(spec)
    if not specs:
        raise UserError("--laws: names no law; write 'all', 'none' or names separated by commas")
    return list(dict.fromkeys(specs))
