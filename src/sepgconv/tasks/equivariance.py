"""How exactly a network commutes with a group, and how often its answer stays, as metrics to log during training."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from sepgconv._evaluation import evaluation
from sepgconv.analysis.certify import move_output
from sepgconv.functional import act
from sepgconv.symmetry import FiniteGroup
from sepgconv.symmetry import group as get_group


class _OfGroup(Metric):
    """What both metrics share: a group, which of its elements, how many images, and sums over all updates."""

    full_state_update = False
    sums: ClassVar[Mapping[str, torch.dtype]]  # by name

    def __init__(
        self, group: FiniteGroup | str, *, elements: Sequence[int] | None = None, images: int = 32, **options: Any
    ) -> None:
        super().__init__(**options)
        self.group = get_group(group)
        self.elements = tuple(self.group.grid_elements[1:] if elements is None else elements)
        if unknown := [g for g in self.elements if not 0 <= g < self.group.order]:
            raise ValueError(
                f"{type(self).__name__}: {self.group.name} has the elements 0..{self.group.order - 1}, got {unknown[0]}"
            )
        if not self.elements:
            raise ValueError(
                f"{type(self).__name__}: {self.group.name} has no element but the identity that keeps the pixel grid; "
                "give elements=..."
            )
        if images < 1:
            raise ValueError(f"{type(self).__name__}: images must be 1 or more, got {images}")
        self.images = images
        for name, dtype in self.sums.items():
            self.add_state(name, torch.tensor(0, dtype=dtype), dist_reduce_fx="sum")


class EquivarianceError(_OfGroup):
    """The relative error of model(g x) against g model(x), root mean square, over images and elements.

    The output moves as in `sepgconv.analysis.equivariance_error`: images and feature maps with the image, vectors not
    at all, unless the model says otherwise. It costs one run of the network for each element, without gradients and in
    evaluation mode. `sepgconv.analysis.certify` is exact, says which layer is at fault, and is slower.

    Args:
        group: the group or its name.
        elements: which of its elements. Default: those that keep the pixel grid, but the identity; the others
            interpolate the image, which is an error by itself.
        images: of each update, how many are looked at, at most. Default: 32.
        options: of torchmetrics.

    Raises:
        ValueError: there is no such element, or none to look at.

    Example:
        >>> import torch
        >>> error = EquivarianceError("p4")
        >>> error.update(torch.nn.ReLU(), torch.randn(2, 1, 8, 8))
        >>> float(error.compute())
        0.0
        >>> error.reset()
        >>> error.update(torch.nn.Conv2d(1, 1, 3), torch.randn(2, 1, 8, 8))
        >>> float(error.compute()) > 0.1
        True
    """

    is_differentiable, higher_is_better = False, False
    sums = MappingProxyType({"difference": torch.float64, "size": torch.float64})
    difference: Tensor
    size: Tensor

    def update(self, model: nn.Module, images: Tensor) -> None:
        """Add the errors on images (batch, channels, height, width).

        Raises:
            ValueError: the group cannot act on them.
        """
        images = images[: self.images]
        with evaluation(model):
            y = model(images)
            for g in self.elements:
                expected = move_output(model, self.group, g, y)
                self.difference += (model(act(self.group, g, images)) - expected).double().square().sum()
                self.size += expected.double().square().sum()

    def compute(self) -> Tensor:
        """Return the error; 0 where all outputs are 0."""
        return (self.difference / self.size.clamp(min=torch.finfo(torch.float64).tiny)).sqrt()


class InvarianceRate(_OfGroup):
    """The share of images, from 0 to 1, whose class stays under all of the elements of a group.

    Of an exactly invariant network it is 1. It costs one run of the network for each element, without gradients and in
    evaluation mode.

    Args:
        group: the group or its name.
        elements: which of its elements. Default: those that keep the pixel grid, but the identity.
        images: of each update, how many are looked at, at most. Default: 32.
        options: of torchmetrics.

    Raises:
        ValueError: there is no such element, or none to look at.

    Example:
        >>> import torch
        >>> rate = InvarianceRate("p4")
        >>> brightest_pixel = torch.nn.Flatten()  # of which the class is the place
        >>> rate.update(brightest_pixel, torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]))
        >>> float(rate.compute())
        0.0
    """

    is_differentiable, higher_is_better = False, True
    sums = MappingProxyType({"kept": torch.int64, "total": torch.int64})
    kept: Tensor
    total: Tensor

    def update(self, model: nn.Module, images: Tensor) -> None:
        """Add the answers on images (batch, channels, height, width).

        Raises:
            ValueError: the network gives no scores (batch, classes), or the group cannot act on the images.
        """
        images = images[: self.images]
        with evaluation(model):
            scores = model(images)
            if scores.ndim != 2:
                raise ValueError(
                    f"InvarianceRate: expected scores of shape (batch, classes), got {tuple(scores.shape)}; for maps "
                    "take EquivarianceError"
                )
            answers = scores.argmax(1)
            same = [model(act(self.group, g, images)).argmax(1) == answers for g in self.elements]
        self.kept += torch.stack(same).all(0).sum()
        self.total += len(images)

    def compute(self) -> Tensor:
        """Return the share of images."""
        return self.kept / self.total
