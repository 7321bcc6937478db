"""What pydantic found wrong with a file, in one line a person can act on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel

from zswap_gym.errors import UserError, nearest

if TYPE_CHECKING:
    from pydantic import ValidationError


def describe(source: str, model: type[BaseModel], error: ValidationError) -> UserError:
    """One line about the first finding: file, key, value, what is wrong, what to do."""
    findings = error.errors(include_url=False)
    first = findings[0]
    path = _path(first["loc"])
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    if first["type"] == "extra_forbidden":
        unknown, above = first["loc"][-1], _path(first["loc"][:-1])  # whatever the unknown key looks like
        known = _model_at(model, above).model_fields
        where = ".".join(map(str, above)) or "top level"
        return UserError(
            f"{source}: key {where}: unknown key {unknown!r}{nearest(str(unknown), known)}; "
            f"known are {', '.join(known)}{more}"
        )
    key = ".".join(map(str, path)) or "top level"
    message = first["msg"].removeprefix("Value error, ")
    value = first["input"]
    shown = (
        ""
        if first["type"] == "missing" or isinstance(value, (dict, list, BaseModel))
        else f" value {value!r}:"
    )
    return UserError(f"{source}: key {key}:{shown} {message}{more}")


def _path(location: tuple[int | str, ...]) -> list[int | str]:
    return [part for part in location if isinstance(part, int) or _named(part)]


def _named(part: str) -> bool:
    """Not one of the labels pydantic puts in a location for the branch of a union."""
    return part.isidentifier() and part not in {"int", "float", "str", "bool", "none", "literal"}


def _model_at(model: type[BaseModel], path: list[int | str]) -> type[BaseModel]:
    """The model the keys at ``path`` belong to."""
    for part in path:
        if isinstance(part, str) and part in model.model_fields:
            model = _inner(model.model_fields[part].annotation) or model
    return model


def _inner(annotation: Any) -> type[BaseModel] | None:
    if get_origin(annotation) is None and isinstance(annotation, type):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for arg in get_args(annotation) if (found := _inner(arg)) is not None), None)
