"""The loggers of a run: its history, metrics.csv, complete after every epoch and kept over a resume; TensorBoard."""

import importlib
import importlib.util
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from sepgconv._files import write_atomically
from sepgconv._messages import unknown_name
from sepgconv.tasks.history import MetricsRow, format_history


def loggers_of(history: Path, rows: list[MetricsRow], board: Path, *, begun: int) -> list[Logger]:
    """Return the loggers of a run; without TensorBoard's where it can write to no folder of such a name.

    Args:
        history: the file of the history.
        rows: those of the epochs before; rows that come are added to it.
        board: TensorBoard's folder.
        begun: epochs that are complete.

    Warns:
        UserWarning: the folder's name, or that of one it lies in, is no UTF-8, which TensorBoard cannot open.
    """
    kept = HistoryLogger(history, rows)
    try:
        os.path.abspath(board).encode()
    except UnicodeEncodeError:
        sentence = (
            f"{board.parent} has a name with bytes that are no UTF-8, and TensorBoard can write to no such folder: the "
            f"figures are in {history.name} only"
        )
        rank_zero_only(warnings.warn)(sentence, stacklevel=2)
        return [kept]
    return [kept, BoardLogger(board, begun=begun)]


def named_loggers(names: Sequence[str], folder: Path) -> list[Logger]:
    """Return loggers of Lightning's for services that people follow trainings with.

    Args:
        names: "wandb", Weights & Biases, or "mlflow". Where they log to, and as whom, their environment variables say
            (WANDB_PROJECT, MLFLOW_TRACKING_URI and so on); a run is called like its folder.
        folder: the run's.

    Raises:
        ValueError: an unknown name.
        ImportError: the library is not installed.
    """
    found: list[Logger] = []
    for name in names:
        if name not in _SERVICES:
            raise ValueError(unknown_name("logger", name, _SERVICES))
        library, kind, arguments = _SERVICES[name]
        if importlib.util.find_spec(library) is None:
            raise ImportError(
                f"logging to {name} needs the package {library!r}, which is not installed; install it with: pip "
                f"install {library}"
            )
        logger: type[Logger] = getattr(importlib.import_module("lightning.pytorch.loggers"), kind)
        found.append(logger(**{**arguments, "name" if name == "wandb" else "run_name": folder.resolve().name}))
    return found


# Library, class of Lightning's, and what it is called with.
_SERVICES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "wandb": ("wandb", "WandbLogger", {}),
    "mlflow": ("mlflow", "MLFlowLogger", {"experiment_name": "sepgconv"}),
}


class HistoryLogger(Logger):
    """Writes metrics.csv.

    Lightning's own CSVLogger deletes the file it finds when a run resumes, and spreads an epoch over several rows.

    Args:
        path: the file.
        rows: those of the epochs before; rows that come are added to it.
    """

    def __init__(self, path: Path, rows: list[MetricsRow]) -> None:
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
    def log_metrics(self, metrics: MetricsRow, step: int | None = None) -> None:
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


class BoardLogger(TensorBoardLogger):
    """Lightning's logger for TensorBoard, in the very folder it is given.

    Lightning's own takes "$NAME" and "~" in a folder's name for what a shell makes of them, and "::" for an address.

    Args:
        path: the folder.
        begun: epochs that are complete; what a kill left in the files beyond them is hidden.
    """

    def __init__(self, path: Path, *, begun: int) -> None:
        super().__init__("", name="", version="", purge_step=begun + 1)
        self._path = os.path.abspath(path)

    @property
    def log_dir(self) -> str:
        """The folder."""
        return self._path

    @property
    def root_dir(self) -> str:
        """The same."""
        return self._path
