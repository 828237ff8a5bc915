"""What happens at the end of every epoch: its figures are logged and its checkpoint is written."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from sepgconv._terminal import say
from sepgconv.tasks.environment import peak_memory_bytes
from sepgconv.tasks.errors import CheckpointError, DivergedError
from sepgconv.tasks.history import MetricsRow
from sepgconv.tasks.module import TrainingModule
from sepgconv.tasks.task import Metric


class EpochKeeper(Callback):
    """Logs one row and writes the checkpoint at the end of every epoch; counts time and memory over resumes.

    Attributes:
        epoch: the epoch of the last good checkpoint, counted from 1; 0 for none.
        seconds: wall time of the epochs up to it. The time of an epoch that was broken off is lost with it.
        cpu_seconds: processor time of the same, of all threads of this process; it counts no waiting.
        peak_memory_bytes: the most memory used until then; None where it cannot be measured.
        history: a row for each epoch up to it, in the first process.
        run: the random number of the run (`RunFolder.identity`), which goes into its checkpoints; None: it has none.

    Args:
        checkpoint: where to write it.
        progress: also print the row to standard error.
        epoch: the epoch of the checkpoint that is there, counted from 1; 0 for none.
    """

    def __init__(self, checkpoint: Path, *, progress: bool = False, epoch: int = 0) -> None:
        self._checkpoint = checkpoint
        self._progress = progress
        self._started = self._cpu_started = 0.0
        self.epoch = epoch
        self.seconds = self.cpu_seconds = 0.0
        self.peak_memory_bytes: int | None = None
        self.history: list[MetricsRow] = []
        self.run: str | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return what the checkpoint keeps of this object, a `KeeperState`."""
        names = ("epoch", "seconds", "cpu_seconds", "peak_memory_bytes")
        kept = {**{name: getattr(self, name) for name in names}, "history": [dict(row) for row in self.history]}
        return kept if self.run is None else {**kept, "run": self.run}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what a checkpoint kept."""
        self.epoch = state_dict["epoch"]
        self.seconds = state_dict["seconds"]
        self.cpu_seconds = state_dict["cpu_seconds"]
        self.peak_memory_bytes = state_dict["peak_memory_bytes"]
        if "history" in state_dict:  # checkpoints of older versions have none; it was read from the file
            self.history[:] = state_dict["history"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clocks where the checkpoint left them, and on a GPU the count of memory."""
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(trainer.strategy.root_device)
        self._started = time.perf_counter() - self.seconds
        self._cpu_started = time.process_time() - self.cpu_seconds

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch, then save it.

        Raises:
            DivergedError: a weight is not finite, so the last checkpoint must not be replaced.
            CheckpointError: a file could not be written.
        """
        # The loss can be finite to the end while the last step already spoils the weights.
        if not trainer.strategy.reduce_boolean_decision(_is_finite(pl_module), all=True):
            raise DivergedError(f"a weight is no longer finite at the end of epoch {trainer.current_epoch + 1}")
        before = self.state_dict()
        self.epoch = trainer.current_epoch + 1
        self.seconds = time.perf_counter() - self._started
        self.cpu_seconds = time.process_time() - self._cpu_started
        self.peak_memory_bytes = _larger(self.peak_memory_bytes, peak_memory_bytes(trainer.strategy.root_device))
        try:
            self._log(trainer, cast(TrainingModule, pl_module))
            trainer.save_checkpoint(self._checkpoint)
        except BaseException as error:
            self.load_state_dict(before)  # the last good checkpoint is still the one before
            # Lightning's TensorBoard logger makes a ValueError of a full disk.
            cause = error.__cause__ if isinstance(error, ValueError) else error
            if isinstance(cause, OSError):
                place, reason = self._checkpoint.parent.parent, cause.strerror or cause
                raise CheckpointError(
                    f"could not write epoch {trainer.current_epoch + 1} to {place}: {reason}"
                ) from error
            raise

    def _log(self, trainer: Trainer, module: TrainingModule) -> None:
        row: MetricsRow = {
            "epoch": self.epoch,
            "step": trainer.global_step,
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            **module.figures(),
            "seconds": self.seconds,
        }
        for logger in trainer.loggers:
            logger.log_metrics(row, step=self.epoch)
            logger.save()
        if self._progress and trainer.is_global_zero:
            say(_sentence(row, trainer.max_epochs, module.task.metrics))


def _is_finite(module: nn.Module) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in module.state_dict().values())


def _larger(a: int | None, b: int | None) -> int | None:
    return max((value for value in (a, b) if value is not None), default=None)


def _sentence(row: MetricsRow, epochs: int | None, metrics: Sequence[Metric]) -> str:
    # Means over the epoch, while the weights changed; what the record says of "train" is of the last weights.
    figures = [f"running loss {row['train_loss']:.4f}"]
    figures += [f"running train {metric.name} {metric.text(row[f'train_{metric.name}'])}" for metric in metrics]
    for metric in metrics:
        if (value := row.get(f"validation_{metric.name}")) is not None:
            figures.append(f"validation {metric.name} {metric.text(value)}")
    return f"epoch {row['epoch']}/{epochs}  " + "  ".join([*figures, f"{row['seconds']:.1f} s"])
