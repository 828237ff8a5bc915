"""How many of the 16 bits of deep images are used: cameras of 10 to 14 bits store them in files of 16."""

BIT_DEPTHS = (8, 10, 12, 14, 16)
DARK = 1 / 8  # images whose brightest value lies below this share of the range are nearly black


def bit_depth_of(maximum: int) -> int:
    """Return the smallest customary number of bits that holds a value.

    Args:
        maximum: the largest value of all images of a data set, 0 to 65535.
    """
    return next(bits for bits in BIT_DEPTHS if maximum < 2**bits)


def check_bit_depth(bits: int) -> None:
    """Raise if a number of bits is not 8, 10, 12, 14 or 16.

    Raises:
        ValueError: it is another number.
    """
    if bits not in BIT_DEPTHS:
        raise ValueError(f"bit_depth must be one of {', '.join(map(str, BIT_DEPTHS))}, got {bits}")


def too_bright(maximum: int, bits: int) -> str:
    """Return the sentence for values beyond the range that all images are scaled by."""
    return (
        f"holds values up to {maximum}, but the 16-bit images it belongs to hold {bits} bits (0 to {2**bits - 1}); "
        "is it scaled otherwise?"
    )
