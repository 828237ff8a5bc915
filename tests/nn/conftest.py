"""Every layer of `sepgconv.nn` as data: how to build it, what goes in, what the library's loop reference says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sepgconv
from sepgconv.ops import reference

IN, OUT = 3, 4


@dataclass(frozen=True)
class Layer:
    """A kind of layer: its class and the options that make the kind, and the names and shapes of its state.

    image: whether it takes an image, not a feature map.
    filters: whether it is a convolution, built from channels, a kernel size, a group and planar options.
    reference: the result from the layer's parameters by loops, without the bias that comes last.
    of_group: whether it is no convolution, but built from a group.
    """

    name: str
    class_name: str
    options: dict[str, Any]
    state: dict[str, tuple[str | int, ...]]
    image: bool = False
    filters: bool = True
    reference: Callable[..., Tensor] | None = None
    of_group: bool = False

    def build(self, group, kernel_size=3, *, package=sepgconv, **options) -> nn.Module:
        factory = getattr(package.nn, self.class_name)
        if self.of_group:
            return factory(getattr(group, "name", group), **self.options)
        if not self.filters:
            return factory(**self.options)
        channels = (IN,) if self.class_name == "DepthwiseGroupConv2d" else (IN, OUT)
        # By name: the group of `package` is another class where the package was imported twice.
        return factory(*channels, kernel_size, getattr(group, "name", group), **self.options, **options)

    def input(self, group, height=8, width=6, batch=2, **options) -> Tensor:
        poses = () if self.image else (sepgconv.group(group).order,)
        return torch.randn(batch, IN, *poses, height, width, **options)


def _lifting(layer, x, group, **planar):
    return reference.lift_conv2d_reference(x, layer.weight, group, **planar)


def _full(layer, x, group, **planar):
    return reference.group_conv2d_reference(x, layer.weight, group, **planar)


def _depthwise(layer, x, group, **planar):
    return reference.depthwise_group_conv2d_reference(x, layer.weight, group, **planar)


def _separable(layer, x, group, **planar):
    return reference.separable_group_conv2d_reference(
        x, layer.pointwise, layer.depthwise, group, sharing=layer.sharing, **planar
    )


def _two_step(layer, x, group, **planar):
    return _depthwise(layer[1], _full(layer[0], x, group) + layer[0].bias[:, None, None, None], group, **planar)


def _separable_kind(sharing, execution):
    depthwise = (OUT, "k", "k") if sharing == "gc" else (OUT, IN, "k", "k")
    return Layer(
        f"{sharing} {execution}",
        "SeparableGroupConv2d",
        {"sharing": sharing, "execution": execution},
        {"bias": (OUT,), "pointwise": (OUT, IN, "|G|"), "depthwise": depthwise},
        reference=_separable,
    )


CONVOLUTIONS = [
    Layer(
        "lifting",
        "LiftingConv2d",
        {},
        {"bias": (OUT,), "weight": (OUT, IN, "k", "k")},
        image=True,
        reference=_lifting,
    ),
    Layer("full", "GroupConv2d", {}, {"bias": (OUT,), "weight": (OUT, IN, "|G|", "k", "k")}, reference=_full),
    Layer("depthwise", "DepthwiseGroupConv2d", {}, {"bias": (IN,), "weight": (IN, "k", "k")}, reference=_depthwise),
    *(_separable_kind(sharing, execution) for sharing in ("gc", "g") for execution in ("separable", "composed")),
    _separable_kind("gc", "fourier"),
    Layer(
        "two-step",
        "DepthwiseSeparableGroupConv2d",
        {},
        {
            "0.bias": (OUT,),
            "0.weight": (OUT, IN, "|G|", 1, 1),
            "1.bias": (OUT,),
            "1.weight": (OUT, "k", "k"),
        },
        reference=_two_step,
    ),
]
STATISTICS = {"running_mean": (IN,), "running_var": (IN,), "num_batches_tracked": ()}
OTHERS = [
    Layer(
        "batch norm",
        "GroupBatchNorm2d",
        {"num_features": IN},
        {"weight": (IN,), "bias": (IN,)} | STATISTICS,
        filters=False,
    ),
    Layer("layer norm", "GroupLayerNorm", {"num_channels": IN}, {"weight": (IN,), "bias": (IN,)}, filters=False),
    Layer(
        "instance norm",
        "GroupInstanceNorm2d",
        {"num_channels": IN, "affine": True},
        {"weight": (IN,), "bias": (IN,)},
        filters=False,
    ),
    Layer(
        "group norm",
        "GroupGroupNorm",
        {"num_groups": 1, "num_channels": IN},
        {"weight": (IN,), "bias": (IN,)},
        filters=False,
    ),
    Layer("layer scale", "LayerScale", {"num_channels": IN, "init_value": 0.5}, {"weight": (IN,)}, filters=False),
    Layer("drop path", "DropPath", {"p": 0.5}, {}, filters=False),
    Layer("dropout", "GroupDropout", {"p": 0.5}, {}, filters=False),
    Layer("max pool", "MaxPool2d", {"kernel_size": 2}, {}, filters=False),
    Layer("antialiased pool", "AntialiasedMaxPool2d", {"kernel_size": 2}, {}, filters=False),
    Layer("average pool", "AvgPool2d", {"kernel_size": 2}, {}, filters=False),
    Layer("adaptive pool", "AdaptiveAvgPool2d", {"output_size": 3}, {}, filters=False),
    Layer("restriction", "RestrictGroup", {"subgroup": "p1"}, {}, filters=False, of_group=True),
    Layer("group max pool", "GroupMaxPool", {}, {}, filters=False),
    Layer("group mean pool", "GroupMeanPool", {}, {}, filters=False),
]


@pytest.fixture
def tables_of():
    """The tables by which a module's group moves its filters, as one call takes them; a test may change them."""
    constants = sepgconv.symmetry.basis
    kept = dict(constants._made)
    constants._made.clear()

    def used(module, x):
        module(x)
        return list(constants._made.values())

    yield used
    constants._made.clear()
    constants._made.update(kept)


def _name(layer):
    return layer.name


@pytest.fixture(params=CONVOLUTIONS, ids=_name)
def convolution(request) -> Layer:
    """Every convolution, the separable ones in every sharing and execution."""
    return request.param


@pytest.fixture(params=CONVOLUTIONS + OTHERS, ids=_name)
def layer(request) -> Layer:
    """Every layer."""
    return request.param
