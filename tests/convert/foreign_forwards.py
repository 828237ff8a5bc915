"""Forwards as people write them: those that `equivariant` converts, and those that it refuses, with the words."""

import random

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


class Forward(nn.Module):
    """One convolution of 3 to 8 channels, then what is given: `then(network, image, maps)`."""

    def __init__(self, then, **parts):
        super().__init__()
        self.conv, self.then = conv(3, 8), then
        for name, part in parts.items():
            if isinstance(part, torch.Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x):
        return self.then(self, x, self.conv(x))


def conv(c, n, size=3, **settings):
    return nn.Conv2d(c, n, size, padding=size // 2, **settings)


def pooled(x):
    return F.adaptive_avg_pool2d(x, 1).flatten(1)


def headed(then, *, features=8, **parts):
    """Maps that `then` gives, pooled over positions and classified."""
    return Forward(lambda s, x, y: s.head(pooled(then(s, x, y))), head=nn.Linear(features, 5), **parts)


def on_vector(then, *, features=8, **parts):
    """A vector that `then` gives, classified."""
    return Forward(lambda s, x, y: s.head(then(s, x, y)), head=nn.Linear(features, 5), **parts)


class NormAct(nn.BatchNorm2d):
    def __init__(self, c):
        super().__init__(c)
        self.drop, self.act = nn.Identity(), nn.SiLU()

    def forward(self, x):
        return self.act(self.drop(super().forward(x)))


class Halved(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) * 0.5


class Standardised(nn.Conv2d):
    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class SamePadding(nn.Conv2d):
    """As in TensorFlow: sizes divided by the stride, padded as needed."""

    def forward(self, x):
        needed = [
            max((-(-side // s) - 1) * s + k - side, 0)
            for side, s, k in zip(x.shape[-2:], self.stride, self.kernel_size, strict=True)
        ]
        x = F.pad(x, [needed[1] // 2, needed[1] - needed[1] // 2, needed[0] // 2, needed[0] - needed[0] // 2])
        return F.conv2d(x, self.weight, self.bias, self.stride)


class SqueezeExcite(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.fc, self.pool = (
            nn.Sequential(nn.Linear(c, c // 2), nn.ReLU(), nn.Linear(c // 2, c)),
            nn.AdaptiveAvgPool2d(1),
        )

    def forward(self, x):
        b, c, _, _ = x.size()
        return x * torch.sigmoid(self.fc(self.pool(x).view(b, c))).view(b, c, 1, 1).expand_as(x)


class EfficientAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.pool = nn.Conv1d(1, 1, 3, padding=1, bias=False), nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        y = self.conv(self.pool(x).squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
        return x * torch.sigmoid(y).expand_as(x)


class Cbam(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.mlp = nn.Sequential(nn.Flatten(), nn.Linear(c, c // 2), nn.ReLU(), nn.Linear(c // 2, c))
        self.conv = conv(2, 1, 5)

    def forward(self, x):
        gate = torch.sigmoid(self.mlp(F.adaptive_avg_pool2d(x, 1)) + self.mlp(F.adaptive_max_pool2d(x, 1)))
        x = x * gate.unsqueeze(2).unsqueeze(3).expand_as(x)
        both = torch.cat((torch.max(x, 1)[0].unsqueeze(1), torch.mean(x, 1).unsqueeze(1)), dim=1)
        return x * torch.sigmoid(self.conv(both))


class SelectiveKernel(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.paths = nn.ModuleList([conv(c, c), conv(c, c, 5)])
        self.reduce, self.select = nn.Conv2d(c, 4, 1), nn.Conv2d(4, 2 * c, 1)

    def forward(self, x):
        stacked = torch.stack([path(x) for path in self.paths], dim=1)
        b, k, c, _, _ = stacked.shape
        gate = self.select(F.relu(self.reduce(stacked.sum(1).mean((2, 3), keepdim=True)))).view(b, k, c, 1, 1)
        return (stacked * torch.softmax(gate, dim=1)).sum(dim=1)


class ChannelsLast(nn.Module):
    """A block of ConvNeXt, with the response norm of its second version."""

    def __init__(self, c):
        super().__init__()
        self.depth, self.norm = conv(c, c, 5, groups=c), nn.LayerNorm(c, eps=1e-6)
        self.up, self.down = nn.Linear(c, 2 * c), nn.Linear(2 * c, c)
        self.scale, self.shift = (nn.Parameter(torch.zeros(1, 1, 1, 2 * c)) for _ in range(2))
        self.gamma = nn.Parameter(torch.full((c,), 0.1))

    def forward(self, x):
        y = F.gelu(self.up(self.norm(self.depth(x).permute(0, 2, 3, 1))))
        size = torch.norm(y, p=2, dim=(1, 2), keepdim=True)
        y = self.scale * (y * (size / (size.mean(dim=-1, keepdim=True) + 1e-6))) + self.shift + y
        return x + (self.gamma * self.down(y)).permute(0, 3, 1, 2)


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class NormByHand(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c))

    def forward(self, x):
        centred = x - x.mean(1, keepdim=True)
        x = centred / torch.sqrt(centred.pow(2).mean(1, keepdim=True) + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class UNet(nn.Module):
    """With a padded skip, a resized one and a cropped one."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d, self.e = conv(3, 6), conv(6, 8), conv(8, 12), conv(20, 8), nn.Conv2d(14, 6, 3)
        self.out, self.up = nn.Conv2d(12, 2, 1), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)

    def forward(self, x):
        a = F.relu(self.a(x))
        b = F.relu(self.b(F.max_pool2d(a, 2)))
        up = self.up(F.relu(self.c(F.max_pool2d(b, 2))))
        dy, dx = b.size(2) - up.size(2), b.size(3) - up.size(3)
        up = F.pad(up, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        d = F.interpolate(F.relu(self.d(torch.cat([b, up], 1))), size=a.shape[-2:], mode="nearest")
        e = self.e(torch.cat([a, d], dim=1))
        cut = (a.shape[2] - e.shape[2]) // 2
        a = a[:, :, cut : cut + e.shape[2], cut : cut + e.shape[3]]
        return self.out(torch.cat([a, e], 1))


class Pyramid(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.of_a, self.of_b = conv(3, 8), conv(8, 16), nn.Conv2d(8, 6, 1), nn.Conv2d(16, 6, 1)
        self.heads = nn.ModuleDict({"fine": conv(6, 6), "coarse": conv(6, 6)})

    def forward(self, x):
        a = self.a(x).relu()
        coarse = self.of_b(self.b(F.avg_pool2d(a, 2)).relu())
        fine = self.of_a(a) + F.interpolate(coarse, scale_factor=2, mode="nearest")
        return torch.cat([self.heads["fine"](fine), F.interpolate(self.heads["coarse"](coarse), scale_factor=2)], 1)


class Defaults(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = conv(3, 8), nn.Linear(8, 5)

    def forward(self, x, mask=None, features=False):
        x = self.conv(x)
        if x.shape[-1] < 4 or features:
            return x
        return self.head(pooled(x if mask is None else x * mask))


def blurred(s, x, y):
    return F.conv2d(F.pad(y, (1, 1, 1, 1), mode="reflect"), s.kernel, groups=y.shape[1])


def shortcut(s, x, y):
    """Option A of the first ResNets: every other pixel, zeros for the new channels."""
    return F.relu(s.c(y) + F.pad(y[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4), "constant", 0))


def added_in_place(s, x, y):
    z = s.c(y)
    z += y
    z.mul_(0.5)
    return z.relu_()


def split(s, x, y):
    a, b, c = torch.split(y, [2, 2, 4], 1)
    return torch.cat([s.c(a), b, c], 1) + y


def gated(s, x, y):
    a, b = y.chunk(2, dim=1)
    return a * torch.sigmoid(b)


def context(s, x, y):
    level = F.interpolate(s.a(F.adaptive_avg_pool2d(y, 1)), size=y.shape[2:], mode="bilinear", align_corners=False)
    return s.c(torch.cat([y, level], 1))


def in_any_layout(s, x, y):
    y = y.contiguous(memory_format=torch.channels_last).clone(memory_format=torch.channels_last)
    return y.to(memory_format=torch.channels_last)


def kernel():
    return torch.tensor([1.0, 2.0, 1.0])[:, None] * torch.tensor([1.0, 2.0, 1.0]) / 16


# By name: what builds a network on 3 x 9 x 9 images.
CONVERTED = {
    "norm with activation": lambda: headed(lambda s, x, y: s.bn(y), bn=NormAct(8)),
    "subclass of Conv2d": lambda: headed(lambda s, x, y: s.c(y), c=Halved(8, 8, 3)),
    "same padding": lambda: headed(lambda s, x, y: s.c(y), c=SamePadding(8, 8, 3, 2)),
    "squeeze and excite": lambda: headed(lambda s, x, y: s.se(y), se=SqueezeExcite(8)),
    "efficient attention": lambda: headed(lambda s, x, y: s.eca(y), eca=EfficientAttention()),
    "cbam": lambda: headed(lambda s, x, y: s.cbam(y), cbam=Cbam(8)),
    "selective kernels": lambda: headed(lambda s, x, y: s.sk(y), sk=SelectiveKernel(8)),
    "channels last": lambda: headed(lambda s, x, y: s.block(y), block=ChannelsLast(8)),
    "layer norm": lambda: headed(lambda s, x, y: s.norm(y), norm=LayerNorm2d(8)),
    "norm by hand": lambda: headed(lambda s, x, y: s.norm(y), norm=NormByHand(8)),
    "group norm": lambda: headed(lambda s, x, y: s.norm(y).relu(), norm=nn.GroupNorm(4, 8)),
    "instance norm": lambda: headed(lambda s, x, y: s.norm(y).relu(), norm=nn.InstanceNorm2d(8, affine=True)),
    "response norm": lambda: headed(lambda s, x, y: s.norm(y), norm=nn.LocalResponseNorm(3)),
    "defaults": Defaults,
    "mean of one axis after the other": lambda: on_vector(lambda s, x, y: y.mean(-1).mean(-1)),
    "mean of merged positions": lambda: on_vector(lambda s, x, y: y.view(y.size(0), y.size(1), -1).mean(2)),
    "sum over size": lambda: on_vector(lambda s, x, y: y.sum([2, 3]) / (y.shape[2] * y.shape[3])),
    "maximum of positions": lambda: on_vector(lambda s, x, y: y.flatten(2).max(-1)[0]),
    "maximum twice": lambda: on_vector(lambda s, x, y: y.max(dim=3).values.max(dim=2).values),
    "squeeze": lambda: on_vector(lambda s, x, y: F.adaptive_avg_pool2d(y, 1).squeeze()),
    "squeeze of axes": lambda: on_vector(lambda s, x, y: F.adaptive_avg_pool2d(y, 1).squeeze(3).squeeze(2)),
    "one pixel taken": lambda: on_vector(lambda s, x, y: F.adaptive_avg_pool2d(y, 1)[..., 0, 0]),
    "spread": lambda: on_vector(lambda s, x, y: torch.cat([y.mean((2, 3)), y.std((2, 3))], 1), features=16),
    "generalised mean": lambda: on_vector(
        lambda s, x, y: y.clamp(min=1e-6).pow(s.p).mean((-2, -1)).pow(1.0 / s.p), p=nn.Parameter(torch.full((1,), 3.0))
    ),
    "attention pool": lambda: on_vector(
        lambda s, x, y: (y.flatten(2) * torch.softmax(s.a(y).flatten(2), -1)).sum(-1), a=conv(8, 1)
    ),
    "normalised": lambda: Forward(lambda s, x, y: F.normalize(pooled(y), dim=1)),
    "half of a sum": lambda: headed(lambda s, x, y: y + 0.5 * s.c(y), c=conv(8, 8)),
    "in place": lambda: headed(added_in_place, c=conv(8, 8)),
    "stacked": lambda: headed(lambda s, x, y: torch.stack([y, s.c(y)], 0).sum(0), c=conv(8, 8)),
    "prelu": lambda: headed(lambda s, x, y: s.b(s.a(y)), a=nn.PReLU(8), b=nn.PReLU()),
    "option A": lambda: headed(shortcut, c=nn.Conv2d(8, 16, 3, 2, 1), features=16),
    "split": lambda: headed(split, c=conv(2, 2)),
    "chunk": lambda: headed(gated, features=4),
    "glu": lambda: headed(lambda s, x, y: F.glu(y, 1), features=4),
    "maxout": lambda: headed(lambda s, x, y: torch.max(*torch.split(y, 4, 1)), features=4),
    "slices": lambda: headed(lambda s, x, y: torch.cat([y[:, :3] + s.c(x), y[:, 3:]], 1), c=conv(3, 3)),
    "joined and added": lambda: headed(
        lambda s, x, y: s.b(y) + torch.cat([s.c(y), s.d(y)], 1), b=conv(8, 6), c=conv(8, 3), d=conv(8, 3), features=6
    ),
    "one layer on joined maps": lambda: headed(
        lambda s, x, y: s.b(torch.cat([s.b(y), s.c(y)], 1)), b=conv(8, 4), c=conv(8, 4), features=4
    ),
    "mean and spread of images": lambda: headed(
        lambda s, x, y: y + s.c((x - s.m[None, :, None, None]) / s.s.view(1, -1, 1, 1)),
        m=torch.tensor([0.4, 0.5, 0.6]), s=torch.tensor([0.2, 0.3, 0.2]), c=conv(3, 8)
    ),
    "layer scale": lambda: headed(
        lambda s, x, y: y + s.g * s.c(y), g=nn.Parameter(torch.full((8, 1, 1), 0.1)), c=conv(8, 8)
    ),
    "learnt mixture": lambda: headed(
        lambda s, x, y: torch.sigmoid(s.g) * y + (1 - torch.sigmoid(s.g)) * s.c(y),
        g=nn.Parameter(torch.zeros(1)), c=conv(8, 8)
    ),
    "looked up by size": lambda: headed(lambda s, x, y: {9: 1.5, 12: 2.0}[x.shape[-1]] * y),
    "memory formats": lambda: headed(in_any_layout),
    "residual of the image": lambda: Forward(lambda s, x, y: x - s.c(F.relu(y)), c=conv(8, 3)),
    "image joined": lambda: Forward(lambda s, x, y: s.c(torch.cat([x, y], 1)), c=conv(11, 3)),
    "context": lambda: Forward(context, a=nn.Conv2d(8, 4, 1), c=conv(12, 3)),
    "convolution after pooling": lambda: Forward(
        lambda s, x, y: s.c(y.mean((2, 3))[:, :, None, None]).flatten(1), c=nn.Conv2d(8, 2, 1)
    ),
    "convolution of one map to several": lambda: Forward(
        lambda s, x, y: s.c(torch.max(y, 1, keepdim=True)[0]), c=conv(1, 2)
    ),
    "two convolutions on the image": lambda: headed(lambda s, x, y: y + s.c(x), c=conv(3, 8, 5)),
    "softmax of maps": lambda: Forward(lambda s, x, y: s.soft(s.a(y)), a=conv(8, 4), soft=nn.Softmax(1)),
    "reflected": lambda: headed(lambda s, x, y: s.c(s.pad(y)), pad=nn.ReflectionPad2d(1), c=nn.Conv2d(8, 8, 3)),
    "padded by a number": lambda: headed(lambda s, x, y: s.c(F.pad(y, (1, 1, 1, 1), value=0.5)), c=nn.Conv2d(8, 8, 3)),
    "padding left out": lambda: headed(lambda s, x, y: s.p(y), p=nn.AvgPool2d(3, 1, 1, count_include_pad=False)),
    "divisor": lambda: headed(lambda s, x, y: F.avg_pool2d(y, 3, divisor_override=5)),
    "one pool on image and maps": lambda: headed(
        lambda s, x, y: s.p(y) * s.p(x).mean(1,
        keepdim=True), p=nn.MaxPool2d(3),
    ),
    "windows that fit": lambda: headed(lambda s, x, y: F.max_pool2d(y, 3, 2, ceil_mode=True)),
    "upsampled": lambda: Forward(lambda s, x, y: s.c(s.up(y)), up=nn.Upsample(scale_factor=2), c=conv(8, 2)),
    "blurred": lambda: headed(blurred, kernel=kernel().repeat(8, 1, 1, 1)),
    "blurred with one kernel": lambda: headed(
        lambda s, x, y: F.conv2d(y, s.kernel.expand(y.shape[1], -1, -1, -1), groups=y.shape[1]),
        kernel=kernel()[None, None],
    ),
    "comparisons": lambda: headed(lambda s, x, y: torch.where(y > 0, y, 0.1 * y)),
    "functions of numbers": lambda: headed(
        lambda s, x, y: torch.maximum(y, s.c(y)).abs().exp().clamp(max=3).pow(2), c=conv(8, 8)
    ),
    "vectors": lambda: on_vector(lambda s, x, y: s.b(pooled(y)).relu(), b=nn.BatchNorm1d(8)),
    "weight of a layer": lambda: Forward(lambda s, x, y: F.linear(pooled(y), s.w), w=nn.Parameter(torch.randn(5, 8))),
}  # fmt: skip


def under_autocast(s, x, y):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return y * 2


def without_gradients(s, x, y):
    with torch.no_grad():
        return y * 2


def asserted(s, x, y):
    assert y.shape[-1] == 99, "99 wanted"
    return y


def shuffled(s, x, y):
    b, c, h, w = y.shape
    return y.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


# By name: what builds a network, and words of its refusal.
REFUSED = {
    "noise": (lambda: headed(lambda s, x, y: y + torch.randn(1)), r"add\(\) .*: a number in it changes"),
    "noise of Python's": (lambda: headed(lambda s, x, y: y * random.random()), r"mul\(\) .*: a number in it changes"),
    "another factor in training": (
        lambda: headed(lambda s, x, y: y * (2 if s.training else 3)), r"mul\(\) .*: a number in it changes",
    ),
    "dropout that stays on": (lambda: headed(lambda s, x, y: F.dropout(y)), r"dropout\(\) .*: it stays on"),
    "standardised weight": (
        lambda: headed(lambda s, x, y: s.c(y), c=Standardised(8, 8, 3, padding=1)),
        r"conv2d\(\) in the forward of c: its weight is computed in the forward",
    ),
    "channel shuffle": (
        lambda: headed(shuffled),
        r"reshape\(\) .*: mixes channels in groups, as a channel shuffle does",
    ),
    "position": (
        lambda: headed(lambda s, x, y: y + s.e, e=nn.Parameter(torch.zeros(1, 8, 9, 9))), r"numbers for each position",
    ),
    "transposed": (
        lambda: headed(lambda s, x, y: s.c(y), c=nn.ConvTranspose2d(8, 8, 2, 2)),
        r"c: ConvTranspose2d has no",
    ),
    "pixel shuffle": (lambda: headed(lambda s, x, y: F.pixel_shuffle(y, 2), features=2), r"pixel_shuffle\(\) .*has no"),
    "turned": (lambda: headed(lambda s, x, y: y.rot90(1, (2, 3))), r"rot90\(\) .*has no counterpart"),
    "uneven padding": (
        lambda: headed(lambda s, x, y: s.c(F.pad(y, (0, 1, 0, 1))), c=nn.Conv2d(8, 8, 3)),
        r"padding of 0 pixels above and 1 below, 0 to the left and 1 to the right",
    ),
    "uneven crop": (lambda: headed(lambda s, x, y: y[:, :, 1:, 1:]), r"a crop of 1 pixels above and 0 below"),
    "rows": (lambda: Forward(lambda s, x, y: y[:, :, 0]), r"takes single rows"),
    "windows that hang over": (
        lambda: headed(lambda s, x, y: F.max_pool2d(y, 2, ceil_mode=True)),
        r"hangs over one side of maps of 9 x 9",
    ),
    "indices": (
        lambda: headed(lambda s, x, y: F.max_pool2d(y, 3, return_indices=True)[0]),
        r"max_pool2d_with_indices\(\) .*has no",
    ),
    "nearest": (
        lambda: headed(lambda s, x, y: F.interpolate(y, size=(12, 12))),
        r"mode='nearest' rounds towards one side",
    ),
    "one axis": (lambda: headed(lambda s, x, y: y.mean(2, keepdim=True)), r"mean\(\) over one of height and width"),
    "exchanged axes": (
        lambda: headed(lambda s, x, y: s.c(y.transpose(2, 3)), c=conv(8, 8)),
        r"c: Conv2d has maps as input that",
    ),
    "batch": (lambda: headed(lambda s, x, y: y - y.mean(0)), r"mean\(\) over the batch"),
    "autocast": (lambda: headed(under_autocast), r"its forward switches autocast"),
    "no_grad": (lambda: headed(without_gradients), r"its forward switches gradients"),
    "checkpoint": (
        lambda: headed(lambda s, x, y: checkpoint(s.c, y, use_reentrant=False), c=conv(8, 8)),
        r"it checkpoints activations",
    ),
    "reentrant checkpoint": (
        lambda: headed(lambda s, x, y: checkpoint(s.c, y, use_reentrant=True), c=conv(8, 8)),
        r"it checkpoints activations",
    ),
    "number of a map": (lambda: headed(lambda s, x, y: y * float(y.mean())), r"makes a Python number of a value"),
    "argmax": (lambda: Forward(lambda s, x, y: pooled(y).argmax(1)), r"argmax\(\) .*has no counterpart"),
    "assertion": (lambda: headed(asserted), r"does not take inputs of shape \(3, 9, 9\) .*AssertionError 99 wanted"),
    "missing key": (lambda: headed(lambda s, x, y: {8: 1.0}[x.shape[-1]] * y), r"does not take inputs .*KeyError"),
    "number of channels": (
        lambda: headed(lambda s, x, y: y * y.shape[1] ** -0.5),
        r"computes with the size of a tensor",
    ),
    "buffer": (
        lambda: headed(lambda s, x, y: y * s.b, b=torch.arange(8.0).view(8, 1, 1)),
        r"b: a buffer with a number for every channel",
    ),
    "two inputs": (lambda: nn.Bilinear(2, 2, 2), r"missing 1 required positional argument: 'input2'"),
}  # fmt: skip
