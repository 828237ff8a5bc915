"""Numbers as people read them: shares in percent, counts with separators. Imports nothing of the package."""

_NOTHING = 1e-6  # a share that is rounding and no more: weights are float32


def percent(share: float | None, decimals: int | None = None) -> str:
    """Write a share, of which 1 is all, in percent: 0.934 is "93.4 %". A dash where there is none.

    Args:
        share: usually from 0 to 1.
        decimals: how many, for columns of a table; a positive share that would round to 0 is then "< 0.1 %". By
            default, for sentences, one decimal near 0 and 1 and none in between.
    """
    if share is None:
        return "-"
    if decimals is not None:
        written = f"{round(100 * share, 9):.{decimals}f} %"  # rounded first: 100 times a share may miss a half
        nothing = f"{0:.{decimals}f} %"
        return f"< {10**-decimals:.{decimals}f} %" if share >= _NOTHING and written == nothing else written
    if abs(share) < _NOTHING:
        return "0 %"
    if abs(1 - share) < _NOTHING:
        return "100 %"
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %" if abs(share) < 0.1 or share > 0.9 else f"{100 * share:.0f} %"


def error_percent(error: float | None) -> str:
    """Write an error that is in percent, as records hold it: 2.345 is "2.35 %". A dash where there is none."""
    return percent(None if error is None else error / 100, decimals=2)


def hundredths(value: float) -> str:
    """Write a value with two decimals, without a sign where they are zeros."""
    return f"{value if abs(value) >= 0.005 else 0.0:.2f}"


def count(number: int) -> str:
    """Write a count with thousands separators."""
    return f"{number:,}"


def large(number: int) -> str:
    """Write a large count short: 1,234 as it is, 83200 as "83.2 k", 1234567 as "1.23 M"."""
    if number < 10_000:
        return count(number)
    return f"{number / 1e3:.1f} k" if number < 999_950 else f"{number / 1e6:.2f} M"


def plural(number: int, thing: str, things: str | None = None) -> str:
    """Write a count of things: "1 layer", "3 layers".

    Args:
        number: how many.
        thing: the word for one.
        things: the word for several. Default: with an s.
    """
    return f"{count(number)} {thing if number == 1 else things or f'{thing}s'}"
