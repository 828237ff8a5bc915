"""What Lightning trains: the classifier with its loss and its steps, and the batches of every epoch."""

from typing import Any, TypeAlias

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, Optimizer

from sepgconv.data import Split
from sepgconv.training.batches import Batches, epoch_order, epoch_seed
from sepgconv.training.config import TrainingConfig
from sepgconv.training.errors import DivergedError

Batch: TypeAlias = tuple[Tensor, Tensor, int]  # this process's images and labels; images in the whole batch


class Classifier(LightningModule):
    """A network under training: cross entropy, and the error in percent.

    Nothing random outlives an epoch: at its start the generators are seeded from the run's seed, the epoch and the
    process, and the learning rate is set from the epoch. So an epoch that was broken off can be run again.

    Args:
        model: images (batch, channels, height, width) to class scores (batch, classes).
        config: the run's.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config

    def forward(self, images: Tensor) -> Tensor:
        """Return the class scores."""
        return self.model(images)

    def configure_optimizers(self) -> Optimizer:
        """Return the config's optimiser; the learning rate follows at the start of every epoch."""
        config = self.config
        if config.optimizer == "sgd":
            return SGD(self.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
        return Adam(self.parameters(), lr=config.lr, weight_decay=config.weight_decay)

    def on_train_epoch_start(self) -> None:
        """Seed what the epoch draws, and set its learning rate."""
        epoch = self.current_epoch
        torch.manual_seed(epoch_seed(self.config.seed, epoch, stream=1 + self.global_rank))
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.config.learning_rate(epoch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of this process's share of a batch.

        It is weighted so that the mean over the processes, which is what their gradients are averaged by, is the mean
        over the images of the whole batch, also where the shares differ by an image.

        Raises:
            DivergedError: the loss is not finite, in any process.
        """
        images, labels, size = batch
        scores = self.model(images)
        total = F.cross_entropy(scores, labels, reduction="sum")
        # All processes must agree to stop: one that goes on alone waits for the others' gradients for ever.
        if not self.trainer.strategy.reduce_boolean_decision(bool(torch.isfinite(total)), all=True):
            raise DivergedError(
                f"the loss is {total.item() / len(labels)} in epoch {self.current_epoch + 1}, batch {batch_idx + 1} "
                f"(learning rate {self.config.learning_rate(self.current_epoch):g})"
            )
        self._log_share("train", scores, labels, total)
        return total * self.trainer.world_size / size

    def on_validation_start(self) -> None:
        """Judge the network that is saved: under several processes, the running statistics of the first."""
        share_buffers(self.model)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log loss and error of this process's share of a batch."""
        images, labels, _ = batch
        scores = self.model(images)
        self._log_share("validation", scores, labels, F.cross_entropy(scores, labels, reduction="sum"))

    def _log_share(self, part: str, scores: Tensor, labels: Tensor, total: Tensor) -> None:
        # Means weighted by the number of images, over batches and processes: the mean over all images.
        wrong = scores.argmax(1) != labels
        self.log_dict(
            {f"{part}_loss": total.detach() / len(labels), f"{part}_error": 100 * wrong.double().mean()},
            on_step=False,
            on_epoch=True,
            logger=False,  # the whole row is logged at once, at the end of the epoch
            batch_size=len(labels),
            sync_dist=True,
        )


def share_buffers(model: nn.Module) -> None:
    """Give every process the buffers of the first, where there are several processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, src=0)


class EpochBatches(LightningDataModule):
    """The batches that the trainer asks for anew in every epoch, and the augmentation of the training ones.

    Args:
        train: images to learn from.
        validation: images to judge every epoch by; None for no validation.
        config: the run's batch size and seed.
        augmentation: from batch of images to batch of images.
    """

    def __init__(self, train: Split, validation: Split | None, config: TrainingConfig, augmentation: nn.Module) -> None:
        super().__init__()
        self._train, self._validation, self._config, self._augmentation = train, validation, config, augmentation

    def train_dataloader(self) -> Batches:
        """Return this epoch's batches for this process."""
        trainer: Any = self.trainer
        return Batches(
            self._train.images,
            self._train.labels,
            batch_size=self._config.batch_size,
            order=epoch_order(len(self._train.labels), self._config.seed, trainer.current_epoch),
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )

    def val_dataloader(self) -> list[Batches]:
        """Return the validation batches for this process; an empty list, which the trainer then skips, for none."""
        trainer: Any = self.trainer
        if self._validation is None:
            return []
        return [
            Batches(
                self._validation.images,
                self._validation.labels,
                batch_size=max(1000, trainer.world_size),
                min_share=1,
                rank=trainer.global_rank,
                world_size=trainer.world_size,
            )
        ]

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment a training batch on its device, outside autocast."""
        trainer: Any = self.trainer
        if not trainer.training:
            return batch
        images, labels, size = batch
        with torch.no_grad():
            return self._augmentation(images), labels, size
