"""Transforms by dense matrices: what runs by hand is what torch runs, also where positions are taken together."""

import pytest
import torch

import sepgconv
from sepgconv.conv.kinds import block_weights
from sepgconv.ops.layout import fold_poses
from sepgconv.ops.mixing import group_fft, mix, multiply, multiply_backward
from sepgconv.symmetry.basis import fourier_tables
from tests.covering import each

pytestmark = pytest.mark.usefixtures("float64")


def setting(name, batch, sides):
    group = sepgconv.group(name)
    x = fold_poses(torch.randn(batch, 3, group.order, *sides))
    pointwise = torch.randn(2, 3, group.order)
    return x, block_weights(pointwise, fourier_tables(group, like=pointwise)), group


@each("name", ["C3", "C5", "C6", "C8", "C16", "C64", "D6"])
@pytest.mark.parametrize("sides", [(4, 4), (3, 5)], ids=str)  # positions that fall into pairs, and one left over
def test_by_hand_and_by_torch_are_the_same(name, sides):
    for batch in (1, 2):
        x, weights, group = setting(name, batch, sides)
        arguments = (group.fft, group.order, group.fft.copies)
        expected = mix(x, weights, *arguments, in_place=False)
        found = mix(x, weights, *arguments, in_place=True)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        assert found.is_contiguous(memory_format=torch.channels_last)
        wrong = mix(x.roll(1, 3), weights, *arguments, in_place=True)  # negative control: positions moved by one
        assert not torch.allclose(wrong, expected, atol=1e-3)


@torch.no_grad()
@each("name", ["C6", "C8", "D3", "C16"])
def test_products_block_by_block_are_those_of_torch(name):
    x, weights, group = setting(name, 2, (3, 4))
    parts, counts = group_fft(x, group.fft, group.order, in_place=True), group.fft.copies
    expected = multiply(parts, weights, counts)
    torch.testing.assert_close(multiply(parts, weights, counts, by_block=True), expected, rtol=1e-12, atol=1e-12)
    grads = [torch.randn_like(part) for part in expected]
    found = multiply_backward(grads, parts, weights, counts, by_block=True)
    expected = multiply_backward(grads, parts, weights, counts)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
