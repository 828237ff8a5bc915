"""The best epoch on the validation part: its checkpoint is kept, and training may end when none better comes."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from sepgconv._files import write_atomically
from sepgconv.tasks.callbacks import EpochKeeper
from sepgconv.tasks.checkpoint import read_weights
from sepgconv.tasks.config import TrainingConfig
from sepgconv.tasks.errors import CheckpointError
from sepgconv.tasks.folder import RunFolder
from sepgconv.tasks.history import MetricsRow
from sepgconv.tasks.task import Metric


def best_epoch(history: Sequence[MetricsRow], metric: Metric) -> int:
    """Return the first epoch with the best validation figure, counted from 1; 0 where no epoch has one.

    Args:
        history: a row for each epoch.
        metric: which figure.
    """
    name, sign = f"validation_{metric.name}", -1 if metric.higher_is_better else 1
    judged = [row for row in history if name in row]
    return int(min(judged, key=lambda row: sign * row[name])["epoch"]) if judged else 0


def is_over(config: TrainingConfig, history: Sequence[MetricsRow], metric: Metric) -> bool:
    """Return whether so many epochs went by without a better one that the config ends the training.

    Epochs before an extension do not count: it is given its own chance.
    """
    if not config.early_stopping or not history:
        return False
    begun = max((0, *config.extended_at))
    return int(history[-1]["epoch"]) - max(best_epoch(history, metric), begun) >= config.early_stopping


def take_best(
    trainer: Trainer, model: nn.Module, files: RunFolder, history: Sequence[MetricsRow], metric: Metric
) -> int:
    """Give a network the weights of the best epoch, in every process; return the epoch, counted from 1.

    Raises:
        OSError, ValueError: its checkpoint is missing or cannot be read.
    """
    chosen = best_epoch(history, metric)
    if trainer.is_global_zero and not files.best.is_file():
        raise FileNotFoundError(
            f"{files.best} is missing, which holds the network of epoch {chosen}, the best one; train the run again in "
            "another folder (--out)"
        )
    found = (chosen, read_weights(files.best)) if trainer.is_global_zero else (0, {})
    chosen, weights = trainer.strategy.broadcast(found)
    model.load_state_dict(weights)
    return chosen


class BestKeeper(Callback):
    """Keeps the checkpoint of the best epoch, and ends the training early, where the config asks for it.

    Everything is decided by the history and `last.ckpt`, which a kill leaves as they are: a run that is resumed decides
    as one that went through.

    Args:
        config: the run's.
        folder: where `best.ckpt` goes.
        keeper: has written the epoch's checkpoint when this is called.
        metric: the deciding one.
    """

    def __init__(self, config: TrainingConfig, folder: RunFolder, keeper: EpochKeeper, metric: Metric) -> None:
        self._config, self._folder, self._keeper, self._metric = config, folder, keeper, metric

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make up for what a kill between two files left undone."""
        self._settle(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the epoch if it is the best one; end the training if the best one is too long ago.

        Raises:
            CheckpointError: the file could not be written.
        """
        self._settle(trainer)

    def _settle(self, trainer: Trainer) -> None:
        history: Sequence[MetricsRow] = self._keeper.history  # the first process alone has one
        if self._config.keep_best and history and best_epoch(history, self._metric) == history[-1]["epoch"]:
            content = self._folder.checkpoint.read_bytes()
            try:
                if not self._folder.best.is_file() or self._folder.best.read_bytes() != content:
                    write_atomically(self._folder.best, content)
            except OSError as error:
                raise CheckpointError(f"could not write {self._folder.best}: {error.strerror or error}") from error
        strategy: Any = trainer.strategy
        if strategy.reduce_boolean_decision(is_over(self._config, history, self._metric), all=False):
            trainer.should_stop = True
