"""Options that several commands take, each said once."""

from __future__ import annotations

from typing import Annotated

import typer

Promised = Annotated[
    str | None,
    typer.Option(
        metavar="KEY=VALUE,...",
        help="What each cgroup is promised: some of disk_reads_pct_min=0.2, minutes=0.95, "
        "psi_added_pct=0.1, cpu_pct_per_gib=0.25.",
    ),
]
"""``--promise``, for :meth:`zswap_gym.policy.promise.Promise.of`."""

WorkerCount = Annotated[
    int | None, typer.Option(min=1, help="Processes to run on. Default: as many as there are cores.")
]
"""``--workers``, for :func:`zswap_gym.agents.parallel.open_workers`."""

ClusterAddress = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Run on a Ray cluster instead: ray://HOST:10001, HOST:6379, or local for one started here.",
    ),
]
"""``--cluster``, for the same."""
