"""The learning rate finder: a short training whose learning rate rises from step to step, and what its loss says."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sepgconv.data import Dataset, augmentation
from sepgconv.tasks.batches import Batches, epoch_order, epoch_seed
from sepgconv.tasks.beginning import fitted_task, initial_network
from sepgconv.tasks.config import TrainingConfig
from sepgconv.tasks.devices import find_device

_SMOOTHING = 0.9  # weight of what came before, in the running mean of the loss
_TOO_LARGE = 4.0  # times the lowest loss: from there on it only explodes
_BELOW_LOWEST = 10.0  # how far below the rate of the lowest loss the suggestion is


@dataclass(frozen=True)
class LearningRateSweep:
    """What a learning rate finder saw.

    Attributes:
        rates: learning rate of every step, rising.
        losses: running mean of the loss of an image after it.

    Example:
        >>> LearningRateSweep((0.001, 0.01, 0.1, 1.0), (2.0, 1.5, 1.2, 9.0)).suggestion
        0.01
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def suggestion(self) -> float:
        """A tenth of the rate with the lowest loss, to two digits: there the loss falls fast and is still stable."""
        lowest = min(range(len(self.losses)), key=self.losses.__getitem__)
        return float(f"{self.rates[lowest] / _BELOW_LOWEST:.1e}")


def find_learning_rate(
    config: TrainingConfig,
    data: Dataset,
    *,
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 100,
    device: str = "cpu",
    prepare: Callable[[torch.nn.Module], object] | None = None,
) -> LearningRateSweep:
    """Train a network for a few steps while the learning rate rises, and return the course of the loss.

    The range test of L. N. Smith (Cyclical learning rates, WACV 2017): the rate rises by the same factor in every step;
    the sweep ends when the loss is four times its lowest value. The config's optimiser, batch size, augmentation and
    seed are used; its schedule and learning rate are not. Nothing is written.

    Args:
        config: what to train, and how.
        data: the data set; its training part is used.
        lowest: rate of the first step.
        highest: rate of the last step.
        steps: how many at most.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        prepare: as that of `train`.

    Raises:
        ValueError: a range that does not rise, too few steps, no such device; or the first loss is not finite.

    Example:
        >>> from sepgconv.data import load_dataset, take_images
        >>> config = TrainingConfig(model="z2cnn", data="rotated_digits", model_config={"width": 2})
        >>> found = find_learning_rate(config, take_images(load_dataset("rotated_digits"), 60, seed=1), steps=20)
        >>> len(found.rates) <= 20, 1e-7 <= found.suggestion <= 0.1
        (True, True)
    """
    from sepgconv.tasks.module import TrainingModule  # Lightning takes seconds to import

    if not 0 < lowest < highest or steps < 2:
        raise ValueError(f"the sweep needs 0 < lowest < highest and 2 steps or more, got {lowest}, {highest}, {steps}")
    task = fitted_task(config, data)
    place = find_device(device)
    model = initial_network(config, data)
    if prepare is not None:
        prepare(model)
    module = TrainingModule(model, config, task).to(place)
    module.train()
    optimizer = module.configure_optimizers()
    augment = augmentation(config.augmentation, preprocessing=data.preprocessing)
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    for step, (images, targets) in zip(range(steps), _batches(config, data), strict=False):
        rate = lowest * (highest / lowest) ** (step / (steps - 1))
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("share", 1.0)
        with torch.no_grad():
            inputs, wanted = task.augment(augment, images.to(place), targets.to(place))
        loss = task.training_loss(model(inputs), wanted, config.label_smoothing) / len(images)
        if not bool(torch.isfinite(loss)):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * float(loss.detach())
        rates.append(rate)
        losses.append(mean / (1 - _SMOOTHING ** (step + 1)))
        if not math.isfinite(losses[-1]) or losses[-1] > _TOO_LARGE * min(losses):
            break
    if not rates:
        raise ValueError("the loss of the first step is not finite; look at the images and labels")
    return LearningRateSweep(tuple(rates), tuple(losses))


def _batches(config: TrainingConfig, data: Dataset) -> Iterator[tuple[Tensor, Tensor]]:
    epoch = 0
    while True:
        torch.manual_seed(epoch_seed(config.seed, epoch, stream=1))
        order = epoch_order(len(data.train), config.seed, epoch)
        for images, targets, _ in Batches(
            data.train.images, data.train.labels, batch_size=config.batch_size, order=order
        ):
            yield images, targets
        epoch += 1
