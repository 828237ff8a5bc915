"""What the commands print with: tables, and numbers as people read them."""

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sepgconv._text import visible

PIPED_WIDTH = 120  # columns
_SPACING = 3  # columns between two of the box


def print_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]], *, left: int = 1) -> None:
    """Print a table on standard output; every text is shown as it is, whatever it holds.

    Args:
        title: above it.
        columns: headings.
        rows: cells.
        left: how many columns, from the first, are text and aligned left; the others are numbers.
    """
    # rich reads marks such as [red] and :smile: in plain strings, and passes on what a terminal obeys.
    columns, rows = tuple(map(visible, columns)), [tuple(map(visible, row)) for row in rows]
    console = Console()
    # A pipe or a file has no width of its own; rich would assume 80 columns and fold wide tables.
    width = console.width if console.is_terminal else PIPED_WIDTH
    texts = [(heading, *(row[index] for row in rows)) for index, heading in enumerate(columns)]
    words = sum(max(cell_len(word) for text in column for word in (text.split() or [""])) for column in texts)
    # rich takes room from the widest columns and would break a long name where other columns have spaces to break at.
    whole_words = words + _SPACING * len(columns) < width
    table = Table(title=Text(visible(title), style="table.title"), title_justify="left", box=SIMPLE_HEAD)
    for index, heading in enumerate(columns):
        table.add_column(
            Text(heading),
            justify="left" if index < left else "right",
            overflow="fold",
            no_wrap=whole_words and not any(" " in text for text in texts[index]),
        )
    for row in rows:
        table.add_row(*map(Text, row))
    Console(width=width).print(table)


def count(number: int) -> str:
    """Write a count with thousands separators."""
    return f"{number:,}"


def millions(number: int) -> str:
    """Write a count in millions."""
    return f"{number / 1e6:.2f} M"


def percent(value: float | None) -> str:
    """Write an error in percent, or a dash where there is none."""
    return "-" if value is None else f"{value:.2f} %"
