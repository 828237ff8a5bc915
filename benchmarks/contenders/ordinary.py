"""Ordinary torch: a convolution, a depthwise-separable one, and the two Table 1 networks without a group.

Each comes in torch's two memory formats, since which is faster differs from case to case: `memory="contiguous"` or
"channels_last".
"""

import torch
from torch import Tensor, nn

import sepgconv

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def _maps(group: str, channels: int) -> int:
    return channels * sepgconv.group(group).order


def _lay_out(module: nn.Module, memory: str) -> nn.Module:
    return module.to(memory_format=FORMATS[memory])  # pyright: ignore[reportCallIssue] (torch's stub lacks it)


def dense_layer(
    *, group: str, channels: int, kernel_size: int, padding: int, memory: str = "contiguous", **_: object
) -> nn.Module:
    """Build `nn.Conv2d` with as many maps as `channels` have on the group."""
    maps = _maps(group, channels)
    return _lay_out(nn.Conv2d(maps, maps, kernel_size, padding=padding), memory)


def separable_layer(
    *, group: str, channels: int, kernel_size: int, padding: int, memory: str = "contiguous", **_: object
) -> nn.Module:
    """Build a 1x1, then a depthwise `nn.Conv2d` with as many maps as `channels` have on the group."""
    maps = _maps(group, channels)
    mixing = nn.Conv2d(maps, maps, 1, bias=False)
    filtering = nn.Conv2d(maps, maps, kernel_size, padding=padding, groups=maps)
    return _lay_out(nn.Sequential(mixing, filtering), memory)


def network(*, name: str, width: int, memory: str = "contiguous", **_: object) -> nn.Module:
    """Build Z2CNN ("z2cnn") or c-Z2CNN ("c_z2cnn") from torch's own layers.

    Raises:
        ValueError: another name; those networks live on a group.
    """
    if name not in ("z2cnn", "c_z2cnn"):
        raise ValueError(f"ordinary torch has only z2cnn and c_z2cnn, not {name!r}")

    def block(size: int) -> nn.Sequential:
        if name == "z2cnn":
            convolution = [nn.Conv2d(width, width, size)]
        else:
            convolution = [nn.Conv2d(width, width, 1), nn.Conv2d(width, width, size, groups=width)]
        return nn.Sequential(*convolution, nn.BatchNorm2d(width), nn.ReLU())

    first = nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU())
    blocks = [first, block(3), nn.MaxPool2d(2), *(block(size) for size in (3, 3, 3, 3, 4))]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)]
    return _lay_out(nn.Sequential(*blocks, *head), memory)


def native_maps(x: Tensor, *, memory: str = "contiguous", **_: object) -> Tensor:
    """Fold poses into channels, in the memory format of the contender."""
    return x.flatten(1, 2).contiguous(memory_format=FORMATS[memory])


def native_images(x: Tensor, *, memory: str = "contiguous", **_: object) -> Tensor:
    """Take images in the memory format of the contender."""
    return x.contiguous(memory_format=FORMATS[memory])
