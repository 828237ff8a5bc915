"""Bytes kept for backward, and growth of the process."""

import sys

import pytest
import torch
from torch import nn

from benchmarks.memory import bytes_kept, peak_growth


def test_what_a_known_layer_keeps():
    x = torch.randn(4, 3, 8, 8, requires_grad=True)
    layer = nn.Conv2d(3, 5, 3)
    assert bytes_kept(lambda: layer(x), layer) == x.nbytes  # its input; the weight is a parameter
    assert bytes_kept(lambda: layer(x).relu(), layer) == x.nbytes + 4 * 4 * 5 * 6 * 6  # and what ReLU gives
    with torch.no_grad():
        assert bytes_kept(lambda: layer(x), layer) == 0


def test_a_storage_counts_once_and_whole():
    x = torch.randn(100, requires_grad=True)
    assert bytes_kept(lambda: x[:10].square() + x[:10].sin(), nn.Identity()) == x.nbytes


def test_custom_functions_are_seen():
    class Kept(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(torch.zeros(50))
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return grad * 2

    x = torch.randn(3, requires_grad=True)
    assert bytes_kept(lambda: Kept.apply(x), nn.Identity()) == 200


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_growth_of_the_process():
    size = 64 * 2**20
    grown = peak_growth(lambda: torch.ones(size // 4))
    assert 0.9 * size < grown < 1.5 * size
    assert peak_growth(lambda: None) < size / 8
