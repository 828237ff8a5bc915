"""What a table or figure consists of: rows, seeds, and a report made from records."""

from collections.abc import Callable
from dataclasses import dataclass

from sepgconv.paper.cells import Cell, with_seed
from sepgconv.paper.report import Report
from sepgconv.paper.store import Reading


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a table or a point of a figure.

    Attributes:
        title: what the report calls it.
        cell: its cells, but for the seed.
        published: the paper's value, as printed there; empty where the paper has none.
    """

    title: str
    cell: Cell
    published: str = ""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A table or figure.

    Attributes:
        name: as on the command line; its records are `<name>.jsonl`.
        rows: what is run.
        seeds: with which seeds, by default.
        report: from records to tables and pictures.
    """

    name: str
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    report: Callable[[Reading], Report]

    def cells(self, seeds: tuple[int, ...] | None = None) -> tuple[Cell, ...]:
        """Return every cell, the first seed of all rows first, so that a half-finished table compares like with like.

        Args:
            seeds: instead of the experiment's own.
        """
        return tuple(with_seed(row.cell, seed) for seed in seeds or self.seeds for row in self.rows)
