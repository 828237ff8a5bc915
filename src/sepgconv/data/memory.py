"""Refusing what cannot fit into memory, before hours of decoding, or one line of a header, end in a kill."""

import os


def refuse_too_large(needed: int, what: str, remedy: str) -> None:
    """Refuse more bytes than the machine has; where that is not known (Windows) nothing is refused.

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
