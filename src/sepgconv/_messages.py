"""Sentences that errors share: the nearest valid name, the extra that is missing. Imports nothing of the package."""

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType
from typing import TypeVar

T = TypeVar("T", bound=str)


def unknown_name(kind: str, name: object, choices: Iterable[str]) -> str:
    """Return the sentence for an unknown name: what came, the nearest valid names, all valid names.

    Args:
        kind: what the name stands for, as in "model" or "data set".
        name: what was given.
        choices: every valid name.
    """
    valid = list(choices)
    near = nearest_names(name, valid)
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    return f"unknown {kind} {name!r}{hint} (valid: {', '.join(valid)})"


def nearest_names(name: object, choices: Iterable[str]) -> list[str]:
    """Return up to three names that are spelt like another, the nearest first; upper and lower case are alike."""
    folded = {choice.lower(): choice for choice in choices}
    return [folded[match] for match in difflib.get_close_matches(str(name).lower(), folded, n=3, cutoff=0.5)]


def one_of(kind: str, value: object, choices: tuple[T, ...]) -> T:
    """Return the choice that equals `value`.

    Raises:
        ValueError: there is none; the sentence is that of `unknown_name`.
    """
    for choice in choices:
        if isinstance(value, str) and value == choice:
            return choice
    raise ValueError(unknown_name(kind, value, choices))


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import and return an optional dependency.

    Args:
        module: its import name.
        extra: the extra of this package that installs it.
        purpose: what it is needed for, as in "training".

    Raises:
        ImportError: it is not installed; the message gives the command that installs the extra.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or module.split(".")[0] != error.name.split(".")[0]:
            raise
        raise ImportError(
            f"{purpose} needs {error.name!r}, which is not installed; install it with: pip install 'sepgconv[{extra}]'"
        ) from error
