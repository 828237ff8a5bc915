"""The history of a run, read from its metrics.csv: one row an epoch."""

import csv
from pathlib import Path
from typing import TypeAlias

Row: TypeAlias = dict[str, int | float]


def read_history(path: Path) -> list[Row]:
    """Return the rows of a history, without the columns that a row leaves empty; no file, no rows."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: _number(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def _number(text: str) -> int | float:
    return int(text) if text.isdecimal() else float(text)
