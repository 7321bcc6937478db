"""Infos that are built when somebody reads them: most are never looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


class LazyInfo(dict[str, Any]):
    """A dictionary some of whose values are made when one of them is first asked for.

    Everything that does not need their values (other keys, whether a key is there) leaves them unmade.

    Args:
        names: keys of what ``make`` returns.
        make: called once, if at all. Whatever it reads must stay as it is until then.
        known: what there is already.
    """

    def __init__(self, names: tuple[str, ...], make: Callable[[], Mapping[str, Any]], **known: Any) -> None:
        super().__init__(known)
        self._names, self._make = names, make

    def _made(self) -> LazyInfo:
        if self._names:
            self._names, make = (), self._make
            del self._make
            for name, value in make().items():
                super().setdefault(name, value)  # what somebody has set meanwhile stays
        return self

    def __missing__(self, key: str) -> Any:
        if key in self._names:
            return dict.__getitem__(self._made(), key)
        raise KeyError(key)

    def get(self, key: str, default: Any = None) -> Any:
        """As of any dictionary; asks for nothing else."""
        return super().get(key, default) if key not in self._names else self[key]

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or key in self._names

    def __iter__(self) -> Iterator[str]:
        return super(LazyInfo, self._made()).__iter__()

    def __len__(self) -> int:
        return super(LazyInfo, self._made()).__len__()

    def __eq__(self, other: object) -> bool:
        return dict(self) == other

    __hash__ = None

    def __repr__(self) -> str:
        return repr(dict(self))

    def __or__(self, other: Any) -> Any:
        return dict(self) | other

    def __ror__(self, other: Any) -> Any:
        return other | dict(self)

    def __reduce__(self) -> Any:
        return dict, (dict(self),)

    def copy(self) -> Any:
        """A plain dictionary with everything in it."""
        return dict(self)

    def keys(self) -> Any:
        """As of any dictionary."""
        return super(LazyInfo, self._made()).keys()

    def values(self) -> Any:
        """As of any dictionary."""
        return super(LazyInfo, self._made()).values()

    def items(self) -> Any:
        """As of any dictionary."""
        return super(LazyInfo, self._made()).items()

    def pop(self, key: str, *default: Any) -> Any:
        """As of any dictionary."""
        return super(LazyInfo, self._made()).pop(key, *default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """As of any dictionary."""
        return super(LazyInfo, self._made()).setdefault(key, default)
