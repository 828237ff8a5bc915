"""What Lightning trains: the network with the loss of its task and its steps, and the batches of every epoch."""

from typing import Any, TypeAlias

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from sepgconv.data import Split
from sepgconv.tasks.batches import Batches, balanced_order, epoch_order, epoch_seed
from sepgconv.tasks.config import TrainingConfig
from sepgconv.tasks.errors import DivergedError
from sepgconv.tasks.evaluation import EVALUATION_BATCH
from sepgconv.tasks.loading import Loader
from sepgconv.tasks.parts import find_parts, head_of
from sepgconv.tasks.registry import get_task
from sepgconv.tasks.tally import Tally
from sepgconv.tasks.task import Task

Batch: TypeAlias = tuple[Tensor, Tensor, int]  # this process's images and targets; images in the whole batch


class TrainingModule(LightningModule):
    """A network under training for the task of its config.

    Nothing random outlives an epoch: at its start the generators are seeded from the run's seed, the epoch and the
    process, and the learning rate is set from the epoch. So an epoch that was broken off can be run again.

    Args:
        model: from images (batch, channels, height, width) to what the task expects.
        config: the run's.
        task: what it is trained for, with what it takes from the targets (`Task.fit`). Default: the config's.

    Attributes:
        task: what it is trained for.

    Raises:
        ValueError: the config freezes parts that the network does not have, or all of it.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig, task: Task | None = None) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.task = get_task(config.task, config.task_options) if task is None else task
        self._tallies = {part: Tally(self.task) for part in ("train", "validation")}
        self._frozen = find_parts(model, config.freeze)
        for part in self._frozen:
            part.requires_grad_(False)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ValueError("freeze leaves nothing to learn; leave out the head at least")

    def train(self, mode: bool = True) -> "TrainingModule":
        """Set the mode of the network; frozen parts stay in evaluation mode."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return the outputs of the network."""
        return self.model(images)

    def configure_optimizers(self) -> Optimizer:
        """Return the config's optimiser; the learning rate follows at the start of every epoch."""
        config = self.config
        parameters = self._learning_parameters()
        if config.optimizer == "sgd":
            return SGD(parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
        optimizer = AdamW if config.optimizer == "adamw" else Adam
        return optimizer(parameters, lr=config.lr, weight_decay=config.weight_decay)

    def _learning_parameters(self) -> Any:
        # What learns; in two groups, the head first, where the rest has a learning rate of its own.
        learning = [parameter for parameter in self.parameters() if parameter.requires_grad]
        if self.config.lr_backbone is None:
            return learning
        of_head = {id(parameter) for parameter in head_of(self.model)[1].parameters()}
        head = [parameter for parameter in learning if id(parameter) in of_head]
        backbone = [parameter for parameter in learning if id(parameter) not in of_head]
        share = self.config.lr_backbone / self.config.lr
        groups = [{"params": head, "share": 1.0}, {"params": backbone, "share": share}]
        return [group for group in groups if group["params"]]

    def on_train_epoch_start(self) -> None:
        """Seed what the epoch draws; keep the statistics of frozen parts."""
        for part in self._frozen:  # not before: Lightning warns of parts that begin in evaluation mode
            part.eval()
        epoch = self.current_epoch
        self._tallies = {part: Tally(self.task) for part in self._tallies}
        torch.manual_seed(epoch_seed(self.config.seed, epoch, stream=1 + self.global_rank))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the learning rate of the step."""
        rate = self.config.learning_rate(self.current_epoch + batch_idx / self.trainer.num_training_batches)
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("share", 1.0)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of this process's share of a batch.

        It is weighted so that the mean over the processes, which is what their gradients are averaged by, is the mean
        over the images of the whole batch, also where the shares differ by an image.

        Raises:
            DivergedError: the loss is not finite, in any process.
        """
        images, targets, size = batch
        outputs = self.model(images)
        total = self.task.training_loss(outputs, targets, self.config.label_smoothing)
        # All processes must agree to stop: one that goes on alone waits for the others' gradients for ever.
        finite = bool(torch.isfinite(total))
        if not self.trainer.strategy.reduce_boolean_decision(finite, all=True):
            loss = "not finite in another process" if finite else total.item()
            raise DivergedError(
                f"the loss is {loss} in epoch {self.current_epoch + 1}, batch {batch_idx + 1} "
                f"(learning rate {self.config.learning_rate(self.current_epoch):g})"
            )
        self._tallies["train"].add(outputs, targets, total)
        # Lightning waits for the device for each number that goes to a bar, also where none is drawn.
        if self.trainer.progress_bar_callback is not None:
            self.log("loss", total.detach() / len(images), prog_bar=True, logger=False)
        return total * self.trainer.world_size / size

    def on_validation_start(self) -> None:
        """Judge the network that is saved: under several processes, the running statistics of the first."""
        share_buffers(self.model)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add up loss and counts of this process's share of a batch.

        It runs without autocast, like every evaluation of the saved network, so that one metric has one value.
        """
        images, targets, _ = batch
        with torch.autocast(images.device.type, enabled=False):
            outputs = self.model(images)
        loss = self.task.loss(outputs, targets)
        self._tallies["validation"].add(outputs, targets, loss)

    def figures(self) -> dict[str, float]:
        """Return the epoch's mean loss and its metrics, over the images of all processes, which all call this.

        Those of "train" are measured while the weights change, on augmented images, and are printed as "running". Those
        of the record are measured with the last weights, on images without augmentation.
        """
        found: dict[str, float] = {}
        for part, tally in self._tallies.items():
            if tally.images == 0:  # in all processes alike: there is no such part
                continue
            found[f"{part}_loss"] = tally.mean_loss(self.device, self._sum)
            found |= {f"{part}_{name}": value for name, value in tally.measure(self.device, self._sum).items()}
        return found

    def _sum(self, value: Tensor) -> Tensor:
        return torch.as_tensor(self.trainer.strategy.reduce(value, reduce_op="sum"))


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
        augmentation: from a batch of images to a batch of images; the task applies it.
        task: what is trained for. Default: the config's.
        workers: processes that read images ahead, where they are not in memory. Default: none.

    Raises:
        ValueError: the classes are to be balanced, and the task has none for each image.
    """

    def __init__(
        self,
        train: Split,
        validation: Split | None,
        config: TrainingConfig,
        augmentation: nn.Module,
        task: Task | None = None,
        *,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self._train, self._validation, self._config, self._augmentation = train, validation, config, augmentation
        self._task = get_task(config.task, config.task_options) if task is None else task
        self._classes = self._task.strata(train.labels[:]) if config.sampling == "balanced" else None
        parts = {"train": train} if validation is None else {"train": train, "validation": validation}
        self._loader = Loader(parts, workers)

    def close(self) -> None:
        """End the processes that read images, if there are any."""
        self._loader.close()

    def train_dataloader(self) -> Batches:
        """Return this epoch's batches for this process."""
        trainer: Any = self.trainer
        return Batches(
            self._train.images,
            self._train.labels,
            batch_size=self._config.batch_size,
            order=self._order(trainer.current_epoch),
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            reader=self._loader.reader("train"),
        )

    def _order(self, epoch: int) -> Tensor:
        if self._classes is None:
            return epoch_order(len(self._train), self._config.seed, epoch)
        return balanced_order(self._classes, self._config.seed, epoch)

    def val_dataloader(self) -> list[Batches]:
        """Return the validation batches for this process; an empty list, which the trainer then skips, for none."""
        trainer: Any = self.trainer
        if self._validation is None:
            return []
        return [
            Batches(
                self._validation.images,
                self._validation.labels,
                batch_size=max(EVALUATION_BATCH, trainer.world_size),
                min_share=1,
                rank=trainer.global_rank,
                world_size=trainer.world_size,
                reader=self._loader.reader("validation"),
            )
        ]

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment a training batch on its device, outside autocast."""
        trainer: Any = self.trainer
        if not trainer.training:
            return batch
        images, targets, size = batch
        with torch.no_grad():
            return *self._task.augment(self._augmentation, images, targets), size
