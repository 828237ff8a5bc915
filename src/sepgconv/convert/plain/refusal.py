"""How a network that cannot be converted is refused: in one sentence, with the place."""

from typing import NoReturn


def refuse(place: str, reason: str, cause: BaseException | None = None) -> NoReturn:
    """Refuse a network because of something in it.

    Args:
        place: where, as in "blocks.3 (Block)".
        reason: what, and what to do.
        cause: the exception behind it.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{place} cannot be converted: {reason}") from cause
