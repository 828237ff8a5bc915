"""What a task does in one step, as a closure over a built contender and its input."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.case import Case, Contender, Task
from benchmarks.contenders.kinds import native

CLASSES = 10
LEARNING_RATE = 1e-3


def make_input(case: Case, batch: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw the input of a case, the same numbers for every contender and every dtype."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((batch, *case.shape), generator=generator).to(dtype)


def make_labels(batch: int, seed: int) -> Tensor:
    """Draw class labels."""
    return torch.randint(CLASSES, (batch,), generator=torch.Generator().manual_seed(seed + 1))


def make_step(case: Case, task: Task, contender: Contender, module: nn.Module, seed: int) -> Callable[[], object]:
    """Return one step of a task.

    "training step" is forward, cross entropy, backward, Adam; "forward + backward" has a fixed output gradient, in the
    layout of the output, and gives the gradients of input and parameters; "inference" is evaluation mode, no gradients.
    """
    x = native(contender, make_input(case, task.batch, seed))
    if task.kind == "inference":
        module.eval()
        return lambda: _infer(module, x)
    module.train()
    if task.kind == "forward + backward" or (task.kind == "memory" and case.is_layer):
        x.requires_grad_()
        with torch.no_grad():
            gradient = torch.ones_like(module(x))  # keeps the strides
        return lambda: _backward(module, x, gradient)
    labels = make_labels(task.batch, seed)
    optimizer = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE)
    return lambda: _train(module, optimizer, x, labels)


def make_forward(case: Case, task: Task, contender: Contender, module: nn.Module, seed: int) -> Callable[[], Tensor]:
    """Return the forward half of a training step or of forward + backward, whose result carries the graph."""
    x = native(contender, make_input(case, task.batch, seed))
    module.train()
    if case.is_layer:
        x.requires_grad_()
        return lambda: module(x)
    labels = make_labels(task.batch, seed)
    return lambda: F.cross_entropy(module(x), labels)


def _infer(module: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return module(x)


def _backward(module: nn.Module, x: Tensor, gradient: Tensor) -> None:
    x.grad = None
    module.zero_grad()
    module(x).backward(gradient)


def _train(module: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, labels: Tensor) -> None:
    optimizer.zero_grad()
    F.cross_entropy(module(x), labels).backward()
    optimizer.step()
