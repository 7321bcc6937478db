"""What the settings leave to the host: names as it uses them, its page size, where the controller lives."""

from __future__ import annotations

import os
from pathlib import Path

from zswap_gym.controller.config import ControllerConfig
from zswap_gym.errors import UserError
from zswap_gym.host.names import below_root
from zswap_gym.host.own import OwnCgroup, find_own_cgroup


def on_this_host(config: ControllerConfig, source: str = "controller config") -> ControllerConfig:
    """The settings with names as the host uses them, and the machine's page size filled in.

    Raises:
        UserError: a pattern, or own_cgroup, lies outside of cgroup_root or does not exist.
    """
    root = Path(config.cgroup_root)
    try:
        patterns = tuple(_named("cgroups", pattern, root) for pattern in config.cgroups)
        own = None if config.own_cgroup is None else _own(config.own_cgroup, root)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    page_size = config.page_size or os.sysconf("SC_PAGESIZE")
    return config.changed(source, cgroups=patterns, own_cgroup=own, page_size=page_size)


def _named(key: str, written: str, root: Path) -> str:
    try:
        return below_root(written, root)
    except UserError as error:
        raise UserError(f"{key}: {error}") from None


def _own(written: str, root: Path) -> str:
    """Below the root; "/" where it is outside. One that is not there would protect nothing: UserError."""
    name = "" if written.strip() == "/" else _named("own_cgroup", written, root)
    if not (root / name).is_dir():
        raise UserError(f"own_cgroup: {root / name}: no such cgroup; write its path below cgroup_root")
    return name or "/"


def own_cgroup(config: ControllerConfig) -> OwnCgroup:
    """Where the controller lives: as the settings say, else as the host shows."""
    if config.own_cgroup is not None:
        return OwnCgroup(config.own_cgroup.strip("/"), f"own_cgroup: {config.own_cgroup}")
    return find_own_cgroup(config.cgroup_root, config.proc_root)
