"""Names that options had before: they work for one release with a warning, and in files for good."""

import functools
import inspect
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar, cast

Taker = TypeVar("Taker", bound=Callable[..., Any])

OLD_OPTIONS: Mapping[str, str] = {"convolution": "sharing"}


def current_options(
    options: Mapping[str, Any], known: Collection[str], caller: str, *, warn: bool = True
) -> dict[str, Any]:
    """Return options under the names that they have now.

    Args:
        options: by name.
        known: the names that whoever takes them knows; an old name that is among them means something else there.
        caller: named in messages.
        warn: whether to warn of old names; files that have them are read silently.

    Raises:
        ValueError: an option is given under both names.
    """
    found = dict(options)
    for old, new in OLD_OPTIONS.items():
        if old not in found or old in known or new not in known:
            continue
        if new in found:
            raise ValueError(f"{caller}: {old} is the old name of {new}; give {new} alone")
        if warn:
            warnings.warn(
                f"{caller}: {old} is called {new} now; the old name goes with the next release",
                DeprecationWarning,
                stacklevel=3,
            )
        found[new] = found.pop(old)
    return found


def takes_old_options(function: Taker) -> Taker:
    """Let a function, or the class of a config, take its arguments under their old names too, with a warning."""
    if isinstance(function, type):
        kind = cast("Any", function)
        kind.__init__ = takes_old_options(kind.__init__)
        for old, new in OLD_OPTIONS.items():
            setattr(kind, old, _old_property(old, new))
        return cast("Taker", function)
    caller = function.__qualname__.removesuffix(".__init__")
    known = tuple(inspect.signature(function).parameters)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **current_options(kwargs, known, caller))

    return cast("Taker", wrapper)


def _old_property(old: str, new: str) -> property:
    def get(self: Any) -> Any:
        warnings.warn(
            f"{type(self).__name__}.{old} is called {new} now; the old name goes with the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(self, new)

    return property(get)
