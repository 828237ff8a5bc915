"""The parts that the template of a page lays out: headings, text, figures and tables."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sepgconv._table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """An image with the text that explains it.

    Attributes:
        image: an `<svg>` or `<img>` element with a text that says what it shows.
        caption: what to see in it.
        wide: whether the image may be wider than the screen and scroll within its own box.
        legend: small print below.
    """

    image: Markup
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
