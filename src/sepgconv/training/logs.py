"""The logger of a run's history, metrics.csv: complete after every epoch, kept over a resume."""

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from sepgconv._files import write_atomically
from sepgconv.training.history import Row, format_history


class HistoryLogger(Logger):
    """Writes metrics.csv.

    Lightning's own CSVLogger deletes the file it finds when a run resumes, and spreads an epoch over several rows.

    Args:
        path: the file.
        rows: those of the epochs before; rows that come are added to it.
    """

    def __init__(self, path: Path, rows: list[Row]) -> None:
        super().__init__()
        self._path = path
        self._rows = rows

    @property
    def name(self) -> str:
        """Name of the logger, for Lightning."""
        return "history"

    @property
    def version(self) -> str:
        """A folder holds one run, so there is one version."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Row, step: int | None = None) -> None:
        """Add the row of an epoch; it takes the place of rows of the same or later epochs, which a kill left behind.

        Args:
            metrics: the columns; `epoch` among them, counted from 1.
            step: not used; part of Lightning's interface.

        Raises:
            OSError: it could not be written; the rows before are kept.
        """
        rows = [row for row in self._rows if row["epoch"] < metrics["epoch"]] + [metrics]
        write_atomically(self._path, format_history(rows))
        self._rows[:] = rows

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Keep nothing: config.json holds the config."""
