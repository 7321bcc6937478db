"""``zswap-gym restore``: put back what a pulse left behind when the controller was cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def restore(
    state: Annotated[
        Path, typer.Argument(metavar="STATE", help="The state file named in the controller's config.")
    ],
) -> None:
    """Put back what a pulse left behind when the controller was cut off.

    With dialect stock-pulse the controller turns zswap's shrinker on for moments. What to put back lies
    beside its state file meanwhile. Where nothing was cut off this does nothing; ended with 0 either way.

    Examples:

        zswap-gym restore /var/lib/zswap-gym/state.json
        ExecStopPost=zswap-gym restore /var/lib/zswap-gym/state.json    # in a systemd unit
    """
    from zswap_gym.host.linux import boot_id
    from zswap_gym.host.pulse_note import restore as put_back

    print(put_back(state, boot_id("/proc")) or f"{state}: no pulse was cut off, nothing to put back")
