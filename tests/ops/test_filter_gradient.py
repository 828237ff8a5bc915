"""The gradient with respect to depthwise filters, three columns at a time, is that of the definition."""

import pytest
import torch
from torch.nn import functional as F

import sepgconv
from sepgconv.conv.geometry import conv_geometry
from sepgconv.ops import dispatch
from sepgconv.ops.planar_conv import planar_backward, planar_conv2d, takes_columns
from tests.covering import each

pytestmark = pytest.mark.usefixtures("float64")

MAPS = 3
# Kernel sides, padding, padding mode, batch, image sides: even and odd, as small as the kernel, wider than high.
CASES = [
    ((4, 4), 0, "zeros", 2, (7, 9)),
    ((5, 5), 2, "zeros", 2, (8, 6)),
    ((5, 5), 4, "zeros", 1, (3, 2)),
    ((5, 5), 2, "circular", 2, (6, 7)),
    ((6, 6), 3, "reflect", 1, (7, 8)),
    ((7, 7), 3, "zeros", 3, (7, 7)),
    ((8, 8), 0, "zeros", 1, (8, 8)),
    ((3, 5), (1, 2), "zeros", 2, (5, 6)),
    ((1, 9), (0, 4), "zeros", 2, (2, 9)),
]


def by_definition(grad, x, kernel, padding, mode):
    """`dK[m,i,j] = sum over images and positions of grad[m,p] x[m,p + (i,j)]`."""
    pad = (padding, padding) if isinstance(padding, int) else padding
    padded = F.pad(x, (pad[1], pad[1], pad[0], pad[0]), mode="constant" if mode == "zeros" else mode)
    height, width = grad.shape[2:]
    taps = [
        [(grad * padded[:, :, i : i + height, j : j + width]).sum((0, 2, 3)) for j in range(kernel[1])]
        for i in range(kernel[0])
    ]
    return torch.stack([torch.stack(row, -1) for row in taps], -2).unsqueeze(1)


def setting(kernel, padding, mode, batch, sides):
    geometry = conv_geometry(sepgconv.group("p1"), kernel, padding=padding, padding_mode=mode)
    x, filters, bias = torch.randn(batch, MAPS, *sides), torch.randn(MAPS, 1, *kernel), torch.randn(MAPS)
    grad = torch.randn_like(planar_conv2d(x, filters, bias, geometry, MAPS))
    return geometry, x, filters, bias, grad


@each("kernel, padding, mode, batch, sides", CASES)
def test_gradients_are_those_of_the_definition(kernel, padding, mode, batch, sides):
    geometry, x, filters, bias, grad = setting(kernel, padding, mode, batch, sides)
    assert takes_columns(filters, geometry, MAPS)
    by_x, by_filters, by_bias = planar_backward(grad, x, filters, bias, geometry, MAPS, columns=True)
    expected = planar_backward(grad, x, filters, bias, geometry, MAPS)
    torch.testing.assert_close(by_filters, by_definition(grad, x, kernel, padding, mode), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close((by_x, by_bias), (expected[0], expected[2]), rtol=1e-12, atol=1e-12)
    if by_filters.shape[3] > 3:  # negative control: the columns of each three exchanged
        assert not torch.allclose(by_filters.roll(3, 3), expected[1], atol=1e-3)


def test_autograd_takes_them_where_it_may():
    """In every call with gradients of steerable filters, and twice; kernels of pixels keep torch's order of sums."""
    layer = sepgconv.nn.DepthwiseGroupConv2d(2, 5, "C8", padding=2)
    x = torch.randn(1, 2, 8, 4, 5, requires_grad=True)

    def run(x, weight):
        return torch.func.functional_call(layer, {"weight": weight}, (x,))

    weight = layer.weight.detach().requires_grad_()
    assert torch.autograd.gradcheck(run, (x, weight), fast_mode=True)
    assert torch.autograd.gradgradcheck(run, (x, weight), fast_mode=True)
    chosen = []
    for name, kernel in (("C8", "auto"), ("p4", "steerable"), ("p4", "pixel")):
        layer, choices = sepgconv.nn.DepthwiseGroupConv2d(2, 5, name, padding=2, kernel=kernel), []
        with dispatch.recording(choices.append):
            layer(torch.randn(1, 2, layer.group.order, 6, 6, requires_grad=True))
        chosen.append((choices[-1].operator, choices[-1].implementation))
    assert chosen == [("depthwise_conv", "columns"), ("depthwise_conv", "columns"), ("grouped_conv", "torch")]


@each("execution, recompute", [("separable", False), ("separable", True), ("fourier", None)])
def test_a_layer_has_the_gradients_of_its_dense_twin(execution, recompute):
    def gradients(execution, recompute):
        torch.manual_seed(1)
        layer = sepgconv.nn.SeparableGroupConv2d(2, 3, 5, "C6", padding=2, execution=execution, recompute=recompute)
        x = torch.randn(2, 2, 6, 6, 7, requires_grad=True)
        return torch.autograd.grad(layer(x).sin().sum(), (x, *layer.parameters()))

    found, expected = gradients(execution, recompute), gradients("composed", None)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
