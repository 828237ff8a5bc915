"""Preprocessing as modules: none, by mean and standard deviation, and contrast normalisation with ZCA whitening."""

from collections.abc import Callable, Mapping
from math import sqrt
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from sepgconv._messages import unknown_name
from sepgconv.data.column import Entries, chunks

GCN_SCALE = 55.0
ZCA_BIAS = 0.1
_SMALLEST_NORM = 1e-8
_SMALLEST_DEVIATION = 1e-6  # of pixels in [0, 1]; below it a channel has one value, and its deviation is rounding
_CHUNK = 2048  # images at once: bounds the float64 copies


class Identity(nn.Identity):
    """Pixels stay as they are, in [0, 1]."""

    name = "identity"

    def undo(self, images: Tensor) -> Tensor:
        """Return the images as they were."""
        return images


class MeanStd(nn.Module):
    """The mean of every channel is subtracted, and it is divided by its standard deviation: those of the training part.

    It computes on each value by itself, so one image gives the same in any batch.

    Args:
        mean: of each channel, for pixels in [0, 1], (channels,).
        std: the same; a channel of one value has 1.

    Raises:
        ValueError: the two do not fit together, or a deviation is not above 0.

    Example:
        >>> import torch
        >>> MeanStd(torch.tensor([0.5]), torch.tensor([0.25]))(torch.tensor([[[[0.0, 0.5, 1.0]]]])).tolist()
        [[[[-2.0, 0.0, 2.0]]]]
    """

    name = "mean-std"
    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        if mean.ndim != 1 or mean.shape != std.shape or not bool((std > 0).all()):
            raise ValueError(
                "MeanStd: expected a mean and a deviation above 0 for each channel, got shapes "
                f"{tuple(mean.shape)} and {tuple(std.shape)}"
            )
        self.register_buffer("mean", mean.float())
        self.register_buffer("std", std.float())

    def forward(self, images: Tensor) -> Tensor:
        """Preprocess raw images in [0, 1], (n, channels, height, width) -> float32 of the same shape.

        Raises:
            ValueError: images with another number of channels.
        """
        if images.ndim != 4 or images.shape[1] != len(self.mean):
            raise ValueError(
                f"mean-std was fitted on images of {len(self.mean)} channels; got a batch {tuple(images.shape)}"
            )
        mean, std = (part.to(images.device)[:, None, None] for part in (self.mean, self.std))
        return (images - mean) / std

    def undo(self, images: Tensor) -> Tensor:
        """Return the raw images, to rounding, of preprocessed ones."""
        mean, std = (part.to(images.device)[:, None, None] for part in (self.mean, self.std))
        return images * std + mean


def fit_mean_std(images: Entries) -> MeanStd:
    """Fit mean and standard deviation (divided by n) of every channel to training images, in one pass.

    The same images give the same numbers, in memory or not.

    Args:
        images: (n, channels, height, width), uint8 0..255, or float32 in [0, 1].
    """
    channels = images.shape[1]
    total, squares = torch.zeros(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)
    levels = torch.arange(256, dtype=torch.float64)
    scale = 1 if images.dtype.is_floating_point else 255
    for part in chunks(images):
        for channel, values in enumerate(part.unbind(1)):
            if images.dtype.is_floating_point:
                total[channel] += values.double().sum()
                squares[channel] += values.double().square().sum()
            else:  # whole numbers below 2**53: exact in float64
                found = torch.bincount(values.flatten(), minlength=256).double()
                total[channel] += found @ levels
                squares[channel] += found @ levels.square()
    n = images.shape[0] * images.shape[2] * images.shape[3]
    means = [value / n for value in total.tolist()]
    deviations = [
        sqrt(max(0.0, value / n - mean * mean)) / scale for value, mean in zip(squares.tolist(), means, strict=True)
    ]
    std = [deviation if deviation > _SMALLEST_DEVIATION else 1.0 for deviation in deviations]
    return MeanStd(torch.tensor([mean / scale for mean in means]), torch.tensor(std))


class GcnZca(nn.Module):
    """Global contrast normalisation of every image, then ZCA whitening with fixed statistics.

    The convention of pylearn2 (I. Goodfellow et al., arXiv:1308.4214; `global_contrast_normalize` with scale 55, `ZCA`
    with filter bias 0.1), the usual one for CIFAR-10 since maxout networks: from an image subtract the mean of all its
    values and scale it to Euclidean norm 55 (an image of one value becomes zero); then x -> (x - mean) W with
    W = (C + 0.1 I)^(-1/2), C the covariance (divided by n) of the normalised training images. Normalisation does not
    depend on the unit of the pixels, so [0, 1] and 0..255 give the same.

    Args:
        mean: mean of the normalised training images, (channels, height, width).
        whitening: W, symmetric, (d, d) with d = channels * height * width.

    Raises:
        ValueError: the two do not fit together.
    """

    name = "gcn-zca"
    mean: Tensor
    whitening: Tensor

    def __init__(self, mean: Tensor, whitening: Tensor) -> None:
        super().__init__()
        if mean.ndim != 3 or tuple(whitening.shape) != (mean.numel(), mean.numel()):
            raise ValueError(
                "GcnZca: expected a mean of shape (channels, height, width) and a square matrix of its size, "
                f"got {tuple(mean.shape)} and {tuple(whitening.shape)}"
            )
        self.register_buffer("mean", mean.float())
        self.register_buffer("whitening", whitening.float())

    def forward(self, images: Tensor) -> Tensor:
        """Preprocess raw images in [0, 1], (n, channels, height, width) -> float32 of the same shape.

        Raises:
            ValueError: images of another shape than the training images.
        """
        if images.ndim != 4 or images.shape[1:] != self.mean.shape:
            raise ValueError(
                f"gcn-zca was fitted on images of shape {tuple(self.mean.shape)}; got a batch {tuple(images.shape)}"
            )
        centred = contrast_normalize(images).float() - self.mean
        return (centred.flatten(1) @ self.whitening).view_as(images)


def contrast_normalize(images: Tensor) -> Tensor:
    """Subtract from every image (axis 0) its mean over all other axes and scale it to Euclidean norm 55; float64.

    In float32 the rounding of the mean would be blown up to norm 55 on an image of one value.
    """
    flat = images.double().flatten(1)
    centred = flat - flat.mean(1, keepdim=True)
    norm = centred.norm(dim=1, keepdim=True)
    return (centred * (GCN_SCALE / norm.where(norm > _SMALLEST_NORM, GCN_SCALE))).view_as(images)


def fit_gcn_zca(pixels: UInt8[Tensor, "n c h w"]) -> GcnZca:
    """Fit the whitening to training images, in float64 by an eigendecomposition of the covariance.

    The same input gives the same result for one machine and number of threads; between machines it differs by rounding.
    """
    parts = pixels.split(_CHUNK)
    mean = torch.stack([contrast_normalize(part).sum(0) for part in parts]).sum(0) / len(pixels)
    covariance = torch.zeros(mean.numel(), mean.numel(), dtype=torch.float64)
    for part in parts:
        centred = (contrast_normalize(part) - mean).flatten(1)
        covariance.addmm_(centred.T, centred, alpha=1 / len(pixels))
    covariance.diagonal().add_(ZCA_BIAS)
    # NumPy's solver, because torch's takes seven times as long on the CPU for 3072 x 3072 (60 s against 9 s).
    eigenvalues, eigenvectors = map(torch.from_numpy, np.linalg.eigh(covariance.numpy()))
    return GcnZca(mean, (eigenvectors * eigenvalues.rsqrt()) @ eigenvectors.T)


def preprocess_pixels(preprocessing: nn.Module, pixels: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Scale pixels 0..255 to [0, 1] and preprocess them, a part at a time."""
    result = torch.empty(pixels.shape, dtype=torch.float32)
    for done, part in zip(result.split(_CHUNK), pixels.split(_CHUNK), strict=True):
        done.copy_(preprocessing(part.float() / 255))
    return result


def build_preprocessing(name: str, state: Mapping[str, Tensor]) -> nn.Module:
    """Rebuild a preprocessing module from its `name` and `state_dict()`.

    Args:
        name: "identity", "mean-std" or "gcn-zca".
        state: its `state_dict`.

    Raises:
        ValueError: an unknown name, or tensors that do not belong to it.

    Example:
        >>> build_preprocessing("identity", {}).name
        'identity'
    """
    expected: dict[str, tuple[type[nn.Module], tuple[str, ...]]] = {
        "identity": (Identity, ()),
        "mean-std": (MeanStd, ("mean", "std")),
        "gcn-zca": (GcnZca, ("mean", "whitening")),
    }
    if name not in expected:
        raise ValueError(unknown_name("preprocessing", name, expected))
    kind, tensors = expected[name]
    if set(state) != set(tensors):
        raise ValueError(f"{name}: expected a state of {sorted(tensors)}, got {sorted(state)}")
    return kind(*(state[tensor] for tensor in tensors))


# What a data set of one's own can be preprocessed with: by name, from the images of its training part.
FITTED: Mapping[str, Callable[[Entries], nn.Module]] = MappingProxyType(
    {"identity": lambda images: Identity(), "mean-std": fit_mean_std}
)
