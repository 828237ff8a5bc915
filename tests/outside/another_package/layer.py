"""A layer that is no `GroupConvLayer`, with a rule for each of the library's tools: the second way to add one.

No symmetry of the square changes its kernels. For most layers a kind is shorter, see `another_package.convolution`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sepgconv.analysis import macs
from sepgconv.convert.plain import Plain, Value, plain
from sepgconv.inference import freeze

RING = ((2, 1, 2), (1, 0, 1), (2, 1, 2))  # which of the three weights a pixel of the kernel has
TAPS = 9


def filter_rings(x: Tensor, filters: Tensor) -> Tensor:
    """Filter every map of (batch, channel, pose, height, width) by the kernel of its channel, (channel, 3, 3)."""
    channels, order = x.shape[1:3]
    kernels = filters.repeat_interleave(order, 0).unsqueeze(1)
    return F.conv2d(x.flatten(1, 2), kernels, padding=1, groups=len(kernels)).unflatten(1, (channels, order))


class RingConv2d(nn.Module):
    """Filter each channel with one number for the centre of the kernel, one for its edges and one for its corners."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 3))
        nn.init.normal_(self.weight, std=TAPS**-0.5)

    @property
    def filters(self) -> Tensor:
        """The kernels, (channels, 3, 3)."""
        return self.weight[:, torch.tensor(RING)]

    def forward(self, x: Tensor) -> Tensor:
        """Filter maps (batch, channels, pose, height, width)."""
        return filter_rings(x, self.filters)


class FrozenRing(nn.Module):
    """The same with the kernels laid out once."""

    filters: Tensor

    def __init__(self, filters: Tensor) -> None:
        super().__init__()
        self.register_buffer("filters", filters)

    def forward(self, x: Tensor) -> Tensor:
        """Filter maps (batch, channels, pose, height, width)."""
        return filter_rings(x, self.filters)


@macs.register
def _(module: RingConv2d, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> tuple[int, int]:
    count = TAPS * torch.Size(output_shape).numel()
    return count, count


@freeze.register
def _(module: RingConv2d, size: tuple[int, int]) -> nn.Module:
    return FrozenRing(module.filters.detach())


@plain.register
def _(module: RingConv2d, to: Plain, example: Tensor) -> Value:
    order = to.x.order

    def build() -> nn.Module:
        maps = order * len(module.weight)  # poses are folded into channels, (pose, channel)
        layer = nn.Conv2d(maps, maps, 3, padding=1, groups=maps, bias=False)
        layer.weight = nn.Parameter(module.filters.detach().repeat(order, 1, 1).unsqueeze(1))
        return layer

    return Value(example, folded=to.build.module(to.name, build, to.folded))
