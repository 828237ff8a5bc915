"""Errors for images and arrays that do not fit into memory, raised before they are read."""

import os
from collections.abc import Generator
from contextlib import contextmanager


def check_fits_memory(needed: int, what: str, remedy: str) -> None:
    """Raise if more bytes are needed than the machine has; do nothing where its memory is not known (Windows).

    Args:
        needed: bytes.
        what: what needs them, for the message.
        remedy: what to do, for the message.

    Raises:
        ValueError: they are more than the machine has.
    """
    available = physical_memory()
    if available is not None and needed > available:
        raise ValueError(
            f"{what} take {needed / 2**30:,.1f} GiB, and this machine has {available / 2**30:.1f}; {remedy}"
        )


def physical_memory() -> int | None:
    """Return the bytes of memory that the machine has; None where they are not known (Windows)."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None


@contextmanager
def explained_memory_errors(what: str, remedy: str) -> Generator[None, None, None]:
    """Within the block, raise a ValueError in one sentence if any library runs out of memory.

    Raises:
        ValueError: memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "allocate memory" in str(error) or "not enough memory" in str(error):
            raise ValueError(f"{what} does not fit into memory; {remedy}") from error
        raise
