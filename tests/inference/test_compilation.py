"""`compile_for_inference`: the same answers, nothing left to fold, nothing to train, the model untouched."""

import copy
import itertools

import pytest
import torch
from torch import nn

import sepgconv
from sepgconv.inference import FrozenConv2d, FrozenNorm2d
from sepgconv.nn import (
    AntialiasedMaxPool2d,
    AvgPool2d,
    DepthwiseGroupConv2d,
    DepthwiseSeparableGroupConv2d,
    DropPath,
    GroupBatchNorm2d,
    GroupConv2d,
    GroupLayerNorm,
    GroupMeanPool,
    LayerScale,
    LiftingConv2d,
    MaxPool2d,
    SeparableGroupConv2d,
    Sequential,
)

pytestmark = pytest.mark.usefixtures("float64")


def stir(model):
    """Give biases, scales and statistics values of their own."""
    with torch.no_grad():
        for tensor in itertools.chain(model.parameters(), model.buffers()):
            if tensor.ndim == 1 and tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return model.eval()


def assert_same(model, x, **options):
    """Compare with the model as it is; return the compiled one."""
    before = copy.deepcopy(model.state_dict())
    compiled = sepgconv.compile_for_inference(model, **options)
    expected = model(x)
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(compiled(x), expected, rtol=1e-9, atol=1e-9)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    return compiled


def network(group, norm_first=False):
    """Every kind of convolution, with batch norm before or after it."""

    def block(convolution, channels):
        if norm_first and not isinstance(convolution, LiftingConv2d):
            return nn.Sequential(GroupBatchNorm2d(channels), nn.ReLU(), convolution)
        return nn.Sequential(convolution, GroupBatchNorm2d(channels), nn.ReLU())

    layers = [
        LiftingConv2d(2, 3, 3, group, padding=1),
        GroupConv2d(3, 3, 3, group, padding=1, stride=1),
        SeparableGroupConv2d(3, 3, 3, group, execution="separable", padding=1, padding_mode="circular"),
        SeparableGroupConv2d(3, 3, 2, group, execution="fourier", bias=False),
        SeparableGroupConv2d(3, 3, 3, group, execution="composed", dilation=2, padding=2),
        SeparableGroupConv2d(3, 3, 3, group, sharing="g"),
        DepthwiseGroupConv2d(3, 3, group, padding=1),
        DepthwiseSeparableGroupConv2d(3, 3, 3, group, padding="same"),
    ]
    middle = [MaxPool2d(2), AvgPool2d(1), GroupLayerNorm(3)]
    return stir(
        Sequential(*(block(layer, 3) for layer in layers[:4]), *middle, *(block(layer, 3) for layer in layers[4:]))
    )


@pytest.mark.parametrize("norm_first", [False, True])
def test_every_layer_on_every_group(group, norm_first):
    side = (13, 10)
    compiled = assert_same(network(group, norm_first), torch.randn(2, 2, *side))
    left = [module for module in compiled.modules() if isinstance(module, nn.ReLU | GroupBatchNorm2d)]
    assert not left
    norms = [module for module in compiled.modules() if isinstance(module, FrozenNorm2d)]
    # With the norm first, those after the first ReLU and after the layer norm have no convolution before them.
    assert len(norms) == (2 if norm_first else 0)
    assert list(compiled.parameters()) == [
        p for m in compiled.modules() if isinstance(m, GroupLayerNorm) for p in m.parameters()
    ]
    assert not any(parameter.requires_grad for parameter in compiled.parameters())


def test_a_residual_branch_with_a_scale_becomes_its_convolution():
    branch = stir(Sequential(LiftingConv2d(2, 3, 3, "C8"), LayerScale(3), DropPath(0.3), AntialiasedMaxPool2d(2)))
    compiled = assert_same(branch, torch.randn(2, 2, 9, 9))
    assert not any(isinstance(module, FrozenNorm2d | LayerScale) for module in compiled.modules())
    assert not list(compiled.parameters())


@pytest.mark.usefixtures("shallow_resnets")
@pytest.mark.parametrize("name", sepgconv.list_models())
def test_every_network(name):
    torch.manual_seed(2)
    size = {"widths": (2, 3, 4)} if "resnet" in name else {"width": 4}
    exact = {"downsampling": "exact", "head": "invariant"} if "resnet" in name else {}
    for options in ({}, exact)[: 1 + bool(exact)]:
        model = stir(sepgconv.create_model(name, **size, **options))
        compiled = assert_same(
            model, torch.randn(2, model.in_channels, 28, 28), input_shape=(model.in_channels, 28, 28)
        )
        assert any(isinstance(module, FrozenConv2d) for module in compiled.modules())
        assert not any(isinstance(module, GroupBatchNorm2d) for module in compiled.modules())


def test_executions_are_those_of_the_sizes_that_come_in():
    """A 4 x 4 kernel on a 4 x 4 map is cheapest composed; on large maps it is not."""
    model = sepgconv.create_model("gc_p4cnn", width=30).eval()
    last = [
        [m for m in sepgconv.compile_for_inference(model, **options).modules() if isinstance(m, FrozenConv2d)][-1]
        for options in ({}, {"input_shape": (1, 28, 28)})
    ]
    assert [layer.steps == "direct" for layer in last] == [False, True]


def test_a_layer_alone():
    layer = stir(SeparableGroupConv2d(3, 4, 3, "p4m"))
    assert isinstance(assert_same(layer, torch.randn(2, 3, 8, 7, 7)), FrozenConv2d)


def test_shared_modules_are_not_folded():
    """A norm after two convolutions, or a convolution before two norms, belongs to neither alone."""
    norm, convolution = GroupBatchNorm2d(2), GroupConv2d(2, 2, 3, "p4", padding=1)
    model = stir(
        Sequential(LiftingConv2d(1, 2, 3, "p4"), norm, convolution, norm, nn.ReLU(), convolution, GroupBatchNorm2d(2))
    )
    compiled = assert_same(model, torch.randn(2, 1, 8, 8))
    assert sum(isinstance(module, FrozenNorm2d) for module in compiled) == 3
    assert compiled[2] is compiled[5]


def test_a_skip_connection_is_not_folded():
    """What a block adds up is no chain: the norm after it stays."""

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = GroupConv2d(2, 2, 3, "p4", padding=1)
            self.norm = GroupBatchNorm2d(2)

        def forward(self, x):
            return self.norm(x + self.convolution(x))

    model = stir(Sequential(LiftingConv2d(1, 2, 3, "p4"), Residual(), GroupBatchNorm2d(2), GroupMeanPool()))
    compiled = assert_same(model, torch.randn(2, 1, 8, 8))
    assert sum(isinstance(module, FrozenNorm2d) for module in compiled.modules()) == 2


def test_the_comparison_sees_a_wrong_fold():
    model = network("p4")
    compiled = sepgconv.compile_for_inference(model)
    next(m for m in compiled.modules() if isinstance(m, FrozenConv2d)).bias += 0.1
    x = torch.randn(2, 2, 12, 12)
    assert not torch.allclose(compiled(x), model(x))


def test_equivariance_stays():
    model = stir(sepgconv.create_model("gc_p4cnn", width=4))
    sepgconv.testing.assert_equivariant(sepgconv.compile_for_inference(model), "p4", torch.randn(2, 1, 28, 28))


def test_gradients_by_the_input():
    """For saliency maps: the answers can be differentiated by the picture."""
    model = network("p4m")
    compiled, x = sepgconv.compile_for_inference(model), torch.randn(1, 2, 13, 10, requires_grad=True)
    expected, found = (torch.autograd.grad(m(x).square().sum(), x)[0] for m in (model, compiled))
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("carry", ["deepcopy", "float", "training mode"])
def test_ways_of_carrying_it_around(carry):
    model, x = network("p4"), torch.randn(2, 2, 12, 12)
    compiled = sepgconv.compile_for_inference(model)
    if carry == "deepcopy":
        compiled = copy.deepcopy(compiled)
    elif carry == "float":
        torch.testing.assert_close(compiled.float()(x.float()), model.float()(x.float()), rtol=1e-4, atol=1e-4)
        return
    else:
        model.train()
        compiled = sepgconv.compile_for_inference(model)
        assert model.training
        model.eval()
    torch.testing.assert_close(compiled(x), model(x), rtol=1e-9, atol=1e-9)


def test_batch_norm_without_statistics_is_refused():
    model = Sequential(LiftingConv2d(1, 2, 3, "p4"), GroupBatchNorm2d(2, track_running_stats=False))
    with pytest.raises(ValueError, match=r"without running statistics .* track_running_stats=True"):
        sepgconv.compile_for_inference(model)


def test_affine_is_optional():
    model = Sequential(LiftingConv2d(1, 2, 3, "p4"), GroupBatchNorm2d(2, affine=False), GroupMeanPool())
    assert_same(stir(model), torch.randn(2, 1, 8, 8))


def test_what_it_prints():
    model = Sequential(LiftingConv2d(1, 2, 3, "p4"), GroupBatchNorm2d(2), nn.ReLU())
    assert "FrozenConv2d(LiftingConv2d(1, 2, kernel_size=(3, 3), group='p4'), with ReLU)" in repr(
        sepgconv.compile_for_inference(model)
    )


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch's own, while it traces
def test_compile_and_export(as_installed):
    torch._dynamo.reset()
    model = as_installed.create_model("gc_p4cnn", width=4).eval()
    compiled, x = as_installed.compile_for_inference(model), torch.randn(2, 1, 28, 28)
    expected = model(x)
    torch.testing.assert_close(torch.compile(compiled, fullgraph=True, backend="aot_eager")(x), expected)
    torch.testing.assert_close(torch.export.export(compiled, (x,)).module()(x), expected)
