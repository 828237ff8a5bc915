"""Values read from a file, compared with the annotations of what they should be."""

import dataclasses
import math
import types
from collections.abc import Mapping
from typing import Any, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict


def check_fields(values: Mapping[str, Any], kind: type, what: str) -> None:
    """Raise if values are not what a dataclass or a TypedDict declares.

    A whole number may stand for a float; no number that is not finite is one. Fields that are not declared are not
    looked at.

    Args:
        values: by the names of the fields.
        kind: the dataclass or TypedDict.
        what: what the values are, for the message.

    Raises:
        ValueError: a field is missing or of another type; the message names it.
    """
    hints = get_type_hints(kind)
    if missing := [name for name in hints if name not in values and _is_required(kind, name)]:
        raise ValueError(f"{what} lacks {', '.join(missing)}")
    for name, hint in hints.items():
        if name in values:
            check_value(values[name], hint, name, what)


def check_value(value: Any, hint: Any, name: str, what: str) -> None:
    """Raise if a value is not what an annotation says.

    Args:
        value: the value.
        hint: the annotation, as `float | None`.
        name: of the field that holds it.
        what: what has the field, for the message.

    Raises:
        ValueError: it is of another type.
    """
    if not _fits(value, hint):
        raise ValueError(f"{what} must have {_words(hint)} as {name}, it has {_short(value)}")


def _is_required(kind: type, name: str) -> bool:
    if is_typeddict(kind):
        return name in kind.__required_keys__
    (field,) = (field for field in dataclasses.fields(kind) if field.name == name)
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is NotRequired:
        return _fits(value, arguments[0])
    if origin in (Union, types.UnionType):
        return any(_fits(value, choice) for choice in arguments)
    if origin is list:
        return isinstance(value, list) and all(_fits(entry, arguments[0]) for entry in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            _fits(key, arguments[0]) and _fits(entry, arguments[1]) for key, entry in value.items()
        )
    if is_typeddict(hint):
        try:
            check_fields(value, hint, "it")
        except (ValueError, TypeError):
            return False
        return isinstance(value, dict)
    if hint in (int, float) and isinstance(value, bool):
        return False
    if hint is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, type(None) if hint is None else hint)


def _words(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(choice) for choice in arguments)
    if origin is list:
        return f"a list, each entry {_words(arguments[0])}"
    if origin is dict:
        return "an object" if arguments[1] is Any else f"an object, each value {_words(arguments[1])}"
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "nothing"}
    return names.get(hint, "an object" if is_typeddict(hint) else f"a {getattr(hint, '__name__', hint)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
