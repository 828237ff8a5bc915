"""The arithmetic of training-mode batch norm with statistics shared over poses, on folded maps.

Maps are channels_last images (batch, pose * channel, height, width). torch's kernels take neighbouring channels as
vectors, of which a handful of channels fills a part, and add up pixel after pixel in the precision of the maps, which
loses digits: with 10^5 pixels and a mean of 10^4 standard deviations all of them. So neighbouring pixels are taken as
further channels; statistics are taken per place, pose and channel, and joined exactly in double precision: the mean
of the variances plus the variance of the means.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sepgconv.ops.layout import accumulate

# Numbers side by side of which statistics are taken; their sums stay in the fastest cache.
WIDTH = 2**12
# Fewest numbers in one of the sums: below, joining takes longer than summing.
SHORTEST = 64


@dataclass(frozen=True)
class Statistics:
    """Mean and (biased) variance of every channel over batch, poses and positions, each (channel,)."""

    mean: Tensor
    var: Tensor
    order: int
    eps: float

    @property
    def invstd(self) -> Tensor:
        """1 / sqrt(variance + eps), (channel,)."""
        return (self.var + self.eps).rsqrt()

    def affine(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return (slope, offset) of the normalisation, each (pose * channel, 1, 1)."""
        slope = weight * self.invstd
        return _over_poses(slope, self.order), _over_poses(bias - self.mean * slope, self.order)


def _over_poses(values: Tensor, order: int) -> Tensor:
    return values.repeat(order)[:, None, None]


def joined_statistics(x: Tensor, order: int, eps: float) -> Statistics:
    """Take the statistics of folded maps."""
    pixels = x.permute(0, 2, 3, 1).flatten(0, 2)
    count, maps = pixels.shape
    beside = max(1, min(WIDTH // maps, count // SHORTEST))
    beside = 1 << (beside.bit_length() - 1)  # a power of two seldom leaves a rest
    rest = count % beside
    mean, var = _side_by_side(pixels[: count - rest], beside, order)
    if rest:
        mean_of_rest, var_of_rest = _side_by_side(pixels[count - rest :], 1, order)
        share, way = rest / count, mean_of_rest - mean
        mean = mean + share * way
        var = (1 - share) * var + share * var_of_rest + share * (1 - share) * way.square()
    return Statistics(mean.to(x.dtype), var.to(x.dtype), order, eps)


def _side_by_side(pixels: Tensor, beside: int, order: int) -> tuple[Tensor, Tensor]:
    """Return mean and variance of every channel of pixels (pixel, pose * channel), so many taken side by side."""
    rows = pixels.reshape(-1, beside * pixels.shape[1])
    means, variances = (s.view(beside * order, -1) for s in torch.batch_norm_update_stats(rows, None, None, 0.0))
    var, mean = torch.var_mean(means.double(), 0, correction=0)
    return mean, var + variances.mean(0)


def update_running_statistics(
    running_mean: Tensor | None, running_var: Tensor | None, mean: Tensor, var: Tensor, count: int, momentum: float
) -> None:
    """Move running statistics towards those of a batch of `count` values per channel; the variance unbiased."""
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean, momentum)
        if running_var is not None:
            running_var.lerp_(var * (count / (count - 1)), momentum)


def plain_batch_norm(x: Tensor, weight: Tensor, bias: Tensor, order: int, eps: float, *, relu: bool) -> Tensor:
    """Normalise folded maps by operations that torch differentiates itself."""
    poses = x.unflatten(1, (order, -1))
    axes, shape = (0, 1, 3, 4), (1, 1, -1, 1, 1)
    centred = poses - poses.mean(axes, keepdim=True)
    invstd = (centred.square().mean(axes, keepdim=True) + eps).rsqrt()
    y = (centred * invstd * weight.view(shape) + bias.view(shape)).flatten(1, 2)
    return y.relu() if relu else y


def affine_into(x: Tensor, slope: Tensor, offset: Tensor, *, relu: bool, out: Tensor) -> Tensor:
    """Write slope * x + offset, with ReLU where asked for, into `out` and return it."""
    torch.addcmul(offset, x, slope, out=out)
    return out.relu_() if relu else out


class NormGradient:
    """The gradient of `weight * (x - mean) / std + bias` through the statistics as well, in two rounds over chunks.

    First `add` every chunk, then `finish`, then ask for the gradient of every chunk.

    Attributes:
        weight: gradient with respect to the scale (channel,).
        bias: gradient with respect to the shift (channel,).
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, statistics: Statistics, weight: Tensor, count: int) -> None:
        self._statistics, self._scale, self._count = statistics, weight, count
        order = statistics.order
        self._per_pose = [part.repeat(order) for part in (weight, statistics.mean, statistics.var)]
        self._products: Tensor | None = None
        self._sums: Tensor | None = None

    def add(self, grad: Tensor, x: Tensor) -> None:
        """Take the sums over a piece: of grad * normalised x, and of grad."""
        # In evaluation mode torch's kernel gives just these two sums.
        weight, mean, var = self._per_pose
        _, products, sums = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, mean, var, None, None, False, self._statistics.eps, [False, True, True]
        )
        self._products, self._sums = accumulate(self._products, products), accumulate(self._sums, sums)

    def finish(self) -> None:
        """Join the sums over poses."""
        if self._products is None or self._sums is None:
            raise ValueError("NormGradient: no piece was added")
        order, invstd = self._statistics.order, self._statistics.invstd
        self.weight, self.bias = self._products.view(order, -1).sum(0), self._sums.view(order, -1).sum(0)
        # weight / std * (grad - mean of grad - normalised x * mean of products), as slope * grad + tilt * x + offset.
        slope = self._scale * invstd
        tilt = -slope * invstd * self.weight / self._count
        offset = -slope * self.bias / self._count - tilt * self._statistics.mean
        self._slope, self._tilt, self._offset = (_over_poses(part, order) for part in (slope, tilt, offset))

    def by_input(self, grad: Tensor, x: Tensor, out: Tensor) -> None:
        """Write the gradient of a chunk of the input; `out` may be `grad`."""
        torch.addcmul(torch.addcmul(self._offset, x, self._tilt), grad, self._slope, out=out)
