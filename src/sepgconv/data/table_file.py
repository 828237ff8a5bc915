"""CSV and TSV files, read as rows of text: which column is which, and where something is missing."""

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from sepgconv._messages import nearest_names
from sepgconv.data.regular_file import reason, why_unreadable

SUFFIXES = (".csv", ".tsv", ".tab")
_DELIMITERS = ",;\t"  # spreadsheets write semicolons where a comma is in numbers
_NAMED_AT_MOST = 3


@dataclass(frozen=True, eq=False)
class TextTable:
    """A file of rows.

    Attributes:
        path: the file.
        columns: their names.
        rows: cells without blanks around them, as many in each row as there are columns.
        lines: of each row, the line of the file that it ends on, counted from 1.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def cells(self, column: str) -> list[str]:
        """Return what the rows have in a column."""
        index = self.columns.index(column)
        return [row[index] for row in self.rows]

    def given(self, column: str, option: str) -> str:
        """Return a column that the user named.

        Args:
            column: its name; upper and lower case must be right.
            option: by which it was named, for the message.

        Raises:
            ValueError: there is no such column; the message names the nearest ones and all.
        """
        if column in self.columns:
            return column
        near = nearest_names(column, self.columns)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(
            f"{self.path}: there is no column {column!r} ({option}){hint} (columns: {', '.join(self.columns)})"
        )

    def found(self, names: Collection[str], what: str, option: str) -> str | None:
        """Return the column that has one of several names, whose case and signs do not count; None if there is none.

        Args:
            names: in small letters, without blanks and signs.
            what: what the column holds, for the message.
            option: that would name it, for the message.

        Raises:
            ValueError: several columns have such names.
        """
        found = [column for column in self.columns if plain(column) in names]
        if len(found) > 1:
            raise ValueError(
                f"{self.path}: {' and '.join(found)} may both be the column with the {what}; say which one ({option})"
            )
        return found[0] if found else None

    def check_filled(self, column: str, what: str) -> None:
        """Raise if a row has nothing in a column.

        Raises:
            ValueError: the message names the first such lines.
        """
        if empty := [line for line, cell in zip(self.lines, self.cells(column), strict=True) if not cell]:
            raise ValueError(
                f"{self.path}: {self.at(empty)} without {what}: the column {column!r} is empty; fill it, or leave the "
                f"row{'' if len(empty) == 1 else 's'} out"
            )

    def at(self, lines: Sequence[int]) -> str:
        """Return lines as a message names them: "line 3", or "4 rows (lines 3, 7, 9, ...)"."""
        if len(lines) == 1:
            return f"line {lines[0]}"
        more = ", ..." if len(lines) > _NAMED_AT_MOST else ""
        return f"{len(lines)} rows (lines {', '.join(map(str, lines[:_NAMED_AT_MOST]))}{more})"


def plain(name: str) -> str:
    """Return a column's name in small letters, without blanks and signs."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def read_table(path: Path) -> TextTable:
    """Read a CSV or TSV file in UTF-8, whose first line has the names of the columns.

    Columns are separated by commas, semicolons or tabs, whichever the first line has most of. Empty lines are passed
    over.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, is no text in UTF-8, has no rows, two columns of one name, or a row of another
            length; the message says where.
    """
    if why := why_unreadable(path):
        if why == "is not there":
            raise FileNotFoundError(f"there is no file {path}")
        raise ValueError(f"{path} {why}")
    try:
        # File names that are no UTF-8 pass through, as in the names of files everywhere in Python.
        text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise ValueError(f"{path}: {reason(error)}") from error
    if "\0" in text:
        raise ValueError(f"{path} is no text; expected rows of text, separated by commas or tabs")
    first = text.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    rows: list[tuple[str, ...]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(tuple(cell.strip() for cell in row))
                lines.append(reader.line_num)
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
    if len(rows) < 2:
        raise ValueError(
            f"{path} has no rows; expected a first line with the names of the columns, and a row for each image"
        )
    columns = rows[0]
    if twice := sorted({name for name in columns if name and columns.count(name) > 1}):
        raise ValueError(f"{path}: two columns are called {twice[0]!r}; give each a name of its own")
    for line, row in zip(lines[1:], rows[1:], strict=True):
        if len(row) != len(columns):
            raise ValueError(
                f"{path}, line {line}: {len(row)} cells, but {len(columns)} columns; put text with separators in it "
                "into quotation marks"
            )
    return TextTable(path, columns, tuple(rows[1:]), tuple(lines[1:]))
