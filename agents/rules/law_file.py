"""A law with its parameters in a file, as tuning leaves it under configs/laws.

    law: aimd                 # a registered law
    parameters: {target: 0.0005, age_min_s: 300}
    tuned: {...}              # how it came about; read by people

Wherever a law's name goes, the path of such a file goes too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zswap_gym
from zswap_gym.errors import UserError, nearest
from zswap_gym.policy.laws import LAWS, Law, make_law
from zswap_gym.workloads.yaml_file import read_yaml

KEYS = ("law", "parameters", "tuned")
SUFFIXES = (".yaml", ".yml")


def is_law_file(path: Path) -> bool:
    """Whether the path is that of a YAML file."""
    return path.suffix in SUFFIXES and path.is_file()


def read_law(path: Path) -> Law:
    """The law in a file.

    Raises:
        UserError: no such file, not YAML, an unknown key, law or parameter; names the file and the key.
    """
    content = read_yaml(path)
    for key in content:
        if key not in KEYS:
            raise UserError(f"{path}: unknown key {key!r}{nearest(str(key), KEYS)}; it has {', '.join(KEYS)}")
    parameters: Any = content.get("parameters") or {}
    if not isinstance(content.get("law"), str) or not isinstance(parameters, Mapping):
        raise UserError(
            f"{path}: wanted law: NAME and parameters: {{KEY: VALUE}}; laws are {', '.join(LAWS)}"
        )
    try:
        return make_law({**parameters, "law": content["law"]})
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def tuned_laws() -> dict[str, Path]:
    """The tuned file of each law that has one: configs/laws/NAME.yaml, here or beside the package."""
    places = (Path.cwd(), Path(zswap_gym.__file__).parents[1])
    found = {}
    for name in LAWS:
        files = (place / "configs" / "laws" / f"{name}.yaml" for place in dict.fromkeys(places))
        path = next((file for file in files if file.is_file()), None)
        if path is not None:
            found[name] = path
    return found
