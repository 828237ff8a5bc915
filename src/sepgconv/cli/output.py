"""What the commands print with: tables, as rich draws them."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from sepgconv._table import Table
from sepgconv._text import visible

PIPED_WIDTH = 120  # columns
_SPACING = 3  # columns between two of the box


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> None:
    """Print a table on standard output; see `Table` for the arguments."""
    draw_table(Table(title, columns, rows, left))


def draw_table(table: Table) -> None:
    """Print a table on standard output; every text is shown as it is, also if it holds markup."""
    # rich reads marks such as [red] and :smile: in plain strings, and passes on what a terminal obeys.
    columns, rows = tuple(map(visible, table.columns)), [tuple(map(visible, row)) for row in table.rows]
    console = Console()
    # A pipe or a file has no width of its own; rich would assume 80 columns and fold wide tables.
    width = console.width if console.is_terminal else PIPED_WIDTH
    texts = [(heading, *(row[index] for row in rows)) for index, heading in enumerate(columns)]
    words = sum(max(cell_len(word) for text in column for word in (text.split() or [""])) for column in texts)
    # rich takes room from the widest columns and would break a long name where other columns have spaces to break at.
    whole_words = words + _SPACING * len(columns) < width
    drawn = RichTable(title=Text(visible(table.title), style="table.title"), title_justify="left", box=SIMPLE_HEAD)
    for index, heading in enumerate(columns):
        drawn.add_column(
            Text(heading),
            justify="left" if index < table.left else "right",
            overflow="fold",
            no_wrap=whole_words and not any(" " in text for text in texts[index]),
        )
    for row in rows:
        drawn.add_row(*map(Text, row))
    Console(width=width).print(drawn)
