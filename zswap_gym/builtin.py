"""Policies that come with the program: ``builtin:NAME`` goes wherever the file of a policy goes."""

from __future__ import annotations

from pathlib import Path

from zswap_gym.errors import UserError, nearest

PREFIX = "builtin:"
_FOLDER = Path(__file__).parent / "configs" / "policies"


def names() -> list[str]:
    """Names of all."""
    return sorted(path.stem for path in _FOLDER.glob("*.npz"))


def policy_file(text: str | Path) -> Path:
    """The file that ``builtin:NAME`` stands for; any other text is a file's path.

    Raises:
        UserError: no policy of that name comes with the program.
    """
    if not str(text).startswith(PREFIX):
        return Path(text)
    name = str(text).removeprefix(PREFIX)
    if name not in names():
        raise UserError(
            f"{text}: no such policy comes with zswap-gym{nearest(name, names())}; it has "
            f"{', '.join(names()) or 'none'}"
        )
    return _FOLDER / f"{name}.npz"
