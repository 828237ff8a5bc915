"""Steerable kernels begin with weights that keep the variance, whatever the size of the kernel and the group."""

import itertools
import math

import numpy as np
import pytest
import torch

import sepgconv
import sepgconv.nn as snn
from tests.covering import named

KINDS = {
    "lifting": lambda k, g: snn.LiftingConv2d(4, 24, k, g),
    "full": lambda k, g: snn.GroupConv2d(2, 24, k, g),
    "gc": lambda k, g: snn.SeparableGroupConv2d(4, 48, k, g, execution="separable"),
    "gc, rank 2": lambda k, g: snn.SeparableGroupConv2d(4, 48, k, g, rank=2, execution="separable"),
    "g": lambda k, g: snn.SeparableGroupConv2d(4, 24, k, g, sharing="g"),
    "depthwise": lambda k, g: snn.DepthwiseGroupConv2d(96, k, g),
}


def mean_square(module, k, poses):
    """The mean square of the output for white noise, over images, channels and poses; by channel."""
    channels = module.in_channels
    with torch.no_grad():
        y = module(torch.randn(24, channels, *poses, k, k))
    return y.square().movedim(1, 0).flatten(1).mean(1)


@pytest.mark.parametrize("kind", KINDS)
def test_initialisation_keeps_the_variance_for_every_size_and_group(kind):
    """E[y^2] = 2 E[x^2], as before a ReLU; within five standard errors of the channels, and on average within 2 %."""
    means = []
    for place, (family, n) in enumerate(itertools.product("CD", (1, 2, 3, 4, 6, 8, 16))):
        name = f"{family}{n}"
        group = sepgconv.group(name)
        poses = [] if kind == "lifting" else [group.order]
        for k in range(2 + place % 4, 10, 4):  # every size with several groups
            with named(group=name, size=k):
                squares = mean_square(KINDS[kind](k, name), k, poses)
                spread = float(squares.std()) / math.sqrt(len(squares))
                assert abs(float(squares.mean()) - 2) < 5 * spread
                means.append(float(squares.mean()))
    assert abs(np.mean(means) / 2 - 1) < 0.04


def test_weights_drawn_by_the_number_of_pixels_are_noticed(monkeypatch):
    """Negative control: the fan-in of a kernel of pixels in place of the energy of the filters."""
    spec = type(snn.LiftingConv2d(1, 1, 3, "C8").spec)
    monkeypatch.setattr(spec, "kernel_energy", property(lambda self: float(self.geometry.taps)))
    squares = mean_square(KINDS["lifting"](7, "C8"), 7, [])
    assert abs(float(squares.mean()) - 2) > 5 * float(squares.std()) / math.sqrt(len(squares))
