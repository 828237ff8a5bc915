"""Table: what a report shows, described once; written as plain text and as HTML here, by rich in `sepgconv.cli.output`.

`Printed` makes a class print as its tables and sentences, in a notebook too. Imports `_text` alone.
"""

import html
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from sepgconv._text import visible

_GAP = "  "


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        title: what it shows.
        columns: headings.
        rows: cells, as many in each row as there are columns.
        left: how many columns, from the first, are text and aligned left; the others are numbers, aligned right.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1


def table_as_text(table: Table) -> str:
    """Return a table as lines of text: title, headings, a rule, rows; for fonts whose letters are equally wide."""
    lines = [tuple(map(visible, line)) for line in (table.columns, *table.rows)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    aligned = [
        _GAP.join(
            cell + " " * (width - _width(cell)) if index < table.left else " " * (width - _width(cell)) + cell
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    rule = "─" * (sum(widths) + len(_GAP) * (len(widths) - 1))
    return "\n".join((visible(table.title), aligned[0], rule, *aligned[1:]))


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def table_as_html(table: Table) -> str:
    """Return a table as an HTML fragment, every text escaped; it needs no style sheet, and has classes for one."""
    title = _escaped(table.title)

    def cell(index: int, text: str, *, heading: str = "") -> str:
        text_column = ' class="text" style="text-align: left"' if index < table.left else ""
        name = "th" if heading else "td"
        scope = f' scope="{heading}"' if heading else ""
        return f"<{name}{scope}{text_column}>{_escaped(text)}</{name}>"

    head = "".join(cell(index, text, heading="col") for index, text in enumerate(table.columns))
    rows = [
        "".join(cell(index, text, heading="row" if index == 0 else "") for index, text in enumerate(row))
        for row in table.rows
    ]
    return "\n".join(
        (
            f'<p class="caption">{title}</p>',
            f'<div class="scroll" role="region" aria-label="{title}" tabindex="0">',
            f'<table aria-label="{title}">',
            f"<thead><tr>{head}</tr></thead>",
            "<tbody>",
            *(f"<tr>{row}</tr>" for row in rows),
            "</tbody>",
            "</table>",
            "</div>",
        )
    )


def _escaped(text: str) -> str:
    return html.escape(visible(text))


class Printed:
    """A value that prints as tables and sentences. A subclass says which in `_printed_parts`."""

    __slots__ = ()

    def _printed_parts(self) -> Sequence[Table | str]:
        """Return what is printed, in order: tables, and sentences between them."""
        raise NotImplementedError  # abstract: what is printed is all that a subclass adds

    def __str__(self) -> str:
        parts = (table_as_text(part) if isinstance(part, Table) else visible(part) for part in self._printed_parts())
        return "\n\n".join(parts)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """Return the same as HTML, which notebooks show."""
        return "\n".join(
            table_as_html(part) if isinstance(part, Table) else f"<p>{_escaped(part)}</p>"
            for part in self._printed_parts()
        )
