"""Maps stay pose-major in channels_last memory through every layer, whatever the layout of what comes in."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sepgconv
from sepgconv import nn as layers
from tests.covering import named


def transposed(x):
    return x.permute(*reversed(range(x.ndim))).contiguous().permute(*reversed(range(x.ndim)))


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d)


def cut_out(x):
    return F.pad(x, (1, 2, 1, 1))[..., 1:-1, 1:-2]


def repeated(x):
    return x[:1].expand(x.shape)


LAYOUTS = {"contiguous": torch.Tensor.contiguous, "channels_last": channels_last, "transposed": transposed,
           "cut out": cut_out, "repeated": repeated}  # fmt: skip


def is_ours(y):
    """Whether the numbers lie in the order (batch, height, width, [pose,] channel)."""
    return y.permute(0, 3, 4, 2, 1).is_contiguous() if y.ndim == 5 else y.permute(0, 2, 3, 1).is_contiguous()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.covering(1)
def test_every_layer_answers_in_the_layout_of_the_library(layer, layout):
    for training in [True, False]:
        with named(training=training):
            module, x = layer.build("p4m", 3).train(training), layer.input("p4m")
            arranged = LAYOUTS[layout](x)
            torch.manual_seed(1)  # of dropout
            y = module(arranged)
            assert is_ours(y)
            torch.manual_seed(1)
            torch.testing.assert_close(y, module(arranged.clone(memory_format=torch.contiguous_format)))


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("options", [{"execution": "fourier"}, {"execution": "separable"}, {"execution": "composed"}])
@pytest.mark.parametrize(("inner", "outer"), [(1, 1), (1, 3), (3, 1)])
@pytest.mark.covering(2)
def test_one_channel_is_no_exception(options, inner, outer, training):
    """With one channel, torch takes an image for contiguous as well as for channels_last."""
    net = layers.Sequential(
        layers.LiftingConv2d(1, inner, 3, "p4"),
        layers.GroupBatchNorm2d(inner),
        nn.ReLU(),
        layers.SeparableGroupConv2d(inner, outer, 3, "p4", **options),
    ).train(training)
    for x in (torch.randn(2, 1, 8, 8), channels_last(torch.randn(2, 1, 8, 8))):
        assert is_ours(net(x))


def test_contiguous_maps_are_another_layout():
    """Negative control."""
    x = torch.randn(2, 3, 4, 5, 6)
    assert not is_ours(x)
    assert not is_ours(channels_last(x))
    assert is_ours(x.permute(0, 3, 4, 2, 1).contiguous().permute(0, 4, 3, 1, 2))
    assert not is_ours(nn.BatchNorm3d(3)(x))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.covering(1)
def test_gradients_do_not_depend_on_the_layout(layer, layout):
    module, x = layer.build("p4m", 3), layer.input("p4m")
    arranged, found = LAYOUTS[layout](x), []
    for value in (arranged, arranged.contiguous()):
        leaf = value.detach().requires_grad_()
        torch.manual_seed(1)
        y = module(leaf)
        weight = torch.linspace(-1, 1, y.numel()).view(y.shape)
        for grad in (weight, transposed(weight)):
            found.append(torch.autograd.grad(y, [leaf, *module.parameters()], grad, retain_graph=True))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("shallow_resnets")
@pytest.mark.parametrize("name", ["gc_p4cnn", "gc_p4m_resnet44", "p4cnn"])
def test_inside_a_network_no_map_leaves_the_layout(name):
    size = {"widths": (2, 3, 4)} if "resnet" in name else {"width": 4}
    model = sepgconv.create_model(name, **size)
    seen = []

    def look(module, args, y):
        if isinstance(y, torch.Tensor) and y.ndim == 5:
            seen.append((type(module).__name__, is_ours(y)))

    for module in model.modules():
        module.register_forward_hook(look)
    for training in (True, False):
        model.train(training)(torch.randn(2, model.in_channels, 28, 28))
    assert len(seen) > 20
    assert [kind for kind, ours in seen if not ours] == []
