"""The logger of a run's history, metrics.csv: complete after every epoch, kept over a resume."""

import csv
import io
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from sepgconv._files import write_atomically
from sepgconv.training.history import Row, read_history


class HistoryLogger(Logger):
    """Writes metrics.csv.

    Lightning's own CSVLogger deletes the file it finds when a run resumes, and spreads an epoch over several rows.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

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
        rows = [row for row in read_history(self._path) if row["epoch"] < metrics["epoch"]] + [metrics]
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, fieldnames=list(metrics), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self._path, table.getvalue().encode())

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Keep nothing: config.json holds the config."""
