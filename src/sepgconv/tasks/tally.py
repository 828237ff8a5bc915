"""What metrics are made of, batch after batch: sums, and all outputs where a metric needs them together."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sepgconv.tasks.task import Metric, Task, needs_outputs

Reduce = Callable[[Tensor], Tensor]  # the sum of a tensor over the processes


def _alone(value: Tensor) -> Tensor:
    return value


class Tally:
    """Sums over batches, on their device; Lightning's own means are wrong where processes have unequal shares.

    Args:
        task: what is counted.
        metrics: which metrics are asked for. Default: those of the task.

    Attributes:
        images: how many were added in this process.

    Example:
        >>> import torch
        >>> from sepgconv.tasks import Classification
        >>> tally = Tally(Classification())
        >>> tally.add(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0]))
        >>> tally.measure()
        {'error': 50.0}
    """

    def __init__(self, task: Task, metrics: Sequence[Metric] | None = None) -> None:
        self._task = task
        self._metrics = task.metrics if metrics is None else tuple(metrics)
        self._keeps = needs_outputs(self._metrics)
        self._loss: Tensor | float = 0.0
        self._counts: Tensor | float = 0.0
        self._kept: list[tuple[Tensor, Tensor]] = []
        self.images = 0

    def add(self, outputs: Tensor, targets: Tensor, loss: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            outputs: (batch, ...), of the network.
            targets: (batch, ...).
            loss: the sum over the images. Default: it is not asked for.
        """
        counts = self._task.count(outputs, targets).detach()
        if loss is not None:
            self._loss = self._loss + loss.detach().float()
        self._counts = counts if self.images == 0 else self._counts + counts
        if self._keeps:
            self._kept.append((outputs.detach().float().cpu(), targets.cpu()))
        self.images += len(targets)

    def mean_loss(self, device: torch.device, reduce: Reduce = _alone) -> float:
        """Return the mean loss of an image, over the processes that `reduce` sums over."""
        loss, images = (reduce(torch.as_tensor(value, device=device)) for value in (self._loss, self.images))
        return float(loss) / float(images)

    def measure(self, device: torch.device | None = None, reduce: Reduce = _alone) -> dict[str, float]:
        """Return the metrics, by name, over the images of all processes, which all call this.

        Args:
            device: on which processes exchange numbers. Default: that of the counts.
            reduce: sums a tensor over the processes. Default: there is one process.
        """
        found: Mapping[str, float] = self._task.measure(torch.as_tensor(reduce(self.counts(device))))
        if self._keeps:
            outputs, targets = (torch.cat(each) for each in zip(*_of_all_processes(self._kept), strict=True))
            found = {**found, **self._task.measure_all(outputs, targets)}
        return {metric.name: found[metric.name] for metric in self._metrics if metric.name in found}

    def counts(self, device: torch.device | None = None) -> Tensor:
        """Return the sum of the counts, an ordinary tensor."""
        found = torch.as_tensor(self._counts, device=device)
        return found.clone() if found.is_inference() else found


def _of_all_processes(kept: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return kept
    gathered: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, kept)  # shares may be of unequal sizes
    return [pair for each in gathered for pair in each]
