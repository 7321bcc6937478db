"""``zswap-gym bench``: how fast the environment is on this machine, as one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def bench(
    out: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file, one flat JSON object.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer sizes and repetitions: minutes become seconds.")
    ] = False,
    long: Annotated[
        bool, typer.Option("--long", help="A host's week and machines of up to 1 TiB too: minutes more.")
    ] = False,
) -> None:
    """Time the environment, the compiled core, training and whole commands, on one core and on all.

    Every row says what a step contained: faults, scans and pages written, because their number, not the
    number of accesses, is what a step costs. Rates include resets; ratios are of one run, medians of 5.
    Run it on a machine that does nothing else. The standard machine is the scenario bench-mix.

    Examples:

        zswap-gym bench
        zswap-gym bench --quick
        zswap-gym bench --long
        zswap-gym bench --json speed.json
    """
    from zswap_gym.cli._extras import optional_parts
    from zswap_gym.cli._output import console, ensure_writable, write_json

    if out is not None:
        ensure_writable(out)
    with optional_parts("timing"):
        from zswap_gym.agents.bench.table import measure

    figures = measure(quick=quick, long=long, say=console().print)
    if out is not None:
        write_json(out, figures)
