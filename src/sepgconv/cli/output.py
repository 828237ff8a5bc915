"""What the commands print with: tables, and numbers as people read them."""

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

PIPED_WIDTH = 120  # columns


def print_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]], *, left: int = 1) -> None:
    """Print a table on standard output.

    Args:
        title: above it.
        columns: headings.
        rows: cells.
        left: how many columns, from the first, are text and aligned left; the others are numbers.
    """
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for index, heading in enumerate(columns):
        table.add_column(heading, justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console()
    # A pipe or a file has no width of its own; rich would assume 80 columns and fold wide tables.
    Console(width=None if console.is_terminal else PIPED_WIDTH).print(table)


def count(number: int) -> str:
    """Write a count with thousands separators."""
    return f"{number:,}"


def millions(number: int) -> str:
    """Write a count in millions."""
    return f"{number / 1e6:.2f} M"


def percent(value: float | None) -> str:
    """Write an error in percent, or a dash where there is none."""
    return "-" if value is None else f"{value:.2f} %"
