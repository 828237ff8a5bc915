"""What an experiment reports: tables and pictures as data, without a word on how they are written down."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        title: above it.
        columns: headings.
        rows: cells, as people read them.
        left: how many columns, from the first, are text; the others are numbers.
        notes: sentences below it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture.

    Attributes:
        file: its file name, ending in .png.
        caption: what it shows, for those who do not see it, too.
        content: what is drawn, in types that JSON keeps; a committed picture is checked against it.
        draw: draws `content` on a figure.
        size: (width, height) in inches.
    """

    file: str
    caption: str
    content: Any
    draw: "Callable[[Figure, Any], None]"
    size: tuple[float, float] = (9.0, 4.5)


Part: TypeAlias = Table | Picture | str


@dataclass(frozen=True, kw_only=True)
class Report:
    """A page.

    Attributes:
        title: of the page.
        parts: paragraphs, tables and pictures, in order; words are plain text where they are no `Markdown`.
    """

    title: str
    parts: tuple[Part, ...]

    @property
    def tables(self) -> tuple[Table, ...]:
        """Its tables, in order."""
        return tuple(part for part in self.parts if isinstance(part, Table))

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Its pictures, in order."""
        return tuple(part for part in self.parts if isinstance(part, Picture))
