"""Every convolution keeps the variance that He et al. (2015) ask for: E[y^2] = 2 E[x^2] before a ReLU.

Given an input, the mean squares of different output channels depend on different weights and are independent, so their
mean has a standard error that can be read off them. Five of them are allowed: one false alarm in two million draws.
"""

import math

import pytest
import torch
from torch import nn

import sepgconv
from sepgconv.functional import group_conv2d

IN, OUT = 8, 400


def build(kind, group):
    channels = (OUT,) if kind.name == "depthwise" else (IN, OUT)
    return getattr(sepgconv.nn, kind.class_name)(*channels, 3, group, **kind.options)


def noise(kind, group):
    channels = OUT if kind.name == "depthwise" else IN
    poses = () if kind.image else (group.order,)
    return torch.randn(4, channels, *poses, 10, 10)


def deviation(y, x, expected=2.0):
    """By how many standard errors the mean square of y, in units of that of x, is off."""
    squares = y.square().movedim(1, 0).flatten(1).mean(1) / x.square().mean()
    return float((squares.mean() - expected).abs() / (squares.std() / math.sqrt(len(squares))))


@torch.no_grad()
@pytest.mark.covering(1)
def test_output_has_twice_the_mean_square_of_the_input(convolution, group):
    x = noise(convolution, group)
    assert deviation(build(convolution, group)(x), x) < 5


@torch.no_grad()
@pytest.mark.covering(1)
def test_reset_draws_anew_from_the_same_distribution(convolution, group):
    module, x = build(convolution, group), noise(convolution, group)
    before = {name: parameter.clone() for name, parameter in module.named_parameters()}
    for part in module.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
    assert deviation(module(x), x) < 5
    for name, parameter in module.named_parameters():
        assert torch.equal(parameter, before[name]) == name.endswith("bias")


@torch.no_grad()
@pytest.mark.parametrize("name", ["p2", "p4", "pm", "pmm", "p4m"])
@pytest.mark.covering(1)
def test_a_fan_in_without_the_group_is_noticed(convolution, name):
    """Negative control: the poses left out of the fan-in, as in the authors' code (theory.md, Initialisation)."""
    if convolution.name in ("lifting", "depthwise"):
        pytest.skip("no poses in the fan-in")
    group = sepgconv.group(name)
    module, x = build(convolution, group), noise(convolution, group)
    weight = next(p for key, p in module.named_parameters() if p.ndim >= 3 and p.shape[2] == group.order)
    weight.mul_(math.sqrt(group.order))
    assert deviation(module(x), x) > 10


@torch.no_grad()
@pytest.mark.parametrize("sharing", ["gc", "g"])
@pytest.mark.covering(1)
def test_maps_between_the_factors_are_neither_small_nor_large(group, sharing):
    """The mixing alone doubles the mean square, the filtering then keeps it."""
    module = sepgconv.nn.SeparableGroupConv2d(IN, OUT, 3, group, sharing=sharing)
    x, mixing = torch.randn(4, IN, group.order, 8, 8), module.pointwise[..., None, None]
    if sharing == "gc":
        mixed = group_conv2d(x, mixing, group)
    else:
        mixed = torch.cat([group_conv2d(x[:, [c]], mixing[:, [c]], group) for c in range(IN)], 1)
    assert deviation(mixed, x) < 5
    energies = module.depthwise.flatten(0, -3).square().sum((-2, -1)) * (1 if sharing == "gc" else IN)
    assert float((energies.mean() - 1).abs() / (energies.std() / math.sqrt(len(energies)))) < 5


@torch.no_grad()
def test_maps_between_the_steps_have_twice_the_mean_square(group):
    module, x = sepgconv.nn.DepthwiseSeparableGroupConv2d(IN, OUT, 3, group), torch.randn(4, IN, group.order, 8, 8)
    assert deviation(module[0](x), x) < 5


@torch.no_grad()
@pytest.mark.parametrize(
    ("class_name", "parameter", "variance"),
    [
        ("LiftingConv2d", "weight", 2 / (IN * 9)),
        ("GroupConv2d", "weight", 2 / (IN * 4 * 9)),
        ("DepthwiseGroupConv2d", "weight", 2 / 9),
    ],
)
def test_weights_have_the_variance_that_is_documented(class_name, parameter, variance):
    channels = (OUT,) if class_name == "DepthwiseGroupConv2d" else (IN, OUT)
    weight = getattr(getattr(sepgconv.nn, class_name)(*channels, 3, "p4"), parameter)
    # The variance of n normal numbers has the relative standard error sqrt(2 / n).
    assert abs(float(weight.var()) / variance - 1) < 5 * math.sqrt(2 / weight.numel())
    assert abs(float(weight.mean())) < 5 * math.sqrt(variance / weight.numel())


@pytest.mark.covering(1)
def test_biases_are_zero(convolution, group):
    for module in build(convolution, group).modules():
        if isinstance(getattr(module, "bias", None), nn.Parameter):
            assert not module.bias.any()
