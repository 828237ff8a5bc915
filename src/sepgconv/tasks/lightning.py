"""Tasks in a Lightning trainer of your own: any network, any data loader."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader

from sepgconv._messages import unknown_name
from sepgconv.data import Dataset, Split, augmentation, load_dataset
from sepgconv.tasks.registry import get_task
from sepgconv.tasks.tally import Tally
from sepgconv.tasks.task import Task

Batch: TypeAlias = Sequence[Tensor]  # images and targets; what follows is not looked at

_OPTIMIZERS = ("adam", "adamw", "sgd")
_SCHEDULES = ("cosine", "constant")


class TaskModule(LightningModule):
    """A network with its task, for a `Trainer` and data loaders of your own; one class for every task.

    It logs "train_loss", and after every epoch "val_loss" and the metrics of the task as "val_error" and so on, on the
    test data as "test_..."; the metrics are of all images together, also under several processes. `predict_step`
    returns a row for each image, as `sepgconv predict` prints it.

    `sepgconv.tasks.train` is another way, for runs that can be killed and resumed bit for bit and leave a record.

    Args:
        model: any module from images (batch, channels, height, width) to what the task expects.
        task: a name of `list_tasks()`, or a task, as `Regression().fit(targets)`, which then learns standardised
            targets and predicts in your units. Default: "classification".
        task_options: of a task by name, as in `{"class_weights": [1.0, 3.0]}`. Default: none.
        classes: their names, for predictions. Default: "0", "1" and so on.
        lr: the learning rate at the beginning. Default: 1e-3.
        optimizer: "adam", "adamw" or "sgd" (momentum 0.9). Default: "adamw".
        weight_decay: of the optimiser. Default: 1e-2.
        schedule: "cosine", which falls towards 0 over the steps of the trainer, or "constant". Default: "cosine".
        label_smoothing: share of every target that is spread over the classes. Default: 0.
        augmentation: of training batches, as `sepgconv.data.augmentation` takes it, or what that returned, as for
            "colour" on images that are preprocessed; masks, vectors and angles move with the images. Default: "none".

    Raises:
        ValueError: an unknown name or option.

    Example:
        >>> import torch
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from lightning.pytorch import Trainer
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> module = TaskModule(network, "classification", classes=("cat", "dog"), lr=0.1)
        >>> loader = DataLoader(TensorDataset(torch.rand(8, 1, 4, 4), torch.arange(8) % 2), batch_size=4)
        >>> module.training_step(next(iter(loader)), 0).ndim
        0
        >>> module.predict_step(next(iter(loader)), 0)[0]["class"] in ("cat", "dog")
        True
    """

    def __init__(
        self,
        model: nn.Module,
        task: str | Task = "classification",
        *,
        task_options: Mapping[str, Any] | None = None,
        classes: Sequence[str] = (),
        lr: float = 1e-3,
        optimizer: str = "adamw",
        weight_decay: float = 1e-2,
        schedule: str = "cosine",
        label_smoothing: float = 0.0,
        augmentation: str | nn.Module | Sequence[str | nn.Module] = "none",
    ) -> None:
        super().__init__()
        for kind, name, known in (("optimizer", optimizer, _OPTIMIZERS), ("schedule", schedule, _SCHEDULES)):
            if name not in known:
                raise ValueError(unknown_name(kind, name, known))
        if not lr > 0:
            raise ValueError(f"lr must be a number above 0, got {lr}")
        self.model = model
        if isinstance(task, Task):
            if task_options:
                raise ValueError("task_options are of a task by name; give the task itself its options")
            self.task = task
        else:
            self.task = get_task(task, task_options)
        self.classes = tuple(classes)
        self.lr, self.weight_decay, self.label_smoothing = lr, weight_decay, label_smoothing
        self._optimizer, self._schedule = optimizer, schedule
        self._augmentation = _build_augmentation(augmentation)
        self._tally = Tally(self.task)

    def forward(self, images: Tensor) -> Tensor:
        """Return the outputs of the network."""
        return self.model(images)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the mean loss of a batch, after augmentation."""
        images, targets = batch[0], batch[1]
        with torch.no_grad():
            images, targets = self.task.augment(self._augmentation, images, targets)
        outputs = self.model(images)
        loss = self.task.training_loss(outputs, targets, self.label_smoothing) / len(images)
        self._report({"train_loss": loss.detach()}, len(images))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begin to count anew."""
        self._tally = Tally(self.task)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count what the metrics are made of."""
        images, targets = batch[0], batch[1]
        outputs = self.model(images)
        if not self._tally.images:
            self.task.check(targets, outputs.shape[1])
        self._tally.add(outputs, targets, self.task.loss(outputs, targets))

    def on_validation_epoch_end(self) -> None:
        """Log loss and metrics of the validation data."""
        self._log_tally("val")

    def on_test_epoch_start(self) -> None:
        """Begin to count anew."""
        self._tally = Tally(self.task, (*self.task.metrics, *self.task.further_metrics))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count what the metrics are made of."""
        self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        """Log loss and metrics of the test data, the task's further metrics among them."""
        self._log_tally("test")

    def predict_step(self, batch: Batch | Tensor, batch_idx: int) -> list[dict[str, str | float]]:
        """Return a row for each image, as `Task.describe` gives it."""
        images = batch if isinstance(batch, Tensor) else batch[0]
        with torch.no_grad():
            outputs = self.model(images)
        names = self.classes or tuple(map(str, range(max(2, outputs.shape[1])))) if self._needs_names else self.classes
        return self.task.describe(outputs, names)

    @property
    def _needs_names(self) -> bool:
        try:
            self.task.head(())
        except ValueError:
            return True
        return False

    def configure_optimizers(self) -> Any:
        """Return the optimiser, and the schedule of its learning rate."""
        optimizer = self._build_optimizer()
        if self._schedule == "constant":
            return optimizer
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = {"scheduler": CosineAnnealingLR(optimizer, steps), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def _build_optimizer(self) -> Optimizer:
        weights = [weight for weight in self.parameters() if weight.requires_grad]
        if self._optimizer == "sgd":
            return SGD(weights, lr=self.lr, momentum=0.9, weight_decay=self.weight_decay)
        return (AdamW if self._optimizer == "adamw" else Adam)(weights, lr=self.lr, weight_decay=self.weight_decay)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the task took from the targets, without which predictions would be in other units."""
        checkpoint["task_state"] = self.task.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back."""
        self.task = self.task.restored(checkpoint.get("task_state", {}))

    def _log_tally(self, part: str) -> None:
        if not self._tally.images:
            return
        values = {"loss": self._tally.mean_loss(self.device, self._sum), **self._tally.measure(self.device, self._sum)}
        self._report({f"{part}_{name}": value for name, value in values.items()}, self._tally.images)

    def _report(self, values: Mapping[str, Any], images: int) -> None:
        if getattr(self, "_trainer", None) is not None:  # a step may be called without a trainer
            self.log_dict(dict(values), prog_bar=True, sync_dist=True, batch_size=images)

    def _sum(self, value: Tensor) -> Tensor:
        return torch.as_tensor(self.trainer.strategy.reduce(value, reduce_op="sum"))


def _build_augmentation(wanted: str | nn.Module | Sequence[str | nn.Module]) -> nn.Module:
    return augmentation(wanted)


class ImageDataModule(LightningDataModule):
    """The data loaders of a data set of this library, for a `Trainer` of your own.

    Args:
        data: a data set, or what `sepgconv.data.load_dataset` takes: a name or a path.
        batch_size: images in a batch. Default: 64.
        num_workers: processes that load. Default: 0.
        options: of `load_dataset`, as `data_dir`.

    Raises:
        ValueError: the batch size is below 1.

    Example:
        >>> data = ImageDataModule("rotated_digits", batch_size=32)
        >>> images, labels = next(iter(data.train_dataloader()))
        >>> tuple(images.shape), len(data.classes), data.image_shape
        ((32, 1, 28, 28), 10, (1, 28, 28))
    """

    def __init__(self, data: Dataset | str, *, batch_size: int = 64, num_workers: int = 0, **options: Any) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        self.batch_size, self.num_workers = batch_size, num_workers
        self.dataset = data if isinstance(data, Dataset) else load_dataset(data, **options)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.dataset.classes

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image: (channels, height, width)."""
        return self.dataset.image_shape

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the training images, shuffled."""
        return self._loader(self.dataset.train, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the validation images."""
        return self._loader(self.dataset.validation)

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the test images."""
        return self._loader(self.dataset.test)

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return the test images."""
        return self.test_dataloader()

    def _loader(self, split: Split, *, shuffle: bool = False) -> DataLoader[Any]:
        images: Any = split  # a map-style data set by its methods, not by its class
        return DataLoader(images, batch_size=self.batch_size, shuffle=shuffle, num_workers=self.num_workers)
