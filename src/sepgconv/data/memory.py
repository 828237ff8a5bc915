"""Refusing what cannot fit into memory, before hours of decoding, or one line of a header, end in a kill."""

import os
from collections.abc import Generator
from contextlib import contextmanager


def refuse_too_large(needed: int, what: str, remedy: str) -> None:
    """Raise an error for more bytes than the machine has; where that is not known (Windows) nothing is refused.

    Args:
        needed: bytes.
        what: what needs them, for the message.
        remedy: what to do, for the message.

    Raises:
        ValueError: they are more than the machine has.
    """
    if not hasattr(os, "sysconf"):
        return
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > available:
        raise ValueError(
            f"{what} take {needed / 2**30:,.1f} GiB, and this machine has {available / 2**30:.1f}; {remedy}"
        )


@contextmanager
def told_of_memory(what: str, remedy: str) -> Generator[None, None, None]:
    """Raise one sentence where memory ran out, whichever library it was that asked for it.

    Raises:
        ValueError: it did.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "allocate memory" in str(error) or "not enough memory" in str(error):
            raise ValueError(f"{what} does not fit into memory; {remedy}") from error
        raise
