"""group_layer_norm against a loop over positions."""

import itertools

import pytest
import torch

from sepgconv.functional import group_layer_norm

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("affine", [(False, False), (True, False), (True, True)], ids=str)
def test_every_position_is_normalised_over_channels_and_poses(group, affine):
    x = torch.randn(2, 3, group.order, 4, 5) * 3 + 1
    weight, bias = (torch.randn(3) if given else None for given in affine)
    result = group_layer_norm(x, weight, bias, eps=0.1)
    for b, i, j in itertools.product(range(2), range(4), range(5)):
        values = x[b, :, :, i, j]
        expected = (values - values.mean()) / (values.var(correction=0) + 0.1).sqrt()
        if weight is not None:
            expected = expected * weight[:, None]
        if bias is not None:
            expected = expected + bias[:, None]
        torch.testing.assert_close(result[b, :, :, i, j], expected, rtol=1e-12, atol=1e-12)


def test_gradients():
    inputs = [torch.randn(shape, requires_grad=True) for shape in ((1, 2, 4, 2, 3), (2,), (2,))]
    assert torch.autograd.gradcheck(group_layer_norm, inputs)
