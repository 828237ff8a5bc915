"""Block: a part of a page, what the template lays out: a heading, words, figures, a table."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sepgconv._table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture with the words that explain it.

    Attributes:
        picture: an `<svg>` or `<img>` element that says in words what it shows.
        caption: what to see in it.
        wide: whether it may be wider than the screen; it then scrolls in a box of its own.
        legend: small print below.
    """

    picture: Markup
    caption: str
    wide: bool = False
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a page.

    Attributes:
        heading: its title.
        text: a paragraph or two.
        figures: side by side where the screen is wide enough.
        tables: below them.
    """

    heading: str
    text: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
