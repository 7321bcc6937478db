"""A lazy info is a dictionary to everybody, and makes nothing that nobody reads."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable

import pytest

from zswap_gym.envs.lazy_info import LazyInfo

FULL = {"busy": 0, "cost": 2, "terms": 1}
READERS: dict[str, Callable[[LazyInfo], object]] = {
    "item": lambda info: info["terms"] == 1,
    "get": lambda info: info.get("cost") == 2,
    "keys": lambda info: sorted(info) == sorted(info.keys()) == list(FULL),
    "items": lambda info: sorted(info.items()) == sorted(FULL.items()),
    "values": lambda info: sorted(info.values()) == [0, 1, 2],
    "length": lambda info: len(info) == 3,
    "equal": lambda info: info == FULL,
    "dict": lambda info: dict(info) == {**info} == FULL,
    "or": lambda info: (info | {"x": 5})["x"] == 5 and ({"x": 5} | info)["cost"] == 2,
    "copy": lambda info: info.copy() == copy.copy(info) == copy.deepcopy(info) == FULL,
    "pickle": lambda info: pickle.loads(pickle.dumps(info)) == FULL,
    "json": lambda info: json.loads(json.dumps(info)) == FULL,
    "text": lambda info: repr(info) == repr(dict(info)) and "'cost': 2" in repr(info),
    "pop": lambda info: info.pop("cost") == 2 and info.pop("cost", None) is None and len(info) == 2,
    "default": lambda info: info.setdefault("cost", 9) == 2 and info.setdefault("new", 9) == 9,
    "update": lambda info: {}.__class__() | info == FULL,
}


@pytest.fixture
def made() -> list[int]:
    return []


@pytest.fixture
def info(made: list[int]) -> LazyInfo:
    def make() -> dict[str, int]:
        made.append(1)
        return {"terms": 1, "cost": 2}

    return LazyInfo(("terms", "cost"), make, busy=0)


@pytest.mark.parametrize("name", READERS)
def test_reading_makes_it_once(name: str, info: LazyInfo, made: list[int]) -> None:
    assert isinstance(info, dict)
    assert made == []
    assert READERS[name](info)
    READERS["get"](info)
    assert made == [1]


def test_what_is_not_read_is_not_made(info: LazyInfo, made: list[int]) -> None:
    assert (info["busy"], info.get("busy"), info.get("episode"), info.get("episode", 3)) == (0, 0, None, 3)
    assert "terms" in info
    assert "episode" not in info
    with pytest.raises(KeyError):
        info["episode"]
    info["episode"] = {"r": 1.0}
    info["cost"] = 7
    assert "episode" in info
    assert made == []
    assert (info["terms"], info["cost"]) == (1, 7)
