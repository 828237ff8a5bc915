"""What a table or figure consists of: rows, seeds, and a report made from records."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from experiments.cells import Cell, with_seed
from experiments.report import Report
from experiments.store import Reading


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a table or a point of a figure.

    Attributes:
        title: what the report calls it.
        cell: its cells, but for the seed.
        published: the paper's value, as printed there; empty where the paper has none.
        seeds: with which it is run by default, where they are others than the experiment's.
        priority: rows of a lower number are run before those of a higher one, with all their seeds.
    """

    title: str
    cell: Cell
    published: str = ""
    seeds: tuple[int, ...] | None = None
    priority: int = 0

    def cells(self, seeds: Sequence[int]) -> tuple[Cell, ...]:
        """Return the row's cells, one for each of its own seeds, or else of those that are given."""
        return tuple(with_seed(self.cell, seed) for seed in self.seeds or seeds)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A table or figure.

    Attributes:
        name: as on the command line; its records are `<name>.jsonl`.
        rows: what is run.
        seeds: with which seeds, by default.
        report: from records to tables and pictures.
        substitutes: rows on other data sets, which are run when their data set is asked for.
    """

    name: str
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    report: Callable[[Reading], Report]
    substitutes: tuple[Row, ...] = ()

    def cells(self, seeds: tuple[int, ...] | None = None) -> tuple[Cell, ...]:
        """Return every cell, the first seed of all rows first, so that a half-finished table compares like with like.

        Rows of a higher priority number follow all seeds of those before.

        Args:
            seeds: instead of the experiment's and its rows' own.
        """
        if seeds is None:
            wanted = [(row.priority, cell.seed, cell) for row in self.rows for cell in row.cells(self.seeds)]
        else:
            wanted = [
                (row.priority, place, with_seed(row.cell, seed))
                for place, seed in enumerate(seeds)
                for row in self.rows
            ]
        return tuple(cell for _, _, cell in sorted(wanted, key=lambda entry: entry[:2]))

    def substitute_cells(self) -> tuple[Cell, ...]:
        """Return the cells of rows on other data sets, with the experiment's seeds or their own."""
        return tuple(cell for row in self.substitutes for cell in row.cells(self.seeds))
