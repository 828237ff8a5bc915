"""How alike the feature maps of every channel are over the poses, measured on images."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sepgconv._evaluation import evaluation
from sepgconv._hooks import watch_calls
from sepgconv.symmetry import FiniteGroup, pose_division


def measured_agreement(model: nn.Module, layers: Mapping[str, FiniteGroup], images: Tensor) -> dict[str, Tensor]:
    """Return how alike the feature maps of every channel are from pose to pose, as images show it.

    The correlation over images and pixels of the maps at two poses, h after the other, about the mean of the channel
    over all poses: 1 where the maps are identical, -1 where they are negatives of each other but for a constant.
    `sepgconv.analysis.map_agreement` says the same of filters, for every image.

    Args:
        model: the network, used in evaluation mode and put back as it was.
        layers: names of modules in it that give feature maps (batch, channel, |G|, height, width), and their groups.
            One that runs several times is measured over all its runs.
        images: a batch (n, channels, height, width).

    Returns:
        For each name (channel, |G|), float64; NaN for a channel whose maps are constant. A layer that did not run is
        left out.

    Raises:
        ValueError: there are no images.

    Example:
        >>> import sepgconv, torch
        >>> layer = sepgconv.nn.LiftingConv2d(1, 3, 3, "p4")
        >>> p4 = sepgconv.group("p4")
        >>> found = sepgconv.analysis.measured_agreement(torch.nn.Sequential(layer), {"0": p4}, torch.rand(2, 1, 8, 8))
        >>> tuple(found["0"].shape)
        (3, 4)
    """
    if images.ndim != 4 or len(images) == 0:
        raise ValueError(
            f"measured_agreement: inputs must be a batch of images (n, channels, height, width), got "
            f"{tuple(images.shape)}"
        )
    sums: dict[str, _Sums] = {}

    def record(name: str, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
        sums.setdefault(name, _Sums()).add(output)

    modules = [(name, model.get_submodule(name)) for name in layers]
    with watch_calls(modules, after=record), evaluation(model):
        model(images)
    return {name: sums[name].agreement(group) for name, group in layers.items() if name in sums}


class _Sums:
    """Products of maps at any two poses, added up over images and pixels."""

    def __init__(self) -> None:
        self.products: Tensor | float = 0.0  # (channel, |G|, |G|)
        self.values: Tensor | float = 0.0  # (channel, |G|)
        self.pixels = 0

    def add(self, maps: Tensor) -> None:
        rows = maps.double().permute(1, 2, 0, 3, 4).flatten(2)  # (channel, |G|, batch * pixels)
        self.products = self.products + rows @ rows.mT
        self.values = self.values + rows.sum(-1)
        self.pixels += rows.shape[-1]

    def agreement(self, group: FiniteGroup) -> Tensor:
        products, values = torch.as_tensor(self.products), torch.as_tensor(self.values)
        mean = values.mean(-1, keepdim=True) / self.pixels  # (channel, 1)
        shift = mean * values  # (channel, |G|)
        covariance = products - shift.unsqueeze(-1) - shift.unsqueeze(-2) + self.pixels * mean.square().unsqueeze(-1)
        # All pairs of poses that lie h apart count together: by equivariance none of them is special.
        apart = torch.from_numpy(pose_division(group)).to(covariance.device)
        together = torch.stack([covariance[:, apart == h].sum(-1) for h in range(group.order)], -1)
        energy, whole = together[:, :1], products.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True)
        smallest = torch.finfo(torch.float32).eps * whole
        return torch.where(energy > smallest, together / energy, torch.nan).clamp(-1, 1)
