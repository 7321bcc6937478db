"""Where the names of scenarios, experiments, controllers, laws and suites are looked up.

A name stands for ``KIND/NAME.yaml`` in the first of these folders that has it:

1. ``configs`` in the working folder,
2. ``zswap-gym`` in the user's own configuration, ``$XDG_CONFIG_HOME`` or ``~/.config``,
3. ``configs`` of the package: the checkout's where it runs from one, else what was installed with it.

Before all of them comes a file of exactly that path.
"""

from __future__ import annotations

import os
from pathlib import Path


def folders(kind: str) -> list[Path]:
    """The folders of a kind (scenarios, experiments, controller, laws, suites), in order."""
    own = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111 - never raises
    roots = [Path.cwd() / "configs", Path(own) / "zswap-gym", Path(__file__).parent / "configs"]
    return [root / kind for root in roots]


def names(kind: str) -> list[str]:
    """Every name of a kind, sorted."""
    return sorted({path.stem for folder in folders(kind) for path in folder.glob("*.yaml")})


def named(name: str, kind: str) -> Path | None:
    """The first of that name; None where there is none."""
    return next((path for folder in folders(kind) if (path := folder / f"{name}.yaml").is_file()), None)


def find(name: str, kind: str) -> Path | None:
    """The file of that path, or the first of that name; None where there is neither."""
    return path if (path := Path(name)).is_file() else named(name, kind)
