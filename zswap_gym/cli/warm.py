"""``zswap-gym warm``: compile the model ahead, so that nobody waits for it later."""

from __future__ import annotations

import typer


def warm() -> None:
    """Compile the kernel model for this machine and keep it in the cache folder.

    It happens by itself at the first use, once per version, on up to three cores; this does it at a time of
    your choosing, when an image is built for example. Where it has been done it ends at once. The folder is
    ~/.cache/zswap-gym unless ZSWAP_GYM_CACHE names another.

    Examples:

        zswap-gym warm
        ZSWAP_GYM_CACHE=/var/cache/zswap-gym zswap-gym warm
    """
    import importlib
    import time

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from zswap_gym.kernel.ahead import prepare
    from zswap_gym.kernel.jit import CACHE_DIR

    importlib.import_module("zswap_gym.envs.vector")  # with it come all entry points but those of tests
    began = time.perf_counter()
    columns = TextColumn("compiling"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None, visible=False)
        made = prepare(
            lambda done, total: bar.update(task, completed=done, total=total, visible=True), seldom=True
        )
    what = f"compiled {made} entry points in {time.perf_counter() - began:.0f} s" if made else "nothing to do"
    typer.echo(f"{what}; compiled code is in {CACHE_DIR}")
