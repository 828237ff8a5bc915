"""The error for a network that cannot be converted: one sentence, with the place."""

from typing import NoReturn


def raise_unconvertible(place: str, reason: str, cause: BaseException | None = None) -> NoReturn:
    """Raise the error for a network that cannot be converted because of something in it.

    Args:
        place: where it is, as in "blocks.3 (Block)".
        reason: what it is, and what to do.
        cause: the exception behind it.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{place} cannot be converted: {reason}") from cause


def named(path: str, kind: type) -> str:
    """Return how errors name a module: "blocks.3 (Block)", or its class alone for the network itself."""
    return f"{path} ({kind.__name__})" if path else kind.__name__


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says, or its class if it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
