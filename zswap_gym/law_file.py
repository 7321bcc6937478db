"""A law with its parameters in a file, as tuning leaves it under configs/laws.

    law: aimd                 # a registered law
    parameters: {target: 0.0005, age_min_s: 300}
    tuned: {...}              # how it came about; read by people

Wherever a law's name goes, the path of such a file goes too, and ``tuned:aimd`` is the one of that name
under configs/laws.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zswap_gym import lookup
from zswap_gym.errors import UserError, nearest
from zswap_gym.policy.laws import LAWS, Law, make_law
from zswap_gym.yaml_file import read_yaml

KEYS = ("law", "parameters", "tuned")
SUFFIXES = (".yaml", ".yml")
TUNED = "tuned:"


def is_law_file(path: Path) -> bool:
    """Whether the path is that of a YAML file."""
    return path.suffix in SUFFIXES and path.is_file()


def law_file(text: str) -> Path | None:
    """The file a text names, by its path or as ``tuned:NAME``; None where it means something else.

    Raises:
        UserError: there is no tuned law of that name.
    """
    if not text.startswith(TUNED):
        return Path(text) if is_law_file(Path(text)) else None
    name, known = text.removeprefix(TUNED).strip(), named_files()
    if name not in known:
        raise UserError(
            f"law {text!r}: no configs/laws/{name}.yaml{nearest(name, known)}; there are "
            f"{', '.join(known) or 'none'}; zswap-gym tune makes one"
        )
    return known[name]


def named_files() -> dict[str, Path]:
    """Every file of configs/laws by its name, looked up as all names are."""
    found = {name: lookup.named(name, "laws") for name in lookup.names("laws")}
    return {name: path for name, path in found.items() if path is not None}


def read_law(path: Path) -> Law:
    """The law in a file; raises as :func:`read_spec`."""
    return make_law(read_spec(path))


def read_spec(path: Path) -> dict[str, Any]:
    """The law in a file as :func:`make_law` takes it.

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
    spec = {**parameters, "law": content["law"]}
    try:
        make_law(spec)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return spec


def tuned_laws() -> dict[str, Path]:
    """The tuned file of each law that has one: configs/laws/NAME.yaml."""
    files = named_files()
    return {name: files[name] for name in LAWS if name in files}
