"""Tables of answers as CSV files: written whole, or row by row with what is needed to go on after a kill."""

import contextlib
import csv
import io
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from sepgconv._files import LockedError, locked, write_atomically

DECIMALS = 6  # of probabilities

Value = str | int | float | None


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Value]]) -> None:
    """Write a table as CSV in UTF-8, whole or not at all; names that are no UTF-8 keep their bytes.

    Raises:
        OSError: it could not be written.
    """
    write_atomically(path, "".join(_line(row) for row in (columns, *rows)).encode(errors="surrogateescape"))


class RowFile:
    """A CSV file that grows row by row under another name, and gets its own when it is complete.

    Attributes:
        path: its name when it is complete.
        part: its name until then.
        columns: of the rows that are there; none where there are none.
        rows: those that are there, from a command that was stopped.

    Args:
        path: the file.
        resume: keep the rows that are there, in the part or else in the complete file.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        self.path = path
        self.part = path.with_name(f"{path.name}.partial")
        self.columns: list[str] = []
        self.rows: list[list[str]] = []
        if resume:
            source = self.part if self.part.is_file() else path
            table = _complete_rows(source) if source.is_file() else []
            self.columns, self.rows = (table[0], table[1:]) if table else ([], [])
        self.added = 0
        self._stream: TextIO | None = None

    @contextlib.contextmanager
    def opened(self) -> Generator[None, None, None]:
        """Within the block rows can be added; at its end the file gets its name, unless the block was broken off.

        Without a row there is no file.

        Raises:
            BlockingIOError: another process writes the file.
            OSError: it cannot be written.
        """
        if self.path.is_dir():
            raise IsADirectoryError(f"{self.path} is a folder; give the name of a file, as {self.path / 'answers.csv'}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(self.path.with_name(f".{self.path.name}.lock")))
            except LockedError as error:
                raise BlockingIOError(
                    f"another process writes {self.path} at this moment; wait, or give another name"
                ) from error
            write_csv(self.part, self.columns, self.rows) if self.columns else write_atomically(self.part, b"")
            self._stream = stack.enter_context(
                self.part.open("a", encoding="utf-8", errors="surrogateescape", newline="")
            )
            yield
            self._stream.flush()
            if self.columns:
                write_atomically(self.path, self.part.read_bytes())
            self.part.unlink()

    def add(self, answers: Iterable[Mapping[str, Value]]) -> None:
        """Add rows, which are on the disk when this returns.

        Raises:
            ValueError: their columns are not those that are there.
            OSError: they could not be written, as on a full disk.
        """
        if self._stream is None:
            raise RuntimeError("rows are added while the file is open; call this within `opened`")
        lines: list[str] = []
        for answer in answers:
            if not self.columns:
                self.columns = list(answer)
                lines.append(_line(self.columns))
            self.check_columns(answer)
            lines.append(_line(list(answer.values())))
            self.added += 1
        self._stream.write("".join(lines))
        self._stream.flush()

    def check_columns(self, answer: Mapping[str, Value]) -> None:
        """Raise if a row has other columns than the file.

        Raises:
            ValueError: it has.
        """
        if list(answer) != self.columns:
            raise ValueError(
                f"{self.path} has the columns {', '.join(self.columns)}, and these options give {', '.join(answer)}; "
                "give the options that it was begun with, or leave out --resume to begin it anew"
            )


def cell(value: Value) -> str:
    """Return a value as it stands in a file."""
    if value is None:
        return ""
    return str(round(value, DECIMALS)) if isinstance(value, float) else str(value)


def _line(values: Sequence[Value]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([cell(value) for value in values])
    return line.getvalue()


def _complete_rows(path: Path) -> list[list[str]]:
    """Return the heading and the rows of a file; what a kill cut off at its end is left out.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no table whose first column is "image".
    """
    text = path.read_bytes().decode(errors="surrogateescape")
    rows: list[list[str]] = []
    lines = list(io.StringIO(text, newline=""))  # not `splitlines`, which cuts at signs that names may have
    if not text.endswith("\n"):
        lines = lines[:-1]
    with contextlib.suppress(csv.Error):  # the end of a quoted cell is missing
        for row in csv.reader(lines, strict=True):
            rows.append(row)
    if rows and rows[0][:1] != ["image"]:
        raise ValueError(f"{path} is not a file of answers: its first column is {rows[0][:1]}, not image")
    if wrong := next((number for number, row in enumerate(rows) if len(row) != len(rows[0])), None):
        raise ValueError(f"{path} was damaged or edited: row {wrong} has {len(rows[wrong])} cells, not {len(rows[0])}")
    return rows
