"""``zswap-gym export``: the champion of a training run as one file, which a host runs without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zswap_gym.errors import UserError


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder a training run wrote.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="The file to write. Default: policy.npz, or rule.yaml where a rule has won."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Take the champion of a training run as one file.

    A policy's file holds the weights, the normaliser, the contract (which features, in which order, within
    which bounds), how it stood and where it all came from. Running it needs numpy and nothing else. Where
    a rule has won, the file is the rule's. Nothing in the folder is unpickled: it may come from anybody.

    Examples:

        zswap-gym export runs/mine --out policy.npz
        zswap-gym export runs/mine/seed-3 --out /etc/zswap-gym/policy.npz
    """
    from zswap_gym.atomic import write_atomically
    from zswap_gym.cli._extras import optional_parts
    from zswap_gym.cli._output import ensure_writable, print_json

    if not run.is_dir():
        raise UserError(f"{run}: no such run; give the folder that 'zswap-gym train --out' wrote")
    with optional_parts("exporting"):
        from zswap_gym.agents.learning.champion import champion_file
    found = champion_file(run)
    rule = found.suffix == ".yaml"
    target = out or Path("rule.yaml" if rule else "policy.npz")
    if rule and target.suffix not in (".yaml", ".yml"):
        raise UserError(
            f"{run}: its champion is a rule, no policy beat it; name a .yaml file with --out, which goes "
            "wherever a law does"
        )
    ensure_writable(target)
    if not rule:
        from zswap_gym.policy.runtime import Policy

        Policy.load(found)  # whole, or refused here
    write_atomically(target, found.read_bytes())
    size = target.stat().st_size
    if as_json:
        print_json({"policy": target, "kind": "rule" if rule else "policy", "bytes": size})
    else:
        print(f"wrote {target} ({size} bytes)")
