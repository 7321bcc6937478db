"""Optional parts: a command that needs one says which to install, instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from zswap_gym.errors import UserError

_EXTRA = {
    "torch": "train",
    "stable_baselines3": "train",
    "sb3_contrib": "train",
    "tensorboard": "train",
    "matplotlib": "train",
    "tqdm": "train",
    "optuna": "tune",
    "cmaes": "tune",
    "sqlalchemy": "tune",
    "ray": "cluster",
}


@contextmanager
def optional_parts(doing: str) -> Iterator[None]:
    """Around lazy imports: a missing optional package becomes a UserError that names the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in _EXTRA:
            raise
        extra = _EXTRA[package]
        raise UserError(
            f"{doing} needs {package}, which is not installed; pip install 'zswap-gym[{extra}]'"
        ) from error
