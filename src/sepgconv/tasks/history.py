"""The history of a run, its metrics.csv: one row an epoch."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from sepgconv._files import digest
from sepgconv.tasks.record import recorded_digest

MetricsRow: TypeAlias = dict[str, int | float]


def read_history(path: Path) -> list[MetricsRow]:
    r"""Return the rows of a history, without the columns that a row leaves empty; no file, no rows.

    In the folder of a finished run the file is compared with the digest that the run's record has of it.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged: no table of numbers, epochs other than 1, 2, 3 and so on, or not what was recorded.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "metrics.csv"
        ...     _ = path.write_text("epoch,train_loss\n1,2.5\n2,1.25\n")
        ...     read_history(path)
        [{'epoch': 1, 'train_loss': 2.5}, {'epoch': 2, 'train_loss': 1.25}]
    """
    if not path.is_file():
        return []
    content = path.read_bytes()
    expected = recorded_digest(path)
    if expected is not None and digest(content) != expected:
        raise ValueError(f"{path} was damaged or edited: it is not what the run's record says; {HOW_TO_MEND}")
    try:
        return parse_history(content)
    except ValueError as error:
        raise ValueError(f"{path} was damaged or edited ({error}); {HOW_TO_MEND}") from error


HOW_TO_MEND = "resume=True (--resume) writes it anew from the checkpoint"


def parse_history(content: bytes) -> list[MetricsRow]:
    """Return the rows that a file's content holds.

    Raises:
        ValueError: it is no table of numbers with a row for each epoch from the first.
    """
    table = csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""), strict=True)
    try:
        lines = list(table)
    except csv.Error as error:
        raise ValueError(str(error)) from error
    names = table.fieldnames or []
    if "epoch" not in names or len(set(names)) != len(names):
        raise ValueError(f"its first line must name the columns, epoch among them; it is {','.join(names)!r}")
    rows: list[MetricsRow] = []
    for number, line in enumerate(lines, 1):
        if None in line or None in line.values():
            raise ValueError(f"row {number} has more or fewer cells than the first line")
        rows.append({name: _number(value, name, number) for name, value in line.items() if value})
        if rows[-1].get("epoch") != number:
            raise ValueError(f"row {number} is of epoch {rows[-1].get('epoch')}")
    return rows


def format_history(rows: Sequence[MetricsRow]) -> bytes:
    """Return the content of a file with these rows; `parse_history` gives the same numbers back."""
    table = io.StringIO(newline="")
    columns = max(rows, key=len, default={"epoch": 0})
    writer = csv.DictWriter(table, fieldnames=list(columns), extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue().encode()


def _number(text: str, column: str, row: int) -> int | float:
    try:
        found = int(text) if text.isascii() and text.isdecimal() else float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{column} of row {row} is {text!r}")
    return found
