"""Read a YAML mapping, refusing what YAML would let pass: keys given twice, other shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from zswap_gym.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

_NO_VALUE = (ValueError, OverflowError, LookupError, AttributeError)
"""What PyYAML's constructors let slip: ``2020-99-99`` is a date to it, ``!!int ''`` an index."""


class _Loader(yaml.SafeLoader):
    """Safe loading in which a key given twice is an error, and an impossible value one with a line."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Here and not when constructing: by then merge keys (<<) may have added some that may be overridden.
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in seen:
                raise ComposerError(None, None, f"key {key.value!r} is given twice", key.start_mark)
            seen.add((key.tag, key.value))
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except _NO_VALUE as error:
            raise ConstructorError(
                None, None, f"{node.value!r} means nothing ({error})", node.start_mark
            ) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: cannot be read, is not YAML or not a mapping; says in which line.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506  a SafeLoader
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give a YAML file, such as those in configs/") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give a YAML file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "somewhere"
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{path}: {where}: {problem}; correct the YAML") from None
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply to be read; correct the YAML") from None
    except _NO_VALUE as error:  # the scanner's, such as a character beyond Unicode
        raise UserError(f"{path}: somewhere: {error}; correct the YAML") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        held = "nothing" if content is None else type(content).__name__
        raise UserError(f"{path}: holds {held}, wanted a mapping of keys; see configs/")
    return content
