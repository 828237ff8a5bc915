"""The reference execution: what one would write from the paper, in ordinary contiguous tensors. Also the oracle.

Channels and poses are folded into the channels of `F.conv2d`, a separable convolution is a 1x1 one, then a grouped one;
batch norm is `BatchNorm3d`, the pool torch's. Nothing of sepgconv is used but the tables of its groups and the filters
of steerable kernels. The parameters have the order and the number of entries of sepgconv's own, so that weights are
copied one after the other.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sepgconv
from sepgconv.symmetry import pixel_permutation, pose_division
from sepgconv.symmetry.steerable import SteerableBasis

# How each network's convolutions are factored, and its group.
NETWORKS = {
    "z2cnn": ("full", "p1"),
    "c_z2cnn": ("two-step", "p1"),
    "p4cnn": ("full", "p4"),
    "g_p4cnn": ("g", "p4"),
    "gc_p4cnn": ("gc", "p4"),
    "resnet44": ("full", "p1"),
    "p4m_resnet44": ("full", "p4m"),
    "g_p4m_resnet44": ("g", "p4m"),
    "gc_p4m_resnet44": ("gc", "p4m"),
}
BLOCKS_PER_STAGE = 7


def _weight(*shape: int, fan_in: float, gain: float = 2.0) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) * math.sqrt(gain / fan_in))


class _OnGroup(nn.Module):
    """Abstract: a convolution with the tables of a group."""

    poses: Tensor
    pixels: Tensor
    steered: Tensor
    bias: nn.Parameter | None

    def __init__(self, group: str, kernel_size: int, stride: int, padding: int) -> None:
        super().__init__()
        self.group = sepgconv.group(group)
        self.order, self.stride, self.padding = self.group.order, stride, padding
        self.kernel_shape: tuple[int, ...] = (kernel_size, kernel_size)
        self.energy = float(kernel_size**2)
        if self.group.keeps_grid:
            source = torch.as_tensor(pixel_permutation(self.group, kernel_size, kernel_size)).flatten(1)
            self.register_buffer("pixels", source, persistent=False)  # (h, k*k): where T_h K takes each pixel from
        else:  # (h, k*k, n): the filters of one angular frequency, rotated
            basis = SteerableBasis(self.group, (kernel_size, kernel_size))
            self.register_buffer("steered", torch.from_numpy(basis.matrix), persistent=False)
            self.kernel_shape, self.energy = basis.weight_shape, float((basis.matrix**2).sum()) / self.order
        self.side = kernel_size
        self.register_buffer("poses", torch.as_tensor(pose_division(self.group)), persistent=False)  # (h, g): h^-1 g

    def _add_bias(self, channels: int, wanted: bool) -> None:
        self.register_parameter("bias", nn.Parameter(torch.zeros(channels)) if wanted else None)

    def turned(self, kernels: Tensor) -> Tensor:
        """Return T_h K for every h: weights of kernels, (..., k, k) or (..., n) -> (..., h, k, k)."""
        if not self.group.keeps_grid:
            steered = self.steered.to(kernels.dtype)
            return torch.einsum("hpn,...n->...hp", steered, kernels).unflatten(-1, (self.side, self.side))
        return kernels.flatten(-2)[..., self.pixels].unflatten(-1, kernels.shape[-2:])

    def bias_of_maps(self) -> Tensor | None:
        """Return the bias of every map, channels outermost."""
        return None if self.bias is None else self.bias.repeat_interleave(self.order)


class PaperLifting(_OnGroup):
    """Images to feature maps: one planar convolution with all turned filters."""

    def __init__(self, channels: int, out: int, kernel_size: int, group: str, *, padding: int = 0) -> None:
        super().__init__(group, kernel_size, 1, padding)
        self.weight = _weight(out, channels, *self.kernel_shape, fan_in=channels * self.energy)
        self._add_bias(out, True)

    def forward(self, x: Tensor) -> Tensor:
        """Lift images."""
        filters = self.turned(self.weight).transpose(1, 2).flatten(0, 1)  # (o*h, c, k, k)
        return F.conv2d(x, filters, self.bias_of_maps(), 1, self.padding).unflatten(1, (-1, self.order))


class PaperGroupConv(_OnGroup):
    """The full group convolution as one planar convolution."""

    def __init__(
        self,
        channels: int,
        out: int,
        kernel_size: int,
        group: str,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__(group, kernel_size, stride, padding)
        fan_in = channels * self.order * self.energy
        self.weight = _weight(out, channels, self.order, *self.kernel_shape, fan_in=fan_in)
        self._add_bias(out, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve feature maps."""
        turned = self.turned(self.weight)  # (o, c, g', h, k, k)
        bank = torch.stack([turned[:, :, self.poses[h], h] for h in range(self.order)], 1)  # (o, h, c, g, k, k)
        bank = bank.flatten(2, 3).flatten(0, 1)
        maps = F.conv2d(x.flatten(1, 2), bank, self.bias_of_maps(), self.stride, self.padding)
        return maps.unflatten(1, (-1, self.order))


class PaperSeparable(_OnGroup):
    """A separable group convolution: a 1x1 `F.conv2d`, then a grouped one."""

    def __init__(
        self,
        channels: int,
        out: int,
        kernel_size: int,
        group: str,
        *,
        sharing: str,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__(group, kernel_size, stride, padding)
        gc = sharing == "gc"
        self.sharing, self.channels = sharing, channels
        self.pointwise = _weight(out, channels, self.order, fan_in=self.order * (channels if gc else 1))
        lead = (out,) if gc else (out, channels)
        fan_in = self.energy * (1 if gc else channels)
        self.depthwise = _weight(*lead, *self.kernel_shape, fan_in=fan_in, gain=1.0)
        self._add_bias(out, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve feature maps."""
        mixing = self.pointwise[:, :, self.poses].transpose(1, 2)  # (o, h, c, g)
        filters = self.turned(self.depthwise)
        if self.sharing == "gc":
            mixed = F.conv2d(x.flatten(1, 2), mixing.flatten(2, 3).flatten(0, 1)[..., None, None])  # (b, o*h, y, x)
            filters = filters.flatten(0, 1).unsqueeze(1)  # (o*h, 1, k, k)
        else:
            per_channel = mixing.permute(2, 0, 1, 3).flatten(0, 2)[..., None, None]  # (c*o*h, g, 1, 1)
            mixed = F.conv2d(x.flatten(1, 2), per_channel, groups=self.channels)
            mixed = mixed.unflatten(1, (self.channels, -1)).transpose(1, 2).flatten(1, 2)  # (b, o*h*c, y, x)
            filters = filters.transpose(1, 2).flatten(0, 1)  # (o*h, c, k, k)
        maps = F.conv2d(mixed, filters, self.bias_of_maps(), self.stride, self.padding, groups=len(filters))
        return maps.unflatten(1, (-1, self.order))


class PaperTwoStep(nn.Module):
    """The ordinary depthwise-separable convolution, on the trivial group, each step with a bias."""

    def __init__(self, channels: int, out: int, kernel_size: int) -> None:
        super().__init__()
        self.mixing = nn.Conv2d(channels, out, 1)
        self.filtering = nn.Conv2d(out, out, kernel_size, groups=out)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve feature maps of one pose."""
        return self.filtering(self.mixing(x.squeeze(2))).unsqueeze(2)


def convolution(
    kind: str,
    channels: int,
    out: int,
    kernel_size: int,
    group: str,
    *,
    stride: int = 1,
    padding: int = 0,
    bias: bool = True,
) -> nn.Module:
    """Build a convolution "full", "g", "gc" or "two-step"."""
    if kind == "two-step":
        return PaperTwoStep(channels, out, kernel_size)
    if kind == "full":
        return PaperGroupConv(channels, out, kernel_size, group, stride=stride, padding=padding, bias=bias)
    return PaperSeparable(channels, out, kernel_size, group, sharing=kind, stride=stride, padding=padding, bias=bias)


class _PoolPlane(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x.flatten(1, 2), 2).unflatten(1, x.shape[1:3])


class PaperRotMNIST(nn.Module):
    """The Rotated MNIST networks of Table 1 (theory.md, Rotated MNIST)."""

    def __init__(self, kind: str, group: str, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [PaperLifting(1, width, 3, group)]
        layers += [convolution(kind, width, width, size, group) for size in (3, 3, 3, 3, 3, 4)]
        blocks = [nn.Sequential(layer, nn.BatchNorm3d(width), nn.ReLU()) for layer in layers]
        self.features = nn.Sequential(*blocks[:2], _PoolPlane(), *blocks[2:])
        self.classifier = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return self.classifier(self.features(x).max(2).values.mean((-2, -1)))


class _PaperBlock(nn.Module):
    def __init__(self, channels: int, out: int, kind: str, group: str, stride: int) -> None:
        super().__init__()
        halves = [
            nn.Sequential(
                nn.BatchNorm3d(before),
                nn.ReLU(),
                convolution(kind, before, out, 3, group, stride=step, padding=1, bias=kind == "full"),
            )
            for before, step in ((channels, stride), (out, 1))
        ]
        self.residual = nn.Sequential(*halves)
        same = channels == out and stride == 1
        self.shortcut = nn.Identity() if same else PaperGroupConv(channels, out, 1, group, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x) + self.shortcut(x)


class PaperResNet44(nn.Module):
    """The ResNet44s of Table 2 (theory.md, ResNet44), down-sampling by strides."""

    def __init__(self, kind: str, group: str, widths: tuple[int, int, int]) -> None:
        super().__init__()
        self.stem = PaperLifting(3, widths[0], 3, group, padding=1)
        blocks: list[nn.Module] = []
        before = widths[0]
        for stage, width in enumerate(widths):
            for index in range(BLOCKS_PER_STAGE):
                blocks.append(_PaperBlock(before, width, kind, group, 2 if stage and not index else 1))
                before = width
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.Sequential(nn.BatchNorm3d(before), nn.ReLU())
        self.classifier = nn.Linear(before * self.stem.order, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return self.classifier(self.norm(self.blocks(self.stem(x))).mean((-2, -1)).flatten(1))


def separable_layer(
    *, group: str, channels: int, kernel_size: int, padding: int, sharing: str = "gc", **_: object
) -> nn.Module:
    """Build a separable layer."""
    return PaperSeparable(channels, channels, kernel_size, group, sharing=sharing, padding=padding)


def group_layer(*, group: str, channels: int, kernel_size: int, padding: int, **_: object) -> nn.Module:
    """Build a full group convolution."""
    return PaperGroupConv(channels, channels, kernel_size, group, padding=padding)


def network(
    *,
    name: str,
    group: str | None = None,
    width: int | None = None,
    widths: tuple[int, int, int] | None = None,
    **_: Any,
) -> nn.Module:
    """Build a network by the name it has in sepgconv; `width` for Table 1's, on any group, `widths` for the ResNets."""
    kind, own_group = NETWORKS[name]
    group = own_group if group is None else group
    if widths is not None:
        return PaperResNet44(kind, group, widths)
    if width is None:
        raise ValueError(f"{name}: a width (or widths for a ResNet) must be given")
    return PaperRotMNIST(kind, group, width)


def native(x: Tensor, **_: object) -> Tensor:
    """Take ordinary contiguous tensors."""
    return x.contiguous()
