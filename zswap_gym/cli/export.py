"""``zswap-gym export``: turn a training run into one file that a host can run without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zswap_gym.errors import UserError


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder a training run wrote.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path("policy.npz"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Export a trained policy to one file.

    The file holds the weights, the normaliser, the contract (which features, in which order, within
    which bounds) and where it all came from. Running it needs numpy and nothing else; it decides what
    the trained model decides.

    Examples:

        zswap-gym export runs/mine --out policy.npz
        zswap-gym export runs/mine/seed-3 --out /etc/zswap-gym/policy.npz
    """
    from zswap_gym.cli._extras import optional_parts
    from zswap_gym.cli._output import ensure_writable, print_json

    if not run.is_dir():
        raise UserError(f"{run}: no such run; give the folder that 'zswap-gym train --out' wrote")
    ensure_writable(out)
    with optional_parts("exporting"):
        from zswap_gym.agents.export import export_run
    written = export_run(run, out)
    size = written.stat().st_size
    if as_json:
        print_json({"policy": written, "bytes": size})
    else:
        print(f"wrote {written} ({size} bytes)")
